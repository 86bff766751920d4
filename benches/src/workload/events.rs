//! The events: 13 fields, 288 bytes of JSON on average.

use std::io::{self, Write};

use super::{
    DISORDER_MS, PARTITIONS, START_MS, USERS, country, partition::partition, random::Random,
    user_id,
};

/// The share of each type in a hundred, added up.
const TYPES: [(&str, u32); 6] = [
    ("page_view", 60),
    ("product_view", 75),
    ("email_open", 83),
    ("email_click", 87),
    ("add_to_cart", 95),
    (PURCHASE, 100),
];
const PURCHASE: &str = "purchase";
const CATEGORIES: [&str; 40] = [
    "shoes",
    "shirts",
    "pants",
    "jackets",
    "hats",
    "bags",
    "belts",
    "socks",
    "dresses",
    "skirts",
    "watches",
    "rings",
    "phones",
    "laptops",
    "tablets",
    "cameras",
    "audio",
    "tv",
    "games",
    "toys",
    "books",
    "music",
    "garden",
    "tools",
    "kitchen",
    "furniture",
    "lighting",
    "bedding",
    "bath",
    "beauty",
    "health",
    "sports",
    "outdoor",
    "cycling",
    "running",
    "fitness",
    "baby",
    "pets",
    "office",
    "food",
];
const DEVICES: [&str; 4] = ["mobile", "desktop", "tablet", "app"];
const PRODUCTS: u32 = 20_000;
const CAMPAIGNS: u32 = 200;
/// Crockford's base 32, as ULIDs are written.
const BASE32: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Sentinels belong to users that no profile and no other event is about.
const FIRST_SENTINEL_USER: u32 = 9_000_000;
/// How far after the last event the sentinels are.
const SENTINEL_GAP_MS: i64 = 3_600_000;

/// One event. Money is in cents.
#[derive(Clone, Debug)]
pub struct Event {
    /// The user's number.
    pub user: u32,
    /// Event time, in milliseconds since 1970.
    pub ts: i64,
    /// The price of one piece, in cents.
    pub price_cents: u32,
    /// Pieces.
    pub quantity: u32,
    event_type: &'static str,
    id: u128,
    session: u32,
    product: u32,
    campaign: u32,
    device: &'static str,
}

impl Event {
    /// Whether somebody paid.
    #[must_use]
    pub fn is_purchase(&self) -> bool {
        self.event_type == PURCHASE
    }

    /// Writes the event as JSON, in place of what `json` holds.
    ///
    /// # Errors
    /// None: memory takes what is written.
    pub fn write_json(&self, json: &mut Vec<u8>) -> io::Result<()> {
        self.write_json_for(&user_id(self.user), json)
    }

    /// Writes the event as JSON, as if it were of the user with this id.
    ///
    /// # Errors
    /// None: memory takes what is written.
    pub fn write_json_for(&self, user_id: &[u8], json: &mut Vec<u8>) -> io::Result<()> {
        json.clear();
        json.extend_from_slice(b"{\"event_id\":\"");
        json.extend((0..26).map(|digit| BASE32[(self.id >> (5 * digit)) as usize & 31]));
        json.extend_from_slice(b"\",\"user_id\":\"");
        json.extend_from_slice(user_id);
        write!(
            json,
            "\",\"type\":\"{}\",\"ts\":{},\"session_id\":\"s{:010}\",\"product_id\":\"p{:05}\",\
             \"category\":\"{}\",\"price\":{}.{:02},\"quantity\":{},\"campaign_id\":\"c{:03}\",\
             \"url\":\"https://shop.example/p/p{:05}\",\"device\":\"{}\",\"country\":\"{}\"}}",
            self.event_type,
            self.ts,
            self.session,
            self.product,
            CATEGORIES[self.product as usize % CATEGORIES.len()],
            self.price_cents / 100,
            self.price_cents % 100,
            self.quantity,
            self.campaign,
            self.product,
            self.device,
            country(self.user),
        )
    }
}

/// The events, one after the other, without end.
#[derive(Clone, Debug)]
pub struct Events {
    random: Random,
    users: ZipfUsers,
    place_ms: i64,
}

