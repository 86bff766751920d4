//! A full outbox in one process makes the sources of all processes wait.

use std::{
    fs::{self, File},
    thread,
    time::Duration,
};

use serde_json::json;
use tempfile::TempDir;
use tidewright_checkpoints::{restore, store};

use super::command;
use crate::{
    harness::{crew::Crew, eventually::eventually, jobfile::JobFile},
    shop::LIMIT,
};

const EVENTS: u64 = 60_000;
const SPLITS: u64 = 4;

/// How far the splits have been read, by the last checkpoint.
fn offsets(folder: &TempDir) -> Option<Vec<i64>> {
    let url = format!("file://{}/checkpoints", folder.path().display());
    let store = store::open(&store::job_url(&url, "full")).unwrap();
    let (head, _) = store.head().unwrap()?;
    // It may be cleaned up between the two readings.
    let manifest = restore::load_manifest(&*store, "full", &head.manifest?).ok()?;
    let splits = manifest.sources.get("events")?.values();
    Some(splits.map(|split| split.offset).collect())
}

/// Only process 0 writes to a file, so only it sees that the sink's outbox is full.
#[test]
fn sources_of_all_processes_wait_for_the_outbox_of_one() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out.jsonl");
    let source = json!({
        "datagen": { "kind": "events", "seed": 3, "users": 500, "splits": SPLITS, "rate": 20_000, "count": EVENTS },
        "event_time": { "column": "ts", "out_of_orderness": "1s" },
    });
    let job = JobFile::new("full")
        .source("events", source)
        .view("clicks", "SELECT event_id, user_id, ts FROM events")
        .sink("out", json!({ "from": "clicks", "files": { "path": out } }))
        .key("limits", json!({ "outbox": "64KiB" }))
        .checkpoints("50ms", &folder.path().join("checkpoints"))
        .write(folder.path());
    // The sink waits for the lock, as for an earlier process that still appends.
    let held = File::create(&out).unwrap();
    held.lock().unwrap();
    let bounded = || command(&job, folder.path()).arg("--bounded");
    let mut crew = Crew::start(folder.path(), 2, bounded).await_begin(LIMIT);
    let stood_still = eventually(LIMIT, "sources that wait", || {
        let before = offsets(&folder)?;
        thread::sleep(Duration::from_secs(2));
        (offsets(&folder)? == before).then_some(before)
    });
    let each = (EVENTS / SPLITS) as i64;
    // What one process has read may fill the outbox before the other one reads anything.
    let read = stood_still.iter().sum::<i64>() > 0;
    assert!(
        read && stood_still.iter().all(|offset| *offset < each / 2),
        "{stood_still:?} of {each}"
    );
    crew.assert_running();
    held.unlock().unwrap();
    crew.wait_for_success(LIMIT);
    let text = fs::read_to_string(&out).unwrap();
    let mut rows: Vec<_> = text.lines().collect();
    assert_eq!(rows.len() as u64, EVENTS);
    rows.sort_unstable();
    rows.dedup();
    assert_eq!(rows.len() as u64, EVENTS);
}
