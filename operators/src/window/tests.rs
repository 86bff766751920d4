use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray, StringViewArray};
use arrow::datatypes::{DataType, Field, TimeUnit, TimestampMillisecondType};
use proptest::prelude::*;
use tidewright_checkpoints::Epoch;

use super::*;
use crate::source_model::{
    self, EpochRows, Row, aggregate_fields, aggregates, all_cells, drive, limited,
};

const SIZE: i64 = 3_000;

fn spec(lateness_ms: i64) -> WindowSpec {
    WindowSpec {
        time: source_model::TIME,
        size_ms: SIZE,
        lateness_ms,
        groups: vec![
            GroupColumn::WindowEnd,
            GroupColumn::Input(source_model::KEY),
            GroupColumn::WindowStart,
        ],
        aggregates: aggregates(),
    }
}

fn window() -> Window {
    window_of(spec(0))
}

/// As long as one and a half windows.
const LATENESS: i64 = 4_500;

fn patient_window() -> Window {
    window_of(spec(LATENESS))
}

fn window_of(spec: WindowSpec) -> Window {
    let instant = || DataType::Timestamp(TimeUnit::Millisecond, None);
    let mut fields = vec![
        Field::new("window_end", instant(), false),
        Field::new("key", DataType::Utf8View, true),
        Field::new("window_start", instant(), false),
    ];
    fields.extend(aggregate_fields());
    let result = Arc::new(Schema::new(fields));
    Window::new("w".into(), &source_model::schema(), result, spec).unwrap()
}

