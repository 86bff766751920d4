//! Generated input: shop events with everything that real ones have - disorder, ties, nulls, late and broken records.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
};

use serde_json::{Map, Value, json};

use crate::harness::{
    input::{CATEGORIES, SEGMENTS, START_MS, TYPES, split_of, user_id},
    random::Random,
};

/// Event time from one event to the next, about.
const SPACING_MS: i64 = 300;
/// Event times are multiples of this, so that many are equal.
const GRID_MS: i64 = 100;
const HOUR_MS: i64 = 3_600_000;
const COUNTRIES: [&str; 6] = ["DE", "AT", "CH", "FR", "IT", "ES"];

/// A description of the whole input; the same one gives the same bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    pub seed: u64,
    pub events: u64,
    pub users: u64,
    /// Files of each source.
    pub splits: u32,
    /// Event times lag behind their place by up to this much; the declared bound is 5 s.
    pub disorder_ms: u64,
    /// Share of events that lag by up to an hour more.
    pub late: f64,
    /// Share of records that cannot be decoded.
    pub malformed: f64,
}

/// One line for a split.
struct Line {
    split: u32,
    bytes: Vec<u8>,
}

impl Input {
    /// Writes the files of every source of [`super::relations::sources`] below a folder.
    pub fn write(&self, folder: &Path) {
        let mut random = Random::new(self.seed);
        self.write_source(folder, "events", self.event_lines(&mut random));
        self.write_source(folder, "orders", self.order_lines(&mut random));
        self.write_source(folder, "profiles", self.profile_lines(&mut random));
        self.write_source(folder, "accounts", self.account_lines(&mut random));
        let categories = CATEGORIES.iter().skip(1).enumerate();
        let categories = categories.map(|(at, category)| {
            let floor = at as i64 % 3;
            json!({ "category": category, "department": format!("d{floor}"), "floor": floor })
        });
        self.write_source(folder, "categories", self.keyed(categories, "category"));
        let stores = (0..self.users / 3 + 3).map(|number| {
            let country = random.pick(&COUNTRIES[1..]);
            let size = random.below(900) as i64;
            json!({ "store_id": format!("s{number}"), "country": country, "size": size })
        });
        let stores: Vec<_> = stores.collect();
        self.write_source(folder, "stores", self.keyed(stores, "store_id"));
    }

