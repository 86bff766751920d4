//! Watching the rows of a server's job.

use serde_json::Value;

use super::{counting, submission};
use crate::{harness::server::Server, shop::LIMIT};

fn lines(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn rows_of_a_servers_job_are_shown_as_they_pass() {
    let server = Server::start(&[], &[]);
    server.post("/v1/jobs", Some(&submission(&counting("watched", None))));
    server.await_state("watched", "running");
    let tap = |path: &str| {
        let path = format!("/v1/jobs/{path}");
        server.ask("GET", &path, Some(&server.admin_token()), &[], None)
    };
    let reply = tap("watched/tap/counts?limit=5&every=2");
    assert_eq!(
        (reply.status, reply.media_type()),
        (200, "application/x-ndjson")
    );
    let shown = lines(&reply.text);
    assert_eq!(shown.len(), 6, "{shown:?}");
    assert!(shown[0]["row"]["events"].as_u64() > Some(0), "{shown:?}");
    assert_eq!(shown[5]["ended"], "limit");
    assert!(shown[5]["left_out"].as_u64() > Some(0), "{shown:?}");
    let timed = lines(&tap("watched/tap/events?limit=10000&seconds=1&rate=1").text);
    assert!((2..5).contains(&timed.len()), "{timed:?}");
    assert_eq!(timed.last().unwrap()["ended"], "time");
    for (path, status) in [
        ("nobody/tap/counts", 404),
        ("watched/tap/count", 404),
        ("watched/tap/counts?limit=0", 400),
        ("watched/tap/counts?seconds=21", 400),
        ("watched/tap/counts?where=1", 400),
    ] {
        let reply = tap(path);
        assert_eq!(reply.status, status, "{path}: {reply:?}");
        assert_eq!(reply.media_type(), "application/problem+json");
    }
    let mut command = server.cli(&["tap", "counts", "--job", "watched", "--limit", "150"]);
    command.wait_for_success(LIMIT);
    let shown = lines(&command.stdout());
    assert_eq!(shown.len(), 150);
    assert!(shown.iter().all(|line| line["row"]["user_id"].is_string()));
    server.post("/v1/jobs/watched/stop", None);
    server.await_state("watched", "suspended");
    assert_eq!(tap("watched/tap/counts").status, 409);
    let mut late = server.cli(&["tap", "counts", "--job", "watched"]);
    assert_eq!(late.status().unwrap().code(), Some(2), "{}", late.stderr());
}
