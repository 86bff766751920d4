//! What people get wrong, and records that are wrong: told at once and in their words, or put aside with its origin.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    harness::{
        eventually::eventually,
        input::{Events, write_files},
        jobfile::{JobFile, events, from_files, from_kafka},
        kafka::{Kafka, Record},
        process::{Command, Process},
        redis_server::{RedisServer, free_port},
    },
    shop::LIMIT,
};

const COUNTS: &str = "SELECT user_id, count(*) AS events FROM rolling(events, INTERVAL '1 hour', INTERVAL '1 minute') GROUP BY user_id";
const WINDOWS: &str = "SELECT user_id, window_start, window_end, count(*) AS events
    FROM tumble(events, INTERVAL '1 minute') GROUP BY user_id, window_start, window_end";

/// A job over a small file of events, for one sink.
fn over_files(folder: &Path, name: &str, sql: &str, sink: Value) -> JobFile {
    let input = folder.join("input");
    if !input.exists() {
        write_files(
            &Events {
                count: 100,
                ..Events::default()
            }
            .lines(),
            &input,
            "events",
            2,
        );
    }
    JobFile::new(name)
        .source("events", events(from_files(&input), "5s"))
        .view("counts", sql)
        .sink("out", sink)
        .checkpoints("50ms", &folder.join("checkpoints"))
}

fn command(job: &JobFile, folder: &Path) -> Command {
    Command::tidewright(folder)
        .arg("run")
        .arg(job.write(folder))
        .args(["--bounded", "--summary", "json"])
}

/// A run must end with this code and say all of this.
#[track_caller]
fn refused(mut process: Process, code: i32, says: &[&str]) {
    let log = process.stderr();
    assert_eq!(process.status().unwrap().code(), Some(code), "{log}");
    for part in says {
        assert!(log.contains(part), "nothing is said of {part}:\n{log}");
    }
    assert!(!log.contains("panicked"), "{log}");
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_misspelt_key_is_shown_in_its_line_with_the_right_one() {
    let folder = TempDir::new().unwrap();
    let path = over_files(
        folder.path(),
        "typo",
        COUNTS,
        json!({ "form": "counts", "stdout": {} }),
    )
    .write(folder.path());
    let process = Command::tidewright(folder.path())
        .arg("run")
        .arg(&path)
        .run(LIMIT);
    refused(process, 2, &["form", "from", "typo.yaml:"]);
}

#[test]
fn a_misspelt_column_is_shown_in_its_line_of_the_job_file() {
    let folder = TempDir::new().unwrap();
    let sql = COUNTS.replace("user_id", "usr_id");
    let job = over_files(
        folder.path(),
        "column",
        &sql,
        json!({ "from": "counts", "stdout": {} }),
    );
    refused(
        command(&job, folder.path()).run(LIMIT),
        2,
        &["usr_id", "user_id", "column.yaml:"],
    );
}

#[test]
fn a_missing_environment_variable_is_named() {
    let folder = TempDir::new().unwrap();
    let sink =
        json!({ "from": "counts", "redis": { "url": "${env:NO_SUCH_REDIS}", "key": "{user_id}" } });
    let job = over_files(folder.path(), "variable", COUNTS, sink);
    refused(
        command(&job, folder.path()).run(LIMIT),
        2,
        &["NO_SUCH_REDIS", "not set"],
    );
}

#[test]
fn an_unknown_topic_is_named_with_one_that_was_meant() {
    let Some(kafka) = Kafka::require() else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let topic = kafka.create_topic("clicks", 1);
    let job = JobFile::new("topic")
        .source(
            "events",
            events(from_kafka(kafka.brokers(), &format!("{topic}s")), "5s"),
        )
        .view("counts", COUNTS)
        .sink("out", json!({ "from": "counts", "blackhole": {} }))
        .checkpoints("50ms", &folder.path().join("checkpoints"));
    refused(
        command(&job, folder.path()).run(LIMIT),
        1,
        &["source events", &format!("{topic}s"), "similar", &topic],
    );
}

#[test]
fn a_broker_that_does_not_answer_is_named_within_half_a_minute() {
    let folder = TempDir::new().unwrap();
    let broker = format!("127.0.0.1:{}", free_port());
    let job = JobFile::new("broker")
        .source("events", events(from_kafka(&broker, "events"), "5s"))
        .view("counts", COUNTS)
        .sink("out", json!({ "from": "counts", "blackhole": {} }))
        .checkpoints("50ms", &folder.path().join("checkpoints"));
    let since = Instant::now();
    let process = command(&job, folder.path()).run(LIMIT);
    assert!(since.elapsed() < Duration::from_secs(30));
    refused(process, 1, &["source events", &broker]);
}

#[test]
fn a_redis_that_is_down_at_the_start_is_waited_for() {
    let Some(mut server) = RedisServer::start() else {
        return;
    };
    let url = server.redis().url().to_owned();
    server.stop();
    let folder = TempDir::new().unwrap();
    let sink = json!({ "from": "counts", "redis": { "url": url, "key": "waited:{user_id}" } });
    let job = over_files(folder.path(), "waits", COUNTS, sink);
    let mut process = command(&job, folder.path()).start();
    thread::sleep(Duration::from_secs(3));
    assert!(process.is_running(), "it gave up:\n{}", process.stderr());
    assert!(
        process.stderr().contains("out"),
        "it does not say what it waits for:\n{}",
        process.stderr()
    );
    server.start_again();
    process.wait_for_success(LIMIT);
    assert!(!server.redis().hashes("waited:").is_empty());
}

#[test]
fn a_record_that_cannot_be_decoded_becomes_a_dead_letter_with_its_origin_and_bytes() {
    let Some(kafka) = Kafka::require() else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let topic = kafka.create_topic("malformed", 2);
    let good = Events {
        count: 3,
        ..Events::default()
    }
    .lines();
    let bad = r#"{"user_id":"u0000001","ts":"yesterday","#;
    let values = [
        good[0].value.as_deref(),
        Some(bad),
        good[1].value.as_deref(),
    ];
    kafka.produce(
        &topic,
        values.map(|value| Record {
            partition: 1,
            value: value.map(str::to_owned),
            ..Record::default()
        }),
    );
    let dead = folder.path().join("dead.jsonl");
    let job = JobFile::new("malformed")
        .source("events", events(from_kafka(kafka.brokers(), &topic), "5s"))
        .view("counts", COUNTS)
        .sink("out", json!({ "from": "counts", "blackhole": {} }))
        .key("dead_letter", json!({ "files": { "path": dead } }))
        .checkpoints("50ms", &folder.path().join("checkpoints"));
    let mut process = command(&job, folder.path()).run(LIMIT);
    process.wait_for_success(LIMIT);
    assert_eq!(process.summary()["dead_lettered"], 1);
    assert_eq!(process.summary()["events_in"]["events"], 3);
    let letters = lines(&dead);
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0]["relation"], "events");
    assert_eq!(letters[0]["payload"], bad);
    assert_eq!(
        letters[0]["origin"],
        format!("topic {topic}, partition 1, offset 1")
    );
    assert_ne!(letters[0]["reason"], "");
}

