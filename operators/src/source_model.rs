//! Tests: input as a real source makes it, a runtime in miniature that drives operators through epochs, checkpoints
//! and restores, and aggregates computed the naive way.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int64Array,
    StringViewArray, TimestampMillisecondArray, UInt32Array,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{
    DataType, Decimal128Type, Field, Float64Type, Int8Type, Int64Type, Schema, SchemaRef, TimeUnit,
    TimestampMillisecondType,
};
use arrow::record_batch::RecordBatch;
use proptest::prelude::*;
use tidewright_checkpoints::{Epoch, Shard, ShardDelta};

use crate::accumulate::{Aggregate, AggregateFunction};
use crate::batch::{OFFSET, SPLIT, WATERMARK};
use crate::operator::{Clock, Fired, Operator, Output};
use crate::route::Router;
use crate::state::StateMemory;

/// How far behind the largest event time of its split a row may be.
const OUT_OF_ORDERNESS: i64 = 2_000;

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) key: Option<String>,
    pub(crate) time: i64,
    pub(crate) number: Option<i64>,
    pub(crate) flag: Option<bool>,
    pub(crate) watermark: i64,
    pub(crate) split: u32,
    pub(crate) offset: i64,
}

impl Row {
    fn double(&self) -> Option<f64> {
        self.number.map(|number| number as f64 / 10.0)
    }

    fn text(&self) -> Option<String> {
        self.number.map(|number| format!("text number {number}"))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    None,
    Batch,
    Epoch,
    Checkpoint,
    Restart(usize),
}

/// Rows of an epoch in batches, and what happens at its end.
#[derive(Clone, Debug)]
pub(crate) struct EpochRows {
    pub(crate) batches: Vec<Vec<Row>>,
    pub(crate) watermark: i64,
    pub(crate) end: Cut,
}

type Seed = (usize, i64, i64, Option<u8>, Option<i64>, Option<bool>, Cut);

/// Two splits, rows up to 8 s behind their split's time, cut at random into batches and epochs.
pub(crate) fn input() -> impl Strategy<Value = Vec<EpochRows>> {
    let cut = prop_oneof![
        6 => Just(Cut::None),
        2 => Just(Cut::Batch),
        2 => Just(Cut::Epoch),
        1 => Just(Cut::Checkpoint),
        1 => (1usize..4).prop_map(Cut::Restart),
    ];
    let seed = (
        0usize..2,
        prop_oneof![4 => 0i64..300, 1 => 0i64..6_000],
        prop_oneof![4 => 0i64..2_500, 1 => 0i64..8_000],
        prop::option::weighted(0.9, 0u8..4),
        prop::option::weighted(0.8, -50i64..50),
        prop::option::weighted(0.8, any::<bool>()),
        cut,
    );
    prop::collection::vec(seed, 0..80).prop_map(|seeds| epochs(&seeds))
}

fn epochs(seeds: &[Seed]) -> Vec<EpochRows> {
    let mut now = [1_000_000i64; 2];
    let mut largest: [Option<i64>; 2] = [None; 2];
    let mut offsets = [0i64; 2];
    let mark = |largest: Option<i64>| largest.map_or(i64::MIN, |time| time - OUT_OF_ORDERNESS);
    let open = || EpochRows {
        batches: vec![vec![]],
        watermark: i64::MIN,
        end: Cut::Epoch,
    };
    let mut epochs = vec![open()];
    for (split, advance, back, key, number, flag, cut) in seeds.iter().cloned() {
        now[split] += advance;
        let row = Row {
            key: key.map(|key| "k".repeat(usize::from(key) * 5)),
            time: now[split] - back,
            number,
            flag,
            watermark: mark(largest[split]),
            split: split as u32,
            offset: offsets[split],
        };
        offsets[split] += 1;
        largest[split] = largest[split].max(Some(row.time));
        let epoch = epochs.last_mut().unwrap();
        epoch.batches.last_mut().unwrap().push(row);
        epoch.watermark = largest.iter().map(|largest| mark(*largest)).min().unwrap();
        match cut {
            Cut::None => {}
            Cut::Batch => epoch.batches.push(vec![]),
            end => {
                epoch.end = end;
                let watermark = epoch.watermark;
                epochs.push(EpochRows {
                    watermark,
                    ..open()
                });
            }
        }
    }
    epochs
}

pub(crate) const KEY: usize = 0;
pub(crate) const TIME: usize = 1;
const NUMBER: usize = 2;
const DOUBLE: usize = 3;
const MONEY: usize = 4;
const TEXT: usize = 5;
const FLAG: usize = 6;

pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8View, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        Field::new("number", DataType::Int64, true),
        Field::new("double", DataType::Float64, true),
        Field::new("money", DataType::Decimal128(12, 2), true),
        Field::new("text", DataType::Utf8View, true),
        Field::new("flag", DataType::Boolean, true),
    ]))
}

