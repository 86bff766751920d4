use std::collections::BTreeMap;

use arrow::array::{ArrayRef, Int8Array, Int64Array, StringViewArray, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;
use tidewright_checkpoints::{Entry, Epoch, Shard};

use super::*;
use crate::changes::fleet::{Fleet, needed_changes, told_changes};

/// A record without its offset: split, key, time, and the value or that it is deleted.
type Record = (u32, u8, i64, Option<u8>);

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("value", DataType::Utf8View, true),
        Field::new("id", DataType::Int64, false),
    ]))
}

fn upsert() -> Upsert {
    Upsert::new("profiles", schema(), &[1]).unwrap()
}

fn batch(records: &[(Record, i64)]) -> RecordBatch {
    let each = || records.iter().map(|(record, _)| record);
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "value",
            Arc::new(
                each()
                    .map(|r| r.3.map(|v| format!("v{v}")))
                    .collect::<StringViewArray>(),
            ),
        ),
        (
            "id",
            Arc::new(each().map(|r| i64::from(r.1)).collect::<Int64Array>()),
        ),
        (
            OP,
            Arc::new(
                each()
                    .map(|r| if r.3.is_some() { 1 } else { -1 })
                    .collect::<Int8Array>(),
            ),
        ),
        (
            VERSION_TIME,
            Arc::new(each().map(|r| r.2).collect::<Int64Array>()),
        ),
        (
            SPLIT,
            Arc::new(each().map(|r| r.0).collect::<UInt32Array>()),
        ),
        (
            OFFSET,
            Arc::new(
                records
                    .iter()
                    .map(|(_, offset)| *offset)
                    .collect::<Int64Array>(),
            ),
        ),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// The straightforward form: every split's latest record by key.
#[derive(Default)]
struct Model {
    latest: BTreeMap<u8, BTreeMap<u32, (i64, Option<u8>)>>,
    offsets: BTreeMap<u32, i64>,
}

impl Model {
    fn epoch(&mut self, records: &[Record]) -> Vec<(Record, i64)> {
        let placed = records.iter().map(|&record @ (split, key, time, value)| {
            let offset = self.offsets.entry(split).or_default();
            *offset += 1;
            self.latest
                .entry(key)
                .or_default()
                .insert(split, (time, value));
            (record, *offset)
        });
        let placed = placed.collect();
        self.latest
            .retain(|_, splits| splits.values().any(|(_, value)| value.is_some()));
        placed
    }

    fn rows(&self) -> BTreeMap<u8, String> {
        let row = |(key, splits): (&u8, &BTreeMap<u32, (i64, Option<u8>)>)| {
            let (_, (_, value)) = splits
                .iter()
                .max_by_key(|(split, (time, _))| (*time, **split))?;
            value.map(|value| (*key, format!("v{value} {key}")))
        };
        self.latest.iter().filter_map(row).collect()
    }
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let record = (
        0..3_u32,
        0..5_u8,
        0..6_i64,
        prop::option::weighted(0.6, 0..3_u8),
    );
    prop::collection::vec(record, 0..8)
}

proptest! {
    #[test]
    fn every_epoch_tells_what_changed_whatever_the_batches_and_restarts(
        epochs in prop::collection::vec((records(), 1..5_usize, prop::option::of(1..4_usize)), 1..10),
        limit in any::<bool>(),
    ) {
        let mut fleet = Fleet::new(upsert, vec![vec![1]]).limited(limit);
        let mut model = Model::default();
        for (records, cut, restart) in epochs {
            let before = model.rows();
            let placed = model.epoch(&records);
            let batches = placed.chunks(cut).map(batch).collect();
            let told = fleet.epoch(&[batches]);
            prop_assert_eq!(told_changes(&told), needed_changes(&before, &model.rows()));
            let kept: usize = model.latest.values().map(BTreeMap::len).sum();
            prop_assert_eq!(fleet.state_entries(), kept);
            if let Some(workers) = restart {
                fleet.checkpoint();
                fleet.restart(workers);
            }
            let mut rows: Vec<_> = model.rows().into_values().collect();
            rows.sort();
            prop_assert_eq!(fleet.snapshot(), rows);
        }
    }
}

fn told(fleet: &mut Fleet<Upsert>, records: &[(Record, i64)]) -> Vec<(String, i64)> {
    told_changes(&fleet.epoch(&[vec![batch(records)]]))
}

#[test]
fn a_delete_that_is_older_than_another_splits_row_removes_nothing() {
    let mut fleet = Fleet::new(upsert, vec![vec![1]]);
    let row = ("v1 7".to_owned(), 1);
    assert_eq!(told(&mut fleet, &[((0, 7, 10, Some(1)), 1)]), [row]);
    assert_eq!(told(&mut fleet, &[((1, 7, 9, None), 1)]), []);
    // The marker stays, and is overruled no longer when the other split deletes the key too.
    assert_eq!(fleet.state_entries(), 2);
    assert_eq!(
        told(&mut fleet, &[((0, 7, 5, None), 2)]),
        [("v1 7".to_owned(), -1)]
    );
    assert_eq!(fleet.state_entries(), 0);
}

