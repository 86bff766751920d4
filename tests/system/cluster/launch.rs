//! `--launch N`: all processes on this machine, as if they were one.

use std::{
    fs,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::json;
use tempfile::TempDir;

use super::{command, endless, over_files};
use crate::{
    harness::{eventually::eventually, process::Process},
    shop::LIMIT,
};

/// The processes that a launcher has started, by index.
fn children(launcher: &Process) -> Vec<Pid> {
    let path = format!("/proc/{0}/task/{0}/children", launcher.id());
    let ids = fs::read_to_string(path).unwrap_or_default();
    let ids = ids.split_whitespace().filter_map(|id| id.parse().ok());
    ids.filter_map(Pid::from_raw).collect()
}

/// Starts an endless job and waits for its first checkpoint.
fn launch(folder: &TempDir) -> (Process, Vec<Pid>) {
    let process = command(&endless(folder.path()), folder.path())
        .args(["--launch", "3"])
        .start();
    eventually(LIMIT, "a checkpoint", || {
        let head = folder.path().join("checkpoints/endless/HEAD");
        fs::read_to_string(head)
            .ok()?
            .contains("manifests/")
            .then_some(())
    });
    let children = children(&process);
    assert_eq!(children.len(), 3);
    (process, children)
}

fn await_end_of(children: &[Pid]) {
    eventually(Duration::from_secs(10), "the end of all processes", || {
        let gone = |child: &Pid| test_kill_process(*child).is_err();
        children.iter().all(gone).then_some(())
    });
}

#[test]
fn a_launched_job_runs_to_its_end_and_prints_one_summary() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out.jsonl");
    let job = over_files(
        folder.path(),
        "launched",
        json!({ "from": "counts", "files": { "path": out } }),
    );
    let mut process = command(&job, folder.path())
        .args(["--launch", "3", "--workers", "2", "--bounded"])
        .start();
    process.wait_for_success(LIMIT);
    let summary = process.summary();
    assert_eq!(process.stdout().lines().count(), 1);
    assert_eq!(summary["processes"], 3);
    assert_eq!(summary["events_in"]["events"], 4_000);
    let rows = fs::read_to_string(out).unwrap().lines().count();
    assert_eq!(summary["rows_out"]["sinks"]["out"], rows);
}

#[test]
fn a_launched_job_stops_in_good_order_when_the_launcher_is_asked_to() {
    let folder = TempDir::new().unwrap();
    let (mut process, children) = launch(&folder);
    process.interrupt();
    process.wait_for_success(LIMIT);
    await_end_of(&children);
    assert!(
        process.stderr().contains("final checkpoint"),
        "{}",
        process.stderr()
    );
}

#[test]
fn the_launcher_tells_which_process_was_killed_and_ends_with_all_others() {
    let folder = TempDir::new().unwrap();
    let (mut process, children) = launch(&folder);
    let since = Instant::now();
    kill_process(children[1], Signal::KILL).unwrap();
    let status = process.wait(LIMIT);
    assert!(since.elapsed() < Duration::from_secs(15));
    let log = process.stderr();
    assert_eq!(status.code(), Some(128 + 9), "{log}");
    assert!(
        log.contains("process 1 of 3 was ended by signal 9"),
        "{log}"
    );
    await_end_of(&children);
}

#[test]
fn launched_processes_end_with_a_launcher_that_is_killed() {
    let folder = TempDir::new().unwrap();
    let (mut process, children) = launch(&folder);
    process.kill();
    await_end_of(&children);
}
