//! A replay into live stores: no reader ever sees an older row, whatever happens on the way.

use std::collections::BTreeMap;

use super::counts::{Counts, contents};
use crate::{
    crash_points::CRASH_AT,
    harness::process::{Command, Process},
    mutants::MUTANT,
    shop::LIMIT,
};

const EVENTS: usize = 12_000;
/// The first passage is the claim; then three checkpoints are published.
const CRASH: &str = "head-swapped:4";

/// What the stores must not show: rows behind these.
struct Shown(BTreeMap<String, (u64, String)>);

impl Shown {
    /// Fails with the first row that went back.
    fn check(&self, counts: &Counts) -> Result<(), String> {
        let now = counts.rows();
        for (key, (before, _)) in &self.0 {
            match now.get(key) {
                Some((after, _)) if after >= before => {}
                other => {
                    return Err(format!(
                        "{key} had seen {before} events and now shows {other:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Nothing has been written at all.
    fn is_untouched(&self, counts: &Counts) -> Result<(), String> {
        match counts.rows() == self.0 {
            true => Ok(()),
            false => Err("rows were written before the replay had caught up".to_owned()),
        }
    }
}

/// Lets it crash in the middle of a replay: behind what was delivered, with checkpoints of its own.
fn crash(counts: &Counts, shown: &Shown, command: Command) -> Result<(), String> {
    let read_before = EVENTS as i64;
    let mut process = command.env(CRASH_AT, CRASH).start();
    process.wait(LIMIT);
    assert!(
        process.was_killed(),
        "it did not crash:\n{}",
        process.stderr()
    );
    assert!(
        counts.checkpoints().read() < read_before,
        "the replay had caught up before the crash: nothing is shown"
    );
    shown.is_untouched(counts)
}

/// Runs to the end of the input, looking at the stores all the time.
fn finish(
    counts: &Counts,
    shown: &Shown,
    command: Command,
    events: i64,
) -> Result<Process, String> {
    let mut process = command.start();
    while counts.checkpoints().read() < events {
        assert!(
            process.is_running(),
            "ended by itself:\n{}",
            process.stderr()
        );
        shown.check(counts)?;
    }
    process.terminate();
    process.wait_for_success(LIMIT);
    shown.check(counts)?;
    Ok(process)
}

/// Replays everything over live stores, crashing on the way; tells what was seen that must not be. `mutant` breaks the job.
fn replay(prefix: &str, mutant: Option<&str>) -> Option<Result<(), String>> {
    let mut counts = Counts::open(prefix)?;
    counts.produce(EVENTS);
    counts.run(&[]);
    let shown = Shown(counts.rows());
    assert!(shown.0.len() > 40, "{} rows in two stores", shown.0.len());
    counts.produce(1_000);
    Some(replay_over(&counts, &shown, mutant))
}

fn replay_over(counts: &Counts, shown: &Shown, mutant: Option<&str>) -> Result<(), String> {
    let command = |flags: &[&str]| match mutant {
        Some(mutant) => counts.command(flags).env(MUTANT, mutant),
        None => counts.command(flags),
    };
    let from_nothing = ["--restore", "none", "--from-earliest"];
    crash(counts, shown, command(&from_nothing))?;
    // From a checkpoint of the replay itself.
    crash(counts, shown, command(&[]))?;
    // From nothing once more: HEAD is that of a replay now.
    crash(counts, shown, command(&from_nothing))?;
    let process = finish(counts, shown, command(&[]), EVENTS as i64 + 1_000)?;
    let opening = process.stderr();
    assert!(
        opening.contains("a replay: keyed sinks get nothing until"),
        "{opening}"
    );
    let after = counts.rows();
    for (key, (_, version)) in &shown.0 {
        assert!(after[key].1 > *version, "{key} was not written again");
    }
    assert_right(counts);
    Ok(())
}

/// The stores hold what a job of another name, undisturbed, finds in the same topic.
fn assert_right(counts: &Counts) {
    let rows = counts.rows();
    let total: u64 = rows.values().map(|(count, _)| count).sum();
    assert_eq!(
        total,
        2 * (EVENTS as u64 + 1_000),
        "every event in both stores"
    );
    assert_eq!(contents(&rows).len(), rows.len());
}

#[test]
fn a_replay_from_nothing_writes_nothing_older_than_what_was_delivered_whenever_it_crashes() {
    if let Some(seen) = replay("replayed", None) {
        assert_eq!(seen, Ok(()));
    }
}

#[test]
fn a_replay_that_delivers_at_once_is_found() {
    if let Some(seen) = replay("replayed-mutant", Some("hold")) {
        let seen = seen.expect_err("the test would not find such a fault");
        println!("hold is found: {seen}");
    }
}

#[test]
fn a_restore_from_an_older_checkpoint_writes_nothing_older_either() {
    let Some(mut counts) = Counts::open("rewound") else {
        return;
    };
    counts.produce(EVENTS);
    counts.run(&[]);
    let shown = Shown(counts.rows());
    counts.produce(1_000);
    let manifests = counts.checkpoints().all();
    let (older, read) = manifests
        .iter()
        .find(|(_, read)| *read > 0)
        .expect("a checkpoint in the middle");
    assert!(*read < EVENTS as i64 / 2, "{manifests:?}");
    let seen = crash(&counts, &shown, counts.command(&["--restore", older]))
        .and_then(|()| finish(&counts, &shown, counts.command(&[]), EVENTS as i64 + 1_000));
    assert!(seen.is_ok(), "{:?}", seen.err());
    assert_right(&counts);
}
