//! Logs as JSON, and what a server says without being asked for more.

use serde_json::Value;

use super::counting;
use crate::{
    harness::{eventually::eventually, process::Command},
    shop::LIMIT,
};

/// The lines of a log, all of which are JSON; those of the server in a job's log are not.
#[track_caller]
fn lines(log: &str) -> Vec<Value> {
    let lines = log.lines().filter(|line| !line.starts_with("--- "));
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// The first event whose message begins so.
#[track_caller]
fn event<'a>(events: &'a [Value], message: &str) -> &'a Value {
    let begins = |event: &&Value| {
        let said = event["fields"]["message"].as_str();
        said.is_some_and(|said| said.starts_with(message))
    };
    let found = events.iter().find(begins);
    &found.unwrap_or_else(|| panic!("nothing says {message:?}: {events:?}"))["fields"]
}

#[test]
fn a_run_tells_its_beginning_and_end_as_json_with_figures() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("told.yaml");
    std::fs::write(&file, counting("told", Some(1_500))).unwrap();
    let mut run = Command::tidewright(folder.path())
        .args(["run", "--log-json"])
        .arg(&file)
        .start();
    run.wait_for_success(LIMIT);
    let events = lines(&run.stderr());
    let opening = event(&events, "job told:");
    assert_eq!(
        (&opening["job"], &opening["workers"]),
        (&"told".into(), &1.into())
    );
    assert!(opening["generation"].as_u64() > Some(0), "{opening}");
    let progress = event(&events, &format!("{} events/s", progress_rate(&events)));
    assert!(progress["rows_delivered"].is_u64(), "{progress}");
    let closing = event(&events, "stopped after");
    assert_eq!(closing["events"], 1_500);
    assert!(closing["durable_epoch"].as_u64() > Some(0), "{closing}");
}

#[test]
fn a_log_that_goes_to_no_terminal_has_no_colours() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plain.yaml");
    std::fs::write(&file, counting("plain", Some(100))).unwrap();
    let mut run = Command::tidewright(folder.path())
        .arg("run")
        .arg(&file)
        .env("RUST_LOG", "debug")
        .start();
    run.wait_for_success(LIMIT);
    let log = run.stderr();
    assert!(log.contains("DEBUG") && !log.contains('\x1b'), "{log}");
}

/// The rate that the first line of progress tells.
#[track_caller]
fn progress_rate(events: &[Value]) -> u64 {
    let rates = events.iter();
    let mut rates = rates.filter_map(|event| event["fields"]["events_per_second"].as_f64());
    rates.next().expect("no progress is told") as u64
}

#[test]
fn a_server_says_what_becomes_of_its_jobs_without_being_asked_for_more() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("s");
    let file = folder.path().join("noted.yaml");
    std::fs::write(&file, counting("noted", Some(2_000))).unwrap();
    let serve = Command::tidewright(folder.path());
    let mut serve = serve
        .args(["serve", "--log-json", "--listen", "127.0.0.1:0", "--data"])
        .arg(&data)
        .start();
    let url = eventually(LIMIT, "the server listens", || {
        let log = serve.stderr();
        assert!(serve.is_running(), "the server ended:\n{log}");
        let (_, rest) = log.split_once("serving at ")?;
        Some(rest.split_once(',')?.0.to_owned())
    });
    let ask = |arguments: &[&str]| {
        Command::tidewright(&folder.path().join("cli"))
            .args(arguments)
            .env("TIDEWRIGHT_SERVER", &*url)
            .env("TIDEWRIGHT_TOKEN_FILE", data.join("admin.token"))
            .run(LIMIT)
    };
    ask(&["submit", file.to_str().unwrap(), "--wait"]).wait_for_success(LIMIT);
    eventually(LIMIT, "the job's end is told", || {
        serve.stderr().contains("\"finished\"").then_some(())
    });
    let logs = ask(&["logs", "noted"]);
    serve.terminate();
    serve.wait_for_success(LIMIT);
    let events = lines(&serve.stderr());
    assert_eq!(event(&events, "started")["job"], "noted");
    let states = events
        .iter()
        .filter(|event| event["fields"]["message"] == "state");
    let states: Vec<_> = states.map(|event| &event["fields"]["state"]).collect();
    assert_eq!(states, ["running", "finished"]);
    event(&events, "the server ends");
    let events = lines(&logs.stdout());
    assert_eq!(event(&events, "job noted:")["job"], "noted");
    assert_eq!(event(&events, "stopped after")["events"], 2_000);
}
