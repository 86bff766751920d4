//! The job that crash tests run, and its input, handed out piece by piece: events and profiles from Kafka through
//! windows, features, a join and a differential aggregate into all four kinds of stores.
//!
//! A right answer is what another job of the same file says, run once, undisturbed, over the same topics.

pub mod contents;
pub mod watch;

use std::{
    collections::BTreeMap,
    fs::File,
    path::PathBuf,
    process::ExitStatus,
    sync::Arc,
    thread,
    time::{Duration, Instant},
    vec,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tidewright_checkpoints::{
    head::Head,
    manifest::Manifest,
    restore,
    store::{self, CheckpointStore},
};

use self::contents::Contents;
use crate::harness::{
    dynamodb::Dynamodb,
    eventually::eventually,
    input::{Events, Line, Profiles, record},
    jobfile::{JobFile, events, from_kafka, profiles},
    kafka::{Kafka, Sender},
    process::{Command, Process},
    redis::{Redis, require_redis},
    services::unique_name,
};

/// How long anything may take on a loaded machine before a test gives up.
pub const LIMIT: Duration = Duration::from_secs(60);
const PARTITIONS: u32 = 4;
const USERS: u64 = 40;
/// Events in one piece of input: ten seconds of event time.
const PIECE_EVENTS: usize = 40;
const PIECE_PROFILES: usize = 3;
const PIECE_PAUSE: Duration = Duration::from_millis(20);

/// Servers, and two topics that grow.
pub struct Shop {
    pub kafka: Kafka,
    pub redis: Redis,
    pub dynamodb: Dynamodb,
    sender: Sender,
    events_topic: String,
    profiles_topic: String,
    events: vec::IntoIter<Line>,
    profiles: vec::IntoIter<Line>,
}

impl Shop {
    /// Topics with a profile of every user and a first piece of events; `None` if a server is absent and may be.
    pub fn open(seed: u64) -> Option<Self> {
        Self::with_events(seed, 60_000)
    }

    /// As [`Self::open`], with so many events to hand out.
    pub fn with_events(seed: u64, count: u64) -> Option<Self> {
        let (kafka, redis, dynamodb) = (Kafka::require()?, require_redis()?, Dynamodb::require()?);
        let events = Events {
            seed,
            count,
            users: USERS,
            disorder_ms: 4_000,
            late: 0.01,
            malformed: 0.01,
            ..Events::default()
        };
        let profiles = Profiles {
            seed,
            users: USERS,
            changes: count / 12,
            deletes: 0.15,
            ..Profiles::default()
        };
        let mut profiles = profiles.lines().into_iter();
        let first: Vec<_> = profiles.by_ref().take(USERS as usize).collect();
        let mut shop = Self {
            events_topic: kafka.create_topic("events", PARTITIONS as i32),
            profiles_topic: kafka.create_topic("profiles", PARTITIONS as i32),
            sender: kafka.sender(),
            kafka,
            redis,
            dynamodb,
            events: events.lines().into_iter(),
            profiles,
        };
        shop.send(&shop.profiles_topic, &first);
        shop.feed();
        Some(shop)
    }

    /// Produces a piece of input.
    pub fn feed(&mut self) {
        let events: Vec<_> = self.events.by_ref().take(PIECE_EVENTS).collect();
        let profiles: Vec<_> = self.profiles.by_ref().take(PIECE_PROFILES).collect();
        assert_eq!(events.len(), PIECE_EVENTS, "the input is used up");
        self.send(&self.profiles_topic, &profiles);
        self.send(&self.events_topic, &events);
    }

    fn send(&self, topic: &str, lines: &[Line]) {
        self.sender
            .send(topic, lines.iter().map(|line| record(line, PARTITIONS)));
    }

    /// Produces input for a while.
    pub fn feed_for(&mut self, duration: Duration) {
        let over = Instant::now() + duration;
        while Instant::now() < over {
            self.feed();
            thread::sleep(PIECE_PAUSE.min(over.saturating_duration_since(Instant::now())));
        }
    }

    /// Produces input until there is an answer.
    ///
    /// # Panics
    /// If there is none within [`LIMIT`]; the message names `what`.
    pub fn feed_until<T>(&mut self, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        eventually(LIMIT, what, || {
            ask().or_else(|| {
                self.feed();
                thread::sleep(PIECE_PAUSE);
                None
            })
        })
    }

    /// How many records have been produced: events and profiles.
    pub fn produced(&self) -> [u64; 2] {
        [&self.events_topic, &self.profiles_topic].map(|topic| {
            let ends = self.kafka.end_offsets(topic);
            ends.values().map(|end| *end as u64).sum()
        })
    }

    /// The sources of its jobs, with their topics.
    pub fn topics(&self) -> [(&'static str, &str); 2] {
        [
            ("events", &self.events_topic),
            ("profiles", &self.profiles_topic),
        ]
    }

    /// What a consumer group has committed of the events.
    pub fn committed_events(&self, group: &str) -> BTreeMap<i32, i64> {
        self.kafka.committed_offsets(group, &self.events_topic)
    }

    /// A job of its own name, with stores of its own.
    pub fn job(&self, prefix: &str) -> ShopJob {
        ShopJob::new(self, prefix, true)
    }

    /// As [`Self::job`], without the sinks that only append.
    pub fn keyed_job(&self, prefix: &str) -> ShopJob {
        ShopJob::new(self, prefix, false)
    }

    /// What the stores of such a job hold after one undisturbed run over everything produced so far.
    pub fn undisturbed(&self, like: &ShopJob) -> Contents {
        let job = ShopJob::new(self, "undisturbed", like.appends);
        job.finish();
        let contents = job.contents(self);
        contents.assert_complete();
        contents
    }
}

/// A job over the shop's topics, and where its results go.
pub struct ShopJob {
    pub name: String,
    pub folder: TempDir,
    /// The topic, the table and the prefix of its keys.
    place: String,
    appends: bool,
    redis_url: String,
    pub store_url: String,
    environment: Vec<(&'static str, String)>,
    interval: &'static str,
    /// How much state is in memory; `None`: all of it.
    memory: Option<&'static str>,
}

impl ShopJob {
    fn new(shop: &Shop, prefix: &str, appends: bool) -> Self {
        let folder = TempDir::new().unwrap();
        let name = unique_name(prefix);
        if appends {
            shop.kafka.create_topic_named(&name, 2);
        }
        let job = Self {
            place: name.clone(),
            name,
            appends,
            redis_url: shop.redis.url().to_owned(),
            store_url: format!("file://{}/checkpoints", folder.path().display()),
            environment: Vec::new(),
            interval: "50ms",
            memory: None,
            folder,
        };
        job.job_file(shop).write(job.folder.path());
        job
    }

    /// Checkpoints go to an object store, found with these variables.
    pub fn with_store(
        mut self,
        url: String,
        environment: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Self {
        self.store_url = url;
        self.environment = environment.into_iter().collect();
        self.interval = "200ms";
        self
    }

    /// Not more state than this is in memory.
    pub fn with_memory(mut self, memory: &'static str) -> Self {
        self.memory = Some(memory);
        self
    }

    fn job_file(&self, shop: &Shop) -> JobFile {
        let brokers = shop.kafka.brokers();
        let redis = |key: &str| json!({ "url": "${env:REDIS_URL}", "key": key });
        let mut job = JobFile::new(&self.name)
            .source("events", events(from_kafka(brokers, &shop.events_topic), "5s"))
            .source("profiles", profiles(from_kafka(brokers, &shop.profiles_topic)))
            .view("activity", ACTIVITY)
            .view("engagement", ENGAGEMENT)
            .view("customer", CUSTOMER)
            .view("segments", SEGMENTS)
            .sink(
                "hot",
                json!({ "from": "customer", "redis": redis(&format!("{}:customer:{{user_id}}", self.place)) }),
            )
            .sink(
                "totals",
                json!({ "from": "segments", "redis": redis(&format!("{}:segment:{{segment}}", self.place)) }),
            )
            .sink(
                "store",
                json!({ "from": "engagement", "dynamodb": {
                    "table": self.place, "endpoint": shop.dynamodb.endpoint(), "region": "us-east-1", "create_table": true,
                } }),
            )
;
        if self.appends {
            job = job
                .sink(
                    "history",
                    json!({ "from": "activity", "kafka": { "brokers": brokers, "topic": self.place } }),
                )
                .sink("log", json!({ "from": "activity", "files": self.file("activity") }))
                .key("dead_letter", json!({ "files": self.file("dead") }))
                .key("late", json!({ "files": self.file("late") }));
        }
        job
    }

    fn file(&self, name: &str) -> Value {
        json!({ "path": self.folder.path().join(format!("{name}.jsonl")) })
    }

    /// The command that runs it.
    pub fn command(&self, workers: usize) -> Command {
        let mut command = self
            .tidewright()
            .arg("run")
            .arg(self.folder.path().join(format!("{}.yaml", self.name)))
            .args(["--workers", &workers.to_string()])
            .args(["--checkpoint-store", &self.store_url])
            .args(["--set", &format!("checkpoint.interval={}", self.interval)])
            .args(["--summary", "json"])
            .env("RUST_LOG", "info")
            .env("REDIS_URL", &self.redis_url);
        if let Some(memory) = self.memory {
            command = command.args(["--set", &format!("state.memory={memory}")]);
        }
        command
    }

    /// Where a run that was started with [`Self::listening`] answers.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// As [`Self::command`], and it answers requests.
    pub fn listening(&self, workers: usize) -> Command {
        self.command(workers).arg("--socket").arg(self.socket())
    }

    /// A request to the run, such as `status`.
    pub fn ask(&self, request: &[&str]) -> Command {
        self.tidewright()
            .args(request)
            .args(["--output", "json", "--socket"])
            .arg(self.socket())
    }

    /// Any command, with what leads to the job's store.
    pub fn tidewright(&self) -> Command {
        let mut command = Command::tidewright(self.folder.path());
        for (name, value) in &self.environment {
            command = command.env(name, value);
        }
        command
    }

    /// What makes `tidewright submit` run it.
    pub fn submission(&self) -> Vec<String> {
        let file = self.folder.path().join(format!("{}.yaml", self.name));
        let set = |path: &str, value: &str| format!("--set={path}={value}");
        vec![
            file.to_str().unwrap().to_owned(),
            set("checkpoint.store", &self.store_url),
            set("checkpoint.interval", self.interval),
        ]
    }

    /// What is set there, as a request body has it.
    pub fn set(&self) -> Value {
        json!([
            { "path": "checkpoint.store", "value": self.store_url },
            { "path": "checkpoint.interval", "value": self.interval },
        ])
    }

    /// What its process finds in its environment.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut environment = self.environment.clone();
        environment.push(("REDIS_URL", self.redis_url.clone()));
        environment
    }

    /// Starts it and waits until it has claimed the job and begins.
    pub fn start(&self, workers: usize) -> Process {
        self.await_start(self.command(workers).start())
    }

    /// Waits until a started process has claimed the job and begins.
    pub fn await_start(&self, mut process: Process) -> Process {
        let opening = format!("job {}:", self.name);
        eventually(LIMIT, "the job begins", || {
            let begun = process.stderr().contains(&opening);
            assert!(
                begun || process.is_running(),
                "ended too early:\n{}",
                process.stderr()
            );
            begun.then_some(())
        });
        process
    }

    /// Runs it to the end of what has been produced.
    pub fn finish(&self) -> Process {
        let mut process = self.command(1).arg("--bounded").start();
        process.wait_for_success(LIMIT);
        process
    }

    /// Runs a command of it to the end of what has been produced, whatever comes of it.
    pub fn end(&self, command: Command) -> (Process, ExitStatus) {
        let mut process = command.arg("--bounded").start();
        let status = process.wait(LIMIT);
        (process, status)
    }

    /// What its stores hold now.
    pub fn contents(&self, shop: &Shop) -> Contents {
        let mut contents = Contents::default();
        contents.hashes("redis", &self.place, &shop.redis.hashes(&self.place));
        if shop.dynamodb.has_table(&self.place) {
            contents.hashes("dynamodb", "", &shop.dynamodb.items(&self.place));
        }
        if self.appends {
            contents.lines("kafka", shop.kafka.read_values(&self.place));
            for name in ["activity", "dead", "late"] {
                contents.file(name, &self.folder.path().join(format!("{name}.jsonl")));
            }
        }
        contents
    }

    /// The versions in its keyed stores, by key.
    pub fn versions(&self, shop: &Shop) -> Vec<(String, String)> {
        let hashes = shop.redis.hashes(&self.place);
        let items = shop.dynamodb.items(&self.place);
        let all = hashes.into_iter().chain(items);
        all.map(|(key, mut fields)| (key, fields.remove("_version").unwrap()))
            .collect()
    }

    /// The prefix of its keys in Redis.
    pub fn prefix(&self) -> &str {
        &self.place
    }

    /// The Redis server that it writes to.
    pub fn redis_url(&self) -> &str {
        &self.redis_url
    }

    /// Its checkpoint store, if that is a folder.
    pub fn store(&self) -> Arc<dyn CheckpointStore> {
        store::open(&store::job_url(&self.store_url, &self.name)).unwrap()
    }

    /// HEAD; `None` before the first claim.
    pub fn head(&self) -> Option<Head> {
        self.store().head().unwrap().map(|(head, _)| head)
    }

    /// The epoch of the last published checkpoint; 0 before the first one.
    pub fn durable_epoch(&self) -> u64 {
        self.head().map_or(0, |head| head.epoch.0)
    }

    /// The manifest that HEAD names.
    pub fn manifest(&self) -> Option<Manifest> {
        let store = self.store();
        // A manifest may be cleaned up between the two readings: then there is a newer one.
        eventually(LIMIT, "a manifest", || {
            let Some(name) = self.head().and_then(|head| head.manifest) else {
                return Some(None);
            };
            restore::load_manifest(&*store, &self.name, &name)
                .ok()
                .map(Some)
        })
    }

    /// Suspends a process of it at a moment when it holds no lock that its successor needs; that moment.
    pub fn suspend(&self, process: &Process) -> Instant {
        let checkpoints = self.store_url.strip_prefix("file://").unwrap();
        let mut locks = vec![format!("{checkpoints}/{}/.lock", self.name).into()];
        locks.extend(
            ["activity", "dead", "late"]
                .map(|name| self.folder.path().join(format!("{name}.jsonl"))),
        );
        eventually(LIMIT, "no lock is held", || {
            let since = Instant::now();
            process.suspend();
            // The signal takes effect at once for threads that run, and before they return to their work for the others.
            thread::sleep(Duration::from_millis(20));
            let held = locks
                .iter()
                .any(|path| File::open(path).is_ok_and(|file| file.try_lock().is_err()));
            if held {
                process.resume();
            }
            (!held).then_some(since)
        })
    }
}

const ACTIVITY: &str = "
    SELECT user_id, window_start, window_end, count(*) AS events,
           sum(price * quantity) FILTER (WHERE type = 'purchase') AS revenue
    FROM tumble(events, INTERVAL '10 seconds')
    GROUP BY user_id, window_start, window_end";

pub const ENGAGEMENT: &str = "
    SELECT user_id, count(*) AS events, count(*) FILTER (WHERE type = 'email_click') AS clicks, max(ts) AS last_seen
    FROM rolling(events, INTERVAL '5 minutes', INTERVAL '1 minute')
    GROUP BY user_id";

pub const CUSTOMER: &str = "
    SELECT p.user_id, p.email, p.segment, e.events, e.clicks, e.last_seen
    FROM profiles p LEFT JOIN engagement e ON p.user_id = e.user_id
    WHERE p.consent";

pub const SEGMENTS: &str = "
    SELECT segment, count(*) AS customers, sum(clicks) AS clicks
    FROM customer
    GROUP BY segment";
