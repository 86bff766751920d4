//! The right results, from the generator alone: no Kafka, no JSON, no doubles, no streaming.

use std::collections::BTreeMap;

use crate::{
    totals::Totals,
    workload::{
        events::{Event, Events},
        profiles::consents,
    },
};

/// The totals of both queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Expected {
    /// Events per user and minute.
    pub r1: Totals,
    /// Those of users whose profile consents.
    pub r2: Totals,
}

/// The totals over `count` events and the sentinels after them.
#[must_use]
pub fn expected(count: u64, seed: u64) -> Expected {
    // By minute and user: events, purchases, cents.
    let mut windows: BTreeMap<(i64, u32), (u64, u64, u64)> = BTreeMap::new();
    let mut add = |event: &Event| {
        let window = windows
            .entry((event.ts.div_euclid(60_000), event.user))
            .or_default();
        window.0 += 1;
        if event.is_purchase() {
            window.1 += 1;
            window.2 += u64::from(event.price_cents) * u64::from(event.quantity);
        }
    };
    let mut events = Events::new(seed);
    for _ in 0..count {
        add(&events.next_event());
    }
    events.sentinels().iter().for_each(&mut add);
    let consents = consents(seed);
    let mut expected = Expected {
        r1: Totals::default(),
        r2: Totals::default(),
    };
    for ((_, user), (events, purchases, cents)) in windows {
        expected.r1.add_row(events, purchases, cents);
        if consents.get(user as usize) == Some(&true) {
            expected.r2.add_row(events, purchases, cents);
        }
    }
    expected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_in_one_row_and_consent_leaves_about_seven_in_ten() {
        let expected = expected(60_000, 7);
        assert_eq!(expected.r1.events, 60_008);
        assert!((1_000..60_000).contains(&expected.r1.rows));
        let share = expected.r2.events as f64 / expected.r1.events as f64;
        assert!((0.5..0.9).contains(&share), "{share}");
    }
}
