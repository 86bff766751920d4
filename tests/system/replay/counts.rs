//! A job whose rows tell how much they have seen: a count per user that only grows, in Redis and DynamoDB.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{
    harness::{
        checkpoints::Checkpoints,
        dynamodb::Dynamodb,
        eventually::eventually,
        input::{Events, Line, record},
        jobfile::{JobFile, events, from_kafka, with},
        kafka::{Kafka, Sender},
        process::{Command, Process},
        redis::{Redis, require_redis},
        services::unique_name,
    },
    shop::LIMIT,
};
use serde_json::json;
use tempfile::TempDir;

pub const PARTITIONS: u32 = 4;

/// The job, its topic and its stores.
pub struct Counts {
    pub kafka: Kafka,
    pub redis: Redis,
    pub dynamodb: Dynamodb,
    pub folder: TempDir,
    /// The job, the topic, the table, and the prefix of keys.
    pub name: String,
    pub file: PathBuf,
    sender: Sender,
    lines: std::vec::IntoIter<Line>,
    produced: i64,
}

impl Counts {
    /// A topic with some events; `None` if a server is absent and may be.
    pub fn open(prefix: &str) -> Option<Self> {
        let (kafka, redis, dynamodb) = (Kafka::require()?, require_redis()?, Dynamodb::require()?);
        let name = unique_name(prefix);
        kafka.create_topic_named(&name, PARTITIONS as i32);
        let folder = TempDir::new().unwrap();
        let lines = Events {
            seed: 31,
            count: 60_000,
            users: 40,
            spacing_ms: 10,
            ..Events::default()
        };
        let mut counts = Self {
            file: PathBuf::new(),
            sender: kafka.sender(),
            lines: lines.lines().into_iter(),
            produced: 0,
            kafka,
            redis,
            dynamodb,
            folder,
            name,
        };
        counts.file = counts.job_file().write(counts.folder.path());
        Some(counts)
    }

    fn job_file(&self) -> JobFile {
        // Small fetches, so that a replay takes many checkpoints.
        let properties = json!({ "fetch.message.max.bytes": "16384", "queued.min.messages": "1" });
        let mut connector = from_kafka(self.kafka.brokers(), &self.name);
        connector["kafka"] = with(
            connector["kafka"].clone(),
            json!({ "properties": properties }),
        );
        let redis = json!({ "url": self.redis.url(), "key": format!("{}:{{user_id}}", self.name) });
        let dynamodb = json!({
            "table": self.name, "endpoint": self.dynamodb.endpoint(), "region": "us-east-1", "create_table": true,
        });
        JobFile::new(&self.name)
            .source("events", events(connector, "5s"))
            .view("counts", COUNTS)
            .sink("hot", json!({ "from": "counts", "redis": redis }))
            .sink("store", json!({ "from": "counts", "dynamodb": dynamodb }))
            .key("epoch", json!({ "tick": "1ms" }))
            .key("limits", json!({ "in_flight": "4KiB" }))
            .key(
                "checkpoint",
                json!({ "interval": "5ms", "store": self.store_url(), "keep": 100_000 }),
            )
    }

    fn store_url(&self) -> String {
        format!("file://{}/checkpoints", self.folder.path().display())
    }

    /// Produces so many more events.
    pub fn produce(&mut self, count: usize) {
        let lines: Vec<_> = self.lines.by_ref().take(count).collect();
        assert_eq!(lines.len(), count, "the input is used up");
        // Small batches, because a fetch returns a whole one at least.
        for some in lines.chunks(200) {
            let records = some.iter().map(|line| record(line, PARTITIONS));
            self.sender.send(&self.name, records);
        }
        self.produced += count as i64;
    }

    pub fn command(&self, flags: &[&str]) -> Command {
        Command::tidewright(self.folder.path())
            .arg("run")
            .arg(&self.file)
            .args(["--summary", "json"])
            .args(flags)
    }

    /// Runs it until everything that has been produced is in a checkpoint and delivered, and stops it.
    pub fn run(&self, flags: &[&str]) -> Process {
        let mut process = self.command(flags).start();
        self.await_read(&mut process, self.produced);
        process.terminate();
        process.wait_for_success(LIMIT);
        process
    }

    /// Waits for a checkpoint of so many events.
    pub fn await_read(&self, process: &mut Process, events: i64) {
        eventually(LIMIT, "a checkpoint of all events", || {
            assert!(
                process.is_running(),
                "ended by itself:\n{}",
                process.stderr()
            );
            (self.checkpoints().read() >= events).then_some(())
        });
    }

    /// Runs it in a way that it must refuse; what it says.
    pub fn refused(&self, flags: &[&str], code: i32) -> String {
        let mut process = self.command(flags).start();
        let status = process.wait(LIMIT);
        let log = process.stderr();
        assert_eq!(status.code(), Some(code), "{flags:?}: {log}");
        log
    }

    /// What its checkpoints tell.
    pub fn checkpoints(&self) -> Checkpoints {
        Checkpoints::of(&self.store_url(), &self.name)
    }

    /// Every row of both stores: its count and its version.
    pub fn rows(&self) -> BTreeMap<String, (u64, String)> {
        let hashes = self.redis.hashes(&format!("{}:", self.name));
        let items = match self.dynamodb.has_table(&self.name) {
            true => self.dynamodb.items(&self.name),
            false => BTreeMap::new(),
        };
        let rows = hashes.into_iter().chain(items);
        // A key that was deleted leaves a mark.
        let live = rows.filter(|(_, fields)| !fields.contains_key("_deleted"));
        live.map(|(key, fields)| {
            let count = fields["events"].parse().unwrap();
            (key, (count, fields["_version"].clone()))
        })
        .collect()
    }
}

/// The counts alone.
pub fn contents(rows: &BTreeMap<String, (u64, String)>) -> BTreeMap<&str, u64> {
    rows.iter()
        .map(|(key, (count, _))| (key.as_str(), *count))
        .collect()
}

/// How many events the run read, by its summary.
pub fn events_in(process: &Process) -> i64 {
    process.summary()["events_in"]["events"].as_i64().unwrap()
}

const COUNTS: &str = "
    SELECT user_id, count(*) AS events
    FROM rolling(events, INTERVAL '7 days', INTERVAL '1 hour')
    GROUP BY user_id";
