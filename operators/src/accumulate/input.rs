//! What accumulators see of a batch.

use arrow::array::{Array, AsArray, BooleanArray, Int64Array, UInt32Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::{filter_record_batch, not};
use arrow::datatypes::{Int64Type, TimestampMillisecondType, UInt32Type};
use arrow::record_batch::RecordBatch;

use crate::batch::{OFFSET, SPLIT, WATERMARK};
use crate::codec::CodecError;
use crate::codec::column::{Column, ColumnType};
use crate::operator::Output;

/// Rows with their event times and hidden columns.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    pub(crate) batch: &'a RecordBatch,
    /// Event times, in milliseconds; undefined where null.
    pub(crate) times: &'a [i64],
    time_nulls: Option<&'a NullBuffer>,
    /// `_wm`, where the rows come from a source.
    watermarks: Option<&'a [i64]>,
    splits: Option<&'a UInt32Array>,
    offsets: Option<&'a Int64Array>,
}

impl<'a> Input<'a> {
    /// A batch whose first columns are the `visible` ones, with the event time at this position.
    pub(crate) fn new(
        batch: &'a RecordBatch,
        visible: usize,
        time: usize,
    ) -> Result<Self, CodecError> {
        Column::of(batch, time, ColumnType::Timestamp)?;
        let times = batch
            .column(time)
            .as_primitive::<TimestampMillisecondType>();
        let hidden = |name: &str| {
            let schema = batch.schema_ref();
            let mut positions = visible..batch.num_columns();
            let position = positions.find(|position| schema.field(*position).name() == name)?;
            Some(batch.column(position))
        };
        let integers = |name| hidden(name)?.as_primitive_opt::<Int64Type>();
        Ok(Self {
            batch,
            times: times.values(),
            time_nulls: times.nulls(),
            watermarks: integers(WATERMARK).map(|watermarks| &watermarks.values()[..]),
            splits: hidden(SPLIT).and_then(|splits| splits.as_primitive_opt::<UInt32Type>()),
            offsets: integers(OFFSET),
        })
    }

    /// The event time of a row, in milliseconds.
    fn time(&self, row: usize) -> Option<i64> {
        let null = self.time_nulls.is_some_and(|nulls| nulls.is_null(row));
        (!null).then(|| self.times[row])
    }

    /// The rows that are not late, or `None` if that is all of them. A row is judged by its `_wm`, but never by less
    /// than `before`, the relation's watermark after the epoch before. A row without event time belongs to no window
    /// and counts as late, so that somebody sees it.
    pub(crate) fn accepted(
        &self,
        before: i64,
        late: impl Fn(i64, i64) -> bool,
    ) -> Option<BooleanArray> {
        let accepted = |row: usize| {
            let watermark = self
                .watermarks
                .map_or(before, |marks| marks[row].max(before));
            self.time(row).is_some_and(|time| !late(time, watermark))
        };
        let rows = self.batch.num_rows();
        if (0..rows).all(accepted) {
            return None;
        }
        Some(BooleanBuffer::collect_bool(rows, accepted).into())
    }

    /// What decides between rows of equal event time. Rows that an operator made have no position.
    pub(super) fn place(&self, row: usize) -> Place {
        Place {
            time: self.times[row],
            split: self.splits.map_or(0, |splits| splits.value(row)),
            offset: self.offsets.map_or(0, |offsets| offsets.value(row)),
        }
    }
}

/// Where a row stands among all rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) time: i64,
    pub(super) split: u32,
    pub(super) offset: i64,
}

/// An aggregate's argument and the rows that count.
#[derive(Debug)]
pub(super) struct Argument<'a> {
    pub(super) column: Option<Column<'a>>,
    pub(super) selection: Selection,
    pub(super) input: &'a Input<'a>,
}

/// Rows of a batch.
#[derive(Debug)]
pub(super) enum Selection {
    All(usize),
    Some(BooleanBuffer),
}

impl Selection {
    /// The rows where the filter is true and nothing is null.
    pub(super) fn new(
        batch: &RecordBatch,
        filter: Option<usize>,
        nulls: Option<&NullBuffer>,
    ) -> Result<Self, CodecError> {
        let mut selected = nulls.map(|nulls| nulls.inner().clone());
        if let Some(position) = filter {
            Column::of(batch, position, ColumnType::Boolean)?;
            let filter = batch.column(position).as_boolean();
            let mut accepted = filter.values().clone();
            if let Some(nulls) = filter.nulls() {
                accepted = &accepted & nulls.inner();
            }
            selected = Some(match selected {
                Some(selected) => &selected & &accepted,
                None => accepted,
            });
        }
        Ok(selected.map_or(Self::All(batch.num_rows()), Self::Some))
    }

    /// Calls `each` with every selected row, in order, until it fails.
    #[inline]
    pub(super) fn try_each<E>(
        &self,
        mut each: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::All(rows) => (0..*rows).try_for_each(each),
            Self::Some(rows) => rows.set_indices().try_for_each(&mut each),
        }
    }

    /// Calls `each` with every selected row, in order.
    #[inline]
    pub(super) fn each(&self, mut each: impl FnMut(usize)) {
        match self {
            Self::All(rows) => (0..*rows).for_each(each),
            Self::Some(rows) => rows.set_indices().for_each(&mut each),
        }
    }
}

/// Moves late rows to `output`, unchanged, and returns the others, if there are any.
pub(crate) fn separate_late(
    rows: RecordBatch,
    accepted: Option<&BooleanArray>,
    output: &mut Output,
) -> Result<Option<RecordBatch>, CodecError> {
    let rows = match accepted {
        None => rows,
        Some(accepted) => {
            let late = not(accepted)?;
            output.late.push(filter_record_batch(&rows, &late)?);
            filter_record_batch(&rows, accepted)?
        }
    };
    Ok((rows.num_rows() > 0).then_some(rows))
}
