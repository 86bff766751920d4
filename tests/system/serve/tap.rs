//! Watching the rows of a server's job.

use std::{collections::BTreeSet, time::Instant};

use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::{counting, submission};
use crate::{
    harness::{
        eventually::eventually,
        server::{Server, pids},
    },
    shop::LIMIT,
};

/// Taps of a job that may be open at a time.
const TAPS_MAX: usize = 8;
/// Of 50 users more than one of two processes has: hashes spread them.
const MOST_USERS: usize = 45;
/// A tap that nobody of the test sees the end of.
const LONG: &str = "pair/tap/counts?limit=1000000&seconds=300&rate=1000";

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
        ("watched/tap/counts?seconds=301", 400),
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

/// A tap over REST, read line by line while it is open; it is given up when this is dropped.
struct Stream {
    response: reqwest::Response,
    text: String,
    runtime: Runtime,
}

impl Stream {
    /// Opens one, if the server lets it.
    fn open(server: &Server, path: &str) -> Option<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let asked = async {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let request = client.get(format!("{}/v1/jobs/{path}", server.url));
            let request = request.bearer_auth(server.admin_token()).timeout(LIMIT * 2);
            request.send().await.unwrap()
        };
        let response = runtime.block_on(asked);
        response.status().is_success().then_some(Self {
            response,
            text: String::new(),
            runtime,
        })
    }

    /// The next line; nothing behind the last one.
    fn next(&mut self) -> Result<Option<Value>, reqwest::Error> {
        loop {
            if let Some((line, rest)) = self.text.split_once('\n') {
                let line = serde_json::from_str(line).unwrap();
                self.text = rest.to_owned();
                return Ok(Some(line));
            }
            match self.runtime.block_on(self.response.chunk())? {
                Some(part) => self.text += &String::from_utf8_lossy(&part),
                None => return Ok(None),
            }
        }
    }

    /// Reads until rows of more users have come than belong to one of two processes.
    fn await_rows_of_both(&mut self) {
        let mut users = BTreeSet::new();
        let deadline = Instant::now() + LIMIT;
        while users.len() < MOST_USERS {
            assert!(Instant::now() < deadline, "rows of {users:?} alone");
            let line = self.next().unwrap().expect("the answer goes on");
            users.insert(line["row"]["user_id"].as_str().unwrap().to_owned());
        }
    }
}

/// A server with a job in two processes.
fn pair() -> (Server, Value) {
    let server = Server::start(&[], &[]);
    let mut body = submission(&counting("pair", None));
    body["processes"] = 2.into();
    assert_eq!(server.post("/v1/jobs", Some(&body)).status, 201);
    let job = server.await_state("pair", "running");
    (server, job)
}

/// Each answer would take minutes: what is read comes while it is under way.
#[test]
fn rows_of_all_processes_come_as_they_pass_until_the_reader_or_the_server_goes() {
    let (mut server, job) = pair();
    let mut stream = Stream::open(&server, LONG).expect("opens");
    stream.await_rows_of_both();
    drop(stream);
    // Had the job not closed that tap, one of these would find no room.
    let mut open = Vec::new();
    eventually(LIMIT, "there is room for as many as there may be", || {
        open.extend(Stream::open(&server, LONG));
        (open.len() == TAPS_MAX).then_some(())
    });
    open[TAPS_MAX - 1].await_rows_of_both();
    server.process().terminate();
    server.process().wait_for_success(LIMIT);
    let mut cut_off = open.pop().unwrap();
    let end = loop {
        match cut_off.next() {
            Ok(Some(line)) => assert!(line["row"].is_object(), "{line}"),
            end => break end,
        }
    };
    assert!(end.is_err(), "it seems to be whole");
    server.start_again();
    let after = server.await_state("pair", "running");
    assert_eq!(
        (pids(&after), &after["restarts"]),
        (pids(&job), &0.into()),
        "the job did not notice"
    );
}

#[test]
fn the_command_line_prints_rows_of_a_server_as_they_come_and_ends_with_the_job() {
    let (server, _) = pair();
    let command = ["tap", "counts", "--job", "pair", "--output", "json"];
    let mut tap = server.cli_command(&command).start();
    eventually(LIMIT, "rows are printed", || {
        assert!(tap.is_running(), "{}", tap.stderr());
        (tap.stdout().lines().count() > 10).then_some(())
    });
    server.post("/v1/jobs/pair/stop", None);
    tap.wait_for_success(LIMIT);
    let shown = lines(&tap.stdout());
    let (last, rows) = shown.split_last().unwrap();
    assert_eq!(last["ended"], "job", "{last}");
    assert!(last["left_out"].is_u64(), "{last}");
    assert!(rows.iter().all(|line| line["row"]["user_id"].is_string()));
}
