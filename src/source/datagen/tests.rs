use std::collections::HashMap;

use tidewright_jobs::job::{DatagenKind, SourceConfig};
use tidewright_operators::batch;

use super::*;
use crate::source::{
    open,
    testing::{Read, context, stream, table},
};

fn config(kind: DatagenKind, count: Option<u64>) -> DatagenConfig {
    DatagenConfig {
        kind,
        seed: 7,
        users: 1_000,
        splits: 3,
        rate: None,
        count,
        start_ms: Some(1_760_000_000_000),
        disorder_ms: 0,
        late: 0.0,
        malformed: 0.0,
    }
}

fn records(config: &DatagenConfig, split: u32, numbers: std::ops::Range<u64>) -> Vec<String> {
    let generator = Generator::new(config, config.start_ms.unwrap_or(0));
    let mut json = Vec::new();
    numbers
        .map(|number| {
            generator.write(split, number, &mut json);
            String::from_utf8(json.clone()).unwrap()
        })
        .collect()
}

fn parsed(record: &str) -> serde_json::Value {
    serde_json::from_str(record).unwrap_or_else(|error| panic!("{record}: {error}"))
}

fn read(config: DatagenConfig, context: &OpenContext) -> Read {
    let mut reader = open(&stream(SourceConfig::Datagen(config), None), context).unwrap();
    let mut read = Read::default();
    read.until_finished(&mut *reader);
    read
}

#[test]
fn a_record_is_a_function_of_seed_split_and_number() {
    let config = config(DatagenKind::Events, None);
    let first = records(&config, 1, 0..50);
    assert_eq!(records(&config, 1, 20..50), first[20..]);
    assert_ne!(records(&config, 2, 0..50), first);
    let other = DatagenConfig { seed: 8, ..config };
    assert_ne!(records(&other, 1, 0..50), first);
}

#[test]
fn events_look_like_events() {
    let config = DatagenConfig {
        users: 100_000,
        ..config(DatagenKind::Events, None)
    };
    let events = records(&config, 0, 0..20_000);
    let bytes: usize = events.iter().map(String::len).sum();
    let mean = bytes / events.len();
    assert!((270..300).contains(&mean), "{mean} bytes");
    let (mut users, mut types) = (HashMap::new(), HashMap::new());
    for event in &events {
        let event = parsed(event);
        assert_eq!(event.as_object().unwrap().len(), 13);
        let user = event["user_id"].as_str().unwrap().to_owned();
        assert_eq!(user.len(), 8);
        *users.entry(user).or_insert(0u32) += 1;
        *types
            .entry(event["type"].as_str().unwrap().to_owned())
            .or_insert(0u32) += 1;
    }
    assert_eq!(types.len(), 6);
    let most = users.values().max().copied().unwrap_or(0);
    assert!(
        most > 800 && users.len() > 4_000,
        "{most} of one, {} users",
        users.len()
    );
    assert!(users.contains_key("u0000000"));
}

#[test]
fn profiles_cover_every_user_once_and_categories_every_event() {
    let profiles = config(DatagenKind::Profiles, None);
    let generator = Generator::new(&profiles, 0);
    let total: u64 = (0..3).filter_map(|split| generator.count(split)).sum();
    assert_eq!(total, 1_000);
    let mut users: Vec<_> = (0..3)
        .flat_map(|split| records(&profiles, split, 0..generator.count(split).unwrap_or(0)))
        .map(|profile| {
            let profile = parsed(&profile);
            assert!(profile["consent"].is_boolean() && profile["updated_at"].is_i64());
            profile["user_id"].as_str().unwrap().to_owned()
        })
        .collect();
    users.sort();
    users.dedup();
    assert_eq!(users.len(), 1_000);

    let categories = config(DatagenKind::Categories, None);
    let names: Vec<_> = (0..3)
        .flat_map(|split| records(&categories, split, 0..14))
        .collect();
    let event = parsed(&records(&config(DatagenKind::Events, None), 0, 0..1)[0]);
    let category = event["category"].as_str().unwrap();
    assert!(
        names
            .iter()
            .any(|name| parsed(name)["category"] == category)
    );
}

