//! A steady rate.

use std::time::{Duration, Instant};

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
        self.due_after(self.started.elapsed())
    }

    fn due_after(&mut self, elapsed: Duration) -> u64 {
        let all = (elapsed.as_secs_f64() * self.per_second as f64) as u64;
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
        let mut due = |micros| pace.due_after(Duration::from_micros(micros));
        // Less than one, a long pause, and less than one again.
        assert_eq!(
            [due(70), due(120), due(50_050), due(50_099)],
            [0, 1, 499, 0]
        );
        assert_eq!(due(50_100), 1);
        assert_eq!(pace.made, 501);
    }
}
