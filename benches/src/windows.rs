//! One-minute windows by hand: what the job R1 says, written for nothing but R1.

use hashbrown::HashMap;

/// How far behind the largest event time of its partition an event may be, in milliseconds.
const OUT_OF_ORDERNESS_MS: i64 = 5_000;
const MINUTE_MS: i64 = 60_000;

/// What is known of a user in a minute. Money in doubles, as the job computes it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Activity {
    /// Events.
    pub events: u64,
    /// Purchases among them.
    pub purchases: u64,
    /// What was paid.
    pub revenue: f64,
}

type Window = HashMap<String, Activity>;

/// The open windows of some partitions.
#[derive(Debug)]
pub struct MinuteWindows {
    /// By minute since 1970, in no order. Two or three are open at a time: a list is faster than a map.
    open: Vec<(i64, Window)>,
    /// The largest event time, by partition.
    greatest: Vec<(i32, i64)>,
}

impl MinuteWindows {
    /// Windows close when all of these partitions are past them.
    pub fn new(partitions: impl IntoIterator<Item = i32>) -> Self {
        let greatest = partitions
            .into_iter()
            .map(|partition| (partition, i64::MIN))
            .collect();
        Self {
            open: Vec::new(),
            greatest,
        }
    }

    /// Counts one event; `paid` is what its purchase came to.
    pub fn add(&mut self, partition: i32, user: &str, ts: i64, paid: Option<f64>) {
        let activity = self
            .window(ts.div_euclid(MINUTE_MS))
            .entry_ref(user)
            .or_default();
        activity.events += 1;
        if let Some(amount) = paid {
            activity.purchases += 1;
            activity.revenue += amount;
        }
        if let Some((_, greatest)) = self.greatest.iter_mut().find(|(p, _)| *p == partition) {
            *greatest = (*greatest).max(ts);
        }
    }

    /// Hands the rows of every window that no event can be in any more to `emit`.
    pub fn close(&mut self, mut emit: impl FnMut(i64, &str, &Activity)) {
        let least = self
            .greatest
            .iter()
            .map(|(_, ts)| *ts)
            .min()
            .unwrap_or(i64::MIN);
        let minute = least
            .saturating_sub(OUT_OF_ORDERNESS_MS)
            .div_euclid(MINUTE_MS);
        self.close_before(minute, &mut emit);
    }

    /// Hands the rows of all windows to `emit`.
    pub fn finish(mut self, mut emit: impl FnMut(i64, &str, &Activity)) {
        self.close_before(i64::MAX, &mut emit);
    }

    fn close_before(&mut self, minute: i64, emit: &mut impl FnMut(i64, &str, &Activity)) {
        for (begin, window) in self.open.extract_if(.., |(begin, _)| *begin < minute) {
            for (user, activity) in &window {
                emit(begin * MINUTE_MS, user, activity);
            }
        }
    }

    fn window(&mut self, minute: i64) -> &mut Window {
        let place = match self.open.iter().position(|(begin, _)| *begin == minute) {
            Some(place) => place,
            None => {
                self.open.push((minute, Window::default()));
                self.open.len() - 1
            }
        };
        &mut self.open[place].1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        oracle::expected,
        totals::{Totals, cents},
        workload::{
            PARTITIONS,
            events::{Event, Events},
            partition::partition,
            user_id,
        },
    };

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        /// However often windows are closed in between: an early close would split a row, a lost one change the sums.
        #[test]
        fn the_reference_workload_comes_to_the_totals_of_the_oracle(
            seed: u64,
            count in 1u64..70_000,
            close_every in 1u64..5_000,
        ) {
            let mut windows = MinuteWindows::new(0..PARTITIONS.cast_signed());
            let mut totals = Totals::default();
            let mut add_row = |_: i64, _: &str, row: &Activity| {
                totals.add_row(row.events, row.purchases, cents(row.revenue));
            };
            let mut events = Events::new(seed);
            let add = |windows: &mut MinuteWindows, event: &Event| {
                let user = user_id(event.user);
                let amount = f64::from(event.price_cents) / 100.0 * f64::from(event.quantity);
                let paid = event.is_purchase().then_some(amount);
                let user_text = std::str::from_utf8(&user).unwrap();
                windows.add(partition(&user), user_text, event.ts, paid);
            };
            for number in 0..count {
                add(&mut windows, &events.next_event());
                if number % close_every == 0 {
                    windows.close(&mut add_row);
                }
            }
            for sentinel in events.sentinels() {
                add(&mut windows, &sentinel);
            }
            windows.finish(&mut add_row);
            prop_assert_eq!(totals, expected(count, seed).r1);
        }
    }

    fn closed(windows: &mut MinuteWindows) -> Vec<(i64, String, u64)> {
        let mut rows = Vec::new();
        windows.close(|start, user, activity| rows.push((start, user.to_owned(), activity.events)));
        rows
    }

    #[test]
    fn a_window_closes_when_the_slowest_partition_is_five_seconds_past_it() {
        let mut windows = MinuteWindows::new([0, 4]);
        windows.add(0, "a", 59_999, None);
        windows.add(0, "a", 70_000, None);
        assert_eq!(closed(&mut windows), []);
        windows.add(4, "b", 64_999, None);
        assert_eq!(closed(&mut windows), []);
        windows.add(4, "b", 65_000, None);
        assert_eq!(closed(&mut windows), [(0, "a".to_owned(), 1)]);
        assert_eq!(closed(&mut windows), [], "and only once");
    }

    #[test]
    fn purchases_add_up_and_the_end_closes_everything() {
        let mut windows = MinuteWindows::new([0]);
        windows.add(0, "a", 0, Some(2.5));
        windows.add(0, "a", 1, None);
        windows.add(0, "a", 2, Some(1.0));
        let mut rows = Vec::new();
        windows.finish(|start, _, activity| rows.push((start, *activity)));
        assert_eq!(
            rows,
            [(
                0,
                Activity {
                    events: 3,
                    purchases: 2,
                    revenue: 3.5
                }
            )]
        );
    }
}
