//! A job in several processes: the results of one process, whatever happens to the others.

mod backpressure;
mod faults;
mod hangs;
mod launch;
mod namespaces;
mod results;
mod start;
mod status;
mod tap;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    harness::{
        crew::Crew,
        input::{Events, write_files},
        jobfile::{JobFile, events, from_files},
        process::{Command, Process},
    },
    shop::{LIMIT, ShopJob},
};

/// The exit code of a process whose job has lost another process, or never found it.
const PEER_LOST: i32 = 5;
const PANICKED: i32 = 101;
/// How soon the other processes of a job have ended when one is lost, from the loss on.
const SOON: Duration = Duration::from_secs(5);

const COUNTS: &str = "SELECT user_id, count(*) AS events, sum(price * quantity) AS amount
    FROM rolling(events, INTERVAL '1 hour', INTERVAL '1 minute') GROUP BY user_id";

/// The file of a job over files in a folder, for one sink.
fn over_files(folder: &Path, name: &str, sink: Value) -> PathBuf {
    let input = folder.join("input");
    if !input.exists() {
        let lines = Events {
            count: 4_000,
            ..Events::default()
        }
        .lines();
        write_files(&lines, &input, "events", 5);
    }
    JobFile::new(name)
        .source("events", events(from_files(&input), "5s"))
        .view("counts", COUNTS)
        .sink("out", sink)
        .checkpoints("50ms", &folder.join("checkpoints"))
        .write(folder)
}

/// The file of a job that has always something to do, and no end.
fn endless(folder: &Path) -> PathBuf {
    endless_of(folder, 500)
}

/// The same for so many users.
fn endless_of(folder: &Path, users: u32) -> PathBuf {
    let source = json!({
        "datagen": { "kind": "events", "seed": 3, "users": users, "splits": 4, "rate": 2_000 },
        "event_time": { "column": "ts", "out_of_orderness": "1s" },
    });
    JobFile::new("endless")
        .source("events", source)
        .view("counts", COUNTS)
        .sink("out", json!({ "from": "counts", "blackhole": {} }))
        .checkpoints("50ms", &folder.join("checkpoints"))
        .write(folder)
}

/// The command that runs a job file, whose processes all share one working folder.
fn command(job: &Path, folder: &Path) -> Command {
    running(Command::tidewright(folder), job, folder)
}

/// The command with what makes it run a job file.
fn running(tidewright: Command, job: &Path, folder: &Path) -> Command {
    tidewright
        .arg("run")
        .arg(job)
        .args(["--summary", "json", "--socket"])
        .arg(folder.join("socket"))
        .env("RUST_LOG", "info")
}

/// Starts processes of a shop's job and waits until all of them run.
fn start(job: &ShopJob, processes: usize, workers: usize) -> Crew {
    Crew::start(job.folder.path(), processes, || job.command(workers)).await_begin(LIMIT)
}

/// A process must end with one of these codes and say all of this in its errors.
#[track_caller]
fn assert_ended(process: &mut Process, codes: &[i32], says: &[&str]) {
    let status = process.wait(LIMIT);
    let log = process.stderr();
    let code = status.code().unwrap_or(-1);
    assert!(codes.contains(&code), "{status}:\n{log}");
    let errors: Vec<_> = log
        .lines()
        .filter(|line| line.starts_with("error:"))
        .collect();
    assert_eq!(errors.len(), 1, "one cause, told once:\n{log}");
    for part in says {
        assert!(
            errors[0].contains(part),
            "nothing is said of {part}:\n{log}"
        );
    }
}
