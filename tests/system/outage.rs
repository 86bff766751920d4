//! Stores that go away under load, and operators that fail: bounded, complete, without help.

use std::{
    env, thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    harness::{
        checkpoints::Checkpoints,
        dynamodb::Dynamodb,
        eventually::eventually,
        input::START_MS,
        jobfile::JobFile,
        process::{Command, Process},
        proxy::Proxy,
        redis::{Redis, require_redis},
        redis_server::RedisServer,
        services::unique_name,
    },
    mutants::MUTANT,
    shop::{LIMIT, contents::Contents},
};

/// How much more than before an outage a process may hold: the bounds of the job file and what surrounds them.
const GROWTH_MAX: u64 = 256 << 20;

/// Events per second.
const RATE: u64 = 2_500;

/// Eight seconds; `TIDEWRIGHT_TEST_OUTAGE_SECONDS=60` for the whole minute.
fn outage() -> Duration {
    let seconds = env::var("TIDEWRIGHT_TEST_OUTAGE_SECONDS").ok();
    Duration::from_secs(
        seconds
            .and_then(|seconds| seconds.parse().ok())
            .unwrap_or(8),
    )
}

/// A job that makes a row per user and minute out of generated events, as fast as given.
fn job(name: &str, sink: Value, outbox: &str) -> JobFile {
    JobFile::new(name)
        .source(
            "events",
            json!({
                "datagen": {
                    "kind": "events", "seed": 5, "users": 2_000, "splits": 2, "start_ms": START_MS,
                    "rate": RATE, "count": events(),
                },
                "event_time": { "column": "ts", "out_of_orderness": "1s" },
            }),
        )
        .view(
            "activity",
            "SELECT user_id, window_start, window_end, count(*) AS events, sum(price * quantity) AS amount
             FROM tumble(events, INTERVAL '1 second') GROUP BY user_id, window_start, window_end",
        )
        .view(
            "engagement",
            "SELECT user_id, count(*) AS events, max(ts) AS last_seen
             FROM rolling(events, INTERVAL '1 minute', INTERVAL '10 seconds') GROUP BY user_id",
        )
        .sink("out", sink)
        .key("limits", json!({ "outbox": outbox }))
}

fn start(job: &JobFile, folder: &TempDir, variables: &[(&str, String)]) -> Process {
    start_with(job, folder, variables, &[])
}

fn start_with(
    job: &JobFile,
    folder: &TempDir,
    variables: &[(&str, String)],
    arguments: &[&str],
) -> Process {
    let job = job
        .clone()
        .checkpoints("50ms", &folder.path().join("checkpoints"));
    let mut command = Command::tidewright(folder.path())
        .arg("run")
        .arg(job.write(folder.path()))
        .args(["--workers", "2", "--bounded", "--summary", "json"])
        .args(arguments);
    for (name, value) in variables {
        command = command.env(name, value.clone());
    }
    command.start()
}

/// Watches a process through an outage: its memory must stay within bounds, and it must not end.
fn endure(process: &mut Process) {
    let before = process.resident_bytes().unwrap();
    let over = Instant::now() + outage();
    while Instant::now() < over {
        assert!(
            process.is_running(),
            "ended by itself:\n{}",
            process.stderr()
        );
        let now = process.resident_bytes().unwrap();
        assert!(now < before + GROWTH_MAX, "from {before} to {now} bytes");
        thread::sleep(Duration::from_millis(100));
    }
}

fn end_of(mut process: Process) {
    process.wait_for_success(LIMIT + outage());
    assert_eq!(process.summary()["events_in"]["events"], events());
}

/// Events for the outage and some time around it.
fn events() -> u64 {
    RATE * (outage().as_secs() + 7)
}

/// How many events the last checkpoint of a job covers.
fn durable_events(folder: &TempDir, name: &str) -> i64 {
    let checkpoints = format!("file://{}/checkpoints", folder.path().display());
    let checkpoints = Checkpoints::of(&checkpoints, name);
    eventually(LIMIT, "a manifest", || {
        let manifest = checkpoints.latest()?;
        Some(
            manifest.sources["events"]
                .values()
                .map(|split| split.offset)
                .sum(),
        )
    })
}

/// Whether the sources wait for the store, once it is down.
#[derive(PartialEq, Eq)]
enum Sources {
    GoOn,
    Wait,
}

/// As [`endure`], and looks whether the sources waited meanwhile.
fn endure_with(sources: Sources, process: &mut Process, folder: &TempDir, name: &str) {
    let before = durable_events(folder, name);
    endure(process);
    let read = durable_events(folder, name) - before;
    let due = (RATE * outage().as_secs()) as i64;
    assert_eq!(
        sources == Sources::GoOn,
        read > due / 2,
        "{read} of {due} events were read"
    );
}

