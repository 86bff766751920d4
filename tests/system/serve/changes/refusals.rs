//! Changes that are refused, given up, or overtaken: the job goes on as it was.

use super::*;

fn start(server: &Server, name: &str) -> Value {
    let reply = server.post("/v1/jobs", Some(&submission(&counting(name, None))));
    assert_eq!(reply.status, 201, "{reply:?}");
    server.await_state(name, "running")
}

fn ended(server: &Server, reply: &Reply) -> Value {
    assert_eq!(reply.status, 202, "{reply:?}");
    let operation = reply.headers["location"].to_str().unwrap();
    eventually(LIMIT, "the change is over", || {
        let operation = server.get(operation);
        (operation["state"] != "running").then_some(operation)
    })
}

#[track_caller]
fn goes_on(server: &Server, before: &Value) {
    let name = before["name"].as_str().unwrap();
    let after = server.job(name);
    for what in ["state", "version", "processes", "restarts"] {
        if what == "processes" {
            assert_eq!(pids(&after), pids(before), "{after}");
        } else {
            assert_eq!(after[what], before[what], "{after}");
        }
    }
}

#[test]
fn a_broken_or_unfit_file_changes_nothing_and_says_why() {
    let server = Server::start(&[], &[]);
    let before = start(&server, "firm");
    let file = counting("firm", None);
    let upgrade = |file: &str| server.post("/v1/jobs/firm/upgrade", Some(&json!({ "file": file })));
    for (file, kind, says) in [
        (
            file.replace("user_id, count", "usr_id, count"),
            "invalid-job-file",
            "usr_id",
        ),
        (
            file.replace("'1 day'", "'2 days'"),
            "state-does-not-fit",
            "--reset-view counts",
        ),
        (
            file.replace("'1 hour'", "'2 hours'"),
            "state-does-not-fit",
            "--reset-view counts",
        ),
        (
            file.replace("counts.redb", "/etc/counts.redb"),
            "files-not-allowed",
            "--allow-files",
        ),
        (
            file.replace("name: firm", "name: other"),
            "unprocessable",
            "other",
        ),
        (
            format!("{file}checkpoint: {{ store: \"file://elsewhere\" }}\n"),
            "state-does-not-fit",
            "savepoint",
        ),
    ] {
        let reply = upgrade(&file);
        assert_eq!(reply.status, 422, "{file}\n{reply:?}");
        assert_eq!(
            reply.body["type"],
            format!("urn:tidewright:problem:{kind}"),
            "{reply:?}"
        );
        let detail = reply.body["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{detail}");
        goes_on(&server, &before);
    }
    let path = server.folder.path().join("unfit.yaml");
    fs::write(&path, file.replace("'1 day'", "'2 days'")).unwrap();
    let mut unfit = server.cli(&["upgrade", "firm", path.to_str().unwrap(), "--wait"]);
    assert_eq!(unfit.status().unwrap().code(), Some(2));
    assert!(
        unfit.stderr().contains("--reset-view counts"),
        "{}",
        unfit.stderr()
    );
    goes_on(&server, &before);
    let newest = || {
        let list = server.get("/v1/jobs/firm/checkpoints");
        list["checkpoints"][0]["generation"].as_u64().unwrap()
    };
    let published = newest();
    // Told what becomes of its state, it goes on with the new file, also over a crash.
    let path = path.to_str().unwrap();
    let upgrade = ["upgrade", "firm", path, "--reset-view", "counts", "--wait"];
    let done = server.cli_json(&upgrade);
    assert_eq!(done["state"], "succeeded", "{done}");
    eventually(LIMIT, "it publishes", || {
        (newest() > published).then_some(())
    });
    crate::harness::server::kill(pids(&server.job("firm"))[0], rustix::process::Signal::KILL);
    eventually(LIMIT, "it is started again", || {
        let job = server.job("firm");
        (job["restarts"] == 1 && job["state"] == "running").then_some(())
    });
    assert_eq!(server.job("firm")["version"], 2);
}

#[test]
fn a_version_that_does_not_start_leaves_the_job_to_the_one_before() {
    let server = Server::start(&[], &[]);
    start(&server, "tried");
    // Nothing but the start itself shows that this store cannot be made.
    fs::create_dir(server.data().join("jobs/tried/blocked.redb")).unwrap();
    let file = counting("tried", None).replace("counts.redb", "blocked.redb");
    let reply = server.post("/v1/jobs/tried/upgrade", Some(&json!({ "file": file })));
    let done = ended(&server, &reply);
    assert_eq!(done["state"], "failed", "{done}");
    let message = done["message"].as_str().unwrap();
    assert!(
        message.contains("version 2 does not start") && message.contains("blocked.redb"),
        "{message}"
    );
    assert!(message.contains("goes on with version 1"), "{message}");
    let job = server.await_state("tried", "running");
    assert_eq!(job["version"], 1, "{job}");
    let versions = server.get("/v1/jobs/tried/versions");
    let versions = versions["versions"].as_array().unwrap();
    assert_eq!((versions.len(), &versions[0]["current"]), (2, &true.into()));
    // The next one is the third, and on the command line the failure has its exit code.
    let path = server.folder.path().join("blocked.yaml");
    fs::write(&path, file).unwrap();
    let mut failed = server.cli(&["upgrade", "tried", path.to_str().unwrap(), "--wait"]);
    assert_eq!(
        failed.status().unwrap().code(),
        Some(7),
        "{}",
        failed.stderr()
    );
    assert!(
        failed.stderr().contains("version 3 does not start"),
        "{}",
        failed.stderr()
    );
    assert_eq!(server.await_state("tried", "running")["version"], 1);
}

