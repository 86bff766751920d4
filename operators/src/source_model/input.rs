//! Input as a real source makes it.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, StringViewArray,
    TimestampMillisecondArray, UInt32Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use proptest::prelude::*;

use crate::batch::{OFFSET, SPLIT, WATERMARK};

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
    pub(super) fn double(&self) -> Option<f64> {
        self.number.map(|number| number as f64 / 10.0)
    }

    pub(super) fn text(&self) -> Option<String> {
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
pub(super) const NUMBER: usize = 2;
pub(super) const DOUBLE: usize = 3;
pub(super) const MONEY: usize = 4;
pub(super) const TEXT: usize = 5;
pub(super) const FLAG: usize = 6;

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