#[test]
fn records_that_were_seen_before_change_nothing() {
    let mut fleet = Fleet::new(upsert, vec![vec![1]]);
    told(&mut fleet, &[((0, 7, 10, Some(1)), 5)]);
    assert_eq!(told(&mut fleet, &[((0, 7, 99, Some(2)), 4)]), []);
    assert_eq!(told(&mut fleet, &[((0, 7, 99, Some(2)), 5)]), []);
}

#[test]
fn many_changed_keys_are_told_in_bounded_batches() {
    let rows: Vec<i64> = (0..20_000).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "value",
            Arc::new(rows.iter().map(|_| Some("v")).collect::<StringViewArray>()),
        ),
        ("id", Arc::new(Int64Array::from(rows.clone()))),
        (OP, Arc::new(rows.iter().map(|_| 1).collect::<Int8Array>())),
        (VERSION_TIME, Arc::new(Int64Array::from(rows.clone()))),
        (
            SPLIT,
            Arc::new(rows.iter().map(|_| 0).collect::<UInt32Array>()),
        ),
        (OFFSET, Arc::new(Int64Array::from(rows.clone()))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let told = Fleet::new(upsert, vec![vec![1]]).epoch(&[vec![batch]]);
    assert!(told.iter().all(|batch| batch.num_rows() <= FIRED_ROWS));
    assert_eq!(
        told.iter().map(RecordBatch::num_rows).sum::<usize>(),
        rows.len()
    );
}

#[test]
fn state_of_another_form_is_refused() {
    for value in [
        vec![],
        vec![2; HEADER],
        vec![FORMAT, 2],
        vec![FORMAT; HEADER + 1],
    ] {
        let mut upsert = upsert();
        let entry = Entry {
            key: b"k".as_slice().into(),
            sub_key: 0,
            value: Some(value.into()),
        };
        let shard = Shard::of_key(b"k");
        let delta = ShardDelta {
            shard,
            drops: vec![],
            entries: vec![entry],
        };
        assert!(matches!(
            upsert.restore(delta),
            Err(OperatorError::Restore { .. })
        ));
    }
}

#[test]
fn batches_without_the_hidden_columns_are_an_error() {
    let rows = batch(&[((0, 7, 10, Some(1)), 5)])
        .project(&[0, 1, 2])
        .unwrap();
    let clock = Clock {
        epoch: Epoch(1),
        watermark_before: 0,
        watermark: 0,
        end_of_input: false,
        largest_event_time: i64::MIN,
    };
    let error = upsert()
        .apply(0, rows, &clock, &mut Output::default())
        .unwrap_err();
    assert!(error.to_string().contains(VERSION_TIME), "{error}");
}

fn clock() -> Clock {
    Clock {
        epoch: Epoch(1),
        watermark_before: 0,
        watermark: 0,
        end_of_input: false,
        largest_event_time: i64::MIN,
    }
}

fn restored(mut operator: Upsert, deltas: &[ShardDelta]) -> Upsert {
    for delta in deltas {
        operator.restore(delta.clone()).unwrap();
    }
    operator.restored().unwrap();
    operator
}

fn rows(operator: &Upsert) -> Vec<String> {
    let mut output = Output::default();
    operator.snapshot(&mut output).unwrap();
    let mut rows: Vec<_> = output
        .rows
        .iter()
        .flat_map(crate::changes::fleet::texts)
        .collect();
    rows.sort();
    rows
}

#[test]
fn state_takes_new_columns_with_nulls_and_all_of_it_is_in_the_next_checkpoint() {
    let wider = Arc::new(Schema::new(vec![
        Field::new("extra", DataType::Int64, true),
        Field::new("id", DataType::Int64, false),
        Field::new("value", DataType::Utf8View, true),
    ]));
    let make = || Upsert::new("profiles", Arc::clone(&wider) as SchemaRef, &[1]).unwrap();
    let mut old = upsert();
    let mut output = Output::default();
    // The second split deletes, earlier: its entry has no row.
    let records = [
        ((0, 1, 5, Some(1)), 0),
        ((0, 2, 5, Some(2)), 1),
        ((1, 2, 4, None), 0),
    ];
    old.apply(0, batch(&records), &clock(), &mut output)
        .unwrap();
    while old.fire(&clock(), &mut output).unwrap() == Fired::More {}
    let deltas = old.checkpoint();

    let mut new = restored(make(), &deltas);
    new.migrate(&schema()).unwrap();
    let migrated = rows(&new);
    assert_eq!(migrated.len(), 2);
    assert!(
        migrated.iter().any(|row| row.contains("v1")),
        "{migrated:?}"
    );
    let again = restored(make(), &new.checkpoint());
    assert_eq!(rows(&again), migrated);
    assert_eq!(again.state_entries(), old.state_entries());
    assert!(new.checkpoint().is_empty());
}
