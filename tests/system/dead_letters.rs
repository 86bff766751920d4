//! Input that cannot be processed: put aside, and over the stated share the job stops, loses nothing and can go on.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tidewright_checkpoints::manifest::CheckpointKind;

use crate::{
    harness::{
        checkpoints::Checkpoints,
        eventually::eventually,
        input::{Events, START_MS},
        jobfile::{JobFile, events, from_files},
        process::{Command, Process},
        redis_server::RedisServer,
    },
    shop::LIMIT,
};

const WINDOWS: &str =
    "SELECT user_id, window_start, count(*) AS events FROM tumble(events, INTERVAL '1 minute')
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
        assert_eq!(process.status().unwrap().code(), Some(9), "{log}");
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
        let (found, expected) = (
            sorted(folder, "strict", kind),
            sorted(folder, "patient", kind),
        );
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
    let event =
        |at: i64| json!({ "user_id": "u", "ts": 1_767_225_600_000_i64 + at, "quantity": at % 5 });
    let text: Vec<_> = (0..1_000).map(|at| event(at).to_string()).collect();
    fs::write(&input, text.join("\n") + "\n").unwrap();
    let shares = |stop_above: &str| {
        JobFile::new("shares")
            .source("events", events(from_files(&input), "5s"))
            .view(
                "shares",
                "SELECT user_id, ts, 100 / quantity AS share FROM events",
            )
            .sink("out", json!({ "from": "shares", "blackhole": {} }))
            .key("dead_letter", json!({ "stop_above": stop_above }))
            .checkpoints("50ms", &folder.join(format!("checkpoints-{stop_above}")))
    };
    run(&shares("20%"), folder, "1").wait_for_success(LIMIT);
    let mut process = run(&shares("19.9%"), folder, "1");
    let log = process.stderr();
    assert_eq!(process.status().unwrap().code(), Some(9), "{log}");
    assert!(
        log.contains("error: view shares") && log.to_lowercase().contains("zero"),
        "{log}"
    );
}

/// Counts by user into Redis, where the keys of some users hold something else than a hash.
struct Refusing {
    folder: TempDir,
    server: RedisServer,
    input: PathBuf,
}

/// Of 200 records, each of another user, every fourth.
const REFUSED: usize = 50;

impl Refusing {
    fn open() -> Option<Self> {
        let server = RedisServer::start()?;
        let folder = TempDir::new().unwrap();
        let input = folder.path().join("events.jsonl");
        let event = |at: i64| json!({ "user_id": format!("u{at}"), "ts": START_MS + at });
        let text: Vec<_> = (0..200).map(|at| event(at).to_string()).collect();
        fs::write(&input, text.join("\n") + "\n").unwrap();
        let mut connection = server.redis().connection();
        for at in (0..200).step_by(4) {
            let key = format!("count:u{at}");
            redis::cmd("SET")
                .arg(key)
                .arg("in the way")
                .exec(&mut connection)
                .unwrap();
        }
        Some(Self {
            folder,
            server,
            input,
        })
    }

    fn job(&self, sql: &str) -> JobFile {
        let dead = self.folder.path().join("dead.jsonl");
        JobFile::new("refusing")
            .source("events", events(from_files(&self.input), "5s"))
            .view("counts", sql)
            .sink(
                "hot",
                json!({ "from": "counts", "redis": { "url": self.server.redis().url(), "key": "count:{user_id}" } }),
            )
            .key("dead_letter", json!({ "files": { "path": dead } }))
            .checkpoints("50ms", &self.folder.path().join("checkpoints"))
    }

    fn assert_all_accounted_for(&self) {
        assert_eq!(self.server.redis().hashes("count:").len(), 200 - REFUSED);
        let text = fs::read_to_string(self.folder.path().join("dead.jsonl")).unwrap();
        let letters: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(letters.len(), REFUSED);
        for letter in letters {
            assert_eq!(letter["origin"], "sink hot");
            assert!(
                letter["reason"]
                    .as_str()
                    .unwrap()
                    .contains("holds a string")
            );
        }
    }
}

const BY_USER: &str = "SELECT user_id, count(*) AS events FROM rolling(events, INTERVAL '1 day', INTERVAL '1 hour') GROUP BY user_id";

#[test]
fn rows_that_a_store_refuses_at_the_end_of_the_input_become_dead_letters() {
    let Some(refusing) = Refusing::open() else {
        return;
    };
    for workers in ["1", "2"] {
        let mut process = run(&refusing.job(BY_USER), refusing.folder.path(), workers);
        process.wait_for_success(LIMIT);
        refusing.assert_all_accounted_for();
    }
}

#[test]
fn rows_that_a_store_refuses_while_the_job_stops_become_dead_letters_of_the_next_run() {
    let Some(refusing) = Refusing::open() else {
        return;
    };
    let folder = refusing.folder.path();
    // The job runs on: the files' source has ended, this one has not.
    let job = refusing
        .job(BY_USER)
        .source(
            "ticks",
            json!({
                "datagen": { "kind": "events", "users": 5, "rate": 20 },
                "event_time": { "column": "ts" },
            }),
        )
        .sink("ticks", json!({ "from": "ticks", "blackhole": {} }));
    refusing.server.suspend();
    let mut process = Command::tidewright(folder)
        .arg("run")
        .arg(job.write(folder))
        .args(["--summary", "json"])
        .start();
    let url = format!("file://{}/checkpoints", folder.display());
    let checkpoints = Checkpoints::of(&url, "refusing");
    eventually(LIMIT, "a checkpoint with all rows", || {
        let manifest = checkpoints.latest()?;
        let splits = manifest.sources.get("events")?;
        splits.values().all(|split| split.finished).then_some(())
    });
    process.terminate();
    // It stops while the store does not answer, and the store answers while it waits for it.
    eventually(LIMIT, "the final checkpoint", || {
        (checkpoints.latest()?.kind == CheckpointKind::Final).then_some(())
    });
    refusing.server.resume();
    process.wait_for_success(LIMIT);
    let log = process.stderr();
    assert!(log.contains("some rows are not delivered yet"), "{log}");

    let mut next = Command::tidewright(folder)
        .arg("run")
        .arg(job.write(folder))
        .start();
    eventually(LIMIT, "the dead letters", || {
        let dead = fs::read_to_string(folder.join("dead.jsonl")).unwrap_or_default();
        (dead.lines().count() >= REFUSED).then_some(())
    });
    next.terminate();
    next.wait_for_success(LIMIT);
    refusing.assert_all_accounted_for();
}
