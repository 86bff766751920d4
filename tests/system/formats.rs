//! Savepoints of every released format are restored by this release, with the same results.
//!
//! Each folder of `tests/fixtures` named `format-vN` holds a savepoint, the input up to it and behind it, and what the stores held at
//! the end when the release that wrote it went on. For a new version of the format:
//! `TIDEWRIGHT_TEST_MAKE_FIXTURE=format-v2 scripts/test.sh --test system formats`, once, in the release that introduces it.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    harness::{
        eventually::eventually,
        input::{Events, Line, Profiles, write_files},
        jobfile::{JobFile, events, from_kafka, profiles},
        kafka::{Kafka, Record},
        process::{Command, Process},
        redis::{Redis, require_redis},
        redis_server::free_port,
        services::unique_name,
    },
    shop::LIMIT,
};

const MAKE: &str = "TIDEWRIGHT_TEST_MAKE_FIXTURE";
/// The prefix of all keys; each run has a database or prefix of its own in front of it.
const JOB: &str = "fixture";
/// Topics with their partitions, in the order of [`input`].
const INPUTS: [(&str, i32); 2] = [("events", 2), ("profiles", 1)];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// One of each kind of state. Where rows come from and go to is said by the environment.
fn job() -> JobFile {
    let redis =
        |key: &str| json!({ "url": "${env:REDIS_URL}", "key": format!("${{env:PREFIX}}:{key}") });
    let topic =
        |variable: &str| from_kafka("${env:KAFKA_BROKERS}", &format!("${{env:{variable}}}"));
    JobFile::new(JOB)
        .source("events", events(topic("EVENTS_TOPIC"), "5s"))
        .source("profiles", profiles(topic("PROFILES_TOPIC")))
        .view(
            "activity",
            "SELECT user_id, window_start, window_end, count(*) AS events, sum(price) AS spent, avg(quantity) AS quantity
             FROM tumble(events, INTERVAL '1 minute') GROUP BY user_id, window_start, window_end",
        )
        .view(
            "engagement",
            "SELECT user_id, count(*) AS events, sum(price * quantity) AS spend, max(ts) AS last_seen, min(price) AS cheapest,
                    last_value(category ORDER BY ts) AS last_category
             FROM rolling(events, INTERVAL '5 minutes', INTERVAL '1 minute') GROUP BY user_id",
        )
        .view(
            "customer",
            "SELECT p.user_id, p.segment, e.events, e.spend, e.last_seen, e.cheapest, e.last_category
             FROM profiles p LEFT JOIN engagement e ON p.user_id = e.user_id WHERE p.consent",
        )
        .view(
            "purchases",
            "SELECT e.event_id, e.user_id, e.price, p.email FROM events e JOIN profiles p ON e.user_id = p.user_id
             WHERE e.type = 'purchase'",
        )
        .sink("hot", json!({ "from": "customer", "redis": redis("customer:{user_id}") }))
        .sink("windows", json!({ "from": "activity", "redis": redis("activity:{user_id}:{window_start}") }))
        .sink("log", json!({ "from": "purchases", "files": { "path": "purchases.jsonl" } }))
        .key("checkpoint", json!({ "interval": "50ms", "store": "file://checkpoints" }))
}

/// Events and profiles up to the savepoint, and behind it.
fn input() -> [(Vec<Line>, Vec<Line>); 2] {
    let generated = Events {
        seed: 4,
        count: 600,
        users: 12,
        spacing_ms: 500,
        disorder_ms: 4_000,
        ..Events::default()
    };
    let users = Profiles {
        seed: 4,
        users: 12,
        changes: 20,
        ..Profiles::default()
    };
    let (events, profiles) = (generated.lines(), users.lines());
    let (events_before, events_after) = events.split_at(400);
    let (profiles_before, profiles_after) = profiles.split_at(20);
    let part = |events: &[Line], profiles: &[Line]| (events.to_vec(), profiles.to_vec());
    [
        part(events_before, profiles_before),
        part(events_after, profiles_after),
    ]
}

fn write(folder: &Path, (events, profiles): &(Vec<Line>, Vec<Line>)) {
    for ((name, partitions), lines) in INPUTS.iter().zip([events, profiles]) {
        write_files(lines, &folder.join(name), name, *partitions as u32);
    }
}

/// The numbers of records in a folder's input: events and profiles.
fn counts(folder: &Path) -> [usize; 2] {
    INPUTS.map(|(name, partitions)| {
        let lines = (0..partitions).map(|partition| lines(folder, name, partition).len());
        lines.sum()
    })
}

