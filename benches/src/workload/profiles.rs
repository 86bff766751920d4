//! The profiles: one record per user, then changes of every fifth on average.

use std::io::{self, Write};

use super::{START_MS, USERS, country, random::Random};

const SEGMENTS: [&str; 8] = [
    "new",
    "loyal",
    "vip",
    "churn_risk",
    "bargain",
    "window",
    "b2b",
    "inactive",
];
const RECORDS: u32 = USERS + USERS / 5;
/// The profiles were written in the two minutes that begin an hour before the first event.
const LEAD_MS: i64 = 3_600_000;

/// One record of a user's profile; a later one replaces it.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The user's number.
    pub user: u32,
    /// Whether the user agreed to be profiled.
    pub consent: bool,
    /// When it was written, in milliseconds since 1970.
    pub updated_at: i64,
    segment: &'static str,
}

impl Profile {
    /// Writes the profile as JSON for the user with this id, in place of what `json` holds.
    ///
    /// # Errors
    /// None: memory takes what is written.
    pub fn write_json(&self, user_id: &[u8], json: &mut Vec<u8>) -> io::Result<()> {
        json.clear();
        json.extend_from_slice(b"{\"user_id\":\"");
        json.extend_from_slice(user_id);
        write!(
            json,
            "\",\"email\":\"user{}@mail.example\",\"first_name\":\"Name{}\",\"country\":\"{}\",\
             \"segment\":\"{}\",\"consent\":{},\
             \"updated_at\":{}}}",
            self.user,
            self.user % 500,
            country(self.user),
            self.segment,
            self.consent,
            self.updated_at,
        )
    }

    /// A profile that agrees to everything, for users who are there to be watched.
    #[must_use]
    pub fn consenting(updated_at: i64) -> Self {
        Self {
            user: 0,
            consent: true,
            updated_at,
            segment: SEGMENTS[0],
        }
    }
}

/// All records in order.
pub fn profiles(seed: u64) -> impl Iterator<Item = Profile> {
    let mut random = Random::new(seed ^ 0x5eed);
    (0..RECORDS).map(move |number| Profile {
        user: if number < USERS {
            number
        } else {
            random.below(USERS)
        },
        segment: SEGMENTS[random.below(SEGMENTS.len() as u32) as usize],
        consent: random.below(100) < 70,
        updated_at: START_MS - LEAD_MS + i64::from(number),
    })
}

/// Who consents, by user: the last record counts.
#[must_use]
pub fn consents(seed: u64) -> Vec<bool> {
    let mut consents = vec![false; USERS as usize];
    for profile in profiles(seed) {
        consents[profile.user as usize] = profile.consent;
    }
    consents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_records_change_some_consents() {
        let mut first = vec![false; USERS as usize];
        for profile in profiles(7).take(USERS as usize) {
            first[profile.user as usize] = profile.consent;
        }
        let changed = first
            .iter()
            .zip(consents(7))
            .filter(|(a, b)| **a != *b)
            .count();
        assert!(
            changed > 1_000,
            "a program that keeps the first record would pass: {changed}"
        );
    }

    #[test]
    fn json_says_what_the_profile_is() {
        let mut json = Vec::new();
        for profile in profiles(7).take(100) {
            profile.write_json(b"u1", &mut json).unwrap();
            let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
            assert_eq!(value["user_id"], "u1");
            assert_eq!(value["consent"], profile.consent);
        }
    }
}
