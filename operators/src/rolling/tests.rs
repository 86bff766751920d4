use std::collections::BTreeMap;

use proptest::prelude::*;
use tidewright_checkpoints::Epoch;

use super::*;
use crate::source_model::{
    self, Emitted, EpochRows, Row, aggregate_fields, aggregates, all_cells, drive, limited,
};

const SIZE: i64 = 4_000;
const TILE: i64 = 1_000;

fn spec() -> RollingSpec {
    RollingSpec {
        time: source_model::TIME,
        size_ms: SIZE,
        tile_ms: TILE,
        keys: vec![source_model::KEY],
        aggregates: aggregates(),
    }
}

fn rolling() -> Rolling {
    let mut fields = vec![Field::new("key", DataType::Utf8View, true)];
    fields.extend(aggregate_fields());
    let result = Schema::new(fields);
    Rolling::new("r".into(), &source_model::schema(), &result, spec()).unwrap()
}

type Table = BTreeMap<String, Vec<String>>;

fn accepted(epochs: &[EpochRows]) -> impl Iterator<Item = &Row> {
    let rows = epochs
        .iter()
        .flat_map(|epoch| epoch.batches.iter().flatten());
    rows.filter(|row| !spec().late(row.time, row.watermark))
}

/// The table over the accepted rows of these epochs at a watermark, by the definition.
fn expected(epochs: &[EpochRows], watermark: i64) -> Table {
    let mut tiles: BTreeMap<String, BTreeMap<i64, Vec<Row>>> = BTreeMap::new();
    let tile = |time: i64| time.div_euclid(TILE) * TILE;
    for row in accepted(epochs) {
        if watermark == i64::MIN || tile(row.time) >= tile(watermark) - SIZE {
            let key = row.key.clone().unwrap_or("null".into());
            let tiles = tiles.entry(key).or_default();
            tiles.entry(tile(row.time)).or_default().push(row.clone());
        }
    }
    let table = tiles.into_iter().map(|(key, tiles)| {
        let tiles: Vec<_> = tiles.into_values().collect();
        (key, source_model::naive(&tiles))
    });
    table.collect()
}

/// Applies an epoch's changes. A loss must be of the row that is there, a gain of a key that has none.
fn change(table: &mut Table, emitted: &Emitted) {
    for mut row in all_cells(&emitted.rows) {
        let diff = row.pop().unwrap();
        let key = row.remove(0);
        if diff == "-1" {
            assert_eq!(table.remove(&key), Some(row), "a loss of another row");
        } else {
            assert_eq!(table.insert(key, row), None, "a gain beside another row");
        }
    }
}

