//! Measures how long after its append an event shows in Redis, under a steady load.
//!
//! ```text
//!  load thread     events at a rate, in between a probe every 20 ms ─▶ Kafka ─▶ the job ─▶ Redis
//!  poll thread     reads the rows of the probe users whose probes are on their way ◀────────┘
//! ```
//! One probe user per partition, with names that no other run has. All clocks are of one machine.

use std::{
    process::ExitCode,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use clap::Parser;
use serde::Serialize;
use tidewright_benches::{
    Result, exit,
    kafka::{Producer, Target, Timestamps, create_topic},
    probes::{ProbeReport, Probes, Visible},
    workload::{
        PARTITIONS, events::Events, now_ms, pace::Pace, partition::partition, profiles::Profile,
        user_id,
    },
};

/// Sends events at a rate with probes among them, and prints as JSON how long the probes took to show in Redis.
#[derive(Parser)]
struct Arguments {
    /// Bootstrap servers.
    #[arg(long, env = "KAFKA_BROKERS")]
    brokers: String,
    /// The Redis server, as a URL.
    #[arg(long, env = "REDIS_URL")]
    redis: String,
    #[arg(long, default_value = "live-events")]
    topic: String,
    #[arg(long, default_value = "profiles")]
    profiles_topic: String,
    /// The key of a user's row; `{user_id}` stands for the user.
    #[arg(long, default_value = "profile:{user_id}")]
    key: String,
    /// The field of the row that counts the user's events.
    #[arg(long, default_value = "events")]
    field: String,
    /// Events a second.
    #[arg(long, default_value_t = 20_000)]
    rate: u64,
    /// How long the load runs before probes count.
    #[arg(long, default_value_t = 10)]
    warm_up_seconds: u64,
    /// How long probes count.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Time between two probes.
    #[arg(long, default_value_t = 20)]
    probe_every_ms: u64,
    /// Pause between two looks at Redis; part of what is measured.
    #[arg(long, default_value_t = 500)]
    poll_every_us: u64,
    /// How long the first and the last probes may take.
    #[arg(long, default_value_t = 60)]
    patience_seconds: u64,
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

#[derive(Serialize)]
struct Report {
    events: u64,
    events_per_second: f64,
    #[serde(flatten)]
    probes: ProbeReport,
}

fn main() -> ExitCode {
    exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    create_topic(&arguments.brokers, &arguments.topic, Timestamps::OfAppend)?;
    create_topic(
        &arguments.brokers,
        &arguments.profiles_topic,
        Timestamps::Given,
    )?;
    let users = probe_users();
    let probes = Mutex::new(Probes::of(users.len()));
    let done = AtomicBool::new(false);
    let (events, seconds) = thread::scope(|scope| {
        let poller = scope.spawn(|| {
            let polled = poll(arguments, &users, &probes, &done);
            done.store(true, Ordering::Relaxed);
            polled
        });
        let load = Load::run(arguments, &users, &probes, &done);
        done.store(true, Ordering::Relaxed);
        poller
            .join()
            .unwrap_or_else(|_| Err("the poll thread panicked".into()))?;
        load
    })?;
    let report = Report {
        events,
        events_per_second: events as f64 / seconds,
        probes: locked(&probes).report(),
    };
    println!("{}", serde_json::to_string(&report)?);
    match report.probes.lost {
        0 => Ok(()),
        lost => Err(format!("{lost} probes were never seen").into()),
    }
}

/// A user per partition. The time makes them new, so that their counts begin at zero.
fn probe_users() -> Vec<String> {
    let run = now_ms();
    let user_of = |wanted: i32| {
        let names = (0u32..).map(|number| format!("probe-{run}-{number}"));
        names
            .into_iter()
            .find(|name| partition(name.as_bytes()) == wanted)
            .unwrap_or_default()
    };
    (0..PARTITIONS.cast_signed()).map(user_of).collect()
}

/// What the load thread works with.
struct Load<'a> {
    arguments: &'a Arguments,
    users: &'a [String],
    probes: &'a Mutex<Probes>,
    /// Set when the poll thread has failed.
    done: &'a AtomicBool,
    producer: Producer,
    events: Events,
    json: Vec<u8>,
}

impl<'a> Load<'a> {
    /// Sends everything; tells how many events and in how many seconds.
    fn run(
        arguments: &'a Arguments,
        users: &'a [String],
        probes: &'a Mutex<Probes>,
        done: &'a AtomicBool,
    ) -> Result<(u64, f64)> {
        let mut load = Self {
            arguments,
            users,
            probes,
            done,
            producer: Producer::open(&arguments.brokers, Target::Latency, "none")?,
            events: Events::new(arguments.seed),
            json: Vec::new(),
        };
        load.send_profiles()?;
        load.await_first_probes()?;
        let sent = load.send_load()?;
        load.await_visible("the last probes")?;
        // A record may be seen in Redis before the broker's answer about it is here.
        load.producer.flush()?;
        load.take_answers()?;
        Ok(sent)
    }

    fn send_profiles(&mut self) -> Result<()> {
        let profile = Profile::consenting(now_ms());
        for user in self.users {
            profile.write_json(user.as_bytes(), &mut self.json)?;
            let topic = &self.arguments.profiles_topic;
            self.producer
                .send(topic, user.as_bytes(), &self.json, profile.updated_at)?;
        }
        self.producer.flush()?;
        Ok(())
    }

    /// The job is there when it has answered a probe in every partition.
    fn await_first_probes(&mut self) -> Result<()> {
        for user in 0..self.users.len() {
            self.send_probe(user, false)?;
        }
        self.await_visible("the first probes")
    }

    fn send_load(&mut self) -> Result<(u64, f64)> {
        let warm_up = Duration::from_secs(self.arguments.warm_up_seconds);
        let end = warm_up + Duration::from_secs(self.arguments.seconds);
        let mut load = Pace::start(self.arguments.rate);
        let mut next_probe = Duration::ZERO;
        let (mut events, mut probes) = (0, 0);
        let started = Instant::now();
        while started.elapsed() < end && !self.done.load(Ordering::Relaxed) {
            for _ in 0..load.due() {
                self.send_event()?;
                events += 1;
            }
            if started.elapsed() >= next_probe {
                self.send_probe(probes % self.users.len(), started.elapsed() >= warm_up)?;
                probes += 1;
                next_probe += Duration::from_millis(self.arguments.probe_every_ms);
            }
            self.take_answers()?;
            thread::sleep(Duration::from_millis(1));
        }
        Ok((events, started.elapsed().as_secs_f64()))
    }

    fn send_event(&mut self) -> Result<()> {
        let mut event = self.events.next_event();
        event.ts = now_ms();
        event.write_json(&mut self.json)?;
        self.producer.send(
            &self.arguments.topic,
            &user_id(event.user),
            &self.json,
            event.ts,
        )
    }

    fn send_probe(&mut self, user: usize, measured: bool) -> Result<()> {
        let mut event = self.events.next_event();
        event.ts = now_ms();
        let id = self.users[user].as_bytes();
        event.write_json_for(id, &mut self.json)?;
        let tag = locked(self.probes).sent(user, measured);
        self.producer
            .send_watched(&self.arguments.topic, id, &self.json, event.ts, tag)
    }

    fn take_answers(&self) -> Result<()> {
        self.producer.poll()?;
        for appended in self.producer.appended() {
            locked(self.probes).appended(appended);
        }
        Ok(())
    }

    fn await_visible(&self, what: &str) -> Result<()> {
        let patience = Duration::from_secs(self.arguments.patience_seconds);
        let started = Instant::now();
        while !locked(self.probes).outstanding().is_empty() {
            if self.done.load(Ordering::Relaxed) {
                return Err("Redis cannot be read".into());
            }
            if started.elapsed() > patience {
                let seconds = patience.as_secs();
                return Err(format!("{what} did not show in Redis within {seconds} s").into());
            }
            self.take_answers()?;
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// Reads the rows of the users that probes are on their way to, again and again.
fn poll(
    arguments: &Arguments,
    users: &[String],
    probes: &Mutex<Probes>,
    done: &AtomicBool,
) -> Result<()> {
    let mut connection = redis::Client::open(arguments.redis.as_str())?.get_connection()?;
    let keys: Vec<_> = users
        .iter()
        .map(|user| arguments.key.replace("{user_id}", user))
        .collect();
    while !done.load(Ordering::Relaxed) {
        let outstanding = locked(probes).outstanding();
        if !outstanding.is_empty() {
            let mut pipeline = redis::pipe();
            for user in &outstanding {
                pipeline.hget(&keys[*user], &arguments.field);
            }
            let counts: Vec<Option<usize>> = pipeline.query(&mut connection)?;
            let now = now();
            let mut probes = locked(probes);
            for (user, count) in outstanding.into_iter().zip(counts) {
                probes.seen(user, count.unwrap_or(0), now);
            }
        }
        thread::sleep(Duration::from_micros(arguments.poll_every_us));
    }
    Ok(())
}

fn now() -> Visible {
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Visible {
        at: Instant::now(),
        wall_ms: wall.as_secs_f64() * 1_000.0,
    }
}

/// Nothing that holds this lock leaves anything half done.
fn locked(probes: &Mutex<Probes>) -> MutexGuard<'_, Probes> {
    probes.lock().unwrap_or_else(PoisonError::into_inner)
}