fn survives_redis(outbox: &str, sources: Sources) {
    let (Some(redis), Some(mut server)) = (require_redis(), RedisServer::start()) else {
        return;
    };
    let name = unique_name("outage");
    let sink = |redis: &Redis| {
        let key = format!("{name}:{{user_id}}:{{window_start}}");
        json!({ "from": "activity", "redis": { "url": redis.url(), "key": key } })
    };
    let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let undisturbed = start(&job(&name, sink(&redis), "64MiB"), &folders[0], &[]);
    let mut process = start(&job(&name, sink(&server.redis()), outbox), &folders[1], &[]);
    eventually(LIMIT, "rows in Redis", || {
        (!server.redis().hashes(&name).is_empty()).then_some(())
    });
    server.stop();
    endure_with(sources, &mut process, &folders[1], &name);
    server.start_again();
    end_of(process);
    end_of(undisturbed);
    let contents = |redis: &Redis| {
        let mut contents = Contents::default();
        contents.hashes("redis", "", &redis.hashes(&name));
        contents.assert_complete();
        contents
    };
    contents(&server.redis()).assert_same(&contents(&redis));
}

#[test]
fn a_redis_that_is_down_for_a_while_loses_nothing_and_memory_stays_bounded() {
    survives_redis("64MiB", Sources::GoOn);
}

/// The sources have to wait, and must come back.
#[test]
fn a_tiny_outbox_in_front_of_a_redis_that_is_down_is_no_deadlock() {
    survives_redis("64KiB", Sources::Wait);
}

/// A stop must not wait for a store for ever.
#[test]
fn a_job_that_is_stopped_while_redis_is_down_delivers_the_rest_at_its_next_start() {
    for arguments in [&[][..], &["--launch", "2"]] {
        let (Some(redis), Some(mut server)) = (require_redis(), RedisServer::start()) else {
            return;
        };
        let name = unique_name("stopped");
        let sink = |redis: &Redis| {
            let key = format!("{name}:{{user_id}}:{{window_start}}");
            json!({ "from": "activity", "redis": { "url": redis.url(), "key": key } })
        };
        let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
        let undisturbed = start(&job(&name, sink(&redis), "64MiB"), &folders[0], &[]);
        let job = job(&name, sink(&server.redis()), "64MiB");
        let mut process = start_with(&job, &folders[1], &[], arguments);
        eventually(LIMIT, "rows in Redis", || {
            (!server.redis().hashes(&name).is_empty()).then_some(())
        });
        server.stop();
        thread::sleep(Duration::from_secs(1));
        process.terminate();
        process.wait_for_success(LIMIT);
        let log = process.stderr();
        assert!(log.contains("some rows are not delivered yet"), "{log}");
        server.start_again();
        start_with(&job, &folders[1], &[], arguments).wait_for_success(LIMIT + outage());
        end_of(undisturbed);
        let contents = |redis: &Redis| {
            let mut contents = Contents::default();
            contents.hashes("redis", "", &redis.hashes(&name));
            contents.assert_complete();
            contents
        };
        contents(&server.redis()).assert_same(&contents(&redis));
    }
}

#[test]
fn a_dynamodb_that_cannot_be_reached_for_a_while_makes_sources_wait_and_loses_nothing() {
    let Some(dynamodb) = Dynamodb::require() else {
        return;
    };
    let proxy = Proxy::start(dynamodb.endpoint());
    let tables = [unique_name("outage"), unique_name("undisturbed")];
    let run = |table: &str, endpoint: String, outbox: &str, folder: &TempDir| {
        let sink = json!({ "from": "engagement", "dynamodb": {
            "table": table, "endpoint": endpoint, "region": "us-east-1", "create_table": true,
        } });
        start(&job(table, sink, outbox), folder, &[])
    };
    let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    // Less than the rows of all users: the outbox is full before the outage is over.
    let proxied = format!("http://{}", proxy.address());
    let mut process = run(&tables[0], proxied, "8KiB", &folders[0]);
    let undisturbed = run(
        &tables[1],
        dynamodb.endpoint().to_owned(),
        "64MiB",
        &folders[1],
    );
    eventually(LIMIT, "items", || {
        (dynamodb.has_table(&tables[0]) && !dynamodb.items(&tables[0]).is_empty()).then_some(())
    });
    proxy.cut();
    endure_with(Sources::Wait, &mut process, &folders[0], &tables[0]);
    proxy.mend();
    end_of(process);
    end_of(undisturbed);
    let [found, expected] = tables.map(|table| {
        let mut contents = Contents::default();
        contents.hashes("dynamodb", "", &dynamodb.items(&table));
        contents.assert_complete();
        contents
    });
    found.assert_same(&expected);
}

#[test]
fn a_panic_in_an_operator_ends_the_process_at_once_with_its_cause() {
    let folder = TempDir::new().unwrap();
    let job = job(
        "panics",
        json!({ "from": "activity", "blackhole": {} }),
        "64MiB",
    );
    // Without a trace, as for users: this build's takes long to write, because its symbols are many.
    let variables = [
        (MUTANT, "panic".to_owned()),
        ("RUST_BACKTRACE", "0".to_owned()),
    ];
    let mut process = start(&job, &folder, &variables);
    eventually(LIMIT, "a panic", || {
        process.stderr().contains("panicked").then_some(())
    });
    // A tenth of a second on a quiet machine.
    let seen = Instant::now();
    let status = process.wait(LIMIT);
    assert!(
        seen.elapsed() < Duration::from_secs(1),
        "it lingered for {:?}",
        seen.elapsed()
    );
    assert_eq!(status.code(), Some(101));
    let log = process.stderr();
    assert!(log.contains("an operator that fails on purpose"), "{log}");
}
