//! How rows reach keyed stores where something is out of the ordinary: a store that throttles, and a sink that does not
//! wait for checkpoints.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidewright_checkpoints::{
    head::Head,
    store::{self, job_url},
};

use crate::{
    harness::{
        dynamodb::Dynamodb,
        eventually::eventually,
        input::{START_MS, user_id},
        jobfile::JobFile,
        process::{Command, Process},
        redis::{Redis, require_redis},
        services::unique_name,
        throttle::Throttle,
    },
    shop::{LIMIT, contents::Contents},
};

const USERS: u64 = 60;
const COUNT: u64 = 4_000;
const RATE: u64 = 1_000;

/// A row per user about generated events, none of which is bad, late or too old.
fn job(name: &str) -> JobFile {
    JobFile::new(name)
        .source(
            "events",
            json!({
                "datagen": {
                    "kind": "events", "seed": 9, "users": USERS, "splits": 2, "start_ms": START_MS,
                    "rate": RATE, "count": COUNT,
                },
                "event_time": { "column": "ts", "out_of_orderness": "1s" },
            }),
        )
        .view(
            "engagement",
            "SELECT user_id, count(*) AS events, sum(price * quantity) AS amount, max(ts) AS last_seen
             FROM rolling(events, INTERVAL '1 hour', INTERVAL '10 minutes') GROUP BY user_id",
        )
}

/// Runs a job to the end of its input.
fn start(job: &JobFile, interval: &str, folder: &TempDir) -> Process {
    let checkpoints = folder.path().join("checkpoints");
    let file = job
        .clone()
        .checkpoints(interval, &checkpoints)
        .write(folder.path());
    Command::tidewright(folder.path())
        .arg("run")
        .arg(file)
        .args(["--workers", "2", "--bounded", "--summary", "json"])
        .start()
}

#[test]
fn a_dynamodb_that_throttles_slows_a_job_down_and_loses_nothing() {
    let Some(dynamodb) = Dynamodb::require() else {
        return;
    };
    let throttle = Throttle::start(dynamodb.endpoint());
    let tables = [unique_name("throttled"), unique_name("undisturbed")];
    let endpoints = [throttle.endpoint(), dynamodb.endpoint().to_owned()];
    let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let runs = [0, 1].map(|run| {
        let sink = json!({ "from": "engagement", "dynamodb": {
            "table": tables[run], "endpoint": endpoints[run], "region": "us-east-1", "create_table": true,
        } });
        start(&job(&tables[run]).sink("out", sink), "50ms", &folders[run])
    });
    for mut run in runs {
        run.wait_for_success(LIMIT);
        let summary = run.summary();
        assert_eq!(summary["events_in"]["events"], COUNT);
        // A refusal for lack of throughput is none for good.
        assert_eq!(summary["dead_lettered"], 0);
    }
    let refused = throttle.refused();
    assert!(refused >= USERS, "only {refused} writes were refused");
    let [found, expected] = tables.map(|table| {
        let mut contents = Contents::default();
        contents.hashes("dynamodb", "", &dynamodb.items(&table));
        contents.assert_complete();
        contents
    });
    found.assert_same(&expected);
}

/// One view in two sinks of Redis: one that waits for checkpoints, and one that does not.
struct Eager {
    redis: Redis,
    folder: TempDir,
    name: String,
}

impl Eager {
    fn start(&self) -> Process {
        let sink = |kind: &str| {
            let key = format!("{}:{kind}:{{user_id}}", self.name);
            json!({ "from": "engagement", "redis": { "url": self.redis.url(), "key": key } })
        };
        let mut eager = sink("eager");
        eager["delivery"] = Value::from("eager");
        let job = job(&self.name)
            .sink("careful", sink("careful"))
            .sink("eager", eager);
        start(&job, "700ms", &self.folder)
    }

    /// HEAD; `None` before the first claim.
    fn head(&self) -> Option<Head> {
        let folder = self.folder.path().display();
        let url = format!("file://{folder}/checkpoints");
        let store = store::open(&job_url(&url, &self.name)).unwrap();
        store.head().unwrap().map(|(head, _)| head)
    }

    /// The greatest generation and epoch in the versions of a sink's rows. Keys are named, not looked for: looking through a
    /// store that others use as well takes longer than an interval.
    fn newest(&self, kind: &str) -> (u64, u64) {
        let mut connection = self.redis.connection();
        let versions = (0..USERS).filter_map(|user| {
            let key = format!("{}:{kind}:{}", self.name, user_id(user));
            let mut read = redis::cmd("HGET");
            let version: Option<String> = read
                .arg(key)
                .arg("_version")
                .query(&mut connection)
                .unwrap();
            let version = version?;
            let part = |range: std::ops::Range<usize>| version[range].parse::<u64>().unwrap();
            Some((part(0..15), part(15..30)))
        });
        versions.max().unwrap_or_default()
    }

    /// Whether the eager sink shows rows of this process that no checkpoint covers yet. The other one never does.
    fn is_ahead(&self) -> Option<()> {
        // The rows first: what becomes durable between the two looks may only hide that they were ahead.
        let (careful, eager) = (self.newest("careful"), self.newest("eager"));
        let head = self.head()?;
        let durable = (head.generation.0, head.epoch.0);
        assert!(
            careful.1 <= durable.1,
            "{careful:?} is visible, {durable:?} durable"
        );
        (eager.0 == durable.0 && eager.1 > durable.1).then_some(())
    }

    fn contents(&self, kind: &str) -> Contents {
        let prefix = format!("{}:{kind}:", self.name);
        let mut contents = Contents::default();
        contents.hashes("redis", &prefix, &self.redis.hashes(&prefix));
        contents.assert_complete();
        contents
    }
}

#[test]
fn an_eager_sink_shows_rows_before_they_are_durable_and_the_right_ones_after_kills() {
    let Some(redis) = require_redis() else { return };
    let eager = Eager {
        redis,
        folder: TempDir::new().unwrap(),
        name: unique_name("eager"),
    };
    for pause_ms in [0, 300, 500] {
        let mut process = eager.start();
        std::thread::sleep(Duration::from_millis(pause_ms));
        eventually(LIMIT, "rows ahead of the checkpoint", || {
            assert!(process.is_running(), "ended early:\n{}", process.stderr());
            eager.is_ahead()
        });
        process.kill();
    }
    let mut last = eager.start();
    last.wait_for_success(LIMIT);
    let rows = eager.redis.hashes(&format!("{}:eager:", eager.name));
    let counts = rows.values().map(|fields| fields["events"].parse::<u64>());
    assert_eq!(counts.sum::<Result<u64, _>>(), Ok(COUNT));
    eager
        .contents("eager")
        .assert_same(&eager.contents("careful"));
}