pub(crate) fn batch(rows: &[Row]) -> RecordBatch {
    let mut fields: Vec<_> = schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(WATERMARK, DataType::Int64, false)));
    fields.push(Arc::new(Field::new(SPLIT, DataType::UInt32, false)));
    fields.push(Arc::new(Field::new(OFFSET, DataType::Int64, false)));
    let money = rows.iter().map(|row| row.number.map(i128::from));
    let money = Decimal128Array::from_iter(money).with_precision_and_scale(12, 2);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringViewArray::from_iter(
            rows.iter().map(|row| row.key.clone()),
        )),
        Arc::new(TimestampMillisecondArray::from_iter_values(
            rows.iter().map(|row| row.time),
        )),
        Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.number))),
        Arc::new(Float64Array::from_iter(rows.iter().map(Row::double))),
        Arc::new(money.unwrap()),
        Arc::new(StringViewArray::from_iter(rows.iter().map(Row::text))),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|row| row.flag))),
        Arc::new(Int64Array::from_iter_values(
            rows.iter().map(|row| row.watermark),
        )),
        Arc::new(UInt32Array::from_iter_values(
            rows.iter().map(|row| row.split),
        )),
        Arc::new(Int64Array::from_iter_values(
            rows.iter().map(|row| row.offset),
        )),
    ];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// One aggregate of every kind, some filtered.
pub(crate) fn aggregates() -> Vec<Aggregate> {
    use AggregateFunction::{Avg, Count, First, Last, Max, Min, Sum};
    let decimal = DataType::Decimal128;
    let all = [
        (Count, None, None, DataType::Int64),
        (Count, Some(NUMBER), Some(FLAG), DataType::Int64),
        (Sum, Some(NUMBER), Some(FLAG), DataType::Int64),
        (Sum, Some(DOUBLE), None, DataType::Float64),
        (Avg, Some(DOUBLE), Some(FLAG), DataType::Float64),
        (Sum, Some(MONEY), None, decimal(22, 2)),
        (Avg, Some(MONEY), None, decimal(16, 6)),
        (Min, Some(NUMBER), None, DataType::Int64),
        (Max, Some(TEXT), Some(FLAG), DataType::Utf8View),
        (First, Some(NUMBER), None, DataType::Int64),
        (Last, Some(TEXT), Some(FLAG), DataType::Utf8View),
    ];
    let all = all
        .into_iter()
        .map(|(function, argument, filter, data_type)| Aggregate {
            function,
            argument,
            filter,
            data_type,
        });
    all.collect()
}

pub(crate) fn aggregate_fields() -> Vec<Field> {
    let fields = aggregates().into_iter().enumerate();
    let fields =
        fields.map(|(n, aggregate)| Field::new(format!("a{n}"), aggregate.data_type, true));
    fields.collect()
}

/// The results of [`aggregates`], computed naively. Doubles are added group by group, in order.
pub(crate) fn naive(groups: &[Vec<Row>]) -> Vec<String> {
    let rows: Vec<&Row> = groups.iter().flatten().collect();
    let flagged: Vec<&Row> = rows
        .iter()
        .copied()
        .filter(|row| row.flag == Some(true))
        .collect();
    let double = |flagged: bool| {
        let mut count = 0;
        let mut sum = 0.0;
        for group in groups {
            let mut part = 0.0;
            for row in group
                .iter()
                .filter(|row| !flagged || row.flag == Some(true))
            {
                if let Some(value) = row.double() {
                    part += value;
                    count += 1;
                }
            }
            sum += part;
        }
        (count > 0).then_some((sum, count))
    };
    let numbers = || rows.iter().filter_map(|row| row.number);
    let flagged_numbers = || flagged.iter().filter_map(|row| row.number);
    let sum = |any: bool, sum: i64| any.then_some(sum);
    let total = sum(numbers().count() > 0, numbers().sum());
    let place = |row: &&&Row| (row.time, row.split, row.offset);
    let first = rows.iter().min_by_key(place).and_then(|row| row.number);
    let last = flagged.iter().max_by_key(place).and_then(|row| row.text());
    let text = |value: Option<String>| value.unwrap_or("null".into());
    let show = |value: Option<i64>| text(value.map(|value| value.to_string()));
    let float = |value: Option<f64>| text(value.map(|value| format!("{value:?}")));
    vec![
        rows.len().to_string(),
        flagged_numbers().count().to_string(),
        show(sum(flagged_numbers().count() > 0, flagged_numbers().sum())),
        float(double(false).map(|(sum, _)| sum)),
        float(double(true).map(|(sum, count)| sum / f64::from(count))),
        show(total),
        show(total.map(|total| total * 10_000 / numbers().count() as i64)),
        show(numbers().min()),
        text(flagged.iter().filter_map(|row| row.text()).max()),
        show(first),
        text(last),
    ]
}

