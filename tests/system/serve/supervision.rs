//! Jobs are kept as they are wanted.

use std::fs;

use rustix::process::Signal;

use super::{counting, submission};
use crate::{
    harness::{
        eventually::eventually,
        server::{Server, job_processes, kill},
    },
    shop::LIMIT,
};

#[test]
fn a_server_that_comes_back_adopts_what_runs_and_stops_it_in_good_order() {
    let mut server = Server::start(&[], &[]);
    let submitted = server.post("/v1/jobs", Some(&submission(&counting("adopted", None))));
    assert_eq!(submitted.status, 201, "{submitted:?}");
    let before = server.await_state("adopted", "running");
    server.kill();
    assert_eq!(job_processes(&server.data()).len(), 1);
    server.start_again();
    let after = server.job("adopted");
    assert_eq!(after["processes"][0]["pid"], before["processes"][0]["pid"]);
    assert_eq!(
        (&after["state"], &after["restarts"]),
        (&"running".into(), &0.into())
    );
    let stopping = server.post("/v1/jobs/adopted/stop", None);
    assert_eq!(stopping.status, 202, "{stopping:?}");
    // A stop that the server forgot while it was down would never be over.
    server.kill();
    server.start_again();
    server.await_state("adopted", "suspended");
    let operation = stopping.headers["location"].to_str().unwrap();
    let operation = server.get(operation);
    assert_eq!(operation["state"], "succeeded", "{operation}");
    let checkpoints = server.cli_json(&["checkpoints", "adopted"]);
    let latest = &checkpoints["checkpoints"][0];
    assert_eq!(
        (&latest["kind"], &latest["latest"]),
        (&"final".into(), &true.into())
    );
}

#[test]
fn a_stopped_job_goes_on_with_its_next_version() {
    let server = Server::start(&[], &[]);
    let submit = |workers: u16| {
        let mut body = submission(&counting("again", None));
        body["workers"] = workers.into();
        server.post("/v1/jobs", Some(&body))
    };
    assert_eq!(submit(1).status, 201);
    server.await_state("again", "running");
    let refused = submit(2);
    assert_eq!(refused.status, 409, "{refused:?}");
    assert!(
        refused.body["detail"]
            .as_str()
            .unwrap()
            .contains("stop or cancel it first")
    );
    server.cli_json(&["stop", "again", "--wait"]);
    assert_eq!(submit(2).status, 201);
    let job = server.await_state("again", "running");
    assert_eq!((&job["version"], &job["workers"]), (&2.into(), &2.into()));
    let log = server.log("again");
    assert!(log.contains("going on from the checkpoint"), "{log}");
    server.cli_json(&["cancel", "again", "--wait"]);
    assert_eq!(server.job("again")["state"], "canceled");
    assert!(job_processes(&server.data()).is_empty());
}

#[test]
fn savepoints_are_taken_and_left_behind_and_drained_jobs_finish() {
    let mut server = Server::start(&[], &[]);
    server.post("/v1/jobs", Some(&submission(&counting("saved", None))));
    server.await_state("saved", "running");
    let taken = server.cli_json(&["savepoint", "saved"]);
    let location = taken["savepoint"]["location"].as_str().unwrap();
    let folder = location.strip_prefix("file://").unwrap();
    assert!(fs::read_dir(folder).unwrap().count() > 0, "{taken}");
    let outside = server.cli(&["savepoint", "saved", "--to", "/tmp/nowhere"]);
    assert!(
        outside.stderr().contains("--allow-files"),
        "{}",
        outside.stderr()
    );
    assert_eq!(server.job("saved")["state"], "running");
    let body = serde_json::json!({ "savepoint": true });
    let stopping = server.post("/v1/jobs/saved/stop", Some(&body));
    assert_eq!(stopping.status, 202, "{stopping:?}");
    server.await_state("saved", "suspended");
    let operation = stopping.headers["location"].to_str().unwrap();
    let operation = eventually(LIMIT, "the operation is over", || {
        let operation = server.get(operation);
        (operation["state"] != "running").then_some(operation)
    });
    assert_eq!(operation["state"], "succeeded", "{operation}");
    assert_ne!(operation["savepoint"]["location"], location, "{operation}");
    server.post("/v1/jobs", Some(&submission(&counting("saved", None))));
    server.await_state("saved", "running");
    // Asked just before the server is killed, or never: the next one sees to it.
    let body = serde_json::json!({ "drain": true });
    server.post("/v1/jobs/saved/stop", Some(&body));
    server.kill();
    server.start_again();
    let job = server.await_state("saved", "finished");
    assert_eq!(job["restarts"], 0, "{job}");
}

#[test]
fn a_job_whose_input_ends_is_finished_also_if_no_server_was_there_to_see_it() {
    let mut server = Server::start(&[], &[]);
    for name in ["seen", "unseen"] {
        let submitted = server.post("/v1/jobs", Some(&submission(&counting(name, Some(1_500)))));
        assert_eq!(submitted.status, 201, "{submitted:?}");
        server.await_state(name, "running");
        if name == "seen" {
            server.await_state(name, "finished");
        }
    }
    server.kill();
    eventually(LIMIT, "the job ends by itself", || {
        job_processes(&server.data()).is_empty().then_some(())
    });
    server.start_again();
    let job = server.await_state("unseen", "finished");
    assert_eq!(job["restarts"], 0, "{job}");
    assert_eq!(server.job("seen")["state"], "finished");
}

