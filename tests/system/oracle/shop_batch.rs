//! The shop's job as a batch over what is in its topics, and what its keyed stores hold beside it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use tidewright_checkpoints::manifest::Manifest;

use super::{
    accept::{Accepted, Record, Split, accept, before},
    batch::{Horizon, evaluate},
    compare::difference,
    declared::{Source, View},
    stored,
};
use crate::{
    harness::kafka::StoredRecord,
    shop::{CUSTOMER, ENGAGEMENT, SEGMENTS, Shop, ShopJob},
};

/// How much of the input a store must show.
#[derive(Clone, Copy)]
pub enum Until<'m> {
    /// All of it, with all windows closed.
    End,
    /// What is before the offsets of a checkpoint.
    Checkpoint(&'m Manifest),
}

/// Compares Redis and DynamoDB, view by view.
///
/// # Panics
/// If anything differs, or if there is nothing to compare.
#[track_caller]
pub fn assert_stores_equal(shop: &Shop, job: &ShopJob, until: Until<'_>) {
    let topics = shop.topics();
    let accepted: Vec<_> = sources()
        .iter()
        .zip(topics)
        .map(|(source, (name, topic))| {
            assert_eq!(source.name, name);
            accepted(source, shop.kafka.read_committed(topic), until)
        })
        .collect();
    let horizon = match until {
        Until::End => Horizon::End,
        Until::Checkpoint(_) => Horizon::Watermark,
    };
    let views = views();
    let answer = evaluate(&accepted, &views, horizon);
    let hashes = shop.redis.hashes(job.prefix());
    let items = shop.dynamodb.items(job.prefix());
    for view in &views {
        let expected = &answer.views[&view.name];
        assert!(
            !expected.rows.is_empty(),
            "nothing is compared of {}",
            view.name
        );
        let of_view = |kind: &str| {
            let prefix = format!("{}:{kind}:", job.prefix());
            let of_view = hashes
                .iter()
                .filter(move |(key, _)| key.starts_with(&prefix));
            stored::rows(of_view.map(|(_, fields)| fields), &expected.columns)
        };
        let found = match view.name.as_str() {
            "engagement" => stored::rows(items.values(), &expected.columns),
            "customer" => of_view("customer"),
            _ => of_view("segment"),
        };
        let difference = difference(view, expected, &found);
        assert!(difference.is_none(), "{horizon:?}: {}", difference.unwrap());
    }
}

/// The sources of the shop's job, as `harness::jobfile` declares them.
fn sources() -> [Source; 2] {
    [
        Source::stream(
            "events",
            &[
                ("event_id", "string"),
                ("user_id", "string"),
                ("type", "string"),
                ("ts", "timestamp_ms"),
                ("price", "decimal(12,2)"),
                ("quantity", "bigint"),
                ("category", "string"),
            ],
            "ts",
            5_000,
        ),
        Source::table(
            "profiles",
            &[
                ("user_id", "string"),
                ("email", "string"),
                ("segment", "string"),
                ("consent", "boolean"),
            ],
            &["user_id"],
        ),
    ]
}

/// The views that keyed stores show.
fn views() -> [View; 3] {
    [
        View::table("engagement", &["user_id"], ENGAGEMENT),
        View::table("customer", &["user_id"], CUSTOMER),
        View::table("segments", &["segment"], SEGMENTS),
    ]
}

/// What the engine has to accept of a topic's records.
fn accepted(source: &Source, records: Vec<StoredRecord>, until: Until<'_>) -> Accepted {
    let splits = splits(records);
    match until {
        Until::End => {
            let ended: BTreeSet<_> = splits.iter().map(|split| split.name.clone()).collect();
            accept(source, &splits, &ended)
        }
        Until::Checkpoint(manifest) => {
            let states = manifest.sources[&source.name].iter();
            let offsets: BTreeMap<_, _> = states
                .map(|(name, state)| (name.clone(), state.offset))
                .collect();
            accept(source, &before(&splits, &offsets), &BTreeSet::new())
        }
    }
}

fn splits(records: Vec<StoredRecord>) -> Vec<Split> {
    let mut splits: BTreeMap<i32, Vec<Record>> = BTreeMap::new();
    for stored in records {
        let records = splits.entry(stored.record.partition).or_default();
        let (key, value) = (stored.record.key, stored.record.value);
        // A null value deletes its key's row; a file would say so in the record.
        let deletes = || json!({ "user_id": key, "_delete": true }).to_string();
        records.push(Record {
            offset: stored.offset,
            bytes: value.unwrap_or_else(deletes).into_bytes(),
        });
    }
    let split = |(partition, records): (i32, Vec<Record>)| Split {
        name: partition.to_string(),
        number: partition.unsigned_abs(),
        records,
    };
    splits.into_iter().map(split).collect()
}
