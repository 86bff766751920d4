//! Windows over a topic that is partitioned by their key: no row leaves the worker that reads it, and no result tells.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;
use tempfile::TempDir;
use tidewright_checkpoints::{
    ShardRange, Which, restore,
    store::{self, job_url},
};

use super::{
    accept::{self, Split, accept},
    batch::{Horizon, evaluate},
    declared::{Source, View, job},
    engine::{Oracle, Ran, Variation, run},
};
use crate::harness::{
    eventually::eventually,
    input::{Events, Line, user_id},
    kafka::{Kafka, Record},
    process::{Command, Process},
};

const LIMIT: Duration = Duration::from_secs(120);
const BOUND_MS: i64 = 5_000;

fn views() -> [View; 4] {
    [
        View::stream(
            "by_user",
            "SELECT user_id, window_start, count(*) AS events, sum(price * quantity) AS value,
                    last_value(category ORDER BY ts) AS last_category
             FROM tumble(events, INTERVAL '10 seconds') GROUP BY user_id, window_start",
        ),
        View::table(
            "late_too",
            &["user_id", "type", "window_start"],
            "SELECT user_id, type, window_start, count(*) AS events
             FROM tumble(events, INTERVAL '30 seconds') GROUP BY user_id, type, window_start",
        )
        .late_by(10_000),
        View::table(
            "engagement",
            &["user_id"],
            "SELECT user_id, count(*) AS events, max(price) AS dearest, sum(quantity) AS pieces
             FROM rolling(events, INTERVAL '1 minute', INTERVAL '5 seconds') GROUP BY user_id",
        ),
        // Not partition-local: grouped by something else.
        View::table(
            "by_category",
            &["category"],
            "SELECT category, count(*) AS events, min(price) AS cheapest
             FROM rolling(events, INTERVAL '1 minute', INTERVAL '5 seconds') GROUP BY category",
        ),
    ]
}

/// Shop events; half of them are of one user.
fn lines(count: u64) -> Vec<Line> {
    let events = Events {
        count,
        users: 60,
        spacing_ms: 40,
        disorder_ms: 4_000,
        late: 0.02,
        malformed: 0.02,
        ..Events::default()
    };
    let mut lines = events.lines();
    let hot = user_id(7);
    for line in lines.iter_mut().step_by(2) {
        let value = line.value.take();
        line.value = value.map(|value| value.replace(&line.key, &hot));
        line.key.clone_from(&hot);
    }
    lines
}

fn record(line: &Line) -> Record {
    Record {
        partition: 0,
        key: Some(line.key.clone()),
        value: line.value.clone(),
        timestamp_ms: Some(line.time_ms),
    }
}

/// A topic whose partitions hold whole keys.
struct Topic {
    kafka: Kafka,
    name: String,
}

impl Topic {
    /// `None` if there is no Kafka and there need not be.
    fn create(partitions: i32) -> Option<Self> {
        let kafka = Kafka::require()?;
        let name = kafka.create_topic("partition-local", partitions);
        Some(Self { kafka, name })
    }

    fn fill(&self, lines: &[Line]) {
        self.kafka
            .produce_by_key(&self.name, lines.iter().map(record));
    }

    fn source(&self, partition_local: bool) -> Source {
        let columns = [
            ("user_id", "string"),
            ("type", "string"),
            ("ts", "timestamp_ms"),
            ("price", "decimal(12,2)"),
            ("quantity", "bigint"),
            ("category", "string"),
        ];
        let mut kafka = json!({ "brokers": self.kafka.brokers(), "topic": self.name });
        if partition_local {
            kafka["partitioned_by"] = json!("user_id");
        }
        Source {
            topic: Some(kafka),
            ..Source::stream("events", &columns, "ts", BOUND_MS)
        }
    }

    /// What is in the topic, less what `is_refused` says.
    fn splits(&self, is_refused: impl Fn(i32, i64) -> bool) -> Vec<Split> {
        let mut splits: BTreeMap<i32, Vec<accept::Record>> = BTreeMap::new();
        for stored in self.kafka.read_committed(&self.name) {
            let partition = stored.record.partition;
            let records = splits.entry(partition).or_default();
            if !is_refused(partition, stored.offset) {
                records.push(accept::Record {
                    offset: stored.offset,
                    bytes: stored.record.value.unwrap_or_default().into_bytes(),
                });
            }
        }
        let split = |(partition, records): (i32, Vec<accept::Record>)| Split {
            name: partition.to_string(),
            number: partition.unsigned_abs(),
            records,
        };
        splits.into_iter().map(split).collect()
    }

    /// The views as a batch over these records.
    fn oracle(&self, splits: &[Split]) -> Oracle {
        let ended: BTreeSet<_> = splits.iter().map(|split| split.name.clone()).collect();
        let accepted = vec![accept(&self.source(true), splits, &ended)];
        let answer = evaluate(&accepted, &views(), Horizon::End);
        Oracle { accepted, answer }
    }
}

