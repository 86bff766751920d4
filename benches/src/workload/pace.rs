//! A steady rate.

use std::time::Instant;

/// Tells how many events are due.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    started: Instant,
    per_second: u64,
    made: u64,
}

impl Pace {
    /// Begins now.
    #[must_use]
    pub fn start(per_second: u64) -> Self {
        Self {
            started: Instant::now(),
            per_second,
            made: 0,
        }
    }

    /// How many have become due since the last call. What was missed comes later, so that the rate holds on average.
    pub fn due(&mut self) -> u64 {
        let all = (self.started.elapsed().as_secs_f64() * self.per_second as f64) as u64;
        let due = all.saturating_sub(self.made);
        self.made += due;
        due
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Pace;

    #[test]
    fn nothing_is_lost_between_calls() {
        let mut pace = Pace::start(10_000);
        let mut made = 0;
        while pace.started.elapsed() < Duration::from_millis(50) {
            made += pace.due();
        }
        assert!(made >= 490, "{made}");
        assert_eq!(made, pace.made);
    }
}
