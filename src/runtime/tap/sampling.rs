//! Which of the rows that pass are shown.

use std::time::Instant;

use serde::{Deserialize, Serialize};

/// Rows a second that a listener is shown at most: so that showing them costs a job next to nothing.
pub const RATE_MAX: u32 = 1_000;
/// Rows a second, unless somebody asks for another number.
pub const RATE_DEFAULT: u32 = 100;

/// Which rows a listener wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sampling {
    /// One row of so many; at least 1.
    pub every: u64,
    /// At most so many rows a second: 1 to [`RATE_MAX`].
    pub rate: u32,
    /// So many processes show rows, each its part of that rate; at least 1.
    pub processes: usize,
}

impl Sampling {
    /// Checks numbers that somebody has written.
    ///
    /// # Errors
    /// If one of them is out of range.
    pub fn new(every: u64, rate: u32) -> Result<Self, String> {
        if every == 0 {
            return Err("`every` must be at least 1, which shows every row".to_owned());
        }
        if !(1..=RATE_MAX).contains(&rate) {
            return Err(format!(
                "`rate` is {rate}, it must be 1 to {RATE_MAX} rows a second"
            ));
        }
        Ok(Self {
            every,
            rate,
            processes: 1,
        })
    }

    /// The same over so many processes together, of which each has its part of the rate.
    #[must_use]
    pub fn among(self, processes: usize) -> Self {
        Self {
            processes: processes.max(1),
            ..self
        }
    }

    /// Rows a second that one process shows.
    fn rate_here(&self) -> f64 {
        f64::from(self.rate) / self.processes as f64
    }
}

/// Chooses rows batch by batch: one of every so many, as long as the second's allowance lasts, and spread over the batch where it
/// does not last for all.
#[derive(Debug)]
pub(super) struct Sampler {
    sampling: Sampling,
    passed: u64,
    allowance: f64,
    at: Instant,
}

impl Sampler {
    /// Begins with a part of a second's allowance: who listens again and again gets hardly more.
    pub(super) fn new(sampling: Sampling, now: Instant) -> Self {
        Self {
            sampling,
            passed: 0,
            allowance: (sampling.rate_here() / 10.0).max(1.0),
            at: now,
        }
    }

    /// The positions in a batch of so many rows that are shown, at most `room`, in order.
    pub(super) fn choose(&mut self, rows: usize, room: usize, now: Instant) -> Vec<usize> {
        self.refill(now);
        let every = usize::try_from(self.sampling.every).unwrap_or(usize::MAX);
        let first = self.passed.next_multiple_of(self.sampling.every) - self.passed;
        let first = usize::try_from(first).unwrap_or(usize::MAX);
        // Where a choice begins must not go by the batch's size, or the same end of it would always be shown.
        let scattered = self.passed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        self.passed += rows as u64;
        let candidates = rows.saturating_sub(first).div_ceil(every);
        let chosen = candidates.min(self.allowance as usize).min(room);
        self.allowance -= chosen as f64;
        let place = |number: usize| {
            let spread = number * candidates / chosen + scattered as usize;
            first + spread % candidates * every
        };
        let mut places: Vec<usize> = (0..chosen).map(place).collect();
        places.sort_unstable();
        places
    }

    /// Some rows that were chosen are not shown after all.
    pub(super) fn give_back(&mut self, rows: usize) {
        self.allowance += rows as f64;
    }

    fn refill(&mut self, now: Instant) {
        let rate = self.sampling.rate_here();
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        // A part of a rate may be less than one row a second.
        self.allowance = (self.allowance + seconds * rate).min(rate.max(1.0));
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use proptest::prelude::*;

    use super::*;

    /// One that has its whole allowance.
    fn sampler(every: u64, rate: u32) -> (Sampler, Instant) {
        let now = Instant::now();
        let sampling = Sampling::new(every, rate).expect("in range");
        let sampler = Sampler::new(sampling, now);
        (sampler, now + Duration::from_secs(1))
    }

    #[test]
    fn listening_again_and_again_gives_hardly_more() {
        let now = Instant::now();
        for (rate, at_once) in [(1, 1), (5, 1), (1_000, 100)] {
            let sampling = Sampling::new(1, rate).expect("in range");
            let chosen = Sampler::new(sampling, now).choose(5_000, 5_000, now);
            assert_eq!(chosen.len(), at_once);
        }
    }

    #[test]
    fn one_of_every_so_many_rows_is_chosen_over_the_borders_of_batches() {
        let (mut sampler, now) = sampler(3, 1_000);
        let mut choose = |rows| sampler.choose(rows, 100, now);
        assert_eq!(choose(4), [0, 3]);
        assert_eq!(choose(1), [] as [usize; 0]);
        assert_eq!(choose(5), [1, 4]);
    }

    #[test]
    fn an_allowance_that_is_too_small_is_spread_over_the_batch_and_comes_back_with_time() {
        let (mut sampler, now) = sampler(1, 10);
        let first = sampler.choose(1_000, 100, now);
        assert_eq!(first.len(), 10);
        let apart = first.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(apart.clone().all(|apart| apart == 100), "{first:?}");
        assert!(sampler.choose(1_000, 100, now).is_empty());
        let later = now + Duration::from_millis(300);
        assert_eq!(sampler.choose(1_000, 100, later).len(), 3);
        let much_later = now + Duration::from_secs(60);
        assert_eq!(sampler.choose(1_000, 100, much_later).len(), 10);
    }

    #[test]
    fn processes_share_a_rate_and_none_of_them_is_left_without_a_row() {
        let now = Instant::now();
        for (rate, processes, in_ten_seconds) in [(100, 4, 250), (10, 1, 100), (1, 4, 3)] {
            let sampling = Sampling::new(1, rate).expect("in range").among(processes);
            let mut sampler = Sampler::new(sampling, now);
            let shown: usize = (1..=40)
                .map(|quarter| now + Duration::from_millis(250 * quarter))
                .map(|now| sampler.choose(5_000, 5_000, now).len())
                .sum();
            // It begins with a part of a second's allowance, at least one row.
            let begin = (rate as usize / processes / 10).max(1);
            let few = in_ten_seconds..=in_ten_seconds + begin;
            assert!(few.contains(&shown), "{rate} over {processes}: {shown}");
        }
    }

    #[test]
    fn equal_batches_do_not_show_the_same_rows_again_and_again() {
        let (mut sampler, now) = sampler(1, 1);
        let chosen: BTreeSet<_> = (0..50)
            .flat_map(|second| sampler.choose(8_192, 100, now + Duration::from_secs(second)))
            .collect();
        assert!(chosen.len() > 40, "{chosen:?}");
    }

    proptest! {
        #[test]
        fn chosen_rows_are_in_the_batch_in_order_and_no_more_than_there_is_room_for(
            batches in prop::collection::vec((0_usize..5_000, 0_usize..200, 0_u64..2_000), 1..20),
            every in 1_u64..3_000,
            rate in 1..=RATE_MAX,
        ) {
            let (mut sampler, mut now) = sampler(every, rate);
            for (rows, room, pause) in batches {
                now += Duration::from_millis(pause);
                let chosen = sampler.choose(rows, room, now);
                prop_assert!(chosen.len() <= room.min(rate as usize));
                prop_assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]));
                prop_assert!(chosen.iter().all(|row| *row < rows));
            }
        }
    }
}
