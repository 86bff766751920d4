//! From records to batches: decodes, stamps the hidden columns, and turns what cannot be used into dead letters.

use std::{sync::Arc, time::Instant};

use arrow::{
    array::{ArrayRef, Int8Array, Int64Array, UInt32Array},
    datatypes::{DataType, Field, Schema, SchemaRef},
    record_batch::RecordBatch,
};
use tidewright_jobs::plan::{SourceKind, SourcePlan};
use tidewright_operators::batch;

use super::{
    SourceBatch, SourceError, SplitProgress, partitioner::Partitioner, watermark::SplitClock,
};
use crate::{
    dead_letter::{Cause, DeadLetter},
    decode::{DecodeError, Decoder},
};

/// Rows in a batch at most: more is no faster, and a batch is the unit of work between two looks at the clock.
pub(crate) const BATCH_ROWS_MAX: usize = 2_048;
/// Bytes of records in a batch, about.
pub(crate) const BATCH_BYTES_MAX: usize = 4 << 20;
/// The field of a file's line that deletes its key from a table.
const DELETE_FIELD: &str = "_delete";

/// One record as its connector found it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) split: u32,
    pub(crate) offset: i64,
    /// Its own timestamp in its log, in milliseconds since 1970.
    pub(crate) timestamp: Option<i64>,
    pub(crate) key: Option<&'a [u8]>,
    /// Its value; `None` deletes the key from a table.
    pub(crate) value: Option<&'a [u8]>,
}

/// Whether a table's records can delete by a field of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deletes {
    /// By a null value, the key being the record's key.
    ByNullValue,
    /// By `"_delete": true` among the fields.
    ByField,
}

/// The columns of a source's batches: the plan's visible ones, then the hidden ones
/// ([`tidewright_operators::batch`]).
#[must_use]
pub fn batch_schema(plan: &SourcePlan) -> SchemaRef {
    let mut fields: Vec<Field> = plan
        .schema
        .fields()
        .iter()
        .map(|field| field.as_ref().clone())
        .collect();
    match &plan.kind {
        SourceKind::Stream { .. } => fields.push(hidden(batch::WATERMARK, DataType::Int64)),
        SourceKind::Table { key, .. } => {
            // Deletes have no values beside their key.
            for (column, field) in fields.iter_mut().enumerate() {
                let nullable = field.is_nullable() || !key.contains(&column);
                field.set_nullable(nullable);
            }
            fields.push(hidden(batch::OP, DataType::Int8));
            fields.push(hidden(batch::VERSION_TIME, DataType::Int64));
        }
    }
    fields.push(hidden(batch::SPLIT, DataType::UInt32));
    fields.push(hidden(batch::OFFSET, DataType::Int64));
    Arc::new(Schema::new(fields))
}

fn hidden(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, false)
}

enum Layout {
    Stream {
        event_time: Option<usize>,
    },
    Table {
        key: Vec<usize>,
        event_time: Option<usize>,
        /// The position of the delete field behind the visible columns.
        delete: Option<usize>,
    },
}

/// A record that cannot be used.
struct Rejected {
    cause: Cause,
    error: DecodeError,
}

impl From<DecodeError> for Rejected {
    fn from(error: DecodeError) -> Self {
        Self {
            cause: Cause::Decode,
            error,
        }
    }
}

/// Collects the rows of one batch.
pub(crate) struct Assembler {
    source: Arc<str>,
    schema: SchemaRef,
    layout: Layout,
    visible: usize,
    decoder: Decoder,
    /// Of a topic that is partitioned by a column.
    partitioner: Option<Partitioner>,
    /// `_wm` of a stream's rows, `_ts` of a table's.
    times: Vec<i64>,
    ops: Vec<i8>,
    splits: Vec<u32>,
    offsets: Vec<i64>,
    dead_letters: Vec<DeadLetter>,
    records: u64,
    bytes: usize,
    since: Option<Instant>,
}

