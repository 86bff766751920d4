//! Jobs on a server that begin with a savepoint, and entries that are removed.

use std::time::Duration;

use serde_json::{Value, json};

use super::{counting, submission};
use crate::{
    harness::{
        checkpoints::Checkpoints,
        eventually::eventually,
        server::{Server, job_processes, pids},
    },
    shop::{LIMIT, Shop, ShopJob},
};

fn serve(job: &ShopJob) -> Server {
    let folder = job.folder.path().to_str().unwrap().to_owned();
    let environment = job.environment();
    let environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    Server::start(&["--allow-files", &folder], &environment)
}

/// Submits the job and waits until it runs.
fn submit(server: &Server, job: &ShopJob, options: &[&str]) -> Value {
    let submission = job.submission();
    let submission: Vec<_> = submission.iter().map(String::as_str).collect();
    let submitted = server.cli_json(&[&["submit", "--wait"], &submission[..], options].concat());
    assert_eq!(submitted["state"], "running", "{submitted}");
    submitted
}

/// Stops it with a savepoint; gives the place.
fn stop(server: &Server, name: &str) -> String {
    let stopped = server.cli_json(&["stop", name, "--savepoint", "--wait"]);
    assert_eq!(stopped["state"], "succeeded", "{stopped}");
    let place = stopped["savepoint"]["location"].as_str();
    place
        .unwrap_or_else(|| panic!("no savepoint: {stopped}"))
        .to_owned()
}

/// Waits until the job has a checkpoint of all that was produced.
fn await_all_read(shop: &Shop, job: &ShopJob) {
    let produced: i64 = shop.produced().iter().sum::<u64>() as i64;
    let checkpoints = Checkpoints::of(&job.store_url, &job.name);
    eventually(LIMIT, "everything is read", || {
        (checkpoints.read() == produced).then_some(())
    });
}

#[test]
fn a_job_whose_entry_was_removed_goes_on_from_its_savepoint() {
    let Some(mut shop) = Shop::open(77) else {
        return;
    };
    let job = shop.keyed_job("saved");
    let server = serve(&job);
    submit(&server, &job, &[]);
    shop.feed_until("a checkpoint", || (job.durable_epoch() > 0).then_some(()));
    let first = stop(&server, &job.name);
    shop.feed_for(Duration::from_millis(500));
    let name = job.name.as_str();
    server.cli_json(&["remove", name]);
    submit(&server, &job, &["--restore", &first]);
    let log = server.log(name);
    assert!(log.contains("going on from the savepoint of job"), "{log}");
    shop.feed_for(Duration::from_millis(500));
    // It has checkpoints of its own now, and a crash does not begin it again.
    await_all_read(&shop, &job);
    let pid = pids(&server.job(name))[0];
    crate::harness::server::kill(pid, rustix::process::Signal::KILL);
    eventually(LIMIT, "it is started again", || {
        let job = server.job(name);
        (job["restarts"] == 1 && job["state"] == "running").then_some(())
    });
    let log = server.log(name);
    let last = log.rsplit("starts again").next().unwrap();
    assert!(last.contains("going on from the checkpoint"), "{last}");
    let second = stop(&server, name);
    shop.feed_for(Duration::from_millis(300));
    // The same name once more, over REST, from the savepoint alone.
    let removed = server.cli_json(&["remove", name]);
    assert_eq!(removed["removed"], name, "{removed}");
    let submission = job.submission();
    let body = json!({
        "file": std::fs::read_to_string(&submission[0]).unwrap(),
        "name": name,
        "restore": second,
        "set": job.set(),
    });
    let reply = server.post("/v1/jobs", Some(&body));
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(reply.body["job"]["version"], 1, "{reply:?}");
    server.await_state(name, "running");
    await_all_read(&shop, &job);
    let stopped = server.cli_json(&["stop", name, "--drain", "--wait"]);
    assert_eq!(stopped["state"], "succeeded", "{stopped}");
    eventually(LIMIT, "no process is left", || {
        job_processes(&server.data()).is_empty().then_some(())
    });
    job.contents(&shop).assert_same(&shop.undisturbed(&job));
}

