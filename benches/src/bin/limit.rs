//! The hand-written program: R1 or R2 over Kafka without fault tolerance.
//!
//! It shows what this machine can do: librdkafka's batch calls, a typed JSON parser that skips what it does not need, a
//! hash map per minute, no exchange between threads, since a user's records are in one partition of every topic.
//! Results are handed to the optimiser's black box and added up, never written.

use std::{hint::black_box, process::ExitCode, time::Instant};

use clap::{Parser, ValueEnum};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use tidewright_benches::{
    Error, Result, exit,
    kafka::{BatchReader, Record},
    totals::{Totals, cents},
    usage::usage,
    windows::{Activity, MinuteWindows},
    workload::PARTITIONS,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs R1 or R2 by hand, to the ends that the topics have at the start, and prints one JSON object.
#[derive(Parser)]
struct Arguments {
    /// Which query.
    query: Query,
    /// Bootstrap servers.
    #[arg(long, env = "KAFKA_BROKERS")]
    brokers: String,
    /// Threads; the partitions are dealt out to them.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=i64::from(PARTITIONS)))]
    threads: u32,
    #[arg(long, default_value = "events")]
    topic: String,
    /// For R2.
    #[arg(long, default_value = "profiles")]
    profiles_topic: String,
    /// A further setting of librdkafka. May be repeated.
    #[arg(long = "property", value_name = "NAME=VALUE", value_parser = parse_property)]
    properties: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Query {
    /// Count, purchases and revenue per user and minute.
    R1,
    /// R1 joined with the profile, of those who consent.
    R2,
}

#[derive(Serialize)]
struct Report {
    query: Query,
    threads: u32,
    events: u64,
    events_per_second: f64,
    wall_seconds: f64,
    cpu_seconds: f64,
    cpu_us_per_event: f64,
    peak_rss_bytes: u64,
    totals: Totals,
}

/// The fields that the queries need.
#[derive(Deserialize)]
struct Event<'a> {
    user_id: &'a str,
    r#type: &'a str,
    ts: i64,
    price: f64,
    quantity: u32,
}

#[derive(Deserialize)]
struct Profile<'a> {
    user_id: &'a str,
    segment: &'a str,
    consent: bool,
}

/// The segments of the users who consent.
type Segments = HashMap<Box<str>, Box<str>>;

fn main() -> ExitCode {
    exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let started = Instant::now();
    let (mut events, mut totals) = (0, Totals::default());
    for part in run_threads(arguments)? {
        events += part.events;
        totals += part.totals;
    }
    let wall_seconds = started.elapsed().as_secs_f64();
    let usage = usage()?;
    let report = Report {
        query: arguments.query,
        threads: arguments.threads,
        events,
        events_per_second: events as f64 / wall_seconds,
        wall_seconds,
        cpu_seconds: usage.cpu_seconds,
        cpu_us_per_event: usage.cpu_seconds * 1e6 / events as f64,
        peak_rss_bytes: usage.peak_rss_bytes,
        totals,
    };
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

fn run_threads(arguments: &Arguments) -> Result<Vec<Part>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..arguments.threads)
            .map(|thread| {
                let dealt = (thread..PARTITIONS).step_by(arguments.threads as usize);
                let partitions: Vec<i32> = dealt.map(u32::cast_signed).collect();
                scope.spawn(move || Part::run(arguments, &partitions))
            })
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<Part>>| {
            thread
                .join()
                .unwrap_or_else(|_| Err("a thread panicked".into()))
        };
        threads.into_iter().map(join).collect()
    })
}

/// What one thread came to.
#[derive(Default)]
struct Part {
    events: u64,
    totals: Totals,
}

impl Part {
    fn run(arguments: &Arguments, partitions: &[i32]) -> Result<Self> {
        let open =
            |topic| BatchReader::open(&arguments.brokers, topic, partitions, &arguments.properties);
        let segments = match arguments.query {
            Query::R1 => None,
            Query::R2 => Some(read_segments(open(&arguments.profiles_topic)?)?),
        };
        let mut part = Self::default();
        let mut windows = MinuteWindows::new(partitions.iter().copied());
        let mut reader = open(&arguments.topic)?;
        while reader.next_batch(|record| {
            part.events += 1;
            count(&mut windows, record)
        })? {
            windows.close(|start, user, row| emit(&mut part.totals, &segments, start, user, row));
        }
        windows.finish(|start, user, row| emit(&mut part.totals, &segments, start, user, row));
        Ok(part)
    }
}

fn count(windows: &mut MinuteWindows, record: Record<'_>) -> Result<()> {
    let event: Event<'_> = sonic_rs::from_slice(record.value)?;
    let paid = (event.r#type == "purchase").then(|| event.price * f64::from(event.quantity));
    windows.add(record.partition, event.user_id, event.ts, paid);
    Ok(())
}

fn emit(
    totals: &mut Totals,
    segments: &Option<Segments>,
    start_ms: i64,
    user: &str,
    row: &Activity,
) {
    let segment = match segments {
        None => None,
        Some(segments) => match segments.get(user) {
            None => return,
            found => found,
        },
    };
    black_box((start_ms, user, row, segment));
    totals.add_row(row.events, row.purchases, cents(row.revenue));
}

fn read_segments(mut reader: BatchReader) -> Result<Segments> {
    let mut segments = Segments::new();
    while reader.next_batch(|record| {
        let profile: Profile<'_> = sonic_rs::from_slice(record.value)?;
        if profile.consent {
            segments.insert(profile.user_id.into(), profile.segment.into());
        } else {
            segments.remove(profile.user_id);
        }
        Ok(())
    })? {}
    Ok(segments)
}

fn parse_property(text: &str) -> std::result::Result<(String, String), Error> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