/// The table is what it must be at every epoch, and so are snapshots.
fn assert_current(epochs: &[EpochRows], emitted: &[Emitted], largest: i64) {
    let mut table = Table::new();
    for (number, epoch) in emitted.iter().enumerate() {
        let last = number + 1 == epochs.len();
        let watermark = if last {
            largest
        } else {
            epochs[number].watermark
        };
        let before = table.clone();
        change(&mut table, epoch);
        assert_eq!(&table, &expected(&epochs[..=number], watermark));
        let touched = epoch.rows.iter().map(RecordBatch::num_rows).sum::<usize>();
        let changed = before
            .iter()
            .filter(|(key, row)| table.get(*key) != Some(row))
            .count()
            + table
                .iter()
                .filter(|(key, row)| before.get(*key) != Some(row))
                .count();
        assert_eq!(touched, changed, "unchanged rows are not emitted");
        if let Some(snapshot) = &epoch.snapshot {
            let mut restored = Table::new();
            change(
                &mut restored,
                &Emitted {
                    rows: snapshot.clone(),
                    ..Emitted::default()
                },
            );
            assert_eq!(&restored, &table);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn the_table_is_current_at_every_epoch_whatever_the_cuts_restores_and_memory(
        epochs in source_model::input(),
        limit in any::<bool>(),
    ) {
        let largest = accepted(&epochs).map(|row| row.time).max().unwrap_or(i64::MIN);
        let emitted = drive(limited(rolling, limit), &epochs, largest);
        assert_current(&epochs, &emitted, largest);
        let (late, expected) = source_model::late_rows(&epochs, &emitted, |time, watermark| {
            spec().late(time, watermark)
        });
        prop_assert_eq!(late, expected);
    }

    #[test]
    fn a_partition_local_table_is_the_same_wherever_splits_are_read(
        epochs in source_model::input().prop_map(source_model::partitioned_by_key),
    ) {
        let largest = accepted(&epochs).map(|row| row.time).max().unwrap_or(i64::MIN);
        let local = || rolling().partition_local();
        let emitted = source_model::drive_partition_local(local, &epochs, largest);
        assert_current(&epochs, &emitted, largest);
    }

    #[test]
    fn an_accepted_row_never_touches_a_tile_that_left_at_an_earlier_watermark(
        time in any::<i64>(),
        row_watermark in any::<i64>(),
        watermark in any::<i64>(),
        tile_ms in 1i64..10_000,
        tiles in 1i64..100,
        near in any::<bool>(),
    ) {
        let spec = RollingSpec { tile_ms, size_ms: tile_ms * tiles, ..spec() };
        let row_watermark = if near { time.saturating_add(row_watermark % 2_000_000) } else { row_watermark };
        let left = spec.tile(time) < spec.horizon(watermark.min(row_watermark));
        prop_assert!(!left || spec.late(time, row_watermark));
    }
}

fn row(key: &str, time: i64) -> Row {
    Row {
        key: Some(key.to_owned()),
        time,
        number: Some(1),
        flag: None,
        watermark: i64::MIN,
        split: 0,
        offset: time,
    }
}

fn clock(watermark: i64) -> Clock {
    Clock {
        epoch: Epoch(1),
        watermark_before: i64::MIN,
        watermark,
        end_of_input: false,
        largest_event_time: i64::MIN,
    }
}

fn fire(rolling: &mut Rolling, clock: &Clock) -> Vec<RecordBatch> {
    let mut output = Output::default();
    while rolling.fire(clock, &mut output).unwrap() == Fired::More {
        let last = output.rows.last().map_or(0, RecordBatch::num_rows);
        assert!(last <= 2 * KEYS_PER_FIRING);
    }
    output.rows
}

#[test]
fn firing_is_bounded_and_a_key_leaves_with_its_last_tile() {
    let mut rolling = rolling();
    let rows: Vec<Row> = (0..20_000)
        .map(|number| row(&format!("u{number}"), 500))
        .collect();
    let start = clock(i64::MIN);
    rolling
        .apply(
            0,
            source_model::batch(&rows),
            &start,
            &mut Output::default(),
        )
        .unwrap();
    let count = |batches: &[RecordBatch]| batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    assert_eq!(count(&fire(&mut rolling, &start)), 20_000);
    assert_eq!(count(&fire(&mut rolling, &start)), 0);
    assert_eq!(count(&fire(&mut rolling, &clock(SIZE + TILE - 1))), 0);
    let losses = fire(&mut rolling, &clock(SIZE + TILE));
    assert_eq!(count(&losses), 20_000);
    assert!(losses.len() >= 20_000 / KEYS_PER_FIRING);
    assert!(
        all_cells(&losses)
            .iter()
            .all(|row| row.last().unwrap() == "-1")
    );
    assert_eq!(rolling.state_entries(), 0);
    assert_eq!(rolling.tiles.slots().count(), 0);
}

#[test]
fn at_the_end_of_input_the_largest_event_time_of_all_workers_counts() {
    let mut rolling = rolling();
    let end = Clock {
        end_of_input: true,
        largest_event_time: 10_000,
        ..clock(i64::MAX)
    };
    let rows = source_model::batch(&[row("a", 5_999), row("b", 6_000)]);
    rolling
        .apply(0, rows, &end, &mut Output::default())
        .unwrap();
    let rows = all_cells(&fire(&mut rolling, &end));
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0][0], "b");
}

#[test]
fn a_key_of_one_tile_costs_one_entry_in_the_checkpoint() {
    let mut rolling = rolling();
    let start = clock(i64::MIN);
    let rows: Vec<Row> = (0..10_000).map(|time| row("a", time)).collect();
    rolling
        .apply(
            0,
            source_model::batch(&rows),
            &start,
            &mut Output::default(),
        )
        .unwrap();
    fire(&mut rolling, &start);
    assert_eq!(rolling.checkpoint()[0].entries.len(), 10);
    let again = source_model::batch(&[row("a", 9_999)]);
    rolling
        .apply(0, again, &start, &mut Output::default())
        .unwrap();
    fire(&mut rolling, &start);
    let deltas = rolling.checkpoint();
    assert_eq!((deltas.len(), deltas[0].entries.len()), (1, 1));
}

#[test]
fn after_the_end_of_input_nothing_leaves_by_time() {
    let mut rolling = rolling();
    let rows = source_model::batch(&[row("a", 5_999)]);
    rolling
        .apply(0, rows, &clock(i64::MIN), &mut Output::default())
        .unwrap();
    assert_eq!(fire(&mut rolling, &clock(i64::MIN)).len(), 1);
    assert!(fire(&mut rolling, &clock(i64::MAX)).is_empty());
    assert_eq!(rolling.state_entries(), 1);
}

#[test]
fn a_window_shorter_than_its_tile_is_refused() {
    let spec = RollingSpec {
        size_ms: 999,
        ..spec()
    };
    let schema = source_model::schema();
    assert!(Rolling::new("r".into(), &schema, &schema, spec).is_err());
}
