//! Input that cannot be processed: put aside, and over the stated share the job stops, loses nothing and can go on.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    harness::{
        input::Events,
        jobfile::{JobFile, events, from_files},
        process::{Command, Process},
    },
    shop::LIMIT,
};

const WINDOWS: &str = "SELECT user_id, window_start, count(*) AS events FROM tumble(events, INTERVAL '1 minute')
    GROUP BY user_id, window_start, window_end";

/// Records before the bad ones, the bad ones, and those that follow: many batches.
const RECORDS: [usize; 3] = [20_000, 9_000, 30_000];

fn write_input(folder: &Path) -> PathBuf {
    let good = Events {
        count: (RECORDS[0] + RECORDS[2]) as u64,
        ..Events::default()
    };
    let mut text = String::new();
    for (at, record) in good.lines().into_iter().enumerate() {
        if at == RECORDS[0] {
            text.push_str(&"{\"user_id\": 17, \"ts\": \"yesterday\"}\n".repeat(RECORDS[1]));
        }
        text.push_str(&record.value.unwrap_or_default());
        text.push('\n');
    }
    let path = folder.join("events.jsonl");
    fs::write(&path, text).unwrap();
    path
}

/// Its output and its dead letters go into files of its name.
fn job(folder: &Path, name: &str, input: &Path, dead_letter: Value) -> JobFile {
    let file = |kind: &str| folder.join(format!("{name}-{kind}.jsonl"));
    let mut dead_letter = dead_letter;
    dead_letter["files"] = json!({ "path": file("dead") });
    JobFile::new(name)
        .source("events", events(from_files(input), "5s"))
        .view("activity", WINDOWS)
        .sink(
            "out",
            json!({ "from": "activity", "files": { "path": file("out") } }),
        )
        .key("dead_letter", dead_letter)
        .checkpoints("50ms", &folder.join("checkpoints"))
}

fn run(job: &JobFile, folder: &Path, workers: &str) -> Process {
    Command::tidewright(folder)
        .arg("run")
        .arg(job.write(folder))
        .args(["--bounded", "--summary", "json", "--workers", workers])
        .run(LIMIT)
}

/// The rows of a file in some order of their own.
fn sorted(folder: &Path, name: &str, kind: &str) -> Vec<String> {
    let text = fs::read_to_string(folder.join(format!("{name}-{kind}.jsonl"))).unwrap();
    let mut rows: Vec<_> = text.lines().map(str::to_owned).collect();
    rows.sort();
    rows
}

#[test]
fn too_much_bad_input_stops_the_job_and_every_start_goes_on_behind_it() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let input = write_input(folder);
    let mut undisturbed = run(&job(folder, "patient", &input, json!({})), folder, "1");
    undisturbed.wait_for_success(LIMIT);
    let limit = json!({ "stop_above": "5%", "window_records": 1_000 });
    let strict = job(folder, "strict", &input, limit);
    let mut stops = 0;
    let mut durable = 0;
    loop {
        let mut process = run(&strict, folder, "2");
        let summary = process.summary();
        let epoch = summary["durable_epoch"].as_u64().unwrap();
        assert!(epoch > durable, "it does not get on");
        durable = epoch;
        if process.status().unwrap().success() {
            break;
        }
        let log = process.stderr();
        assert_eq!(process.status().unwrap().code(), Some(4), "{log}");
        for part in [
            "error: source events",
            "became dead letters, more than 5% of 1000",
            "events.jsonl",
            "dead_letter.stop_above",
        ] {
            assert!(log.contains(part), "nothing is said of {part}:\n{log}");
        }
        stops += 1;
        assert!(stops < 20, "it never gets past the bad records");
    }
    assert!(stops > 0, "nothing was too much");
    for kind in ["out", "dead"] {
        let (found, expected) = (sorted(folder, "strict", kind), sorted(folder, "patient", kind));
        assert_eq!(found.len(), expected.len(), "{kind}");
        assert!(found == expected, "{kind} differs");
    }
    let letters: BTreeSet<String> = sorted(folder, "strict", "dead").into_iter().collect();
    assert_eq!(letters.len(), RECORDS[1], "each once");
}

#[test]
fn rows_that_an_expression_fails_on_are_judged_by_view() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let input = folder.join("events.jsonl");
    let event = |at: i64| json!({ "user_id": "u", "ts": 1_767_225_600_000_i64 + at, "quantity": at % 5 });
    let text: Vec<_> = (0..1_000).map(|at| event(at).to_string()).collect();
    fs::write(&input, text.join("\n") + "\n").unwrap();
    let shares = |stop_above: &str| {
        JobFile::new("shares")
            .source("events", events(from_files(&input), "5s"))
            .view("shares", "SELECT user_id, ts, 100 / quantity AS share FROM events")
            .sink("out", json!({ "from": "shares", "blackhole": {} }))
            .key("dead_letter", json!({ "stop_above": stop_above }))
            .checkpoints("50ms", &folder.join(format!("checkpoints-{stop_above}")))
    };
    run(&shares("20%"), folder, "1").wait_for_success(LIMIT);
    let mut process = run(&shares("19.9%"), folder, "1");
    let log = process.stderr();
    assert_eq!(process.status().unwrap().code(), Some(4), "{log}");
    assert!(
        log.contains("error: view shares") && log.to_lowercase().contains("zero"),
        "{log}"
    );
}
