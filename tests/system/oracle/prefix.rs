//! The prefix oracle: at a delivered checkpoint in mid-run, the store equals the batch over that checkpoint's offsets.
//!
//! A job over generated events (offsets are numbers), files of events and of profiles (offsets are bytes) writes into
//! Redis. It is killed, started again and stopped in order, with other numbers of workers; at each stop Redis is
//! compared with the batch over the offsets in the manifest, and at the end with the batch over everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;
use tempfile::TempDir;
use tidewright_checkpoints::{
    Manifest,
    manifest::SplitState,
    store::{self, job_url},
};

use super::{
    accept::{Accepted, Split, accept, before, splits_of},
    batch::{Horizon, evaluate},
    cells::{Column, Rows},
    compare::difference,
    declared::{Relation, Source, View},
    generated::{events, passed_on, splits_in},
    stored,
};
use crate::harness::{
    eventually::eventually,
    input::{Events, Profiles, write_files},
    jobfile::{JobFile, with},
    process::{Command, Process},
    redis::{Hashes, Redis, require_redis},
    services::unique_name,
};

const LIMIT: Duration = Duration::from_secs(60);
const SPLITS: u32 = 2;
const COUNT: i64 = 9_000;
const USERS: u64 = 30;

/// The source by which stops are timed; the others end soon.
const PACED: &str = "events";

struct Job {
    folder: TempDir,
    name: String,
    file: PathBuf,
    sources: Vec<Source>,
    views: Vec<View>,
}

/// A store at a delivered checkpoint.
struct Snapshot {
    sources: BTreeMap<String, BTreeMap<String, SplitState>>,
    hashes: Hashes,
}

fn sources(folder: &Path) -> Vec<Source> {
    let visits = Events {
        count: 3_000,
        users: USERS,
        disorder_ms: 4_000,
        late: 0.02,
        malformed: 0.01,
        ..Events::default()
    };
    write_files(&visits.lines(), &folder.join("visits"), "visits", 2);
    let profiles = Profiles {
        users: USERS,
        ..Profiles::default()
    };
    write_files(&profiles.lines(), &folder.join("profiles"), "profiles", 2);
    let paced = json!({
        "seed": 3, "users": USERS, "count": COUNT, "rate": 2_000, "disorder_ms": 60, "late": 0.01, "malformed": 0.01,
    });
    vec![
        events(SPLITS, 50, paced),
        Source::stream(
            "visits",
            &[
                ("user_id", "string"),
                ("ts", "timestamp_ms"),
                ("price", "decimal(12,2)"),
            ],
            "ts",
            4_000,
        )
        .under(folder),
        Source::table(
            "profiles",
            &[
                ("user_id", "string"),
                ("segment", "string"),
                ("consent", "boolean"),
            ],
            &["user_id"],
        )
        .under(folder),
    ]
}

fn views() -> Vec<View> {
    vec![
        passed_on(),
        View::table(
            "windows",
            &["user_id", "window_end"],
            "SELECT user_id, window_end, count(*) AS events, sum(price * quantity) AS value
             FROM tumble(events, INTERVAL '100 milliseconds') GROUP BY user_id, window_end",
        ),
        View::table(
            "visits_1m",
            &["user_id", "window_end"],
            "SELECT user_id, window_end, count(*) AS visits, max(price) AS dearest
             FROM tumble(visits, INTERVAL '1 minute') GROUP BY user_id, window_end",
        ),
        View::table(
            "patient",
            &["user_id", "window_end"],
            "SELECT user_id, window_end, count(*) AS events, max(price) AS dearest
             FROM tumble(events, INTERVAL '100 milliseconds') GROUP BY user_id, window_end",
        )
        .late_by(400),
        View::table(
            "engagement",
            &["user_id"],
            "SELECT user_id, count(*) AS events, max(ts) AS last_seen, min(price) AS cheapest,
                    last_value(type ORDER BY ts) AS last_type
             FROM rolling(events, INTERVAL '1 second', INTERVAL '50 milliseconds') GROUP BY user_id",
        ),
        View::table(
            "customer",
            &["user_id"],
            "SELECT p.user_id, p.segment, e.events, e.cheapest
             FROM profiles p LEFT JOIN engagement e ON p.user_id = e.user_id WHERE p.consent",
        ),
        View::table(
            "segments",
            &["segment"],
            "SELECT segment, count(*) AS customers, sum(events) AS events, min(cheapest) AS cheapest
             FROM customer GROUP BY segment",
        ),
    ]
}

impl Job {
    fn new(redis: &Redis) -> Self {
        let folder = TempDir::new().unwrap();
        let name = unique_name("prefix");
        let (sources, views) = (sources(folder.path()), views());
        let mut job = JobFile::new(&name);
        for source in &sources {
            job = job.source(&source.name, source.entry());
        }
        for view in &views {
            job = match view.lateness_ms {
                0 => job.view(&view.name, &view.sql),
                ms => job.view_with_lateness(&view.name, &view.sql, &format!("{ms}ms")),
            };
            let connector = match &view.result {
                Relation::Stream => json!({ "files": { "path": folder.path().join("all.jsonl") } }),
                Relation::Table(key) => {
                    let columns: Vec<_> =
                        key.iter().map(|column| format!("{{{column}}}")).collect();
                    let key = format!("{name}:{}:{}", view.name, columns.join("|"));
                    json!({ "redis": { "url": redis.url(), "key": key } })
                }
            };
            let sink = with(json!({ "from": view.name }), connector);
            job = job.sink(&format!("to_{}", view.name), sink);
        }
        let job = job.checkpoints("30ms", &folder.path().join("checkpoints"));
        let file = job.write(folder.path());
        Self {
            folder,
            name,
            file,
            sources,
            views,
        }
    }

