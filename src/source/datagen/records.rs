//! The generated records: each a pure function of (seed, split, number).

use std::io::Write;

use tidewright_jobs::job::{DatagenConfig, DatagenKind};

/// Event time between two records when no rate is given, in milliseconds, as for 10,000 records per second.
const STEP_MS_DEFAULT: f64 = 0.1;
/// How much too late a late record comes, in milliseconds.
const LATE_MS: i64 = 60 * 60 * 1_000;
const PRODUCTS: u64 = 5_000;

/// Event types with their share in a thousand.
const EVENT_TYPES: [(&str, u64); 6] = [
    ("page_view", 450),
    ("product_view", 250),
    ("email_open", 120),
    ("email_click", 50),
    ("add_to_cart", 80),
    ("purchase", 50),
];
const DEVICES: [&str; 3] = ["mobile", "desktop", "tablet"];
const COUNTRIES: [&str; 8] = ["DE", "FR", "US", "GB", "NL", "ES", "IT", "PL"];
const SEGMENTS: [&str; 5] = ["new", "active", "loyal", "vip", "lapsed"];
const FIRST_NAMES: [&str; 16] = [
    "Ada", "Ben", "Clara", "David", "Elif", "Finn", "Greta", "Hugo", "Ines", "Jonas", "Kira",
    "Luca", "Maya", "Noah", "Olga", "Paul",
];
/// Names of the categories `cat0`, `cat1`, and so on.
pub(super) const CATEGORIES: [&str; 40] = [
    "Shoes",
    "Shirts",
    "Dresses",
    "Jackets",
    "Jeans",
    "Hats",
    "Bags",
    "Watches",
    "Jewellery",
    "Sunglasses",
    "Sportswear",
    "Swimwear",
    "Lingerie",
    "Kids",
    "Toys",
    "Books",
    "Games",
    "Music",
    "Films",
    "Phones",
    "Laptops",
    "Cameras",
    "Headphones",
    "Televisions",
    "Kitchen",
    "Furniture",
    "Lighting",
    "Bedding",
    "Garden",
    "Tools",
    "Bicycles",
    "Camping",
    "Running",
    "Yoga",
    "Beauty",
    "Perfume",
    "Health",
    "Food",
    "Wine",
    "Pets",
];

/// A small generator of pseudo-random numbers, good enough for test data and equal everywhere
/// (splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
struct Random(u64);

