//! Tests of the tests: deliberately broken variants of the engine, each of which must be found out.
//!
//! Debug builds break themselves where `TIDEWRIGHT_TEST_MUTANT` says. Variants that break durability on disk (no fsync, no
//! fsync of the directory, HEAD before its files) live in the tests of the `checkpoints` crate.

use std::time::Duration;

use crate::{
    crash_points::CRASH_AT,
    harness::random::Random,
    shop::{Shop, ShopJob},
    zombies,
};

/// Names the variant.
pub const MUTANT: &str = "TIDEWRIGHT_TEST_MUTANT";
/// How often a variant may come through before it counts as not found.
const ATTEMPTS: u64 = 4;
const KILLS: usize = 5;
/// Variants that show only in a crash between sending and publishing; debug builds make that time longer for them.
const SENDS_TOO_EARLY: [&str; 2] = ["release", "capability"];

#[track_caller]
fn is_found(mutant: &str) {
    for attempt in 0..ATTEMPTS {
        let Some(mut shop) = Shop::open(100 + attempt) else {
            return;
        };
        if let Some(difference) = run(mutant, &mut shop, attempt) {
            println!("{mutant} is found: {difference}");
            return;
        }
    }
    panic!("{mutant} came through {ATTEMPTS} times: the suite would not find such a fault");
}

/// What a broken variant leaves after some kills, if that is not what an undisturbed run leaves.
fn run(mutant: &str, shop: &mut Shop, seed: u64) -> Option<String> {
    let job = shop.job("mutant");
    let mut random = Random::new(seed);
    for kill in 0..KILLS {
        go_on_in_every_partition(shop);
        let command = job.command(1).env(MUTANT, mutant);
        if SENDS_TOO_EARLY.contains(&mutant) {
            // Right where rows are with the stores and their checkpoint is not published yet.
            let crash = format!("before-manifest:{}", 2 + kill);
            let mut process = command.env(CRASH_AT, crash).start();
            shop.feed_until("the crash", || (!process.is_running()).then_some(()));
            continue;
        }
        let mut process = command.start();
        let begun = feed_while(shop, &job, &mut process, 50 + random.below(400));
        if !begun {
            return Some(format!(
                "it ends by itself: {}",
                last_error(&process.stderr())
            ));
        }
        process.kill();
    }
    go_on_in_every_partition(shop);
    let (process, status) = job.end(job.command(1).env(MUTANT, mutant));
    if !status.success() {
        return Some(format!(
            "it ends by itself: {}",
            last_error(&process.stderr())
        ));
    }
    job.contents(shop).difference(&shop.undisturbed(&job))
}

/// Offsets beyond a partition's end would be refused without any comparison.
fn go_on_in_every_partition(shop: &mut Shop) {
    for _ in 0..10 {
        shop.feed();
    }
}

/// Feeds a process until it has published a checkpoint, and for some milliseconds more; false if it has ended by then.
fn feed_while(
    shop: &mut Shop,
    job: &ShopJob,
    process: &mut crate::harness::process::Process,
    milliseconds: u64,
) -> bool {
    let before = job.durable_epoch();
    shop.feed_until("a checkpoint", || {
        (!process.is_running() || job.durable_epoch() > before).then_some(())
    });
    shop.feed_for(Duration::from_millis(milliseconds));
    process.is_running()
}

fn last_error(log: &str) -> String {
    let errors: Vec<_> = log
        .lines()
        .filter(|line| line.starts_with("error:"))
        .collect();
    errors.last().unwrap_or(&"it does not say why").to_string()
}

#[test]
fn an_offset_one_too_far_after_a_restore_is_found() {
    is_found("offset");
}

#[test]
fn a_changed_entry_that_is_missing_in_a_checkpoint_is_found() {
    is_found("dirty");
}

#[test]
fn rows_that_are_sent_before_their_checkpoint_is_durable_are_found() {
    is_found("release");
}

#[test]
fn a_durable_frontier_that_nobody_holds_back_between_checkpoints_is_found() {
    is_found("capability");
}

#[test]
fn a_store_that_takes_older_versions_is_found() {
    for attempt in 0..ATTEMPTS {
        match zombies::late_writes(200 + attempt, Some("stale")) {
            None => return,
            Some(Some(difference)) => {
                println!("stale is found: {difference}");
                return;
            }
            Some(None) => {}
        }
    }
    panic!("stale came through {ATTEMPTS} times");
}
