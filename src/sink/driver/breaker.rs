//! The circuit breaker: how long to leave a failing store alone.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// Failures in a row after which the store counts as down.
const FAILURES_UNTIL_OPEN: u32 = 3;
const PAUSE_FIRST: Duration = Duration::from_millis(25);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What is known about the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BreakerState {
    /// It works.
    Closed = 0,
    /// It is down: left alone for a while.
    Open = 1,
    /// One attempt is being made, to see whether it works again.
    HalfOpen = 2,
}

/// Counts failures and gives pauses: exponential, with jitter so that many writers don't come back as one.
#[derive(Clone, Debug)]
pub(super) struct Breaker {
    state: BreakerState,
    failures: u32,
    random: u64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            state: BreakerState::Closed,
            failures: 0,
            // The standard library's hasher is seeded by the system.
            random: RandomState::new().hash_one(0) | 1,
        }
    }
}

impl Breaker {
    pub(super) fn state(&self) -> BreakerState {
        self.state
    }

    /// An attempt begins.
    pub(super) fn on_attempt(&mut self) {
        if self.state == BreakerState::Open {
            self.state = BreakerState::HalfOpen;
        }
    }

    /// An attempt worked.
    pub(super) fn on_success(&mut self) {
        self.state = BreakerState::Closed;
        self.failures = 0;
    }

    /// An attempt failed: how long to wait.
    pub(super) fn on_failure(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES_UNTIL_OPEN {
            self.state = BreakerState::Open;
        }
        let doublings = (self.failures - 1).min(16);
        let pause = (PAUSE_FIRST * 2u32.pow(doublings)).min(PAUSE_MAX);
        pause / 2 + pause.mul_f64(self.random_fraction() / 2.0)
    }

    /// Between 0 and 1: xorshift64 (Marsaglia 2003), plenty for jitter.
    fn random_fraction(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        f64::from((self.random >> 32) as u32) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::{Breaker, BreakerState, PAUSE_FIRST, PAUSE_MAX};

    #[test]
    fn failures_open_it_and_a_success_closes_it() {
        let mut breaker = Breaker::default();
        breaker.on_failure();
        breaker.on_failure();
        assert_eq!(breaker.state(), BreakerState::Closed);
        breaker.on_failure();
        assert_eq!(breaker.state(), BreakerState::Open);
        breaker.on_attempt();
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        breaker.on_failure();
        assert_eq!(breaker.state(), BreakerState::Open);
        breaker.on_attempt();
        breaker.on_success();
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn pauses_grow_to_their_limit_and_begin_anew_after_a_success() {
        let mut breaker = Breaker::default();
        let first = breaker.on_failure();
        assert!(first >= PAUSE_FIRST / 2 && first <= PAUSE_FIRST);
        for _ in 0..100 {
            assert!(breaker.on_failure() <= PAUSE_MAX);
        }
        assert!(breaker.on_failure() >= PAUSE_MAX / 2);
        breaker.on_success();
        assert!(breaker.on_failure() <= PAUSE_FIRST);
    }
}
