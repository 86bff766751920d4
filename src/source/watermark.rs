//! The clock of one split: its watermark as a function of its records alone.

/// A timestamp further ahead than this is no event time but a mistake: one such record would close every window.
pub const AHEAD_MS_MAX: i64 = 24 * 60 * 60 * 1_000;

/// Why a record's event time was refused. The watermark has not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// It has none.
    #[error("is null, but it is the event time")]
    Missing,
    /// It lies absurdly far in the future, as seen from the record itself.
    #[error("event time {time} is more than 24 hours ahead of {reference} ({what})")]
    Ahead {
        /// The event time, in milliseconds since 1970.
        time: i64,
        /// What it was judged against, in milliseconds since 1970.
        reference: i64,
        /// What the reference is.
        what: &'static str,
    },
}

/// Follows the largest event time of a split.
///
/// The watermark is that time minus the bound. It depends on the records and their order in the split only, never on
/// the wall clock, so a replay stamps every row as the first run did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitClock {
    bound_ms: i64,
    watermark: i64,
}

impl SplitClock {
    /// A clock that starts at a checkpoint's `watermark`, or at `i64::MIN`. `bound_ms`: how far behind the largest
    /// event time a row may be.
    #[must_use]
    pub fn new(bound_ms: i64, watermark: i64) -> Self {
        Self {
            bound_ms,
            watermark,
        }
    }

    /// The largest accepted event time minus the bound; `i64::MIN` before the first record.
    #[must_use]
    pub fn watermark(&self) -> i64 {
        self.watermark
    }

    /// Takes a record's event time and returns the watermark just *before* the record. `record_ms` is the record's
    /// own timestamp in its log, where there is one; else the largest event time so far is the reference.
    ///
    /// # Errors
    /// If there is no event time or it cannot be meant.
    #[inline]
    pub fn stamp(&mut self, time: Option<i64>, record_ms: Option<i64>) -> Result<i64, TimeError> {
        let time = time.ok_or(TimeError::Missing)?;
        let before = self.watermark;
        let reference = match record_ms {
            Some(record_ms) => Some((record_ms, "the record's own timestamp")),
            None if before == i64::MIN => None,
            None => Some((
                before.saturating_add(self.bound_ms),
                "the largest event time before it",
            )),
        };
        if let Some((reference, what)) = reference
            && time > reference.saturating_add(AHEAD_MS_MAX)
        {
            return Err(TimeError::Ahead {
                time,
                reference,
                what,
            });
        }
        self.watermark = before.max(time.saturating_sub(self.bound_ms));
        Ok(before)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = AHEAD_MS_MAX;

    #[test]
    fn a_row_carries_the_watermark_from_before_it() {
        let mut clock = SplitClock::new(5, i64::MIN);
        assert_eq!(clock.stamp(Some(100), None), Ok(i64::MIN));
        assert_eq!(clock.stamp(Some(90), None), Ok(95));
        assert_eq!(clock.stamp(Some(120), None), Ok(95));
        assert_eq!(clock.watermark(), 115);
    }

    #[test]
    fn a_missing_event_time_is_refused() {
        let mut clock = SplitClock::new(5, 7);
        assert_eq!(clock.stamp(None, Some(1)), Err(TimeError::Missing));
        assert_eq!(clock.watermark(), 7);
    }

    #[test]
    fn a_time_a_day_ahead_of_the_records_timestamp_is_refused_and_moves_nothing() {
        let mut clock = SplitClock::new(0, i64::MIN);
        assert!(clock.stamp(Some(DAY + 1_001), Some(1_000)).is_err());
        assert_eq!(clock.watermark(), i64::MIN);
        assert!(clock.stamp(Some(DAY + 1_000), Some(1_000)).is_ok());
    }

    #[test]
    fn without_a_timestamp_the_largest_event_time_is_the_reference() {
        let mut clock = SplitClock::new(10, i64::MIN);
        assert!(clock.stamp(Some(500), None).is_ok(), "nothing to judge by");
        assert!(clock.stamp(Some(501 + DAY), None).is_err());
        assert!(clock.stamp(Some(500 + DAY), None).is_ok());
        assert_eq!(clock.watermark(), 490 + DAY);
    }

    proptest! {
        #[test]
        fn the_watermark_never_goes_back(
            times in prop::collection::vec(any::<Option<i64>>(), 0..50),
            bound in 0..100_000i64,
        ) {
            let mut clock = SplitClock::new(bound, i64::MIN);
            let mut last = i64::MIN;
            for time in times {
                if let Ok(before) = clock.stamp(time, time.filter(|t| t % 2 == 0)) {
                    prop_assert_eq!(before, last);
                }
                prop_assert!(clock.watermark() >= last);
                last = clock.watermark();
            }
        }

        #[test]
        fn a_clock_restored_in_the_middle_stamps_as_if_never_stopped(
            times in prop::collection::vec(-1_000_000..1_000_000i64, 1..50),
            cut in 0..50usize,
        ) {
            let cut = cut.min(times.len());
            let mut whole = SplitClock::new(50, i64::MIN);
            let stamps: Vec<_> = times.iter().map(|t| whole.stamp(Some(*t), None)).collect();
            let mut first = SplitClock::new(50, i64::MIN);
            let mut again: Vec<_> = times[..cut].iter().map(|t| first.stamp(Some(*t), None)).collect();
            let mut second = SplitClock::new(50, first.watermark());
            again.extend(times[cut..].iter().map(|t| second.stamp(Some(*t), None)));
            prop_assert_eq!(again, stamps);
        }
    }
}