impl Events {
    /// The same seed gives the same events.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            users: ZipfUsers::new(seed),
            place_ms: START_MS,
        }
    }

    /// The next event.
    pub fn next_event(&mut self) -> Event {
        let random = &mut self.random;
        // One after the other: the order of the draws is part of the workload.
        let user = self.users.pick(random);
        let event_type = pick_type(random);
        let product = random.below(PRODUCTS);
        let lag_ms = random.below(DISORDER_MS as u32);
        let quantity = 1 + random.below(10) / 7;
        let event = Event {
            user,
            ts: self.place_ms - i64::from(lag_ms),
            price_cents: 199 + (product.wrapping_mul(2_654_435_761) >> 8) % 19_800,
            quantity,
            event_type,
            session: random.below(1 << 31),
            product,
            campaign: random.below(CAMPAIGNS),
            device: DEVICES[random.below(DEVICES.len() as u32) as usize],
            id: (u128::from(random.next()) << 64) | u128::from(random.next()),
        };
        self.place_ms += 1;
        event
    }

    /// One event per partition, an hour after the next one, of users without a profile.
    #[must_use]
    pub fn sentinels(&self) -> Vec<Event> {
        let mut model = self.clone().next_event();
        model.ts = self.place_ms + SENTINEL_GAP_MS;
        model.event_type = TYPES[0].0;
        (0..PARTITIONS.cast_signed())
            .map(|split| Event {
                user: sentinel_user(split),
                ..model.clone()
            })
            .collect()
    }
}

/// The first sentinel user whose key belongs to the partition: about every eighth does.
fn sentinel_user(wanted: i32) -> u32 {
    let belongs = |user: &u32| partition(&user_id(*user)) == wanted;
    (FIRST_SENTINEL_USER..)
        .find(belongs)
        .unwrap_or(FIRST_SENTINEL_USER)
}

fn pick_type(random: &mut Random) -> &'static str {
    let percent = random.below(100);
    TYPES
        .iter()
        .find(|(_, up_to)| percent < *up_to)
        .map_or(PURCHASE, |(name, _)| name)
}

/// Users by Zipf's law with exponent 1; who is frequent depends on the seed.
#[derive(Clone, Debug)]
struct ZipfUsers {
    /// At place k the weight of the ranks up to k.
    cumulated: Vec<f64>,
    by_rank: Vec<u32>,
}

impl ZipfUsers {
    fn new(seed: u64) -> Self {
        let mut weight = 0.0;
        let cumulated = (1..=USERS)
            .map(|rank| {
                weight += 1.0 / f64::from(rank);
                weight
            })
            .collect();
        let mut random = Random::new(seed ^ 77);
        let mut by_rank: Vec<u32> = (0..USERS).collect();
        // Fisher and Yates's shuffle.
        for last in (1..USERS).rev() {
            by_rank.swap(last as usize, random.below(last + 1) as usize);
        }
        Self { cumulated, by_rank }
    }

    fn pick(&self, random: &mut Random) -> u32 {
        let last = self.by_rank.len() - 1;
        let point = random.unit() * self.cumulated[last];
        self.by_rank[self
            .cumulated
            .partition_point(|up_to| *up_to < point)
            .min(last)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_declared_size_and_the_event_in_it() {
        let mut events = Events::new(7);
        let (mut json, mut bytes) = (Vec::new(), 0);
        for _ in 0..10_000 {
            let event = events.next_event();
            event.write_json(&mut json).unwrap();
            bytes += json.len();
            let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
            assert_eq!(value["user_id"], format!("u{:07}", event.user));
            assert_eq!(value["ts"], event.ts);
            let cents = (value["price"].as_f64().unwrap() * 100.0).round();
            assert_eq!(cents, f64::from(event.price_cents));
            assert_eq!(value.as_object().unwrap().len(), 13);
        }
        assert_eq!(bytes / 10_000, 288);
    }

    #[test]
    fn no_event_is_more_than_five_seconds_behind() {
        let mut events = Events::new(3);
        let mut greatest = START_MS;
        for _ in 0..50_000 {
            let event = events.next_event();
            assert!(event.ts > greatest - 5_000);
            greatest = greatest.max(event.ts);
        }
    }

    #[test]
    fn sentinels_cover_every_partition_after_the_last_window() {
        let mut events = Events::new(3);
        let last = (0..1_000).map(|_| events.next_event().ts).max().unwrap();
        let mut partitions = Vec::new();
        for sentinel in events.sentinels() {
            assert!(sentinel.user >= USERS && !sentinel.is_purchase());
            assert!(sentinel.ts > last + 60_000 + DISORDER_MS.cast_signed());
            partitions.push(partition(&user_id(sentinel.user)));
        }
        assert_eq!(
            partitions,
            (0..PARTITIONS.cast_signed()).collect::<Vec<_>>()
        );
    }

    #[test]
    fn the_tail_is_heavy() {
        let mut events = Events::new(11);
        let frequent = events.users.by_rank[0];
        let hits = (0..100_000)
            .filter(|_| events.next_event().user == frequent)
            .count();
        // 1 / H(100,000) = 8.27 %.
        assert!((7_800..8_800).contains(&hits), "{hits}");
    }
}