#[test]
fn a_savepoint_that_is_not_there_or_not_the_servers_to_read_changes_nothing() {
    let server = Server::start(&[], &[]);
    let ask = |place: &str| {
        let mut body = submission(&counting("restored", None));
        body["restore"] = place.into();
        server.post("/v1/jobs", Some(&body))
    };
    let outside = tempfile::tempdir().unwrap();
    let outside = format!("file://{}", outside.path().display());
    for (place, kind, says) in [
        (&*outside, "files-not-allowed", "--allow-files"),
        ("file:///etc", "files-not-allowed", "--allow-files"),
        ("nowhere", "files-not-allowed", "file:///path"),
    ] {
        let reply = ask(place);
        assert_eq!(reply.status, 422, "{place}: {reply:?}");
        let expected = format!("urn:tidewright:problem:{kind}");
        assert_eq!(reply.body["type"], expected, "{reply:?}");
        let detail = reply.body["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{detail}");
    }
    let within = server.data().join("jobs/other/savepoint");
    std::fs::create_dir_all(&within).unwrap();
    let within = format!("file://{}", within.display());
    let reply = ask(&within);
    assert_eq!(reply.status, 422, "{reply:?}");
    let detail = reply.body["detail"].as_str().unwrap();
    assert!(detail.contains("no savepoint is there"), "{detail}");
    assert_eq!(server.get("/v1/jobs"), json!({ "jobs": [] }));
}

#[test]
fn a_job_under_another_name_is_told_whose_the_rows_are_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&["--allow-files", folder.path().to_str().unwrap()], &[]);
    let store = folder.path().join("counts.redb");
    // So few that all of them have rows at once.
    let file = |name: &str| {
        let file = counting(name, None).replace("users: 50", "users: 5");
        file.replace("counts.redb", store.to_str().unwrap())
    };
    let submitted = server.post("/v1/jobs", Some(&submission(&file("first"))));
    assert_eq!(submitted.status, 201, "{submitted:?}");
    server.await_state("first", "running");
    eventually(LIMIT, "checkpoints", || {
        let listed = server.get("/v1/jobs/first/checkpoints");
        (listed["checkpoints"].as_array()?.len() > 1).then_some(())
    });
    let place = stop(&server, "first");
    let mut body = submission(&file("second"));
    body["restore"] = place.into();
    let submitted = server.post("/v1/jobs", Some(&body));
    assert_eq!(submitted.status, 201, "{submitted:?}");
    let warnings = submitted.body["warnings"].to_string();
    for part in ["of the job first", "sinks store", "--name first"] {
        assert!(warnings.contains(part), "{part} is not in {warnings}");
    }
    let error = eventually(LIMIT, "the row is named", || {
        let job = server.job("second");
        let error = job["last_error"].as_str()?.to_owned();
        Some(error)
    });
    for part in ["key ", "belongs to the job \"first\"", "--name first"] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
    server.cli_json(&["cancel", "second", "--wait"]);
    // As the first one it goes on.
    body["name"] = "first".into();
    let submitted = server.post("/v1/jobs", Some(&body));
    assert_eq!(submitted.status, 201, "{submitted:?}");
    let warnings = submitted.body["warnings"].to_string();
    assert!(!warnings.contains("of the job"), "{warnings}");
    let job = server.await_state("first", "running");
    assert_eq!(job["restarts"], 0, "{job}");
    server.cli_json(&["stop", "first", "--wait"]);
}

#[test]
fn only_a_job_that_has_ended_is_removed_and_its_checkpoints_stay() {
    let server = Server::start(&[], &[]);
    let submit = || server.post("/v1/jobs", Some(&submission(&counting("removed", None))));
    assert_eq!(submit().status, 201);
    server.await_state("removed", "running");
    let mut refused = server.cli(&["remove", "removed"]);
    assert_eq!(refused.status().unwrap().code(), Some(2));
    let log = refused.stderr();
    assert!(log.contains("stop or cancel it first"), "{log}");
    server.cli_json(&["stop", "removed", "--wait"]);
    let removed = server.cli_json(&["remove", "removed"]);
    assert_eq!(removed["removed"], "removed");
    assert_eq!(server.get("/v1/jobs"), json!({ "jobs": [] }));
    let mut again = server.cli(&["remove", "removed"]);
    assert_eq!(again.status().unwrap().code(), Some(4));
    let left = std::fs::read_dir(server.data().join("run")).unwrap();
    assert_eq!(left.count(), 0, "files of its starts are left");
    assert_eq!(submit().status, 201);
    let job = server.await_state("removed", "running");
    assert_eq!(job["version"], 1, "{job}");
    let log = server.log("removed");
    assert!(log.contains("going on from the checkpoint"), "{log}");
}