#[test]
fn a_row_that_divides_by_zero_becomes_a_dead_letter_with_view_expression_and_reason() {
    let folder = TempDir::new().unwrap();
    let input = folder.path().join("input");
    fs::create_dir(&input).unwrap();
    let event = |user: &str, quantity: i64| json!({ "user_id": user, "ts": 1_767_225_600_000_i64, "quantity": quantity });
    let text: Vec<_> = [event("a", 4), event("b", 0), event("c", 5)]
        .iter()
        .map(Value::to_string)
        .collect();
    fs::write(input.join("events.jsonl"), text.join("\n") + "\n").unwrap();
    let (good, dead) = (
        folder.path().join("good.jsonl"),
        folder.path().join("dead.jsonl"),
    );
    let sql = "SELECT user_id, ts, 100 / quantity AS share FROM events";
    let job = over_files(
        folder.path(),
        "division",
        sql,
        json!({ "from": "counts", "files": { "path": good } }),
    )
    .key("dead_letter", json!({ "files": { "path": dead } }));
    let mut process = command(&job, folder.path()).run(LIMIT);
    process.wait_for_success(LIMIT);
    let shares: Vec<_> = lines(&good)
        .iter()
        .map(|row| (row["user_id"].clone(), row["share"].clone()))
        .collect();
    assert_eq!(shares, [(json!("a"), json!(25)), (json!("c"), json!(20))]);
    let letters = lines(&dead);
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0]["relation"], "counts");
    let reason = letters[0]["reason"].as_str().unwrap();
    assert!(
        reason.contains("quantity") && reason.to_lowercase().contains("zero"),
        "{reason}"
    );
    let row: Value = serde_json::from_str(letters[0]["payload"].as_str().unwrap()).unwrap();
    assert_eq!(row["user_id"], "b");
}

#[test]
fn a_checkpoint_store_that_cannot_be_written_is_named() {
    let folder = TempDir::new().unwrap();
    // A file where a folder has to be: refused to every user, root included.
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let job = over_files(
        folder.path(),
        "unwritable",
        COUNTS,
        json!({ "from": "counts", "blackhole": {} }),
    );
    let store = format!("file://{}/checkpoints", file.display());
    let process = command(&job, folder.path())
        .args(["--checkpoint-store", &store])
        .run(LIMIT);
    refused(process, 1, &["checkpoint", &file.display().to_string()]);
}