/// The shards that a view's state is in, in the newest checkpoint below a folder.
fn shards(folder: &Path, job: &str, view: &str) -> BTreeSet<u16> {
    let url = format!("file://{}", folder.join("checkpoints").display());
    let store = store::open(&job_url(&url, job)).unwrap();
    let restored = restore::load(&*store, job, &Which::Latest)
        .unwrap()
        .unwrap();
    let mut operators = restored.manifest.operators.keys();
    let operator = operators
        .find(|operator| operator.0.starts_with(view))
        .unwrap();
    let deltas = restored.deltas(operator, ShardRange::ALL);
    deltas.map(|delta| delta.unwrap().shard.0).collect()
}

/// The same topic, read by any number of processes and workers of each and either way, gives what the batch gives.
fn every_way_is_the_same(partitions: i32, ways: &[(bool, u32, u32)]) {
    let Some(topic) = Topic::create(partitions) else {
        return;
    };
    topic.fill(&lines(3_000));
    let oracle = topic.oracle(&topic.splits(|_, _| false));
    assert!(oracle.sizes().values().all(|rows| *rows > 5));
    assert!(oracle.answer.late > 0 && oracle.accepted[0].dead > 0);
    let folder = TempDir::new().unwrap();
    for (number, (partition_local, processes, workers)) in ways.iter().enumerate() {
        let folder = folder.path().join(format!("run-{number}"));
        let variation = Variation {
            processes: *processes,
            workers: *workers,
            ..Variation::default()
        };
        let sources = [topic.source(*partition_local)];
        let judged = run(&folder, &sources, &views(), &variation)
            .and_then(|ran| oracle.judge(&views(), &ran));
        let way = format!("partition-local {partition_local}, {processes} x {workers} workers");
        assert!(judged.is_ok(), "{way}\n{}", judged.unwrap_err());
        let shards = shards(&folder, "oracle", "engagement/");
        assert!(!shards.is_empty(), "there is no state");
        let in_splits = shards.iter().all(|shard| i32::from(*shard) < partitions);
        assert_eq!(in_splits, *partition_local, "{way}: {shards:?}");
    }
}

#[test]
fn a_topic_of_one_partition_gives_the_same_either_way() {
    every_way_is_the_same(
        1,
        &[(true, 1, 1), (true, 1, 2), (false, 1, 2), (false, 3, 1)],
    );
}

#[test]
fn a_topic_of_eight_partitions_gives_the_same_either_way() {
    every_way_is_the_same(
        8,
        &[
            (true, 1, 1),
            (true, 1, 2),
            (true, 1, 4),
            (true, 2, 2),
            (false, 1, 1),
            (false, 2, 2),
        ],
    );
}

#[test]
fn a_topic_of_more_partitions_than_most_have_keys_gives_the_same_either_way() {
    every_way_is_the_same(
        64,
        &[(true, 1, 4), (true, 3, 1), (false, 1, 2), (false, 3, 1)],
    );
}

/// A job that goes on again and again, with different numbers of workers.
struct Job<'t> {
    topic: &'t Topic,
    folder: TempDir,
    file: PathBuf,
}

const JOB: &str = "moving";

impl<'t> Job<'t> {
    fn new(topic: &'t Topic) -> Self {
        let folder = TempDir::new().unwrap();
        let output = folder.path().join("output");
        std::fs::create_dir_all(&output).unwrap();
        let file = job(JOB, &[topic.source(true)], &views(), &output)
            .checkpoints("50ms", &folder.path().join("checkpoints"))
            .write(folder.path());
        Self {
            topic,
            folder,
            file,
        }
    }

    fn start(&self, workers: u32, flags: &[&str]) -> Process {
        Command::tidewright(self.folder.path())
            .arg("run")
            .arg(&self.file)
            .args(["--quiet", "--summary", "json", "--workers"])
            .arg(workers.to_string())
            .args(flags)
            .start()
    }

    /// Runs it until a checkpoint holds all that is in the topic, then stops it in good order, or not.
    fn run_to_the_end(&self, workers: u32, kill: bool) {
        let mut process = self.start(workers, &[]);
        let ends = self.topic.kafka.end_offsets(&self.topic.name);
        eventually(LIMIT, "a checkpoint of everything", || {
            assert!(
                process.is_running(),
                "ended by itself:\n{}",
                process.stderr()
            );
            let committed = self.topic.kafka.committed_offsets(JOB, &self.topic.name);
            let read = |(partition, end): (&i32, &i64)| {
                *end == 0 || committed.get(partition).is_some_and(|offset| offset >= end)
            };
            ends.iter().all(read).then_some(())
        });
        if kill {
            process.kill();
        } else {
            process.terminate();
            process.wait_for_success(LIMIT);
        }
    }
}

