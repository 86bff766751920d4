//! The harness itself: a test that trusts a broken harness proves nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{
    dynamodb::Dynamodb,
    input::{Events, LATE_BY_MS, Profiles, produce, split_of, write_files},
    jobfile::{JobFile, events, from_files, from_kafka, profiles},
    kafka::{Kafka, Outcome, Record},
    process::Command,
    proxy::Proxy,
    redis::require_redis,
    redis_server::RedisServer,
    s3::Bucket,
    services::unique_name,
};

const LIMIT: Duration = Duration::from_secs(20);

fn record(partition: i32, value: &str) -> Record {
    Record {
        partition,
        key: Some(format!("key of {value}")),
        value: Some(value.to_owned()),
        timestamp_ms: Some(1_767_225_600_123),
    }
}

#[test]
fn records_come_back_from_kafka_as_they_were_sent() {
    let Some(kafka) = Kafka::require() else {
        return;
    };
    let topic = kafka.create_topic("round-trip", 3);
    let tombstone = Record {
        value: None,
        ..record(2, "deleted")
    };
    let sent = vec![record(0, "a"), record(0, "b"), tombstone];
    kafka.produce(&topic, sent.clone());
    let stored = kafka.read_committed(&topic);
    let offsets: Vec<_> = stored.iter().map(|stored| stored.offset).collect();
    assert_eq!(offsets, [0, 1, 0]);
    let read: Vec<_> = stored.into_iter().map(|stored| stored.record).collect();
    assert_eq!(read, sent);
    assert_eq!(
        kafka.end_offsets(&topic),
        BTreeMap::from([(0, 2), (1, 0), (2, 1)])
    );
    assert_eq!(
        kafka.committed_offsets(&unique_name("group"), &topic),
        BTreeMap::new()
    );
}

#[test]
fn aborted_records_are_not_read() {
    let Some(kafka) = Kafka::require() else {
        return;
    };
    let topic = kafka.create_topic("transactions", 1);
    kafka.produce_in_transaction(&topic, [record(0, "aborted")], Outcome::Abort);
    kafka.produce_in_transaction(&topic, [record(0, "committed")], Outcome::Commit);
    assert_eq!(kafka.read_values(&topic), ["committed"]);
    assert_eq!(kafka.end_offsets(&topic)[&0], 4, "two records, two markers");
}

#[test]
fn topics_grow_and_can_be_made_anew() {
    let Some(kafka) = Kafka::require() else {
        return;
    };
    let topic = kafka.create_topic("growing", 1);
    kafka.produce(&topic, [record(0, "old")]);
    kafka.add_partitions(&topic, 2);
    kafka.produce(&topic, [record(1, "new")]);
    assert_eq!(kafka.read_values(&topic), ["old", "new"]);
    kafka.delete_topic(&topic);
    kafka.create_topic_named(&topic, 1);
    assert_eq!(kafka.read_values(&topic), Vec::<String>::new());
}

#[test]
fn hashes_are_read_by_the_very_prefix() {
    let Some(redis) = require_redis() else { return };
    let prefix = unique_name("test*");
    let mut connection = redis.connection();
    for key in [format!("{prefix}:a"), prefix.replace('*', "+")] {
        redis::cmd("HSET")
            .arg(&[key.as_str(), "field", "value"])
            .query::<()>(&mut connection)
            .unwrap();
    }
    let fields = BTreeMap::from([("field".to_owned(), "value".to_owned())]);
    let expected = BTreeMap::from([(format!("{prefix}:a"), fields)]);
    assert_eq!(redis.hashes(&prefix), expected);
}

#[test]
fn a_redis_server_keeps_its_data_over_a_stop() {
    let Some(mut server) = RedisServer::start() else {
        return;
    };
    let redis = server.redis();
    redis::cmd("HSET")
        .arg(&["key", "field", "value"])
        .query::<()>(&mut redis.connection())
        .unwrap();
    server.stop();
    assert!(!redis.is_up());
    server.start_again();
    assert_eq!(redis.hashes("")["key"]["field"], "value");
    redis.clear();
    assert_eq!(redis.hashes("").len(), 0);
}