impl Random {
    fn of_record(seed: u64, split: u32, number: u64) -> Self {
        let mut random = Self(seed ^ (u64::from(split) << 48) ^ number.rotate_left(20));
        let mixed = random.next() ^ number;
        Self(mixed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// In [0, 1).
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn chance(&mut self, share: f64) -> bool {
        share > 0.0 && self.unit() < share
    }

    fn pick(&mut self, values: &[&'static str]) -> &'static str {
        values[self.below(values.len() as u64) as usize]
    }
}

/// Writes the records of one source.
pub(super) struct Generator {
    config: DatagenConfig,
    start_ms: i64,
    step_ms: f64,
    log_users: f64,
    /// Coprime to the number of users, so that the frequent ones are not neighbours.
    stride: u64,
}

impl Generator {
    pub(super) fn new(config: &DatagenConfig, start_ms: i64) -> Self {
        let users = config.users.max(1);
        Self {
            config: config.clone(),
            start_ms,
            step_ms: config
                .rate
                .filter(|rate| *rate > 0.0)
                .map_or(STEP_MS_DEFAULT, |rate| 1_000.0 / rate),
            log_users: (users as f64).ln(),
            stride: if users.is_multiple_of(7_919) {
                1
            } else {
                7_919
            },
        }
    }

    /// Number of records in a split, `None` if it never ends.
    pub(super) fn count(&self, split: u32) -> Option<u64> {
        let total = self.config.count.or(match self.config.kind {
            DatagenKind::Events => None,
            DatagenKind::Profiles => Some(self.config.users),
            DatagenKind::Categories => Some(CATEGORIES.len() as u64),
        })?;
        let splits = u64::from(self.config.splits.max(1));
        Some(total.saturating_sub(u64::from(split)).div_ceil(splits))
    }

    /// Writes record `number` of a split into `json` and returns its own timestamp, in milliseconds since 1970: its
    /// place in event time, without disorder.
    pub(super) fn write(&self, split: u32, number: u64, json: &mut Vec<u8>) -> i64 {
        let index = number * u64::from(self.config.splits.max(1)) + u64::from(split);
        let place = self.start_ms + (index as f64 * self.step_ms) as i64;
        let mut random = Random::of_record(self.config.seed, split, number);
        json.clear();
        let written = match self.config.kind {
            DatagenKind::Events => self.write_event(index, place, &mut random, json),
            DatagenKind::Profiles => self.write_profile(index, place, &mut random, json),
            DatagenKind::Categories => write_category(index, json),
        };
        // Writing into memory does not fail.
        debug_assert!(written.is_ok());
        if random.chance(self.config.malformed) {
            json.truncate(json.len() / 2);
        }
        place
    }

    fn disordered(&self, place: i64, random: &mut Random) -> i64 {
        let disorder = random.below(self.config.disorder_ms.saturating_add(1));
        let late = if random.chance(self.config.late) {
            LATE_MS
        } else {
            0
        };
        place - i64::try_from(disorder).unwrap_or(i64::MAX) - late
    }

    /// A user, by a heavy tail: the one of rank k comes about as often as 1/k (Zipf's law with exponent 1, through
    /// the inverse of its continuous distribution).
    fn user(&self, random: &mut Random) -> u64 {
        let users = self.config.users.max(1);
        let rank = ((random.unit() * self.log_users).exp() as u64).saturating_sub(1);
        (rank.min(users - 1) * self.stride) % users
    }

    fn write_event(
        &self,
        index: u64,
        place: i64,
        random: &mut Random,
        json: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        let ts = self.disordered(place, random);
        let user = self.user(random);
        let event_type = pick_type(random);
        let product = random.below(PRODUCTS);
        let (euros, cents) = (1 + random.below(200), random.below(100));
        // A user's session lasts half an hour.
        let session = user.wrapping_mul(1_000_003) ^ (ts / 1_800_000).unsigned_abs();
        write!(
            json,
            "{{\"event_id\":\"01J{index:020}\",\"user_id\":\"u{user:07}\",\"type\":\"{event_type}\",\"ts\":{ts},\
             \"session_id\":\"s{:010}\",\"product_id\":\"p{product:05}\",\"category\":\"cat{}\",\
             \"price\":{euros}.{cents:02},\"quantity\":{},\"campaign_id\":\"c{:03}\",\
             \"url\":\"https://shop.example/p/p{product:05}\",\"device\":\"{}\",\"country\":\"{}\"}}",
            session % 10_000_000_000,
            product % CATEGORIES.len() as u64,
            1 + random.below(3),
            random.below(100),
            random.pick(&DEVICES),
            random.pick(&COUNTRIES),
        )
    }

    /// Profiles come in rounds, one record per user each.
    fn write_profile(
        &self,
        index: u64,
        place: i64,
        random: &mut Random,
        json: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        let user = index % self.config.users.max(1);
        // Name and country belong to the user, the rest to the record.
        let mut person = Random::of_record(self.config.seed, u32::MAX, user);
        let first_name = person.pick(&FIRST_NAMES);
        write!(
            json,
            "{{\"user_id\":\"u{user:07}\",\"email\":\"{}.{user}@mail.example\",\"first_name\":\"{first_name}\",\
             \"country\":\"{}\",\"segment\":\"{}\",\"consent\":{},\"updated_at\":{}}}",
            first_name.to_lowercase(),
            person.pick(&COUNTRIES),
            random.pick(&SEGMENTS),
            random.chance(0.85),
            self.disordered(place, random),
        )
    }
}

fn pick_type(random: &mut Random) -> &'static str {
    let mut place = random.below(1_000);
    for (name, share) in EVENT_TYPES {
        if place < share {
            return name;
        }
        place -= share;
    }
    EVENT_TYPES[0].0
}

fn write_category(index: u64, json: &mut Vec<u8>) -> std::io::Result<()> {
    let category = index % CATEGORIES.len() as u64;
    let name = CATEGORIES[category as usize];
    write!(
        json,
        "{{\"category\":\"cat{category}\",\"name\":\"{name}\"}}"
    )
}