impl Assembler {
    /// # Errors
    /// If a column's type cannot be decoded.
    pub(crate) fn new(plan: &SourcePlan, deletes: Deletes) -> Result<Self, SourceError> {
        let (layout, decoded) = layout(plan, deletes);
        let decoder = Decoder::new(&decoded, BATCH_ROWS_MAX)
            .map_err(|error| SourceError::new(&plan.name, &error))?;
        Ok(Self {
            source: plan.name.as_str().into(),
            schema: batch_schema(plan),
            layout,
            visible: plan.schema.fields().len(),
            decoder,
            partitioner: None,
            times: Vec::new(),
            ops: Vec::new(),
            splits: Vec::new(),
            offsets: Vec::new(),
            dead_letters: Vec::new(),
            records: 0,
            bytes: 0,
            since: None,
        })
    }

    /// From now on refuses rows of other partitions than that of their key.
    pub(crate) fn check_partitions(&mut self, partitioner: Partitioner) {
        self.partitioner = Some(partitioner);
    }

    /// Whether the batch should be handed over before more is read.
    pub(crate) fn is_full(&self) -> bool {
        self.records >= BATCH_ROWS_MAX as u64 || self.bytes >= BATCH_BYTES_MAX
    }

    /// Whether records come so slowly that it is worth waiting for a few more.
    pub(crate) fn is_small(&self) -> bool {
        (1..BATCH_ROWS_MAX as u64 / 8).contains(&self.records)
    }

    /// Whether no record was taken since the last batch.
    pub(crate) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Takes a record; one that cannot be used becomes a dead letter from `origin`.
    pub(crate) fn push(
        &mut self,
        clock: &mut SplitClock,
        record: &Record<'_>,
        origin: impl FnOnce() -> String,
    ) {
        self.count(record.value.map_or(0, <[u8]>::len) + record.key.map_or(0, <[u8]>::len));
        let accepted = match &self.layout {
            Layout::Stream { .. } => self.push_event(clock, record),
            Layout::Table { .. } => self.push_change(record),
        };
        match accepted {
            Ok(time) => {
                self.times.push(time);
                self.splits.push(record.split);
                self.offsets.push(record.offset);
            }
            Err(Rejected { cause, error }) => {
                let payload = record.value.or(record.key).unwrap_or_default();
                self.bury(origin(), cause, error.to_string(), payload);
            }
        }
    }

    /// Takes a record that its connector could not even read whole.
    pub(crate) fn refuse(&mut self, origin: String, reason: String, payload: &[u8], bytes: usize) {
        self.count(bytes);
        self.bury(origin, Cause::Decode, reason, payload);
    }

    fn count(&mut self, bytes: usize) {
        self.since.get_or_insert_with(Instant::now);
        self.records += 1;
        self.bytes += bytes;
    }

    #[cold]
    fn bury(&mut self, origin: String, cause: Cause, reason: String, payload: &[u8]) {
        self.dead_letters.push(DeadLetter {
            relation: self.source.clone(),
            origin,
            cause,
            reason,
            payload: payload.to_vec(),
        });
    }

    /// Decodes a stream's record and returns its `_wm`.
    #[inline]
    fn push_event(&mut self, clock: &mut SplitClock, record: &Record<'_>) -> Result<i64, Rejected> {
        let value = record
            .value
            .ok_or_else(|| DecodeError::new("the record has no value"))?;
        self.decoder.push(value)?;
        if let Some(partitioner) = &self.partitioner
            && let Err(error) = partitioner.check(&self.decoder, record.split)
        {
            self.decoder.pop();
            return Err(Rejected {
                cause: Cause::Partition,
                error,
            });
        }
        let Layout::Stream {
            event_time: Some(column),
        } = self.layout
        else {
            return Ok(i64::MIN);
        };
        clock
            .stamp(self.decoder.last_i64(column), record.timestamp)
            .map_err(|error| {
                let name = self.decoder.name(column);
                let error = DecodeError::new(&format!("field `{name}`: {error}"));
                self.decoder.pop();
                Rejected {
                    cause: Cause::EventTime,
                    error,
                }
            })
    }

