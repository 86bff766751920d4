//! A job whose file changes: events and profiles from Kafka, a rolling view, a join of both, into Redis.

mod shadows;

use std::{cell::RefCell, collections::BTreeMap};

use serde_json::json;
use tempfile::TempDir;

use crate::{
    harness::{
        checkpoints::Checkpoints,
        eventually::eventually,
        input::{Events, Line, Profiles, START_MS, record},
        jobfile::{JobFile, events, from_kafka, profiles},
        kafka::{Kafka, Sender},
        process::{Command, Process},
        redis::{Hashes, Redis, require_redis},
        services::unique_name,
    },
    shop::LIMIT,
};

const PARTITIONS: u32 = 2;
const USERS: u64 = 20;
/// Where the job answers.
pub const SOCKET: &str = "tidewright-data/control.sock";

pub const RECENT: &str = "
    SELECT user_id, count(*) AS events
    FROM rolling(events, INTERVAL '7 days', INTERVAL '1 hour') GROUP BY user_id";
pub const RECENT_CLICKS: &str = "
    SELECT user_id, count(*) AS events, count(*) FILTER (WHERE type = 'email_click') AS clicks
    FROM rolling(events, INTERVAL '7 days', INTERVAL '1 hour') GROUP BY user_id";
pub const CUSTOMER: &str = "
    SELECT p.user_id, p.segment, r.events
    FROM profiles p LEFT JOIN recent r ON p.user_id = r.user_id";
pub const CUSTOMER_EMAIL: &str = "
    SELECT p.user_id, p.segment, p.email, r.events
    FROM profiles p LEFT JOIN recent r ON p.user_id = r.user_id";

/// A table that differential dataflow derives from a join.
pub const SEGMENTS: &str = "
    SELECT segment, count(*) AS customers, sum(events) AS events FROM customer GROUP BY segment";

/// What the job file says: views by name, sinks by name with their views and key columns.
#[derive(Clone, Debug)]
pub struct Says {
    pub views: Vec<(&'static str, &'static str)>,
    pub sinks: Vec<(&'static str, &'static str)>,
}

impl Says {
    /// The job as it is at first.
    pub fn at_first() -> Self {
        Self {
            views: vec![("recent", RECENT), ("customer", CUSTOMER)],
            sinks: vec![("hot", "customer")],
        }
    }

    /// With another text of a view, or one more.
    pub fn view(mut self, name: &'static str, sql: &'static str) -> Self {
        self.views.retain(|(view, _)| *view != name);
        self.views.push((name, sql));
        // Views come after those that they read.
        self.views.sort_by_key(|(view, _)| match *view {
            "customer" => 1,
            "segments" => 2,
            _ => 0,
        });
        self
    }

    /// With one more sink.
    pub fn sink(mut self, name: &'static str, from: &'static str) -> Self {
        self.sinks.push((name, from));
        self
    }

    /// Without a view and its sinks.
    pub fn without(mut self, view: &str) -> Self {
        self.views.retain(|(name, _)| *name != view);
        self.sinks.retain(|(_, from)| *from != view);
        self
    }
}

pub struct House {
    kafka: Kafka,
    redis: Redis,
    folder: TempDir,
    name: String,
    sender: Sender,
    events: RefCell<std::vec::IntoIter<Line>>,
    profiles: RefCell<std::vec::IntoIter<Line>>,
    produced: RefCell<i64>,
}

impl House {
    /// Topics with a profile of every user and some events; `None` if a server is absent and may be.
    pub fn open(prefix: &str) -> Option<Self> {
        let (kafka, redis) = (Kafka::require()?, require_redis()?);
        let name = unique_name(prefix);
        let events = Events {
            seed: 61,
            count: 20_000,
            users: USERS,
            ..Events::default()
        };
        let profiles = Profiles {
            seed: 61,
            users: USERS,
            changes: 200,
            ..Profiles::default()
        };
        for topic in ["events", "profiles"] {
            kafka.create_topic_named(&format!("{name}-{topic}"), PARTITIONS as i32);
        }
        let house = Self {
            sender: kafka.sender(),
            kafka,
            redis,
            folder: TempDir::new().unwrap(),
            name,
            events: RefCell::new(events.lines().into_iter()),
            profiles: RefCell::new(profiles.lines().into_iter()),
            produced: RefCell::new(0),
        };
        house.produce(200, USERS as usize);
        Some(house)
    }

