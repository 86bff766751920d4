//! The hybrid clock that numbers epochs.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Numbers the epochs of one worker: `max(start + elapsed ms, last + 1)`, or, where a peer has opened a later one already, as
/// that peer did, so that an epoch has one number on all workers: each number more is one more time that operators complete.
/// Wall clock sets only the start, so a step of the host's clock moves nothing.
#[derive(Debug)]
pub struct EpochClock {
    start: u64,
    origin: Instant,
    current: u64,
}

impl EpochClock {
    /// The first epoch: `start`, which is above every epoch that was ever durable.
    #[must_use]
    pub fn new(start: u64, origin: Instant) -> Self {
        Self {
            start,
            origin,
            current: start,
        }
    }

    /// The open epoch.
    #[must_use]
    pub fn current(&self) -> u64 {
        self.current
    }

    /// Closes the open epoch and opens the next one. `greatest_opened` is the greatest epoch that any peer said to have opened.
    pub fn advance(&mut self, now: Instant, greatest_opened: u64) -> u64 {
        self.current = if greatest_opened > self.current {
            greatest_opened
        } else {
            let elapsed = now.saturating_duration_since(self.origin).as_millis();
            let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
            (self.current + 1).max(self.start.saturating_add(elapsed))
        };
        self.current
    }
}

/// How long an epoch stays open: the tick, stretched while the job is behind so that updates of one key coalesce.
#[derive(Debug)]
pub struct EpochLength {
    tick: Duration,
    current: Duration,
}

/// The longest epoch while catching up.
pub const EPOCH_MAX: Duration = Duration::from_millis(500);

impl EpochLength {
    /// Starts with the tick.
    #[must_use]
    pub fn new(tick: Duration) -> Self {
        Self {
            tick,
            current: tick,
        }
    }

    /// The length of the open epoch.
    #[must_use]
    pub fn current(&self) -> Duration {
        self.current
    }

    /// Adapts after an epoch: more was waiting at its close, or not.
    pub fn adapt(&mut self, behind: bool) {
        self.current = if behind {
            (self.current * 2).min(EPOCH_MAX.max(self.tick))
        } else {
            self.tick
        };
    }
}

/// The wall clock, in milliseconds since 1970.
#[must_use]
pub fn wall_clock_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_follow_elapsed_time_but_never_stand_still() {
        let origin = Instant::now();
        let mut clock = EpochClock::new(1000, origin);
        assert_eq!(clock.advance(origin, 0), 1001);
        assert_eq!(clock.advance(origin + Duration::from_millis(50), 0), 1050);
        assert_eq!(clock.advance(origin + Duration::from_millis(50), 0), 1051);
    }

    #[test]
    fn an_epoch_that_a_peer_has_opened_is_opened_under_the_same_number() {
        let origin = Instant::now();
        let mut clock = EpochClock::new(1000, origin);
        let later = origin + Duration::from_millis(50);
        assert_eq!(clock.advance(later, 1040), 1040);
        assert_eq!(clock.advance(origin, 5000), 5000);
        assert_eq!(clock.advance(origin, 5000), 5001);
        assert_eq!(clock.advance(origin, 10), 5002);
    }

    #[test]
    fn epochs_stretch_while_behind_and_shrink_at_once() {
        let mut length = EpochLength::new(Duration::from_millis(10));
        for _ in 0..10 {
            length.adapt(true);
        }
        assert_eq!(length.current(), EPOCH_MAX);
        length.adapt(false);
        assert_eq!(length.current(), Duration::from_millis(10));
    }
}