#[test]
fn a_process_that_somebody_else_stops_is_started_again() {
    let server = Server::start(&[], &[]);
    server.post("/v1/jobs", Some(&submission(&counting("poked", None))));
    for (signal, restarts, failures) in [(Signal::TERM, 1, 0), (Signal::KILL, 2, 1)] {
        let job = server.await_state("poked", "running");
        kill(job["processes"][0]["pid"].as_i64().unwrap() as i32, signal);
        let job = eventually(LIMIT, "it is started again", || {
            let job = server.job("poked");
            (job["restarts"] == restarts && job["state"] == "running").then_some(job)
        });
        assert_eq!(job["failures"], failures, "{job}");
    }
    let error = server.job("poked")["last_error"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(error.contains("signal 9"), "{error}");
}

#[test]
fn a_crash_loop_is_shown_with_its_error_and_ends_when_the_cause_does() {
    let allowed = tempfile::tempdir().unwrap();
    let server = Server::start(&["--allow-files", allowed.path().to_str().unwrap()], &[]);
    let store = allowed.path().join("store");
    fs::write(&store, "not a folder").unwrap();
    let mut body = submission(&counting("looping", None));
    body["set"] = serde_json::json!([
        { "path": "checkpoint.store", "value": format!("file://{}", store.display()) }
    ]);
    let submitted = server.post("/v1/jobs", Some(&body));
    assert_eq!(submitted.status, 201, "{submitted:?}");
    let job = eventually(LIMIT, "the crash loop is noticed", || {
        let job = server.job("looping");
        (job["crash_looping"] == true).then_some(job)
    });
    let error = job["last_error"].as_str().unwrap();
    assert!(error.contains(store.to_str().unwrap()), "{error}");
    let status = server.cli(&["status", "looping"]).stdout();
    assert!(
        status.contains("crash loop") && status.contains(error),
        "{status}"
    );
    fs::remove_file(&store).unwrap();
    server.await_state("looping", "running");
}

#[test]
fn a_job_that_gave_up_on_its_input_waits_for_people() {
    let mut server = Server::start(&[], &[]);
    let spoilt = |name: &str| {
        let file = counting(name, None).replace("rate: 500", "rate: 500, malformed: 0.5");
        submission(&format!(
            "{file}dead_letter: {{ stop_above: 5%, window_records: 100 }}\n"
        ))
    };
    let given_up = |server: &Server, name: &str| {
        let job = server.await_state(name, "failed");
        let error = job["last_error"].as_str().unwrap().to_owned();
        assert!(
            error.contains("source events") && error.contains("became dead letters"),
            "{error}"
        );
        job["restarts"].clone()
    };
    assert_eq!(server.post("/v1/jobs", Some(&spoilt("spoilt"))).status, 201);
    assert_eq!(given_up(&server, "spoilt"), 0);
    // Whoever submits it again lets it go on, until it is too much again.
    assert_eq!(server.post("/v1/jobs", Some(&spoilt("spoilt"))).status, 201);
    assert_eq!(given_up(&server, "spoilt"), 0);
    let log = server.log("spoilt");
    assert!(log.contains("going on from the checkpoint"), "{log}");

    // A server that was not there when it ended knows as well. If the kill hits a process that is just being made, there is
    // another one.
    assert_eq!(server.post("/v1/jobs", Some(&spoilt("unseen"))).status, 201);
    server.kill();
    server.start_again();
    given_up(&server, "unseen");
}

#[test]
fn a_job_over_its_memory_limit_is_started_again_and_says_why() {
    let server = Server::start(&[], &[]);
    let mut body = submission(&counting("fat", None));
    body["memory_limit_bytes"] = (4 << 20).into();
    assert_eq!(server.post("/v1/jobs", Some(&body)).status, 201);
    let job = eventually(LIMIT, "the limit is noticed", || {
        let job = server.job("fat");
        (job["restarts"].as_u64() > Some(0)).then_some(job)
    });
    let error = job["last_error"].as_str().unwrap();
    assert!(error.contains("more than its limit of 4 MiB"), "{error}");
}

#[test]
fn fifty_jobs_are_listed() {
    use tidewright::control::{
        folders::Folders,
        lifecycle::JobState,
        registry::{
            NewVersion, Registry,
            records::{Once, Origin},
        },
    };
    let mut server = Server::start(&[], &[]);
    server.kill();
    {
        let folders = Folders::open(&server.data()).unwrap();
        let registry = Registry::open(&folders.registry()).unwrap();
        for number in 0..50 {
            let name = format!("job-{number:02}");
            let new = NewVersion {
                text: counting(&name, None),
                name: name.clone(),
                file_name: "job.yaml".to_owned(),
                overrides: Vec::new(),
                workers: 1,
                processes: 1,
                memory_limit_bytes: None,
                origin: Origin::Submitted,
                shadow: None,
                once: Once::default(),
            };
            registry.submit(new, "test", None, 1).unwrap();
            let (job, _) = registry.job(&name).unwrap();
            let mut ended = job.clone();
            ended.lifecycle.state = JobState::Suspended;
            assert!(registry.replace(&job, &ended, 2).unwrap());
        }
    }
    server.start_again();
    let list = server.get("/v1/jobs");
    let jobs = list["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), 50);
    assert_eq!(jobs[49]["name"], "job-49");
    assert_eq!(server.cli(&["list"]).stdout().lines().count(), 51);
}