#[test]
fn starting_anew_would_repeat_rows_in_an_append_only_sink_and_is_refused_with_the_choices() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out.jsonl");
    let job = over_files(
        folder.path(),
        "anew",
        WINDOWS,
        json!({ "from": "counts", "files": { "path": out } }),
    );
    command(&job, folder.path())
        .run(LIMIT)
        .wait_for_success(LIMIT);
    let before = fs::read(&out).unwrap();
    assert!(!before.is_empty());
    let process = command(&job, folder.path())
        .args(["--restore", "none"])
        .run(LIMIT);
    refused(process, 1, &["sink out", "--allow-duplicates"]);
    assert_eq!(fs::read(&out).unwrap(), before);
    let mut process = command(&job, folder.path())
        .args(["--restore", "none", "--allow-duplicates"])
        .run(LIMIT);
    process.wait_for_success(LIMIT);
    assert_eq!(
        fs::read(&out).unwrap().len(),
        2 * before.len(),
        "accepted duplicates are there twice"
    );
}

#[test]
fn a_lost_checkpoint_store_does_not_make_an_append_only_sink_repeat_rows() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out.jsonl");
    let job = over_files(
        folder.path(),
        "lost",
        WINDOWS,
        json!({ "from": "counts", "files": { "path": out } }),
    );
    command(&job, folder.path())
        .run(LIMIT)
        .wait_for_success(LIMIT);
    let before = fs::read(&out).unwrap();
    fs::remove_dir_all(folder.path().join("checkpoints")).unwrap();
    refused(
        command(&job, folder.path()).run(LIMIT),
        1,
        &["sink out", "--allow-duplicates"],
    );
    assert_eq!(fs::read(&out).unwrap(), before);
}

#[test]
fn a_second_process_on_an_embedded_store_says_that_it_is_in_use_and_waits() {
    let folder = TempDir::new().unwrap();
    let store = folder.path().join("store");
    let sink = json!({ "from": "counts", "embedded": { "path": store } });
    let datagen = json!({ "kind": "events", "users": 20, "rate": 200 });
    let first = JobFile::new("first")
        .source(
            "events",
            json!({ "datagen": datagen, "event_time": { "column": "ts" } }),
        )
        .view("counts", COUNTS)
        .sink("out", sink.clone())
        .checkpoints("50ms", &folder.path().join("checkpoints"));
    let socket = folder.path().join("first.socket").display().to_string();
    let mut holder = Command::tidewright(folder.path())
        .arg("run")
        .arg(first.write(folder.path()))
        .args(["--socket", &socket])
        .start();
    eventually(LIMIT, "the store is open", || {
        assert!(holder.is_running(), "{}", holder.stderr());
        store.exists().then_some(())
    });
    let input = folder.path().join("input");
    write_files(&Events::default().lines(), &input, "events", 2);
    let second = JobFile::new("second")
        .source("events", events(from_files(&input), "5s"))
        .view("totals", COUNTS)
        .sink(
            "out",
            json!({ "from": "totals", "embedded": { "path": store } }),
        )
        .checkpoints("50ms", &folder.path().join("checkpoints"));
    let socket = folder.path().join("second.socket").display().to_string();
    let mut waiting = command(&second, folder.path())
        .args(["--socket", &socket])
        .start();
    eventually(LIMIT, "what it waits for", || {
        let log = waiting.stderr();
        let place = store.display().to_string();
        (log.contains(&place) && log.contains("another process has the store open")).then_some(())
    });
    assert!(waiting.is_running() && holder.is_running());
    holder.terminate();
    holder.wait_for_success(LIMIT);
    waiting.wait_for_success(LIMIT);
    assert_ne!(waiting.summary()["rows_out"]["sinks"]["out"], 0);
}

#[test]
fn a_reader_that_has_enough_ends_a_command_without_a_panic() {
    let folder = TempDir::new().unwrap();
    let job = over_files(
        folder.path(),
        "unread",
        COUNTS,
        json!({ "from": "counts", "blackhole": {} }),
    );
    let job = job.write(folder.path());
    let job = job.to_str().unwrap();
    for (arguments, code) in [
        (&["schema"][..], Some(141)),
        // It has done its work, and says what is missing.
        (
            &["run", job, "--bounded", "--quiet", "--summary", "json"],
            Some(1),
        ),
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidewright"));
        command.args(arguments).current_dir(folder.path());
        command.stdout(std::process::Stdio::piped());
        let mut process = command
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // Before the process can have written anything.
        drop(process.stdout.take());
        let ended = process.wait_with_output().unwrap();
        let log = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), code, "{log}");
        assert!(!log.contains("panicked"), "{log}");
    }
}