/// Group by over the accepted rows of a whole input.
fn expected(spec: &WindowSpec, epochs: &[EpochRows]) -> Vec<Vec<String>> {
    let mut groups: BTreeMap<(i64, Option<String>), Vec<Row>> = BTreeMap::new();
    for row in epochs
        .iter()
        .flat_map(|epoch| epoch.batches.iter().flatten())
    {
        if !spec.late(row.time, row.watermark) {
            let group = (row.time.div_euclid(SIZE) * SIZE, row.key.clone());
            groups.entry(group).or_default().push(row.clone());
        }
    }
    let row = |((start, key), rows): ((i64, Option<String>), Vec<Row>)| {
        let key = key.unwrap_or("null".into());
        let mut cells = vec![(start + SIZE).to_string(), key, start.to_string()];
        cells.extend(source_model::naive(&[rows]));
        cells
    };
    let mut rows: Vec<_> = groups.into_iter().map(row).collect();
    rows.sort();
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn windows_are_the_group_by_of_accepted_rows_whatever_the_cuts_restores_and_memory(
        epochs in source_model::input(),
        limit in any::<bool>(),
    ) {
        let emitted = drive(limited(window, limit), &epochs, i64::MIN);
        let mut rows: Vec<_> = emitted.iter().flat_map(|epoch| all_cells(&epoch.rows)).collect();
        rows.sort();
        prop_assert_eq!(rows, expected(&spec(0), &epochs));
        let (late, expected) = source_model::late_rows(&epochs, &emitted, |time, watermark| {
            spec(0).late(time, watermark)
        });
        prop_assert_eq!(late, expected);
    }

    #[test]
    fn partition_local_windows_are_the_same_wherever_splits_are_read(
        epochs in source_model::input().prop_map(source_model::partitioned_by_key),
    ) {
        let local = || window().partition_local();
        let emitted = source_model::drive_partition_local(local, &epochs, i64::MIN);
        let mut rows: Vec<_> = emitted.iter().flat_map(|epoch| all_cells(&epoch.rows)).collect();
        rows.sort();
        prop_assert_eq!(rows, expected(&spec(0), &epochs));
    }

    #[test]
    fn with_lateness_every_loss_takes_back_a_row_and_the_rows_end_as_the_group_by(
        epochs in source_model::input(),
        limit in any::<bool>(),
    ) {
        let spec = spec(LATENESS);
        let emitted = drive(limited(patient_window, limit), &epochs, i64::MIN);
        let mut rows: BTreeSet<Vec<String>> = BTreeSet::new();
        for (number, (epoch, emitted)) in epochs.iter().zip(&emitted).enumerate() {
            for mut cells in emitted.rows.iter().flat_map(all_cells_of) {
                match cells.pop().as_deref() {
                    Some("1") => prop_assert!(rows.insert(cells)),
                    _ => prop_assert!(rows.remove(&cells), "{cells:?} was not there"),
                }
            }
            // Published at the end of a window, not later.
            let ended = |start: &str| start.parse::<i64>().unwrap() + SIZE <= epoch.watermark;
            let keys: BTreeSet<_> = rows.iter().map(|cells| cells[..3].to_vec()).collect();
            prop_assert_eq!(keys.len(), rows.len(), "one row for a window and key");
            let so_far: Vec<_> = expected(&spec, &epochs[..=number]);
            let so_far: BTreeSet<_> = so_far.into_iter().filter(|cells| ended(&cells[2])).collect();
            if number + 1 < epochs.len() {
                prop_assert_eq!(&rows, &so_far);
            }
        }
        let expected: BTreeSet<_> = expected(&spec, &epochs).into_iter().collect();
        prop_assert_eq!(rows, expected);
    }

    #[test]
    fn a_window_is_emitted_in_the_epoch_whose_watermark_reaches_its_end(
        epochs in source_model::input(),
        limit in any::<bool>(),
    ) {
        let emitted = drive(limited(window, limit), &epochs, i64::MIN);
        let mut before = i64::MIN;
        for (number, (epoch, emitted)) in epochs.iter().zip(&emitted).enumerate() {
            for batch in &emitted.rows {
                let ends = batch.column(0).as_primitive::<TimestampMillisecondType>();
                for end in ends.values() {
                    prop_assert!(*end > before);
                    prop_assert!(*end <= epoch.watermark || number + 1 == epochs.len());
                }
            }
            before = epoch.watermark;
        }
    }

    #[test]
    fn an_accepted_row_never_touches_what_an_earlier_watermark_closed(
        time in any::<i64>(),
        row_watermark in any::<i64>(),
        watermark in any::<i64>(),
        size_ms in 1i64..100_000,
        lateness_ms in 0i64..100_000,
        near in any::<bool>(),
    ) {
        let spec = WindowSpec { size_ms, ..spec(lateness_ms) };
        let row_watermark = if near { time.saturating_add(row_watermark % 300_000) } else { row_watermark };
        let watermark = watermark.min(row_watermark);
        let closed = spec.closed(watermark);
        let touches = (closed.start..closed.end).contains(&spec.pane(time));
        prop_assert!(!touches || spec.late(time, row_watermark));
        // At the watermark itself the two are the same, so nothing late could still have been counted.
        let closed = spec.closed(row_watermark);
        let touches = (closed.start..closed.end).contains(&spec.pane(time));
        if row_watermark > i64::MIN + 300_000 && time < i64::MAX - 300_000 && time > i64::MIN + 300_000 {
            prop_assert_eq!(touches, spec.late(time, row_watermark));
        }
    }
}

fn all_cells_of(batch: &RecordBatch) -> Vec<Vec<String>> {
    all_cells(std::slice::from_ref(batch))
}

fn users(count: usize) -> RecordBatch {
    let rows: Vec<Row> = (0..count)
        .map(|number| Row {
            key: Some(format!("u{number}")),
            time: 1_000 + (number % 4) as i64 * SIZE,
            number: Some(1),
            flag: None,
            watermark: i64::MIN,
            split: 0,
            offset: number as i64,
        })
        .collect();
    source_model::batch(&rows)
}

fn clock(watermark_before: i64, watermark: i64) -> Clock {
    Clock {
        epoch: Epoch(1),
        watermark_before,
        watermark,
        end_of_input: false,
        largest_event_time: i64::MIN,
    }
}

#[test]
fn firing_is_bounded_and_goes_on_where_it_stopped() {
    let mut window = window();
    let mut output = Output::default();
    let clock = clock(i64::MIN, 2 * SIZE);
    window.apply(0, users(40_000), &clock, &mut output).unwrap();
    let mut calls = 0;
    let mut rows = 0;
    loop {
        let fired = window.fire(&clock, &mut output).unwrap();
        let emitted: usize = output.rows.drain(..).map(|batch| batch.num_rows()).sum();
        assert!(emitted <= ROWS_PER_FIRING);
        calls += 1;
        rows += emitted;
        if fired == Fired::Done {
            break;
        }
    }
    assert_eq!((calls, rows), (3, 20_000));
    assert_eq!(window.state_entries(), 20_000);
}

