//! The `datagen` source: its records come back through a view that passes all of them on, and are judged like any others.

use std::{collections::BTreeMap, fs, path::Path};

use datafusion::arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    accept::{Record, Split, accept},
    batch::{Horizon, evaluate},
    compare::difference,
    declared::{Source, View},
    engine::{Variation, run},
};
use crate::harness::input::START_MS;

/// The name of [`passed_on`].
pub const ALL: &str = "all_events";

/// Shop events of the generator; `settings` beyond the kind and the start.
pub fn events(splits: u32, bound_ms: i64, settings: Value) -> Source {
    let columns = [
        ("event_id", "string"),
        ("user_id", "string"),
        ("type", "string"),
        ("ts", "timestamp_ms"),
        ("category", "string"),
        ("price", "decimal(12,2)"),
        ("quantity", "bigint"),
    ];
    let mut generator = json!({ "kind": "events", "splits": splits, "start_ms": START_MS });
    if let (Value::Object(generator), Value::Object(settings)) = (&mut generator, settings) {
        generator.extend(settings);
    }
    Source {
        generator: Some(generator),
        ..Source::stream("events", &columns, "ts", bound_ms)
    }
}

/// A view with every event as it is.
pub fn passed_on() -> View {
    View::stream(
        ALL,
        "SELECT event_id, user_id, type, ts, category, price, quantity FROM events",
    )
}

/// The records of all splits, from the file that [`passed_on`] was written to.
///
/// An event's id ends in its number over all splits, which take turns: so it tells split and offset.
pub fn splits_in(file: &Path, splits: u32) -> Vec<Split> {
    let mut records: BTreeMap<(u32, i64), Vec<u8>> = BTreeMap::new();
    for line in fs::read_to_string(file).unwrap().lines() {
        let mut record: Value = serde_json::from_str(line).unwrap();
        let id = record["event_id"].as_str().unwrap();
        let number: u64 = id["01J".len()..].parse().unwrap();
        let place = (
            (number % u64::from(splits)) as u32,
            (number / u64::from(splits)) as i64,
        );
        let nanos = string_to_timestamp_nanos(record["ts"].as_str().unwrap()).unwrap();
        record["ts"] = json!(nanos / 1_000_000);
        let twice = records.insert(place, record.to_string().into_bytes());
        assert!(twice.is_none(), "an event was written twice: {line}");
    }
    let split = |number: u32| {
        let of_split = records.range((number, i64::MIN)..=(number, i64::MAX));
        let records = of_split.map(|((_, offset), bytes)| Record {
            offset: *offset,
            bytes: bytes.clone(),
        });
        Split {
            name: number.to_string(),
            number,
            records: records.collect(),
        }
    };
    (0..splits).map(split).collect()
}

#[test]
fn views_over_generated_events_equal_the_batch() {
    const SPLITS: u32 = 3;
    let folder = TempDir::new().unwrap();
    let settings = json!({
        "seed": 7, "users": 40, "count": 6_000, "disorder_ms": 60, "late": 0.02, "malformed": 0.02,
    });
    let sources = [events(SPLITS, 50, settings)];
    let views = [
        passed_on(),
        View::stream(
            "by_user",
            "SELECT user_id, window_start, count(*) AS events, sum(price * quantity) AS value,
                    last_value(category ORDER BY ts) AS last_category
             FROM tumble(events, INTERVAL '100 milliseconds') GROUP BY user_id, window_start",
        ),
        View::table(
            "by_category",
            &["category"],
            "SELECT category, count(*) AS events, max(price) AS dearest, avg(quantity) AS mean,
                    first_value(user_id ORDER BY ts) AS first_user
             FROM rolling(events, INTERVAL '300 milliseconds', INTERVAL '50 milliseconds') GROUP BY category",
        ),
    ];
    let variation = Variation {
        workers: 2,
        ..Variation::default()
    };
    let ran = run(folder.path(), &sources, &views, &variation).unwrap_or_else(|e| panic!("{e}"));
    let splits = splits_in(&ran.output.join(format!("{ALL}.jsonl")), SPLITS);
    let ended = splits.iter().map(|split| split.name.clone()).collect();
    let accepted = accept(&sources[0], &splits, &ended);
    let answer = evaluate(std::slice::from_ref(&accepted), &views, Horizon::End);
    for view in &views {
        let expected = &answer.views[&view.name];
        assert!(expected.rows.len() > 10);
        let found = ran.rows(view, &expected.columns).unwrap();
        let difference = difference(view, expected, &found);
        assert!(difference.is_none(), "{}", difference.unwrap());
    }
    assert!(answer.late > 0);
    assert_eq!(ran.summary["late"], answer.late);
    assert_eq!(ran.summary["events_in"]["events"], 6_000);
    assert_eq!(ran.summary["dead_lettered"], 6_000 - accepted.rows.len());
}