#[test]
fn disorder_lateness_and_malformed_records_come_on_request() {
    let config = DatagenConfig {
        disorder_ms: 2_000,
        late: 0.1,
        malformed: 0.05,
        ..config(DatagenKind::Events, Some(9_000))
    };
    let read = read(config, &context(None));
    assert_eq!(read.records(), 9_000);
    let dead = read.dead_letters().len();
    assert!((300..600).contains(&dead), "{dead} malformed");
    assert!(read.dead_letters()[0].origin.contains("generator split"));
}

#[test]
fn a_source_with_a_count_ends_and_goes_on_from_any_offset() {
    let config = config(DatagenKind::Events, Some(1_000));
    let whole = read(config.clone(), &context(None));
    assert_eq!(whole.records(), 1_000);
    assert!(
        whole
            .progress()
            .iter()
            .all(|split| split.caught_up && split.lag == Some(0))
    );
    let mut starts = whole.starts();
    for start in &mut starts {
        start.next_offset -= 10;
        start.watermark = i64::MIN;
    }
    let rest = read(config, &context(Some(starts)));
    assert_eq!(rest.records(), 30);
    let last = |read: &Read| *read.integers(batch::OFFSET).iter().max().unwrap();
    assert_eq!(last(&rest), last(&whole));
}

#[test]
fn without_a_start_event_time_begins_at_the_jobs_first_start_for_good() {
    let config = DatagenConfig {
        start_ms: None,
        ..config(DatagenKind::Events, Some(30))
    };
    let first = read(config.clone(), &context(None));
    let mut starts = first.starts();
    for start in &mut starts {
        start.next_offset = 0;
        start.watermark = i64::MIN;
    }
    let later = OpenContext {
        now_ms: 1_860_000_000_000,
        ..context(Some(starts))
    };
    let again = read(config, &later);
    assert_eq!(again.starts(), first.starts());
}

#[test]
fn a_rate_holds_back_what_is_not_due() {
    let config = DatagenConfig {
        rate: Some(300.0),
        ..config(DatagenKind::Events, Some(100_000))
    };
    let mut reader = open(&stream(SourceConfig::Datagen(config), None), &context(None)).unwrap();
    let (mut read, since) = (Read::default(), Instant::now());
    read.until(&mut *reader, |read| read.records() >= 30);
    let seconds = since.elapsed().as_secs_f64();
    assert!(seconds > 0.08, "30 records in {seconds} s");
    assert!(read.records() as f64 <= 300.0 * since.elapsed().as_secs_f64() + 3.0);
}

#[test]
fn generated_profiles_fill_a_table() {
    let plan = table(SourceConfig::Datagen(config(DatagenKind::Profiles, None)));
    let mut reader = open(&plan, &context(None)).unwrap();
    let mut read = Read::default();
    read.until_finished(&mut *reader);
    assert_eq!(read.ops(), vec![1; 1_000]);
    assert!(
        read.integers(batch::VERSION_TIME)
            .iter()
            .all(|time| *time >= 1_760_000_000_000)
    );
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let base = config(DatagenKind::Events, None);
    let cases = [
        DatagenConfig {
            splits: 0,
            ..base.clone()
        },
        DatagenConfig {
            rate: Some(0.0),
            ..base.clone()
        },
        DatagenConfig {
            late: 1.5,
            ..base.clone()
        },
    ];
    for config in cases {
        assert!(open(&stream(SourceConfig::Datagen(config), None), &context(None)).is_err());
    }
    let starts = read(config(DatagenKind::Events, Some(3)), &context(None)).starts();
    let changed = DatagenConfig { splits: 4, ..base };
    let opened = open(
        &stream(SourceConfig::Datagen(changed), None),
        &context(Some(starts)),
    );
    assert!(opened.err().unwrap().to_string().contains("--restore none"));
}