#[test]
fn a_row_without_event_time_goes_to_the_late_rows() {
    let rows = users(2);
    let mut columns = rows.columns().to_vec();
    columns[1] = Arc::new(TimestampMillisecondArray::from(vec![None, Some(5)]));
    let rows = RecordBatch::try_new(rows.schema(), columns).unwrap();
    let mut window = window();
    let mut output = Output::default();
    window
        .apply(0, rows.clone(), &clock(i64::MIN, i64::MIN), &mut output)
        .unwrap();
    assert_eq!(output.late, [rows.slice(0, 1)]);
    assert_eq!(window.state_entries(), 1);
}

#[test]
fn rows_without_a_watermark_of_their_own_are_judged_by_the_relations() {
    let visible: Vec<usize> = (0..source_model::schema().fields().len()).collect();
    let rows = users(8).project(&visible).unwrap();
    let mut window = window();
    let mut output = Output::default();
    window
        .apply(0, rows, &clock(2 * SIZE, 2 * SIZE), &mut output)
        .unwrap();
    let late: usize = output.late.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(late, 4);
}

#[test]
fn a_window_without_group_columns_counts_all_rows() {
    let fields = vec![Field::new("n", DataType::Int64, false)];
    let spec = WindowSpec {
        groups: vec![],
        aggregates: aggregates()[..1].to_vec(),
        ..spec(0)
    };
    let result = Arc::new(Schema::new(fields));
    let mut window = Window::new("w".into(), &source_model::schema(), result, spec).unwrap();
    let mut output = Output::default();
    window
        .apply(0, users(40), &clock(i64::MIN, SIZE), &mut output)
        .unwrap();
    window.fire(&clock(i64::MIN, SIZE), &mut output).unwrap();
    assert_eq!(all_cells(&output.rows), [["10"]]);
}

#[test]
fn one_changed_group_is_one_entry_in_the_checkpoint() {
    let mut window = window();
    let mut output = Output::default();
    let clock = clock(i64::MIN, i64::MIN);
    window.apply(0, users(1_000), &clock, &mut output).unwrap();
    window.checkpoint();
    window.apply(0, users(1), &clock, &mut output).unwrap();
    let deltas = window.checkpoint();
    assert_eq!(deltas.len(), 1);
    assert_eq!(deltas[0].entries.len(), 1);
    assert!(window.checkpoint().is_empty());
}

#[test]
fn restoring_what_another_operator_wrote_is_an_error() {
    let mut window = window();
    let mut output = Output::default();
    window
        .apply(0, users(1), &clock(i64::MIN, i64::MIN), &mut output)
        .unwrap();
    let mut delta = window.checkpoint().remove(0);
    delta.entries[0].value = Some([9, 9, 9].into());
    let error = self::window().restore(delta).unwrap_err();
    assert!(matches!(error, OperatorError::Restore { .. }), "{error}");
}

#[test]
fn a_column_of_another_type_is_an_error() {
    let rows = users(1);
    let names = StringViewArray::from(vec!["not a time"]);
    let field = Field::new("key", names.data_type().clone(), true);
    let schema = Schema::new(vec![field.clone(), field]);
    let columns: Vec<ArrayRef> = vec![Arc::clone(rows.column(0)), Arc::new(names)];
    let rows = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
    let mut output = Output::default();
    let applied = window().apply(0, rows, &clock(i64::MIN, i64::MIN), &mut output);
    assert!(matches!(applied, Err(OperatorError::Arrow { .. })));
}

#[test]
fn a_window_of_no_length_is_refused() {
    let spec = WindowSpec {
        size_ms: 0,
        ..spec(0)
    };
    let schema = source_model::schema();
    assert!(Window::new("w".into(), &schema, Arc::clone(&schema), spec).is_err());
}