    fn start(&self, workers: &str) -> Process {
        Command::tidewright(self.folder.path())
            .arg("run")
            .arg(&self.file)
            .args([
                "--bounded",
                "--quiet",
                "--summary",
                "json",
                "--workers",
                workers,
            ])
            .start()
    }

    /// The manifest that HEAD names.
    fn manifest(&self) -> Option<Manifest> {
        let url = format!(
            "file://{}",
            self.folder.path().join("checkpoints").display()
        );
        let store = store::open(&job_url(&url, &self.name)).unwrap();
        let (head, _) = store.head().unwrap()?;
        let bytes = store.get(&head.manifest?).ok()?;
        Some(Manifest::from_bytes(&bytes).unwrap())
    }

    /// Generated events that are in the newest checkpoint.
    fn progress(&self) -> i64 {
        let splits = self
            .manifest()
            .and_then(|manifest| manifest.sources.get(PACED).cloned());
        splits
            .unwrap_or_default()
            .values()
            .map(|split| split.offset)
            .sum()
    }

    fn wait_for_progress(&self, process: &mut Process, events: i64) {
        eventually(
            LIMIT,
            &format!("{events} events are in a checkpoint"),
            || {
                assert!(process.is_running(), "ended early:\n{}", process.stderr());
                (self.progress() >= events).then_some(())
            },
        );
    }

    /// Runs until so many events are in a checkpoint, then kills it.
    fn run_and_kill(&self, workers: &str, events: i64) {
        let mut process = self.start(workers);
        self.wait_for_progress(&mut process, events);
        process.kill();
    }

    /// Runs until so many events are in a checkpoint, then stops it in order.
    fn run_and_stop(&self, workers: &str, events: i64, redis: &Redis) -> Snapshot {
        let mut process = self.start(workers);
        self.wait_for_progress(&mut process, events);
        process.terminate();
        process.wait_for_success(LIMIT);
        self.snapshot(&process, redis)
    }

    fn run_to_end(&self, workers: &str, redis: &Redis) -> Snapshot {
        let mut process = self.start(workers);
        process.wait_for_success(LIMIT);
        self.snapshot(&process, redis)
    }

    fn snapshot(&self, process: &Process, redis: &Redis) -> Snapshot {
        let summary = process.summary();
        for (sink, delivered) in summary["delivered_epoch"].as_object().unwrap() {
            assert_eq!(
                *delivered, summary["durable_epoch"],
                "{sink} is behind its checkpoint"
            );
        }
        Snapshot {
            sources: self.manifest().unwrap().sources,
            hashes: redis.hashes(&format!("{}:", self.name)),
        }
    }

    fn splits(&self, source: &Source) -> Vec<Split> {
        match source.generator {
            Some(_) => splits_in(&self.folder.path().join("all.jsonl"), SPLITS),
            None => splits_of(source),
        }
    }

    /// What the engine had to accept of the input by a checkpoint.
    fn accepted_at(&self, snapshot: &Snapshot) -> Vec<Accepted> {
        let accepted = self.sources.iter().map(|source| {
            let states = &snapshot.sources[&source.name];
            let offsets = states
                .iter()
                .map(|(name, state)| (name.clone(), state.offset))
                .collect();
            let ended = states.iter().filter(|(_, state)| state.finished);
            let ended: BTreeSet<_> = ended.map(|(name, _)| name.clone()).collect();
            accept(source, &before(&self.splits(source), &offsets), &ended)
        });
        accepted.collect()
    }

    /// What a view's hashes say, as rows.
    fn rows(&self, view: &View, hashes: &Hashes, columns: &[Column]) -> Rows {
        let prefix = format!("{}:{}:", self.name, view.name);
        let of_view = hashes.iter().filter(|(key, _)| key.starts_with(&prefix));
        stored::rows(of_view.map(|(_, fields)| fields), columns)
    }

    fn check(&self, snapshot: &Snapshot, horizon: Horizon) {
        let answer = evaluate(&self.accepted_at(snapshot), &self.views, horizon);
        let keyed = self
            .views
            .iter()
            .filter(|view| view.result != Relation::Stream);
        for view in keyed {
            let expected = &answer.views[&view.name];
            assert!(
                !expected.rows.is_empty(),
                "nothing is compared of {}",
                view.name
            );
            let found = self.rows(view, &snapshot.hashes, &expected.columns);
            let difference = difference(view, expected, &found);
            let offsets = &snapshot.sources;
            assert!(
                difference.is_none(),
                "{horizon:?}, {offsets:?}\n{}",
                difference.unwrap()
            );
        }
    }
}

#[test]
fn at_a_delivered_checkpoint_redis_equals_the_batch_over_its_offsets() {
    let Some(redis) = require_redis() else { return };
    let job = Job::new(&redis);
    job.run_and_kill("2", 700);
    let first = job.run_and_stop("1", 2_500, &redis);
    job.run_and_kill("4", 3_500);
    job.run_and_kill("2", 4_500);
    let second = job.run_and_stop("3", 6_000, &redis);
    let last = job.run_to_end("2", &redis);
    assert_eq!(job.progress(), COUNT);
    for stopped in [&first, &second] {
        let events: i64 = stopped.sources[PACED]
            .values()
            .map(|split| split.offset)
            .sum();
        assert!(events < COUNT, "the input was over before the stop");
        job.check(stopped, Horizon::Watermark);
    }
    job.check(&last, Horizon::End);
}
