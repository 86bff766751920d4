//! What a submitted job may touch of the server's machine.

use serde_json::json;

use super::counting;
use crate::{
    harness::{eventually::eventually, server::Server},
    shop::LIMIT,
};

#[test]
fn a_job_reads_and_writes_only_where_it_may() {
    let allowed = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "the-secret").unwrap();
    std::fs::write(allowed.path().join("secret"), "embedded.redb").unwrap();
    let server = Server::start(&["--allow-files", allowed.path().to_str().unwrap()], &[]);
    let submit = |name: &str, sink: &str| {
        let file = counting(name, None).replace("counts.redb", sink);
        server.post("/v1/jobs", Some(&json!({ "file": file })))
    };
    let secret = outside.path().join("secret");
    for sink in [
        secret.to_str().unwrap(),
        "../../../outside.redb",
        "/etc/tidewright.redb",
    ] {
        let reply = submit("job", sink);
        assert_eq!(reply.status, 422, "{sink}: {reply:?}");
        assert_eq!(
            reply.body["type"],
            "urn:tidewright:problem:files-not-allowed"
        );
        let detail = reply.body["detail"].as_str().unwrap();
        assert!(
            detail.contains("--allow-files") && detail.contains(sink),
            "{detail}"
        );
    }
    let reply = submit("job", &format!("\"${{file:{}}}\"", secret.display()));
    assert_eq!(reply.status, 422, "{reply:?}");
    assert_eq!(
        reply.body["type"],
        "urn:tidewright:problem:invalid-job-file"
    );
    assert!(!reply.body.to_string().contains("the-secret"), "{reply:?}");
    let shared = allowed.path().join("secret");
    let reply = submit("job", &format!("\"${{file:{}}}\"", shared.display()));
    assert_eq!(reply.status, 201, "{reply:?}");
    server.await_state("job", "running");
    let store = server.data().join("jobs/job/embedded.redb");
    eventually(LIMIT, "the store is made", || store.exists().then_some(()));
}

#[test]
fn references_stay_as_they_are_written() {
    let server = Server::start(&[], &[("WHERE_TO", "resolved-value.redb")]);
    let file = counting("job", None).replace("counts.redb", "\"${env:WHERE_TO}\"");
    let reply = server.post("/v1/jobs", Some(&json!({ "file": file })));
    assert_eq!(reply.status, 201, "{reply:?}");
    server.await_state("job", "running");
    let store = server.data().join("jobs/job/resolved-value.redb");
    eventually(LIMIT, "the store is made", || store.exists().then_some(()));
    let holds = |path: &str| {
        let bytes = std::fs::read(server.data().join(path)).unwrap();
        String::from_utf8_lossy(&bytes).contains("resolved-value")
    };
    assert!(!holds("registry.redb") && !holds("jobs/job/job.yaml"));
    assert!(!server.job("job").to_string().contains("resolved-value"));
    assert!(!server.log("job").contains("resolved-value"));
}