    /// Decodes a table's record, pushes its `_op` and returns its `_ts`.
    fn push_change(&mut self, record: &Record<'_>) -> Result<i64, Rejected> {
        let Layout::Table {
            key,
            event_time,
            delete,
        } = &self.layout
        else {
            return Ok(i64::MIN);
        };
        let is_delete = match record.value {
            Some(value) => {
                self.decoder.push(value)?;
                delete.is_some_and(|column| self.decoder.last_bool(column) == Some(true))
            }
            None => {
                decode_key(&mut self.decoder, record.key, key)?;
                true
            }
        };
        // A delete by field may say when it happened, so its time is read before its other values go.
        let declared = event_time.and_then(|column| self.decoder.last_i64(column));
        if is_delete {
            self.decoder.clear_others(key);
        }
        if let Some(column) = key
            .iter()
            .find(|column| self.decoder.last_is_null(**column))
        {
            let name = self.decoder.name(*column);
            let error = format!("field `{name}`: is null, but it is part of the primary key");
            self.decoder.pop();
            return Err(DecodeError::new(&error).into());
        }
        self.ops.push(if is_delete { -1 } else { 1 });
        Ok(declared.or(record.timestamp).unwrap_or(0))
    }

    /// The batch so far, with `splits` as progress. Starts the next one.
    ///
    /// # Errors
    /// If the columns do not fit together, which would be a defect.
    pub(crate) fn finish(
        &mut self,
        splits: Vec<SplitProgress>,
    ) -> Result<SourceBatch, SourceError> {
        let mut columns = self.decoder.finish();
        columns.truncate(self.visible);
        let times: ArrayRef = Arc::new(Int64Array::from(emptied(&mut self.times)));
        if let Layout::Table { .. } = self.layout {
            columns.push(Arc::new(Int8Array::from(emptied(&mut self.ops))));
        }
        columns.push(times);
        columns.push(Arc::new(UInt32Array::from(emptied(&mut self.splits))));
        columns.push(Arc::new(Int64Array::from(emptied(&mut self.offsets))));
        let rows = RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|error| SourceError::new(&self.source, &error))?;
        Ok(SourceBatch {
            rows,
            dead_letters: std::mem::take(&mut self.dead_letters),
            splits,
            records: std::mem::take(&mut self.records),
            bytes: std::mem::take(&mut self.bytes),
            ingested_at: self.since.take().unwrap_or_else(Instant::now),
        })
    }
}

/// The values so far. The next batch is expected to be as long.
fn emptied<T>(values: &mut Vec<T>) -> Vec<T> {
    let capacity = values.len();
    std::mem::replace(values, Vec::with_capacity(capacity))
}

/// The layout, and the columns to decode: a table whose lines can delete has one more, which no batch shows. Whether a
/// table's columns may be null depends on whether a record deletes, so only its key is required.
fn layout(plan: &SourcePlan, deletes: Deletes) -> (Layout, SchemaRef) {
    match &plan.kind {
        SourceKind::Stream { event_time } => {
            let event_time = event_time.as_ref().map(|declared| declared.column);
            (Layout::Stream { event_time }, plan.schema.clone())
        }
        SourceKind::Table { key, event_time } => {
            let by_field = deletes == Deletes::ByField;
            let visible = plan.schema.fields().len();
            let mut fields: Vec<Field> = batch_schema(plan)
                .fields()
                .iter()
                .take(visible)
                .map(|field| field.as_ref().clone())
                .collect();
            if by_field {
                fields.push(Field::new(DELETE_FIELD, DataType::Boolean, true));
            }
            let layout = Layout::Table {
                key: key.clone(),
                event_time: *event_time,
                delete: by_field.then_some(visible),
            };
            (layout, Arc::new(Schema::new(fields)))
        }
    }
}

/// Decodes a delete's key: a JSON object with the key's fields, or, for a key of one column, its value as JSON or bare.
fn decode_key(
    decoder: &mut Decoder,
    record_key: Option<&[u8]>,
    key: &[usize],
) -> Result<(), DecodeError> {
    let bytes =
        record_key.ok_or_else(|| DecodeError::new("a delete (null value) without a key"))?;
    let is_object = bytes.trim_ascii_start().first() == Some(&b'{');
    match key {
        [column] if !is_object => decoder.push_value(bytes, *column),
        _ => decoder.push_only(bytes, key),
    }
    .map_err(|error| DecodeError::new(&format!("the key of a delete: {error}")))
}
