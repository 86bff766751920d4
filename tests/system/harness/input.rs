//! Generated input: shop events and customer profiles as JSON lines, the same for the same description.
//!
//! The records have the fields of the `datagen` source, whose place they take where a test needs to hold its input in its
//! hands. They know nothing of what an engine accepts of them.

use std::{
    fs,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{
    kafka::{Kafka, Record},
    random::Random,
};

/// The default event time of the first record: 2026-01-01T00:00:00Z.
pub const START_MS: i64 = 1_767_225_600_000;
/// How far behind its place a late event is.
pub const LATE_BY_MS: i64 = 3_600_000;

pub const TYPES: [&str; 6] = [
    "page_view",
    "product_view",
    "email_open",
    "email_click",
    "add_to_cart",
    "purchase",
];
pub const CATEGORIES: [&str; 8] = [
    "shoes", "shirts", "phones", "books", "garden", "kitchen", "toys", "food",
];
pub const SEGMENTS: [&str; 5] = ["new", "loyal", "vip", "bargain", "inactive"];
const COUNTRIES: [&str; 6] = ["DE", "AT", "CH", "FR", "IT", "ES"];
const DEVICES: [&str; 3] = ["mobile", "desktop", "tablet"];

/// One record, before it has a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The user: records of a key stay in one split, in order.
    pub key: String,
    /// One line of JSON, or of nonsense where asked for; `None` deletes a profile.
    pub value: Option<String>,
    /// The event time; of nonsense the time that its place would have given it.
    pub time_ms: i64,
}

/// Shop events. `Events::default()` is a thousand events of 50 users, in order, all of them good.
#[derive(Clone, Debug)]
pub struct Events {
    pub seed: u64,
    pub count: u64,
    /// Heavy-tailed: the share of the user of rank r falls like 1/r.
    pub users: u64,
    /// Event time of the first record.
    pub start_ms: i64,
    /// Event time from one record to the next.
    pub spacing_ms: i64,
    /// Event times lag behind their place by up to this much: within a job's bound if that is not smaller.
    pub disorder_ms: u64,
    /// Share of records that lag by [`LATE_BY_MS`] more.
    pub late: f64,
    /// Share of records that cannot be decoded.
    pub malformed: f64,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            seed: 1,
            count: 1_000,
            users: 50,
            start_ms: START_MS,
            spacing_ms: 250,
            disorder_ms: 0,
            late: 0.0,
            malformed: 0.0,
        }
    }
}

impl Events {
    /// The events, in the order of their places.
    pub fn lines(&self) -> Vec<Line> {
        let mut random = Random::new(self.seed);
        (0..self.count)
            .map(|number| self.line(number, &mut random))
            .collect()
    }

    fn line(&self, number: u64, random: &mut Random) -> Line {
        let key = user_id(skewed(self.users, random));
        let mut time_ms = self.start_ms + number as i64 * self.spacing_ms;
        time_ms -= random.below(self.disorder_ms + 1) as i64;
        if random.chance(self.late) {
            time_ms -= LATE_BY_MS;
        }
        let good = event_json(self.seed, number, &key, time_ms, random);
        let value = if random.chance(self.malformed) {
            spoil(&good, random)
        } else {
            good
        };
        Line {
            key,
            value: Some(value),
            time_ms,
        }
    }
}

fn event_json(seed: u64, number: u64, user: &str, time_ms: i64, random: &mut Random) -> String {
    let product = random.below(2_000);
    let cents = 199 + random.below(19_800);
    // Text, not `json!`: prices keep both digits, fields their order.
    format!(
        concat!(
            r#"{{"event_id":"e{}-{}","user_id":"{}","type":"{}","ts":{},"session_id":"s{:06}","product_id":"p{:04}","#,
            r#""category":"{}","price":{}.{:02},"quantity":{},"campaign_id":"c{:03}","#,
            r#""url":"https://shop.example/p/p{:04}","device":"{}","country":"{}"}}"#
        ),
        seed,
        number,
        user,
        random.pick(&TYPES),
        time_ms,
        random.below(1_000_000),
        product,
        CATEGORIES[(product % CATEGORIES.len() as u64) as usize],
        cents / 100,
        cents % 100,
        1 + random.below(3),
        random.below(200),
        product,
        random.pick(&DEVICES),
        random.pick(&COUNTRIES),
    )
}