#[test]
fn while_a_job_changes_it_can_only_be_canceled() {
    let server = Server::start(&[], &[]);
    start(&server, "busy");
    let rescale = json!({ "processes": 2 });
    let first = server.post("/v1/jobs/busy/rescale", Some(&rescale));
    assert_eq!(first.status, 202, "{first:?}");
    let again = server.post("/v1/jobs/busy/rescale", Some(&rescale));
    assert_eq!(
        again.body["id"], first.body["id"],
        "the same request is the same operation"
    );
    for (verb, body) in [
        ("rescale", json!({ "processes": 3 })),
        ("stop", json!({})),
        ("upgrade", json!({ "file": counting("busy", None) })),
    ] {
        let reply = server.post(&format!("/v1/jobs/busy/{verb}"), Some(&body));
        assert_eq!(reply.status, 409, "{verb}: {reply:?}");
        let id = first.body["id"].as_str().unwrap();
        assert!(
            reply.body["detail"].as_str().unwrap().contains(id),
            "{reply:?}"
        );
    }
    let canceled = server.cli_json(&["cancel", "busy", "--wait"]);
    assert_eq!(canceled["state"], "succeeded", "{canceled}");
    let done = ended(&server, &first);
    assert_eq!(done["state"], "failed", "{done}");
    assert!(
        done["message"].as_str().unwrap().contains("canceled"),
        "{done}"
    );
    assert!(job_processes(&server.data()).is_empty());
    // Its new version may or may not have started before that.
    let other = json!({ "processes": 3 });
    let over = server.post("/v1/jobs/busy/rescale", Some(&other));
    assert_eq!(over.status, 409, "{over:?}");
}

#[test]
fn what_does_not_run_is_started_in_its_new_shape() {
    let server = Server::start(
        &["--restart-delay", "20s", "--restart-delay-max", "20s"],
        &[],
    );
    let before = start(&server, "fallen");
    crate::harness::server::kill(pids(&before)[0], rustix::process::Signal::KILL);
    server.await_state("fallen", "restarting");
    let reply = server.post("/v1/jobs/fallen/rescale", Some(&json!({ "workers": 2 })));
    let done = ended(&server, &reply);
    assert_eq!(done["state"], "succeeded", "{done}");
    let job = server.job("fallen");
    assert_eq!(
        (&job["workers"], &job["state"]),
        (&2.into(), &"running".into()),
        "{job}"
    );
}

#[test]
fn a_replay_that_would_append_rows_twice_or_find_no_source_is_refused() {
    let server = Server::start(&[], &[]);
    let before = start(&server, "unmoved");
    let replay = |body: Value| server.post("/v1/jobs/unmoved/replay", Some(&body));
    let reply = replay(json!({ "from": "earliest" }));
    assert_eq!(reply.status, 422, "{reply:?}");
    let detail = reply.body["detail"].as_str().unwrap();
    assert!(detail.contains("no Kafka source"), "{detail}");
    for (body, says) in [
        (json!({}), "where does it begin"),
        (json!({ "restore": "latest" }), "for a shadow"),
        (
            json!({ "restore": "latest", "from": "earliest", "shadow": "s" }),
            "count twice",
        ),
        (
            json!({ "restore": "latest", "sources": ["events"], "shadow": "s" }),
            "leave `sources` out",
        ),
        (
            json!({ "restore": "file:///etc", "shadow": "s" }),
            "--allow-files",
        ),
    ] {
        let reply = replay(body);
        assert_eq!(reply.status, 422, "{reply:?}");
        let detail = reply.body["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{detail}");
    }
    let reply = replay(json!({ "from": "yesterday" }));
    assert_eq!(reply.status, 422, "{reply:?}");
    let wrong: [&[&str]; 3] = [
        &["replay", "unmoved"],
        &["replay", "unmoved", "--restore", "latest"],
        &["replay", "unmoved", "--from-latest", "--from-earliest"],
    ];
    for arguments in wrong {
        let mut refused = server.cli(arguments);
        assert_eq!(refused.status().unwrap().code(), Some(2), "{arguments:?}");
    }
    let list = server.get("/v1/jobs");
    assert_eq!(list["jobs"].as_array().unwrap().len(), 1, "{list}");
    goes_on(&server, &before);
}