/// A row's values as text: decimals unscaled, doubles exact.
pub(crate) fn cells(batch: &RecordBatch, row: usize) -> Vec<String> {
    let cell = |column: &ArrayRef| {
        if column.is_null(row) {
            return "null".to_owned();
        }
        match column.data_type() {
            DataType::Utf8View => column.as_string_view().value(row).to_owned(),
            DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
            DataType::Int8 => column.as_primitive::<Int8Type>().value(row).to_string(),
            DataType::Float64 => format!("{:?}", column.as_primitive::<Float64Type>().value(row)),
            DataType::Timestamp(..) => column
                .as_primitive::<TimestampMillisecondType>()
                .value(row)
                .to_string(),
            _ => column
                .as_primitive::<Decimal128Type>()
                .value(row)
                .to_string(),
        }
    };
    batch.columns().iter().map(cell).collect()
}

pub(crate) fn all_cells(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let rows = batches
        .iter()
        .flat_map(|batch| (0..batch.num_rows()).map(move |row| cells(batch, row)));
    rows.collect()
}

/// What one epoch gave, over all workers.
#[derive(Debug, Default)]
pub(crate) struct Emitted {
    pub(crate) rows: Vec<RecordBatch>,
    pub(crate) late: Vec<RecordBatch>,
    /// What all workers' snapshots hold after the epoch, if they were restarted there.
    pub(crate) snapshot: Option<Vec<RecordBatch>>,
}

/// Where rows go, and the state that is made of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placement {
    /// To the owner of their key.
    ByKey,
    /// Nowhere: they stay with the worker that reads their split.
    BySplit,
}

impl Placement {
    fn parts(self, rows: &[Row], workers: usize) -> Vec<(usize, RecordBatch)> {
        if self == Self::ByKey {
            let mut router = Router::new(&schema(), &[KEY], workers).unwrap();
            return router.route(batch(rows)).unwrap();
        }
        let of_worker = |worker: usize| {
            let rows = rows
                .iter()
                .filter(|row| row.split as usize % workers == worker);
            (worker, batch(&rows.cloned().collect::<Vec<_>>()))
        };
        let parts = (0..workers).map(of_worker);
        parts.filter(|(_, part)| part.num_rows() > 0).collect()
    }

    fn owner(self, shard: Shard, workers: usize) -> usize {
        match self {
            Self::ByKey => shard.owner(workers),
            Self::BySplit => usize::from(shard.0) % workers,
        }
    }
}

/// A limit so small that every key goes to disk as soon as it may.
pub(crate) fn no_memory() -> Arc<StateMemory> {
    let directory = std::env::temp_dir().join("tidewright-tests");
    Arc::new(StateMemory::new(0, 1, &directory))
}

/// Makes an operator, on request with [`no_memory`].
pub(crate) fn limited<O: Operator>(make: fn() -> O, limited: bool) -> impl Fn() -> O {
    move || {
        let mut operator = make();
        if limited {
            operator.spill_to(&no_memory()).unwrap();
        }
        operator
    }
}

/// Trims until nothing more goes to disk.
pub(crate) fn trim(operator: &mut impl Operator) {
    while operator.trim().unwrap() {}
}

/// Drives operators as the runtime does: rows go to the owner of their key; at a checkpoint the deltas of all workers are
/// kept; at a restart they make up another number of workers.
pub(crate) fn drive<O: Operator>(
    make: impl Fn() -> O,
    epochs: &[EpochRows],
    largest_event_time: i64,
) -> Vec<Emitted> {
    drive_placed(make, epochs, largest_event_time, Placement::ByKey)
}

/// The same for operators whose rows stay where they are read.
pub(crate) fn drive_partition_local<O: Operator>(
    make: impl Fn() -> O,
    epochs: &[EpochRows],
    largest_event_time: i64,
) -> Vec<Emitted> {
    drive_placed(make, epochs, largest_event_time, Placement::BySplit)
}

