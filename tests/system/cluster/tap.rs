//! A tap shows rows of all processes.

use std::{collections::BTreeSet, os::unix::net::UnixStream, path::Path, time::Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{command, endless_of};
use crate::{
    harness::{crew::Crew, eventually::eventually, jobfile::JobFile},
    shop::LIMIT,
    tap::Client,
};

/// Taps of a job that may be open at a time.
const TAPS_MAX: usize = 8;
const USERS: u32 = 50;
/// More of the users than one of two processes has: hashes spread them.
const MOST_USERS: usize = 45;

fn tap(socket: &Path) -> Client {
    let request = json!({ "tap": { "relation": "counts", "rate": 1_000 } });
    Client::ask(socket, &request)
}

fn await_listening(socket: &Path) {
    eventually(LIMIT, "the job listens", || {
        UnixStream::connect(socket).ok().map(drop)
    });
}

/// Reads until rows of more users have been shown than belong to one process.
fn await_rows_of_both(tap: &mut Client) {
    let mut users = BTreeSet::new();
    let deadline = Instant::now() + LIMIT;
    while users.len() < MOST_USERS {
        assert!(Instant::now() < deadline, "rows of {users:?} alone");
        let answer = tap.next().expect("the job goes on");
        for line in answer["tapped"]["lines"].as_array().unwrap() {
            let line: Value = serde_json::from_str(line.as_str().unwrap()).unwrap();
            users.insert(line["row"]["user_id"].as_str().unwrap().to_owned());
        }
    }
}

/// A process that did not hear of a tap's end would have no room for another one, and its rows would be missing there.
#[test]
fn a_tap_shows_rows_of_all_processes_and_closes_in_all_of_them() {
    let folder = TempDir::new().unwrap();
    let job = endless_of(folder.path(), USERS);
    let crew = Crew::start(folder.path(), 2, || command(&job, folder.path()));
    let mut crew = crew.await_begin(LIMIT);
    let socket = folder.path().join("socket");
    await_listening(&socket);
    let mut open: Vec<_> = (0..TAPS_MAX).map(|_| tap(&socket)).collect();
    // The others are not read, which holds up neither this one nor the job.
    await_rows_of_both(&mut open[0]);
    drop(open);
    let mut again = Vec::new();
    eventually(LIMIT, "there is room again", || {
        let mut one_more = tap(&socket);
        if one_more.next().unwrap()["tapped"].is_object() {
            again.push(one_more);
        }
        (again.len() == TAPS_MAX).then_some(())
    });
    again.iter_mut().for_each(await_rows_of_both);
    crew.assert_running();
    crew.0[1].terminate();
    crew.wait_for_success(LIMIT);
}

/// Few enough rows that all of them can be shown: the last ones of all processes come before the end.
#[test]
fn a_tap_over_processes_ends_with_the_job_behind_its_last_rows() {
    let folder = TempDir::new().unwrap();
    // Each process makes half of them.
    let source = json!({
        "datagen": { "kind": "events", "seed": 3, "users": 50, "splits": 2, "rate": 50, "count": 150 },
        "event_time": { "column": "ts", "out_of_orderness": "1s" },
    });
    let job = JobFile::new("whole")
        .source("events", source)
        .sink("out", json!({ "from": "events", "blackhole": {} }))
        .checkpoints("1s", &folder.path().join("checkpoints"))
        .write(folder.path());
    let mut crew = Crew::start(folder.path(), 2, || command(&job, folder.path()));
    let socket = folder.path().join("socket");
    await_listening(&socket);
    let request = json!({ "tap": { "relation": "events", "rate": 1_000 } });
    let mut tap = Client::ask(&socket, &request);
    let (mut shown, mut last) = (0, Value::Null);
    while last["ended"].is_null() {
        let answer = tap.next().expect("it says how it ended");
        last = answer["tapped"].clone();
        shown += last["lines"].as_array().unwrap().len();
    }
    assert_eq!(
        (&last["ended"], &last["left_out"]),
        (&"job".into(), &0.into())
    );
    assert!(shown > 100, "{shown} of 150");
    crew.wait_for_success(LIMIT);
}