#[test]
fn items_are_read_with_their_whole_key() {
    let Some(dynamodb) = Dynamodb::require() else {
        return;
    };
    let table = unique_name("items");
    assert!(!dynamodb.has_table(&table));
    dynamodb.create_table(&table, &["user_id", "day"]);
    assert!(dynamodb.has_table(&table));
    for day in ["monday", "tuesday"] {
        dynamodb.put(&table, &[("user_id", "u1"), ("day", day), ("clicks", "3")]);
    }
    let items = dynamodb.items(&table);
    let keys: Vec<_> = items.keys().collect();
    assert_eq!(keys, ["u1|monday", "u1|tuesday"]);
    assert_eq!(items["u1|monday"]["clicks"], "3");
}

#[test]
fn a_bucket_can_be_made() {
    let Some(bucket) = Bucket::require() else {
        return;
    };
    assert!(bucket.url("job").starts_with("s3://checkpoints-"));
}

#[test]
fn a_process_can_be_suspended_resumed_and_killed() {
    let folder = TempDir::new().unwrap();
    // One process all along: a shell stopped while it starts a child would wait for it instead of being stopped.
    let script = "echo started; echo complaint >&2; exec sleep 60";
    let mut process = Command::program("sh", folder.path())
        .args(["-c", script])
        .start();
    crate::harness::eventually::eventually(LIMIT, "its output", || {
        (process.stdout() == "started\n" && process.stderr() == "complaint\n").then_some(())
    });
    process.suspend();
    let state = |id: u32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
        stat.rsplit(") ").next().unwrap()[..1].to_owned()
    };
    crate::harness::eventually::eventually(LIMIT, "suspended", || {
        (state(process.id()) == "T").then_some(())
    });
    process.resume();
    crate::harness::eventually::eventually(LIMIT, "resumed", || {
        (state(process.id()) != "T").then_some(())
    });
    assert!(process.is_running());
    process.kill();
    assert!(!process.is_running() && process.was_killed());
}

#[test]
fn a_dropped_process_takes_its_children_along() {
    let folder = TempDir::new().unwrap();
    let process = Command::program("sh", folder.path())
        .args(["-c", "sleep 60 & echo $!; wait"])
        .start();
    let child = crate::harness::eventually::eventually(LIMIT, "the child's id", || {
        process.stdout().trim().parse::<u32>().ok()
    });
    assert!(Path::new(&format!("/proc/{child}")).exists());
    drop(process);
    crate::harness::eventually::eventually(LIMIT, "the child's end", || {
        // An orphan that nobody waits for remains as a zombie in some containers.
        let stat = fs::read_to_string(format!("/proc/{child}/stat"));
        stat.map_or(true, |stat| stat.contains(") Z")).then_some(())
    });
}

#[test]
fn the_binary_under_test_can_be_run() {
    let folder = TempDir::new().unwrap();
    let mut process = Command::tidewright(folder.path())
        .arg("--version")
        .run(LIMIT);
    process.wait_for_success(LIMIT);
}

#[test]
fn a_cut_proxy_ends_connections_and_a_mended_one_lets_them_through() {
    let server = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = server.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in server.incoming() {
            let _ = stream.unwrap().write_all(b"hello");
        }
    });
    let proxy = Proxy::start(&format!("http://{address}"));
    let greeting = || {
        let mut text = String::new();
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        let _ = stream.read_to_string(&mut text);
        text
    };
    assert_eq!(greeting(), "hello");
    proxy.cut();
    assert_eq!(greeting(), "");
    proxy.mend();
    assert_eq!(greeting(), "hello");
}

#[test]
fn the_same_description_gives_the_same_events_and_another_seed_others() {
    let events = Events::default();
    assert_eq!(events.lines(), events.lines());
    let others = Events {
        seed: 2,
        ..events.clone()
    };
    assert_ne!(events.lines(), others.lines());
}

#[test]
fn events_are_disordered_late_and_malformed_as_asked() {
    let events = Events {
        count: 10_000,
        disorder_ms: 5_000,
        late: 0.02,
        malformed: 0.01,
        ..Events::default()
    };
    let (mut late, mut malformed, mut backwards) = (0, 0, 0);
    let mut previous = i64::MIN;
    for (number, line) in events.lines().iter().enumerate() {
        let lag = events.start_ms + number as i64 * events.spacing_ms - line.time_ms;
        let is_late = lag >= LATE_BY_MS;
        assert!((0..=5_000).contains(&(lag - if is_late { LATE_BY_MS } else { 0 })));
        late += u32::from(is_late);
        backwards += u32::from(line.time_ms < previous);
        previous = line.time_ms;
        let value = line.value.as_deref().unwrap();
        match serde_json::from_str::<Value>(value) {
            Ok(event) if event["ts"].is_i64() => {
                assert_eq!(event["ts"], line.time_ms);
                assert_eq!(event["user_id"], line.key.as_str());
            }
            _ => malformed += 1,
        }
    }
    assert!((100..400).contains(&late), "{late} late");
    assert!((50..200).contains(&malformed), "{malformed} malformed");
    assert!(backwards > 1_000, "{backwards} out of order");
}