    fn write_source(&self, folder: &Path, name: &str, lines: Vec<Line>) {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).unwrap();
        let create = |split| File::create(folder.join(format!("{name}-{split}.jsonl"))).unwrap();
        let mut files: Vec<_> = (0..self.splits)
            .map(|split| BufWriter::new(create(split)))
            .collect();
        for line in lines {
            let file = &mut files[line.split as usize];
            file.write_all(&line.bytes).unwrap();
            file.write_all(b"\n").unwrap();
        }
        for mut file in files {
            file.flush().unwrap();
        }
    }

    fn keyed(&self, records: impl IntoIterator<Item = Value>, key: &str) -> Vec<Line> {
        let line = |record: Value| Line {
            split: split_of(record[key].as_str().unwrap(), self.splits),
            bytes: record.to_string().into_bytes(),
        };
        records.into_iter().map(line).collect()
    }

    /// A line now and then takes another form: broken, empty, or with the fields in another order.
    fn finish(&self, user: &str, record: Map<String, Value>, random: &mut Random) -> Line {
        let bytes = if random.chance(self.malformed) {
            spoil(record, random)
        } else if random.chance(0.05) {
            let turned: Map<String, Value> = record.into_iter().rev().collect();
            Value::Object(turned).to_string().into_bytes()
        } else if random.chance(0.01) {
            format!("\n{}\r", Value::Object(record)).into_bytes()
        } else {
            Value::Object(record).to_string().into_bytes()
        };
        Line {
            split: split_of(user, self.splits),
            bytes,
        }
    }

    /// The time of a place in a stream, with disorder and lateness.
    fn time(&self, number: u64, random: &mut Random) -> i64 {
        let mut time = START_MS + number as i64 * SPACING_MS;
        time -= random.below(self.disorder_ms + 1) as i64;
        if random.chance(self.late) {
            // Most are late for a minute's window, few for the longest.
            let most = *random.pick(&[20_000, 120_000, 120_000, 900_000, HOUR_MS]);
            time -= random.below(most as u64) as i64;
        }
        time - time.rem_euclid(GRID_MS)
    }

    fn event_lines(&self, random: &mut Random) -> Vec<Line> {
        let event = |number| {
            let user = skewed_user(self.users, random);
            let category = *random.pick(&CATEGORIES);
            let mut time = self.time(number, random);
            if number > 300 && random.chance(self.malformed / 10.0) {
                time += 72 * HOUR_MS;
            }
            let mut record = Map::new();
            let mut put = |name: &str, value: Value| drop(record.insert(name.to_owned(), value));
            put("event_id", json!(format!("e{number}")));
            put("user_id", json!(user));
            put("type", json!(random.pick(&TYPES)));
            put("ts", json!(time));
            put("session_id", json!(format!("unused{}", random.below(99))));
            put("category", maybe(json!(category), 0.03, random));
            let cents = random.below(100_000) as i64 - 500;
            put("price", maybe(json!(cents as f64 / 100.0), 0.08, random));
            put("quantity", maybe(json!(random.below(5)), 0.05, random));
            let weight = (random.below(2_000) as f64 - 400.0) / 7.0;
            put("weight", maybe(json!(weight), 0.1, random));
            let halves = random.below(400) as f64 / 2.0;
            put("score", json!(halves));
            put(
                "rank",
                maybe(json!(random.below(1_000) as i64 - 500), 0.1, random),
            );
            put("mobile", maybe(json!(random.chance(0.5)), 0.1, random));
            let referrer = skewed_user(self.users * 2, random);
            put("referrer", maybe(json!(referrer), 0.5, random));
            self.finish(&user, record, random)
        };
        (0..self.events).map(event).collect()
    }

    fn order_lines(&self, random: &mut Random) -> Vec<Line> {
        let order = |number| {
            let user = skewed_user(self.users, random);
            let mut record = Map::new();
            record.insert("buyer".to_owned(), json!(user));
            let time = self.time(number * 4, random);
            record.insert("placed".to_owned(), json!(time));
            let cents = random.below(100_000) as f64;
            record.insert("amount".to_owned(), json!(cents / 100.0));
            self.finish(&user, record, random)
        };
        (0..self.events / 5).map(order).collect()
    }

    /// Every user has had a profile; a part of them is deleted again, or deleted and made anew.
    fn profile_lines(&self, random: &mut Random) -> Vec<Line> {
        let profile = |number: u64| {
            let change = number >= self.users;
            let user = user_id(if change {
                random.below(self.users)
            } else {
                number
            });
            let mut record = Map::new();
            record.insert("user_id".to_owned(), json!(user));
            if change && random.chance(0.25) {
                record.insert("_delete".to_owned(), json!(true));
            } else {
                let mut put =
                    |name: &str, value: Value| drop(record.insert(name.to_owned(), value));
                put(
                    "segment",
                    maybe(json!(random.pick(&SEGMENTS)), 0.05, random),
                );
                put(
                    "country",
                    maybe(json!(random.pick(&COUNTRIES)), 0.1, random),
                );
                put(
                    "favourite",
                    maybe(json!(random.pick(&CATEGORIES)), 0.1, random),
                );
                put("consent", maybe(json!(random.chance(0.7)), 0.05, random));
                let cents = random.below(1_000_000) as f64 - 9_000.0;
                put("credit", json!(cents / 100.0));
                put("trust", json!(random.below(1_000) as f64 / 9.0));
            }
            self.finish(&user, record, random)
        };
        (0..self.users * 3).map(profile).collect()
    }

    /// Half of the users, and some that have no profile.
    fn account_lines(&self, random: &mut Random) -> Vec<Line> {
        let account = |number: u64| {
            let user = user_id(number % self.users * 2);
            let mut record = Map::new();
            record.insert("user_id".to_owned(), json!(user));
            if random.chance(0.15) {
                record.insert("_delete".to_owned(), json!(true));
            } else {
                let plan = *random.pick(&["free", "team", "firm"]);
                record.insert("plan".to_owned(), json!(plan));
                record.insert("seats".to_owned(), json!(1 + random.below(50)));
            }
            self.finish(&user, record, random)
        };
        (0..self.users * 2).map(account).collect()
    }
}

fn maybe(value: Value, null: f64, random: &mut Random) -> Value {
    if random.chance(null) {
        Value::Null
    } else {
        value
    }
}

/// The user of rank r comes about as often as 1/r.
fn skewed_user(users: u64, random: &mut Random) -> String {
    let rank = (users as f64 + 1.0).powf(random.fraction()) as u64 - 1;
    user_id(rank.min(users - 1))
}

/// Ways in which a record can be useless.
fn spoil(mut record: Map<String, Value>, random: &mut Random) -> Vec<u8> {
    let good = Value::Object(record.clone()).to_string();
    match random.below(6) {
        0 => good.as_bytes()[..good.len() / 2].to_vec(),
        1 => b"not JSON at all".to_vec(),
        2 => format!("{good} and more").into_bytes(),
        3 => [&[b'{', b'"', 0xff, b'"', b':'], good.as_bytes(), b"}"].concat(),
        4 => b"[1, 2, 3]".to_vec(),
        _ => {
            // Fields that a view uses, and not text, which may hold anything.
            for name in ["ts", "placed", "consent", "seats"] {
                if let Some(value) = record.get_mut(name) {
                    *value = json!({ "wrong": "type" });
                    return Value::Object(record).to_string().into_bytes();
                }
            }
            b"null".to_vec()
        }
    }
}
