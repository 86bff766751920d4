//! Jobs in several processes, which share one fate.

use std::{fs, net::TcpListener, thread, time::Duration};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{counting, submission};
use crate::{
    harness::{
        eventually::eventually,
        server::{Server, job_processes, kill, pids},
    },
    shop::LIMIT,
};

fn in_two(name: &str) -> Value {
    let mut body = submission(&counting(name, None));
    body["processes"] = 2.into();
    body
}

fn submit(server: &Server, body: &Value) {
    let reply = server.post("/v1/jobs", Some(body));
    assert_eq!(reply.status, 201, "{reply:?}");
}

#[test]
fn a_job_of_two_processes_is_adopted_saved_stopped_and_canceled_as_one() {
    let mut server = Server::start(&[], &[]);
    submit(&server, &in_two("pair"));
    let before = server.await_state("pair", "running");
    assert_eq!(before["process_count"], 2);
    assert_eq!(pids(&before).len(), 2);
    server.kill();
    assert_eq!(job_processes(&server.data()).len(), 2);
    server.start_again();
    let after = server.job("pair");
    assert_eq!(pids(&after), pids(&before));
    let taken = server.cli_json(&["savepoint", "pair"]);
    assert_eq!(taken["state"], "succeeded", "{taken}");
    let stopped = server.cli_json(&["stop", "pair", "--wait"]);
    assert_eq!(stopped["state"], "succeeded", "{stopped}");
    let job = server.job("pair");
    assert_eq!(
        (&job["state"], &job["restarts"], &job["processes"]),
        (&"suspended".into(), &0.into(), &json!([]))
    );
    let latest = server.cli_json(&["checkpoints", "pair"]);
    assert_eq!(latest["checkpoints"][0]["kind"], "final", "{latest}");
    assert_eq!(latest["checkpoints"][0]["workers"], 2, "{latest}");
    // It goes on in one process, and in two again.
    submit(&server, &submission(&counting("pair", None)));
    let alone = server.await_state("pair", "running");
    assert_eq!(pids(&alone).len(), 1);
    server.cli_json(&["stop", "pair", "--wait"]);
    submit(&server, &in_two("pair"));
    server.await_state("pair", "running");
    server.cli_json(&["cancel", "pair", "--wait"]);
    assert_eq!(server.job("pair")["state"], "canceled");
    assert!(job_processes(&server.data()).is_empty());
}

#[test]
fn one_process_that_is_lost_starts_both_again_and_is_named() {
    let server = Server::start(&[], &[]);
    submit(&server, &in_two("lost"));
    for (restarts, index) in [(1, 1), (2, 0)] {
        let before = server.await_state("lost", "running");
        kill(pids(&before)[index], Signal::KILL);
        let after = eventually(LIMIT, "both are started again", || {
            let job = server.job("lost");
            (job["restarts"] == restarts && job["state"] == "running").then_some(job)
        });
        let old = pids(&before);
        assert!(pids(&after).iter().all(|pid| !old.contains(pid)), "{after}");
        let error = after["last_error"].as_str().unwrap();
        let told = format!("process {index} of 2 was killed by signal 9");
        assert!(error.contains(&told), "{error}");
    }
}

#[test]
fn the_logs_of_both_processes_are_shown_with_whose_they_are() {
    let server = Server::start(&[], &[]);
    submit(&server, &in_two("logged"));
    server.await_state("logged", "running");
    let logs = server.cli(&["logs", "logged"]).stdout();
    for line in [
        "[0] --- version 1 starts",
        "[0] job logged: process 0 of 2",
        "[1] --- version 1 starts",
        "[1] job logged: process 1 of 2",
    ] {
        assert!(logs.contains(line), "{line} is missing:\n{logs}");
    }
}

#[test]
fn memory_is_limited_over_all_processes() {
    let server = Server::start(&[], &[]);
    submit(&server, &in_two("measured"));
    let job = server.await_state("measured", "running");
    let used = job["processes"].as_array().unwrap().iter();
    let used: Vec<_> = used
        .map(|process| process["resident_bytes"].as_u64().unwrap())
        .collect();
    server.cli_json(&["cancel", "measured", "--wait"]);
    // More than either of them takes, and less than both.
    let largest = used.iter().max().unwrap();
    let limit = largest + used.iter().min().unwrap() / 2;
    let mut body = in_two("fat");
    body["memory_limit_bytes"] = limit.into();
    submit(&server, &body);
    let job = eventually(LIMIT, "the limit is noticed", || {
        let job = server.job("fat");
        (job["restarts"].as_u64() > Some(0)).then_some(job)
    });
    let error = job["last_error"].as_str().unwrap();
    let told = format!("more than its limit of {} MiB", limit >> 20);
    assert!(error.contains(&told), "{error}");
}

/// A program takes the ports between the moment when they are found free and the one when they are used.
#[test]
fn ports_that_are_taken_meanwhile_do_not_keep_a_job_from_running() {
    let server = Server::start(&[], &[]);
    let run = server.data().join("run");
    let thief = thread::spawn(move || {
        eventually(LIMIT, "the ports are chosen", || {
            let starts = fs::read_dir(&run).unwrap();
            let mut hosts = starts.map(|start| start.unwrap().path().join("hosts"));
            let hosts = hosts.find_map(|hosts| fs::read_to_string(hosts).ok())?;
            let taken: Vec<_> = hosts
                .lines()
                .map(|host| TcpListener::bind(host).ok())
                .collect();
            taken
                .into_iter()
                .collect::<Option<Vec<_>>>()
                .filter(|taken| taken.len() == 2)
        })
    });
    submit(&server, &in_two("robbed"));
    let taken = thief.join().unwrap();
    let job = eventually(LIMIT * 2, "it runs at other ports", || {
        thread::sleep(Duration::from_millis(200));
        let job = server.job("robbed");
        (job["state"] == "running").then_some(job)
    });
    assert!(
        job["restarts"].as_u64() > Some(0),
        "nothing was taken: {job}"
    );
    let log = server.cli(&["logs", "robbed"]).stdout();
    assert!(log.contains("in use by another program"), "{log}");
    drop(taken);
}