#[test]
fn a_few_users_make_most_events() {
    let events = Events {
        count: 10_000,
        users: 1_000,
        ..Events::default()
    };
    let mut counts = BTreeMap::<String, u32>::new();
    for line in events.lines() {
        *counts.entry(line.key).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_values().collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let top: u32 = counts.iter().take(100).sum();
    assert!(
        top > 5_000,
        "the first hundred users made {top} of 10,000 events"
    );
    assert!(counts.len() > 500, "{} users were seen", counts.len());
}

#[test]
fn files_and_partitions_hold_the_same_lines_in_the_same_splits() {
    let folder = TempDir::new().unwrap();
    let lines = Events {
        count: 200,
        ..Events::default()
    }
    .lines();
    let paths = write_files(&lines, folder.path(), "events", 3);
    let files: Vec<String> = paths
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let written: usize = files.iter().map(|file| file.lines().count()).sum();
    assert_eq!(written, lines.len());
    let Some(kafka) = Kafka::require() else {
        return;
    };
    let topic = kafka.create_topic("lines", 3);
    produce(&lines, &kafka, &topic, 3);
    for (split, file) in (0_i32..).zip(&files) {
        let records = kafka.read_committed(&topic).into_iter();
        let values: Vec<_> = records
            .filter(|stored| stored.record.partition == split)
            .map(|stored| stored.record.value.unwrap())
            .collect();
        assert!(values.iter().map(String::as_str).eq(file.lines()));
    }
}

#[test]
fn keys_spread_over_all_splits() {
    let splits: BTreeSet<u32> = (0..100)
        .map(|user| split_of(&format!("u{user:07}"), 8))
        .collect();
    assert_eq!(splits.len(), 8);
}

#[test]
fn every_user_has_a_profile_and_changes_and_deletes_come_after() {
    let lines = Profiles {
        users: 10,
        changes: 200,
        deletes: 0.2,
        ..Profiles::default()
    }
    .lines();
    assert_eq!(lines.len(), 210);
    let first: BTreeSet<_> = lines[..10].iter().map(|line| &line.key).collect();
    assert_eq!(first.len(), 10);
    assert!(lines[..10].iter().all(|line| line.value.is_some()));
    let deletes = lines.iter().filter(|line| line.value.is_none()).count();
    assert!((15..80).contains(&deletes), "{deletes} deletes");
}

#[test]
fn a_job_file_is_rendered_part_by_part() {
    let job = JobFile::new("job")
        .source(
            "events",
            events(from_files(Path::new("events-*.jsonl")), "5s"),
        )
        .source("profiles", profiles(from_kafka("localhost:1", "profiles")))
        .view("clicks", "SELECT user_id\n  FROM events\n")
        .sink("out", json!({ "from": "clicks", "stdout": {} }))
        .key("dead_letter", json!({ "blackhole": {} }))
        .checkpoints("100ms", Path::new("state"));
    let expected = r#"name: "job"
sources:
  events: {"files":{"path":"events-*.jsonl"},"format":"json","schema":{"event_id":"string","user_id":"string","type":"string","ts":"timestamp_ms","price":"decimal(12,2)","quantity":"bigint","category":"string"},"event_time":{"column":"ts","out_of_orderness":"5s"}}
  profiles: {"kafka":{"brokers":"localhost:1","topic":"profiles","start":"earliest"},"format":"json","primary_key":["user_id"],"schema":{"user_id":"string","email":"string","segment":"string","consent":"boolean"}}
views:
  clicks: |
    SELECT user_id
    FROM events
sinks:
  out: {"from":"clicks","stdout":{}}
dead_letter: {"blackhole":{}}
checkpoint: {"interval":"100ms","store":"file://state"}
"#;
    assert_eq!(job.render(), expected);
}