/// Three ways in which a record can't be decoded. None of them is an empty line, which a file may well contain.
fn spoil(good: &str, random: &mut Random) -> String {
    match random.below(3) {
        0 => good[..good.len() / 2].to_owned(),
        1 => "not JSON at all".to_owned(),
        _ => good.replace(r#""ts":"#, r#""ts":"yesterday","was":"#),
    }
}

/// Profiles of users 0 to `users`: one each, in order, then `changes` more of random users.
#[derive(Clone, Debug)]
pub struct Profiles {
    pub seed: u64,
    pub users: u64,
    pub changes: u64,
    /// Share of the changes that delete.
    pub deletes: f64,
    /// `updated_at` of the first record; each one after it is a millisecond later.
    pub start_ms: i64,
}

impl Default for Profiles {
    fn default() -> Self {
        Self {
            seed: 1,
            users: 50,
            changes: 20,
            deletes: 0.0,
            start_ms: START_MS - LATE_BY_MS,
        }
    }
}

impl Profiles {
    /// The profiles, in order.
    pub fn lines(&self) -> Vec<Line> {
        let mut random = Random::new(self.seed ^ 0x0070_726F_6669_6C65);
        (0..self.users + self.changes)
            .map(|number| {
                let change = number >= self.users;
                let user = if change {
                    random.below(self.users)
                } else {
                    number
                };
                let time_ms = self.start_ms + number as i64;
                let value = profile_json(user, time_ms, &mut random);
                Line {
                    key: user_id(user),
                    value: (!(change && random.chance(self.deletes))).then_some(value),
                    time_ms,
                }
            })
            .collect()
    }
}

fn profile_json(user: u64, updated_at: i64, random: &mut Random) -> String {
    json!({
        "user_id": user_id(user),
        "email": format!("user{user}@mail.example"),
        "first_name": format!("Name{}", user % 500),
        "country": random.pick(&COUNTRIES),
        "segment": random.pick(&SEGMENTS),
        "consent": random.chance(0.7),
        "updated_at": updated_at,
    })
    .to_string()
}

/// The id of the user with this number.
pub fn user_id(number: u64) -> String {
    format!("u{number:07}")
}

/// A rank whose probability falls like 1/rank: the inverse of Zipf's distribution in its continuous form.
fn skewed(users: u64, random: &mut Random) -> u64 {
    let rank = (users as f64 + 1.0).powf(random.fraction());
    (rank as u64 - 1).min(users - 1)
}

/// The split of a key: FNV-1a (Fowler, Noll and Vo), which is the same everywhere.
pub fn split_of(key: &str, splits: u32) -> u32 {
    let hash = key.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    (hash % u64::from(splits)) as u32
}

/// Writes lines into `splits` files `NAME-0.jsonl`, ... of a folder, and returns their paths.
///
/// # Panics
/// On a line without value: a file cannot say "delete". If a file cannot be written.
pub fn write_files(lines: &[Line], folder: &Path, name: &str, splits: u32) -> Vec<PathBuf> {
    fs::create_dir_all(folder).unwrap();
    let paths: Vec<_> = (0..splits)
        .map(|split| folder.join(format!("{name}-{split}.jsonl")))
        .collect();
    let mut files: Vec<_> = paths
        .iter()
        .map(|path| BufWriter::new(fs::File::create(path).unwrap()))
        .collect();
    for line in lines {
        let value = line.value.as_ref().expect("files cannot hold deletes");
        writeln!(files[split_of(&line.key, splits) as usize], "{value}").unwrap();
    }
    for mut file in files {
        file.flush().unwrap();
    }
    paths
}

/// Sends lines to the partitions of a topic, each with its key and its time as the record's timestamp.
pub fn produce(lines: &[Line], kafka: &Kafka, topic: &str, partitions: u32) {
    kafka.produce(topic, lines.iter().map(|line| record(line, partitions)));
}

/// The record of a line in a topic with this many partitions.
pub fn record(line: &Line, partitions: u32) -> Record {
    Record {
        partition: split_of(&line.key, partitions) as i32,
        key: Some(line.key.clone()),
        value: line.value.clone(),
        timestamp_ms: Some(line.time_ms),
    }
}