    /// Produces so many more events and profiles.
    pub fn produce(&self, events: usize, profiles: usize) {
        let topics = [
            ("events", &self.events, events),
            ("profiles", &self.profiles, profiles),
        ];
        for (topic, lines, count) in topics {
            let lines: Vec<_> = lines.borrow_mut().by_ref().take(count).collect();
            assert_eq!(lines.len(), count, "the input is used up");
            let records = lines.iter().map(|line| record(line, PARTITIONS));
            self.sender.send(&format!("{}-{topic}", self.name), records);
        }
        *self.produced.borrow_mut() += (events + profiles) as i64;
    }

    /// Sends one profile, or its delete.
    pub fn profile(&self, user: &str, segment: Option<&str>) {
        let value = segment.map(|segment| {
            json!({ "user_id": user, "email": "x@mail.example", "segment": segment, "updated_at": 1 })
                .to_string()
        });
        let line = Line {
            key: user.to_owned(),
            value,
            time_ms: START_MS,
        };
        let topic = format!("{}-profiles", self.name);
        self.sender.send(&topic, [record(&line, PARTITIONS)]);
        *self.produced.borrow_mut() += 1;
    }

    fn store_url(&self) -> String {
        format!("file://{}/checkpoints", self.folder.path().display())
    }

    fn write(&self, job: &str, says: &Says) -> std::path::PathBuf {
        let topic = |name: &str| from_kafka(self.kafka.brokers(), &format!("{}-{name}", self.name));
        let mut file = JobFile::new(job)
            .source("events", events(topic("events"), "5s"))
            .source("profiles", profiles(topic("profiles")));
        for (name, sql) in &says.views {
            file = file.view(name, sql);
        }
        for (name, from) in &says.sinks {
            let columns = match *from {
                "segments" => "{segment}",
                "minutes" => "{user_id}:{window_start}",
                _ => "{user_id}",
            };
            let key = format!("{job}:{name}:{columns}");
            file = file.sink(
                name,
                json!({ "from": from, "redis": { "url": self.redis.url(), "key": key } }),
            );
        }
        file.key(
            "checkpoint",
            json!({ "interval": "20ms", "store": self.store_url(), "keep": 100_000 }),
        )
        .write(self.folder.path())
    }

    fn command(&self, job: &str, says: &Says, flags: &[&str]) -> Command {
        Command::tidewright(self.folder.path())
            .arg("run")
            .arg(self.write(job, says))
            .args(flags)
    }

    /// Runs a job file until everything that has been produced is in a checkpoint, and stops it.
    pub fn run(&self, says: &Says, flags: &[&str]) -> Process {
        self.run_as(&self.name, says, flags)
    }

    fn run_as(&self, job: &str, says: &Says, flags: &[&str]) -> Process {
        let command = self.command(job, says, flags);
        self.run_to_the_end(command, &Checkpoints::of(&self.store_url(), job))
    }

    fn run_to_the_end(&self, command: Command, checkpoints: &Checkpoints) -> Process {
        self.end_with_everything(command.start(), checkpoints)
    }

    fn end_with_everything(&self, mut process: Process, checkpoints: &Checkpoints) -> Process {
        self.await_everything(&mut process, checkpoints);
        process.terminate();
        process.wait_for_success(LIMIT);
        process
    }

