//! How far splits reach, known beside their reader. A reader whose batches nobody takes waits and tells nothing: how far
//! behind it falls meanwhile is known from here.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The ends of the splits of one source that belong to one worker.
#[derive(Clone, Debug, Default)]
pub struct SplitEnds(Arc<Mutex<BTreeMap<u32, End>>>);

/// How far a split reaches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    /// Nobody has told yet.
    Unknown,
    /// Nothing followed this offset when the broker told so.
    At {
        /// The offset.
        offset: i64,
        /// When it was told: wall clock, milliseconds since 1970.
        seen_ms: u64,
    },
    /// Records become due one by one, whether anybody takes them or not.
    Paced {
        /// When the first became due, in milliseconds since 1970.
        since_ms: u64,
        /// Its offset.
        first: i64,
        /// The offset after the last; `None` without end.
        end: Option<i64>,
        /// Records per second.
        per_second: f64,
    },
}

/// How far behind a split is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behind {
    /// Records between the position and the end.
    pub records: i64,
    /// What was in the split up to this time has been read, as far as its end tells: milliseconds since 1970.
    pub read_through_ms: Option<u64>,
}

impl SplitEnds {
    /// The end of this split is wanted.
    pub fn want(&self, split: u32) {
        self.lock().entry(split).or_insert(End::Unknown);
    }

    /// The splits whose ends are wanted.
    #[must_use]
    pub fn wanted(&self) -> Vec<u32> {
        self.lock().keys().copied().collect()
    }

    /// Notes how far a split reaches.
    pub fn set(&self, split: u32, end: End) {
        self.lock().insert(split, end);
    }

    /// How far behind a split at this position is; `None` if nobody knows. `lag` is what its reader says.
    #[must_use]
    pub fn behind(
        &self,
        split: u32,
        next_offset: i64,
        lag: Option<i64>,
        now_ms: u64,
    ) -> Option<Behind> {
        let end = self.lock().get(&split).copied();
        end.unwrap_or(End::Unknown).behind(next_offset, lag, now_ms)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, End>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl End {
    fn behind(self, next_offset: i64, lag: Option<i64>, now_ms: u64) -> Option<Behind> {
        match self {
            Self::Unknown => lag.map(|records| Behind {
                records,
                read_through_ms: None,
            }),
            // Whichever of both has seen more.
            Self::At { offset, seen_ms } => {
                let records = offset.saturating_sub(next_offset).max(lag.unwrap_or(0));
                Some(Behind {
                    records,
                    read_through_ms: (records == 0).then_some(seen_ms),
                })
            }
            Self::Paced {
                since_ms,
                first,
                end,
                per_second,
            } => {
                let elapsed_s = now_ms.saturating_sub(since_ms) as f64 / 1000.0;
                let due = first.saturating_add((elapsed_s * per_second) as i64);
                let due = end.map_or(due, |end| due.min(end));
                let made_ms = (next_offset - first).max(0) as f64 / per_second * 1000.0;
                Some(Behind {
                    records: due.saturating_sub(next_offset).max(0),
                    read_through_ms: Some(since_ms.saturating_add(made_ms as u64).min(now_ms)),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(end: End, next_offset: i64, now_ms: u64) -> Option<(i64, Option<u64>)> {
        behind_by(end, next_offset, None, now_ms)
    }

    fn behind_by(
        end: End,
        next_offset: i64,
        lag: Option<i64>,
        now_ms: u64,
    ) -> Option<(i64, Option<u64>)> {
        let ends = SplitEnds::default();
        ends.set(3, end);
        let behind = ends.behind(3, next_offset, lag, now_ms)?;
        Some((behind.records, behind.read_through_ms))
    }

    #[test]
    fn a_split_at_its_end_has_been_read_through_the_moment_when_that_was_told() {
        let end = End::At {
            offset: 70,
            seen_ms: 5_000,
        };
        assert_eq!(behind(end, 70, 9_000), Some((0, Some(5_000))));
        // More has been read since then.
        assert_eq!(behind(end, 75, 9_000), Some((0, Some(5_000))));
        assert_eq!(behind(end, 30, 9_000), Some((40, None)));
        assert_eq!(behind(End::Unknown, 30, 9_000), None);
        // Its reader may have seen more, or be the only one who has seen anything.
        assert_eq!(behind_by(end, 30, Some(45), 9_000), Some((45, None)));
        assert_eq!(behind_by(end, 75, Some(2), 9_000), Some((2, None)));
        assert_eq!(behind_by(End::Unknown, 30, Some(4), 9_000), Some((4, None)));
    }

    #[test]
    fn a_generator_is_behind_by_what_is_due() {
        let paced = |end| End::Paced {
            since_ms: 10_000,
            first: 100,
            end,
            per_second: 50.0,
        };
        // Not by what is left.
        assert_eq!(
            behind_by(paced(Some(900)), 200, Some(700), 12_000),
            Some((0, Some(12_000)))
        );
        assert_eq!(behind(paced(None), 200, 12_000), Some((0, Some(12_000))));
        assert_eq!(behind(paced(None), 150, 13_000), Some((100, Some(11_000))));
        assert_eq!(
            behind(paced(Some(160)), 150, 13_000),
            Some((10, Some(11_000)))
        );
    }

    #[test]
    fn what_is_wanted_is_known_by_name_and_unknown_until_told() {
        let ends = SplitEnds::default();
        ends.want(7);
        assert_eq!(ends.wanted(), [7]);
        assert_eq!(ends.behind(7, 0, None, 0), None);
        assert_eq!(ends.behind(8, 0, None, 0), None);
    }
}
