//! A worker that hangs ends its job, in one process as in several; one that only computes for long does not.

use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidewright::runtime::watch::STILL_MAX;

use super::{PEER_LOST, assert_ended, command, endless};
use crate::{
    harness::{crew, crew::Crew, eventually::eventually},
    mutants::MUTANT,
    shop::LIMIT,
};

const HUNG: i32 = 9;
/// Twice what is promised, for slow machines.
const SOON: Duration = Duration::from_secs(10);
/// What the operator does with whose checkpoint it hangs or works for long.
const PLACE: &str = "in operator counts/rolling";

/// Two processes, the second of which is a broken variant.
fn start(folder: &TempDir, mutant: &str) -> Crew {
    let job = endless(folder.path());
    let hosts = crew::write_hosts(folder.path(), &crew::addresses(2));
    let processes = [0, 1].map(|index| {
        let command = crew::as_process(command(&job, folder.path()), index, 2, &hosts);
        match index {
            1 => command.env(MUTANT, mutant).start(),
            _ => command.start(),
        }
    });
    Crew(processes.into()).await_begin(LIMIT)
}

#[test]
fn a_worker_that_hangs_ends_its_process() {
    let folder = TempDir::new().unwrap();
    let job = endless(folder.path());
    let mut process = command(&job, folder.path()).env(MUTANT, "hang").start();
    let since = Instant::now();
    assert_ended(
        &mut process,
        &[HUNG],
        &["worker 0 hangs", PLACE, "it has done nothing for 20 s"],
    );
    assert!(since.elapsed() < STILL_MAX + SOON, "{:?}", since.elapsed());
}

#[test]
fn a_worker_that_hangs_ends_all_processes_with_the_reason() {
    let folder = TempDir::new().unwrap();
    let mut crew = start(&folder, "hang");
    let since = Instant::now();
    assert_ended(&mut crew.0[1], &[HUNG], &["worker 1 hangs", PLACE]);
    let told = ["process 1 (", "has failed: worker 1 hangs", PLACE];
    assert_ended(&mut crew.0[0], &[PEER_LOST], &told);
    assert!(since.elapsed() < STILL_MAX + SOON, "{:?}", since.elapsed());
}

#[test]
fn a_worker_that_computes_for_longer_than_one_may_stand_still_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let since = Instant::now();
    let mut crew = start(&folder, "labour");
    eventually(LIMIT * 2, "a checkpoint behind the long step", || {
        crew.assert_running();
        let head = folder.path().join("checkpoints/endless/HEAD");
        let head = std::fs::read_to_string(head).ok()?;
        head.contains("manifests/").then_some(())
    });
    assert!(since.elapsed() > STILL_MAX, "it did not take long");
    crew.0[0].terminate();
    crew.wait_for_success(LIMIT);
}