#[test]
fn state_moves_with_its_partition_to_other_numbers_of_workers() {
    let Some(topic) = Topic::create(8) else {
        return;
    };
    let all = lines(4_000);
    let job = Job::new(&topic);
    let runs = [(2, false), (1, true), (4, false), (3, true)];
    for (part, (workers, kill)) in all.chunks(1_000).zip(runs) {
        topic.fill(part);
        job.run_to_the_end(workers, kill);
    }
    let state = shards(job.folder.path(), JOB, "engagement/");
    assert!(
        !state.is_empty() && state.iter().all(|shard| *shard < 8),
        "{state:?}"
    );
    let mut process = job.start(2, &["--bounded"]);
    process.wait_for_success(LIMIT);
    let ran = Ran {
        output: job.folder.path().join("output"),
        summary: process.summary(),
    };
    let oracle = topic.oracle(&topic.splits(|_, _| false));
    for view in views() {
        let expected = &oracle.answer.views[&view.name];
        let found = ran.rows(&view, &expected.columns).unwrap();
        let difference = super::compare::difference(&view, expected, &found);
        assert!(difference.is_none(), "{}", difference.unwrap());
    }
}

#[test]
fn a_record_in_a_wrong_partition_is_a_dead_letter_that_names_it() {
    let Some(topic) = Topic::create(8) else {
        return;
    };
    topic.fill(&lines(1_000));
    let places: BTreeMap<Option<String>, i32> = topic
        .kafka
        .read_committed(&topic.name)
        .into_iter()
        .map(|stored| (stored.record.key, stored.record.partition))
        .collect();
    let mut strays = Vec::new();
    let keyed: Vec<Line> = lines(40)
        .into_iter()
        .filter(|line| !is_spoilt(line))
        .collect();
    let ends = topic.kafka.end_offsets(&topic.name);
    let partition = (places[&Some(keyed[0].key.clone())] + 3) % 8;
    for line in keyed
        .iter()
        .filter(|line| places[&Some(line.key.clone())] != partition)
    {
        strays.push(Record {
            partition,
            ..record(line)
        });
    }
    let mut keyless = record(&keyed[0]);
    keyless.partition = partition;
    keyless.value = keyless
        .value
        .map(|value| value.replace(r#""user_id":"#, r#""user":"#));
    strays.push(keyless);
    topic.kafka.produce(&topic.name, strays.clone());

    let first = ends[&partition];
    let splits = topic.splits(|at, offset| at == partition && offset >= first);
    let oracle = topic.oracle(&splits);
    let folder = TempDir::new().unwrap();
    let sources = [topic.source(true)];
    let variation = Variation {
        workers: 2,
        ..Variation::default()
    };
    let ran = run(folder.path(), &sources, &views(), &variation).unwrap_or_else(|e| panic!("{e}"));
    for view in views() {
        let expected = &oracle.answer.views[&view.name];
        let found = ran.rows(&view, &expected.columns).unwrap();
        let difference = super::compare::difference(&view, expected, &found);
        assert!(difference.is_none(), "{}", difference.unwrap());
    }
    let dead = oracle.accepted[0].dead + strays.len();
    assert_eq!(ran.summary["dead_lettered"], dead);
    let letters = std::fs::read_to_string(ran.output.join("dead_letter.jsonl")).unwrap();
    for (offset, stray) in (first..).zip(&strays[..strays.len() - 1]) {
        let origin = format!(
            "topic {}, partition {partition}, offset {offset}",
            topic.name
        );
        let letter = letters
            .lines()
            .find(|letter| letter.contains(&format!("{origin}\"")));
        let letter = letter.unwrap_or_else(|| panic!("no letter from {origin}:\n{letters}"));
        let key = stray.key.as_ref().unwrap();
        assert!(
            letter.contains(key) && letter.contains("partitioned_by"),
            "{letter}"
        );
    }
    assert!(
        letters.contains("is null, but the topic is partitioned by it"),
        "{letters}"
    );
}

fn is_spoilt(line: &Line) -> bool {
    let value = line.value.as_deref().unwrap_or_default();
    serde_json::from_str::<serde_json::Value>(value).map_or(true, |record| !record["ts"].is_i64())
}

#[test]
fn more_partitions_than_the_state_was_made_of_are_refused() {
    let Some(topic) = Topic::create(2) else {
        return;
    };
    topic.fill(&lines(200));
    let job = Job::new(&topic);
    job.run_to_the_end(2, false);
    topic.kafka.add_partitions(&topic.name, 3);
    let mut process = job.start(2, &["--bounded"]);
    let status = process.wait(LIMIT);
    let log = process.stderr();
    assert_eq!(status.code(), Some(1), "{log}");
    for part in [
        "had 2 partitions and now has 3",
        "partitioned_by",
        "--restore none",
    ] {
        assert!(log.contains(part), "{part} is not in\n{log}");
    }
}