/// The same rows, but no key is in two splits.
pub(crate) fn partitioned_by_key(mut epochs: Vec<EpochRows>) -> Vec<EpochRows> {
    for row in epochs
        .iter_mut()
        .flat_map(|epoch| epoch.batches.iter_mut().flatten())
    {
        row.key = Some(format!(
            "{}{}",
            row.split,
            row.key.as_deref().unwrap_or_default()
        ));
    }
    epochs
}

fn drive_placed<O: Operator>(
    make: impl Fn() -> O,
    epochs: &[EpochRows],
    largest_event_time: i64,
    placement: Placement,
) -> Vec<Emitted> {
    let mut log: Vec<ShardDelta> = vec![];
    let mut workers = vec![make()];
    let mut before = i64::MIN;
    let mut emitted = vec![];
    for (number, epoch) in epochs.iter().enumerate() {
        let end_of_input = number + 1 == epochs.len();
        let clock = Clock {
            epoch: Epoch(number as u64),
            watermark_before: before,
            watermark: if end_of_input {
                i64::MAX
            } else {
                epoch.watermark
            },
            end_of_input,
            largest_event_time,
        };
        before = clock.watermark;
        let mut output = Output::default();
        for rows in &epoch.batches {
            for (worker, part) in placement.parts(rows, workers.len()) {
                workers[worker].apply(0, part, &clock, &mut output).unwrap();
                trim(&mut workers[worker]);
            }
        }
        for worker in &mut workers {
            while worker.fire(&clock, &mut output).unwrap() == Fired::More {
                trim(worker);
            }
            trim(worker);
        }
        if matches!(epoch.end, Cut::Checkpoint | Cut::Restart(_)) {
            log.extend(workers.iter_mut().flat_map(Operator::checkpoint));
            workers.iter_mut().for_each(trim);
        }
        let mut snapshot = None;
        if let Cut::Restart(count) = epoch.end {
            workers = restore(&make, &log, count, placement);
            let mut output = Output::default();
            workers
                .iter()
                .for_each(|worker| worker.snapshot(&mut output).unwrap());
            snapshot = Some(output.rows);
        }
        emitted.push(Emitted {
            rows: output.rows,
            late: output.late,
            snapshot,
        });
    }
    emitted
}

fn restore<O: Operator>(
    make: &impl Fn() -> O,
    log: &[ShardDelta],
    count: usize,
    placement: Placement,
) -> Vec<O> {
    let workers = (0..count).map(|worker| {
        let mut operator = make();
        for delta in log
            .iter()
            .filter(|delta| placement.owner(delta.shard, count) == worker)
        {
            operator.restore(delta.clone()).unwrap();
            trim(&mut operator);
        }
        operator.restored().unwrap();
        trim(&mut operator);
        operator
    });
    workers.collect()
}

/// The late rows of all epochs, and those that a predicate over (event time, watermark) calls late, both in order.
pub(crate) fn late_rows(
    epochs: &[EpochRows],
    emitted: &[Emitted],
    late: impl Fn(i64, i64) -> bool,
) -> (Vec<Vec<String>>, Vec<Vec<String>>) {
    let mut found: Vec<_> = emitted
        .iter()
        .flat_map(|epoch| &epoch.late)
        .cloned()
        .collect();
    found.retain(|batch| batch.num_rows() > 0);
    let rows = epochs
        .iter()
        .flat_map(|epoch| epoch.batches.iter().flatten());
    let expected: Vec<Row> = rows
        .filter(|row| late(row.time, row.watermark))
        .cloned()
        .collect();
    let expected = batch(&expected);
    let found = concat_batches(expected.schema_ref(), &found).unwrap();
    let position = expected.num_columns() - 2;
    // `_split` is an UInt32, which `cells` doesn't know.
    let places = |batch: &RecordBatch| {
        let splits = batch
            .column(position)
            .as_primitive::<arrow::datatypes::UInt32Type>()
            .clone();
        let offsets = batch
            .column(position + 1)
            .as_primitive::<Int64Type>()
            .clone();
        let mut places: Vec<_> = (0..batch.num_rows())
            .map(|row| (splits.value(row), offsets.value(row), row))
            .collect();
        places.sort_unstable();
        let visible = batch.project(&(0..position).collect::<Vec<_>>()).unwrap();
        let visible = visible.project(&[0, 1, 2, 3, 4, 5, 7]).unwrap();
        let show = |(split, offset, row): (u32, i64, usize)| {
            let mut cells = cells(&visible, row);
            cells.extend([split.to_string(), offset.to_string()]);
            cells
        };
        places.into_iter().map(show).collect()
    };
    (places(&found), places(&expected))
}
