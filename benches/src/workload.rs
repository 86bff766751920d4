//! The reference workload: shop and email events of 100,000 users, and their profiles.
//!
//! Everything is a function of the seed. Events come one per millisecond of event time, up to 5 s out of order; users
//! follow Zipf's law. Eight sentinel events an hour later, one per partition, push every watermark past the last window.

pub mod events;
pub mod pace;
pub mod partition;
pub mod profiles;
mod random;

use std::time::{SystemTime, UNIX_EPOCH};

/// Users that events and profiles are about.
pub const USERS: u32 = 100_000;
/// Partitions of every topic.
pub const PARTITIONS: u32 = 8;
/// Event time of the first event, in milliseconds since 1970: the begin of a minute.
pub const START_MS: i64 = 1_760_000_040_000;
/// How far an event may lag behind its place, in milliseconds (exclusive).
pub const DISORDER_MS: u64 = 5_000;

const COUNTRIES: [&str; 12] = [
    "DE", "AT", "CH", "FR", "IT", "ES", "NL", "BE", "PL", "SE", "DK", "GB",
];

/// A user's id, which is also the record key.
#[must_use]
pub fn user_id(user: u32) -> [u8; 8] {
    let mut id = *b"u0000000";
    let mut rest = user;
    for digit in id[1..].iter_mut().rev() {
        // Less than ten.
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    id
}

/// The wall clock, in milliseconds since 1970.
#[must_use]
pub fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A user's country, the same in events and profiles.
fn country(user: u32) -> &'static str {
    COUNTRIES[user as usize % COUNTRIES.len()]
}
