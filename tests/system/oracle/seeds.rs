//! The property: for any input, all views equal the batch. A failing seed is made as small as it can be while it fails.
//!
//! `TIDEWRIGHT_TEST_SEEDS=200` tries more seeds than a usual run does.

use std::env;

use tempfile::TempDir;

use super::{
    engine::{Oracle, Variation, run},
    generate::Input,
    relations::{sources, views},
};
use crate::harness::random::Random;

/// Seeds that have failed once: they always run. 88: doubles that cancel to nearly nothing.
const ONCE_FAILED: &[u64] = &[88];
/// Seeds of a usual run.
const SEEDS: u64 = 5;
/// Runs that are spent on making a failure smaller.
const SHRINKING_RUNS: usize = 16;

/// An input and a way to run it.
#[derive(Clone, Debug, PartialEq)]
struct Case {
    input: Input,
    variation: Variation,
}

impl Case {
    fn of_seed(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x006F_7261_636C_6531);
        let input = Input {
            seed,
            events: 300 + random.below(3_000),
            users: 1 + random.below(80),
            splits: 1 + random.below(5) as u32,
            disorder_ms: *random.pick(&[0, 1_000, 5_000, 9_000]),
            late: *random.pick(&[0.0, 0.02, 0.2]),
            malformed: *random.pick(&[0.0, 0.01, 0.1]),
        };
        let workers = *random.pick(&[1, 2, 4]);
        let mut pick = |texts: &[&'static str]| *random.pick(texts);
        let variation = Variation {
            processes: 1,
            workers,
            tick: pick(&["1ms", "10ms", "200ms"]),
            checkpoints: pick(&["10ms", "100ms", "1h"]),
            memory: match pick(&["all", "1KiB", "32KiB"]) {
                "all" => None,
                some => Some(some),
            },
        };
        Self { input, variation }
    }

    fn check(&self) -> Result<(), String> {
        let folder = TempDir::new().unwrap();
        self.input.write(folder.path());
        let sources: Vec<_> = sources()
            .into_iter()
            .map(|s| s.under(folder.path()))
            .collect();
        let views = views();
        let oracle = Oracle::ask(&sources, &views);
        let ran = run(
            &folder.path().join("run"),
            &sources,
            &views,
            &self.variation,
        )?;
        oracle.judge(&views, &ran)
    }

    /// Cases with less in them, the boldest first.
    fn smaller(&self) -> Vec<Self> {
        let mut smaller = Vec::new();
        let mut push = |change: &dyn Fn(&mut Self)| {
            let mut case = self.clone();
            change(&mut case);
            if case != *self {
                smaller.push(case);
            }
        };
        push(&|case| case.input.events /= 4);
        push(&|case| case.input.events = case.input.events * 2 / 3);
        push(&|case| case.variation = Variation::default());
        push(&|case| case.input.splits = 1);
        push(&|case| case.input.users = case.input.users.div_ceil(4));
        push(&|case| case.input.malformed = 0.0);
        push(&|case| case.input.late = 0.0);
        push(&|case| case.input.disorder_ms = 0);
        smaller
    }

    /// The smallest case that still fails, as far as the runs go, and how it fails.
    fn shrink(mut self, mut failure: String) -> (Self, String) {
        let mut runs = 0;
        'smaller: loop {
            for case in self.smaller() {
                runs += 1;
                if runs > SHRINKING_RUNS {
                    return (self, failure);
                }
                if let Err(error) = case.check() {
                    (self, failure) = (case, error);
                    continue 'smaller;
                }
            }
            return (self, failure);
        }
    }
}

#[test]
fn every_view_equals_the_batch_for_any_seed() {
    let seeds = match env::var("TIDEWRIGHT_TEST_SEEDS") {
        Ok(count) => count.parse().expect("TIDEWRIGHT_TEST_SEEDS is a number"),
        Err(_) => SEEDS,
    };
    for seed in ONCE_FAILED.iter().copied().chain(1..=seeds) {
        let case = Case::of_seed(seed);
        println!("seed {seed}: {case:?}");
        if let Err(failure) = case.check() {
            let (smallest, failure) = case.shrink(failure);
            panic!("seed {seed} fails; add it to ONCE_FAILED. Smallest: {smallest:?}\n{failure}");
        }
    }
}