fn lines(folder: &Path, name: &str, partition: i32) -> Vec<String> {
    let path = folder.join(name).join(format!("{name}-{partition}.jsonl"));
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// A folder in which the job runs, with topics of its own.
struct Place {
    folder: TempDir,
    kafka: Kafka,
    redis: Redis,
    prefix: String,
    topics: [String; 2],
}

impl Place {
    fn new(kafka: &Kafka, redis: &Redis) -> Self {
        let folder = TempDir::new().unwrap();
        job().write(folder.path());
        Self {
            prefix: unique_name(JOB),
            topics: INPUTS.map(|(name, partitions)| kafka.create_topic(name, partitions)),
            kafka: kafka.clone(),
            redis: redis.clone(),
            folder,
        }
    }

    /// Sends a folder's input: the same records at the same offsets each time.
    fn feed(&self, input: &Path) {
        for ((name, partitions), topic) in INPUTS.iter().zip(&self.topics) {
            for partition in 0..*partitions {
                let records = lines(input, name, partition).into_iter();
                let record = |line| Record {
                    partition,
                    key: None,
                    value: Some(line),
                    timestamp_ms: None,
                };
                self.kafka.produce(topic, records.map(record));
            }
        }
    }

    fn tidewright(&self, arguments: &[&str], redis_url: &str) -> Command {
        Command::tidewright(self.folder.path())
            .args(arguments)
            .env("KAFKA_BROKERS", self.kafka.brokers())
            .env("EVENTS_TOPIC", &self.topics[0])
            .env("PROFILES_TOPIC", &self.topics[1])
            .env("REDIS_URL", redis_url)
            .env("PREFIX", &self.prefix)
    }

    /// Runs it to the end of its input.
    fn finish(&self, arguments: &[&str]) -> Process {
        let run = ["run", "fixture.yaml", "--bounded", "--summary", "json"];
        let run: Vec<_> = run.iter().chain(arguments).copied().collect();
        let mut process = self.tidewright(&run, self.redis.url()).start();
        process.wait_for_success(LIMIT);
        process
    }

    /// What the stores hold, without versions and times of writing.
    fn contents(&self) -> Value {
        let rows = self.redis.hashes(&self.prefix).into_iter();
        let rows = rows.filter(|(_, fields)| !fields.contains_key("_deleted"));
        let rows: BTreeMap<String, BTreeMap<String, String>> = rows
            .map(|(key, mut fields)| {
                fields.retain(|name, _| !name.starts_with('_'));
                (key[self.prefix.len() + 1..].to_owned(), fields)
            })
            .collect();
        let log = fs::read_to_string(self.folder.path().join("purchases.jsonl"));
        let mut log: Vec<_> = log.unwrap_or_default().lines().map(str::to_owned).collect();
        log.sort();
        json!({ "redis": rows, "log": log })
    }
}

/// Makes a fixture with this release: a job whose store cannot be reached is stopped with a savepoint, so that its outbox is
/// full, and goes on from it.
fn make(name: &str, kafka: &Kafka, redis: &Redis) {
    let fixture = fixtures().join(name);
    assert!(
        !fixture.exists(),
        "{} is there: kept fixtures never change",
        fixture.display()
    );
    let [before, after] = ["before", "after"].map(|part| fixture.join("input").join(part));
    for (folder, lines) in [&before, &after].into_iter().zip(input()) {
        write(folder, &lines);
    }
    let [events, profiles] = counts(&before);
    let place = Place::new(kafka, redis);
    place.feed(&before);
    let nobody = format!("redis://127.0.0.1:{}", free_port());
    let mut process = place
        .tidewright(&["run", "fixture.yaml", "--workers", "2"], &nobody)
        .start();
    eventually(LIMIT, "everything is computed and durable", || {
        assert!(process.is_running(), "{}", process.stderr());
        let mut asked = place
            .tidewright(&["status", "--output", "json"], &nobody)
            .run(LIMIT);
        asked.status()?.success().then_some(())?;
        let status = asked.summary();
        let read = &status["events_in"];
        let all = read["events"] == events && read["profiles"] == profiles;
        all.then_some(())
    });
    let to = fixture.join("savepoint");
    let mut stopped = place
        .tidewright(&["stop", "--savepoint"], &nobody)
        .arg(&to)
        .run(LIMIT);
    stopped.wait_for_success(LIMIT);
    process.wait_for_success(LIMIT);
    // A local store's own, of which git keeps nothing.
    fs::remove_dir(to.join("manifests")).unwrap();
    let expected = restore_and_go_on(&fixture, kafka, redis, 1);
    fs::write(fixture.join("expected.json"), format!("{expected:#}\n")).unwrap();
}

/// Restores a fixture in a place of its own and reads what comes behind it.
fn restore_and_go_on(fixture: &Path, kafka: &Kafka, redis: &Redis, workers: usize) -> Value {
    let place = Place::new(kafka, redis);
    place.feed(&fixture.join("input/before"));
    place.feed(&fixture.join("input/after"));
    let savepoint = fixture.join("savepoint");
    let workers = workers.to_string();
    let savepoint = savepoint.to_str().unwrap();
    // The file that its rows were appended to is elsewhere.
    let arguments = [
        "--restore",
        savepoint,
        "--workers",
        &workers,
        "--allow-duplicates",
    ];
    place.finish(&arguments);
    place.contents()
}

#[test]
fn savepoints_of_every_released_format_give_the_same_results() {
    let (Some(kafka), Some(redis)) = (Kafka::require(), require_redis()) else {
        return;
    };
    if let Ok(name) = env::var(MAKE) {
        make(&name, &kafka, &redis);
    }
    let kept = fs::read_dir(fixtures())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_format = |path: &PathBuf| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("format-v")
    };
    let kept: Vec<_> = kept.filter(is_format).collect();
    assert!(!kept.is_empty(), "there is a fixture of the first format");
    for fixture in kept {
        let expected = fs::read_to_string(fixture.join("expected.json")).unwrap();
        let expected: Value = serde_json::from_str(&expected).unwrap();
        for workers in [1, 3] {
            let found = restore_and_go_on(&fixture, &kafka, &redis, workers);
            assert_eq!(
                found,
                expected,
                "{} with {workers} worker(s)",
                fixture.display()
            );
        }
    }
}

#[test]
fn the_kept_results_are_those_of_a_run_from_the_beginning() {
    let (Some(kafka), Some(redis)) = (Kafka::require(), require_redis()) else {
        return;
    };
    let fixture = fixtures().join("format-v1");
    let place = Place::new(&kafka, &redis);
    place.feed(&fixture.join("input/before"));
    place.feed(&fixture.join("input/after"));
    place.finish(&[]);
    let expected = fs::read_to_string(fixture.join("expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&expected).unwrap();
    let found = place.contents();
    assert_eq!(found["redis"], expected["redis"]);
}
