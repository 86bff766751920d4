//! Writes the reference workload into Kafka and creates its topics.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Parser, Subcommand};
use tidewright_benches::{
    Result, exit,
    kafka::{Producer, Target, Timestamps, create_topic},
    workload::{
        events::{Event, Events},
        now_ms,
        pace::Pace,
        profiles::profiles,
        user_id,
    },
};

/// Writes the reference workload into Kafka, each record into its user's partition.
#[derive(Parser)]
struct Arguments {
    /// Bootstrap servers.
    #[arg(long, env = "KAFKA_BROKERS")]
    brokers: String,
    /// The same seed gives the same records.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// How batches are compressed.
    #[arg(long, default_value = "lz4")]
    compression: String,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Events at full speed, then eight sentinels an hour later. The topic must not exist yet.
    Events {
        #[arg(long)]
        count: u64,
        #[arg(long, default_value = "events")]
        topic: String,
    },
    /// All profiles. The topic must not exist yet.
    Profiles {
        #[arg(long, default_value = "profiles")]
        topic: String,
    },
    /// Events of now, at a steady rate.
    Live {
        /// Events a second.
        #[arg(long)]
        rate: u64,
        #[arg(long)]
        seconds: u64,
        #[arg(long, default_value = "live-events")]
        topic: String,
    },
}

fn main() -> ExitCode {
    exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let started = Instant::now();
    let target = match arguments.what {
        What::Live { .. } => Target::Latency,
        _ => Target::Throughput,
    };
    let mut producer = Producer::open(&arguments.brokers, target, &arguments.compression)?;
    match &arguments.what {
        What::Events { count, topic } => {
            create_new_topic(&arguments.brokers, topic)?;
            send_events(&mut producer, topic, *count, arguments.seed)?;
        }
        What::Profiles { topic } => {
            create_new_topic(&arguments.brokers, topic)?;
            send_profiles(&mut producer, topic, arguments.seed)?;
        }
        What::Live {
            rate,
            seconds,
            topic,
        } => {
            create_topic(&arguments.brokers, topic, Timestamps::OfAppend)?;
            send_live(&mut producer, topic, *rate, *seconds, arguments.seed)?;
        }
    }
    let sent = producer.flush()?;
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "sent {sent} records in {seconds:.1} s, {:.0} a second",
        sent as f64 / seconds
    );
    Ok(())
}

/// Records on top of others would make every result wrong.
fn create_new_topic(brokers: &str, topic: &str) -> Result<()> {
    match create_topic(brokers, topic, Timestamps::Given)? {
        true => Ok(()),
        false => Err(format!("topic {topic} exists already: name another, or delete it").into()),
    }
}

fn send_events(producer: &mut Producer, topic: &str, count: u64, seed: u64) -> Result<()> {
    let mut events = Events::new(seed);
    let mut json = Vec::new();
    let mut send = |event: &Event| -> Result<()> {
        event.write_json(&mut json)?;
        producer.send(topic, &user_id(event.user), &json, event.ts)
    };
    for _ in 0..count {
        send(&events.next_event())?;
    }
    events.sentinels().iter().try_for_each(send)
}

fn send_profiles(producer: &mut Producer, topic: &str, seed: u64) -> Result<()> {
    let mut json = Vec::new();
    for profile in profiles(seed) {
        let id = user_id(profile.user);
        profile.write_json(&id, &mut json)?;
        producer.send(topic, &id, &json, profile.updated_at)?;
    }
    Ok(())
}

fn send_live(
    producer: &mut Producer,
    topic: &str,
    rate: u64,
    seconds: u64,
    seed: u64,
) -> Result<()> {
    let mut events = Events::new(seed);
    let mut json = Vec::new();
    let mut pace = Pace::start(rate);
    let mut sent = 0;
    while sent < rate.saturating_mul(seconds) {
        for _ in 0..pace.due() {
            let mut event = events.next_event();
            event.ts = now_ms();
            event.write_json(&mut json)?;
            producer.send(topic, &user_id(event.user), &json, event.ts)?;
            sent += 1;
        }
        producer.poll()?;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