    /// Waits for a new checkpoint of everything that has been produced.
    fn await_everything(&self, process: &mut Process, checkpoints: &Checkpoints) {
        let before = checkpoints.latest().map(|manifest| manifest.epoch);
        eventually(LIMIT, "a new checkpoint of everything", || {
            assert!(
                process.is_running(),
                "ended by itself:\n{}",
                process.stderr()
            );
            let latest = checkpoints.latest()?;
            let all = checkpoints.read() >= *self.produced.borrow();
            (all && Some(latest.epoch) > before).then_some(())
        });
    }

    /// Runs the job until it has everything, and stops it with a savepoint; where that is.
    pub fn savepoint(&self, says: &Says) -> String {
        let mut process = self.command(&self.name, says, &[]).start();
        self.await_everything(&mut process, &self.checkpoints());
        let place = format!("file://{}/savepoint", self.folder.path().display());
        Command::tidewright(self.folder.path())
            .args(["stop", &format!("--savepoint={place}")])
            .run(LIMIT);
        process.wait_for_success(LIMIT);
        place
    }

    /// Starts the job, to go on until somebody stops it.
    pub fn start(&self, says: &Says, flags: &[&str]) -> Process {
        let mut process = self.command(&self.name, says, flags).start();
        self.await_everything(&mut process, &self.checkpoints());
        process
    }

    /// Where another process of the job may answer.
    pub fn other_socket(&self) -> String {
        self.folder
            .path()
            .join("other.sock")
            .to_string_lossy()
            .into_owned()
    }

    /// Runs a command of this job that ends by itself.
    pub fn ends(&self, says: &Says, flags: &[&str], environment: Option<(&str, &str)>) -> Process {
        let mut command = self.command(&self.name, says, flags);
        if let Some((name, value)) = environment {
            command = command.env(name, value);
        }
        command.run(LIMIT)
    }

    /// Removes the first records of every partition of the events, as retention does.
    pub fn forget_events(&self) {
        for partition in 0..PARTITIONS as i32 {
            let topic = format!("{}-events", self.name);
            self.kafka.delete_records(&topic, partition, 5);
        }
    }

    /// A job file must be refused, before the job is taken from anybody; what is said.
    pub fn refused(&self, says: &Says, flags: &[&str]) -> String {
        let claim = self.checkpoints().claim();
        let log = self.refuses(self.command(&self.name, says, flags));
        assert_eq!(self.checkpoints().claim(), claim, "the job was claimed");
        log
    }

    fn refuses(&self, command: Command) -> String {
        let mut process = command.start();
        let status = process.wait(LIMIT);
        let log = process.stderr();
        assert_eq!(status.code(), Some(1), "{log}");
        log
    }

    pub fn checkpoints(&self) -> Checkpoints {
        Checkpoints::of(&self.store_url(), &self.name)
    }

    /// The rows of a sink, by user.
    pub fn rows(&self, sink: &str) -> BTreeMap<String, BTreeMap<String, String>> {
        self.rows_of(&self.name, sink)
    }

    fn rows_of(&self, place: &str, sink: &str) -> BTreeMap<String, BTreeMap<String, String>> {
        let prefix = format!("{place}:{sink}:");
        let hashes: Hashes = self.redis.hashes(&prefix);
        let live = hashes
            .into_iter()
            .filter(|(_, row)| !row.contains_key("_deleted"));
        live.map(|(key, mut row)| {
            row.retain(|name, _| !name.starts_with('_'));
            (key[prefix.len()..].to_owned(), row)
        })
        .collect()
    }

    /// The rows that a new job of the same file makes of everything that has been produced.
    pub fn undisturbed(
        &self,
        says: &Says,
        sink: &str,
    ) -> BTreeMap<String, BTreeMap<String, String>> {
        let job = unique_name("undisturbed");
        self.run_as(&job, says, &[]);
        let rows = self.rows_of(&job, sink);
        assert!(!rows.is_empty());
        rows
    }
}

/// A column of all rows, added up; absent ones count nothing.
pub fn sum(rows: &BTreeMap<String, BTreeMap<String, String>>, column: &str) -> u64 {
    let values = rows.values().filter_map(|row| row.get(column));
    values.map(|value| value.parse::<u64>().unwrap()).sum()
}
