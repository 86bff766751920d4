use std::collections::BTreeMap;

use arrow::array::BooleanArray;
use tidewright_checkpoints::{Epoch, Generation};
use tidewright_jobs::job::RedisSinkConfig;

use super::RedisWriter;
use crate::sink::{
    KeyedBatch, KeyedWriter, SinkContext, SinkError, Version, WriteReport,
    testing::{Lost, Owner, TestRedis, context, every_type, keyed, unique},
};

type Hash = BTreeMap<String, String>;

/// A writer and the keys that it writes, apart from those of other tests.
struct Bench {
    server: TestRedis,
    prefix: String,
}

impl Bench {
    fn new() -> Option<Self> {
        Some(Self {
            server: TestRedis::find()?,
            prefix: unique("test"),
        })
    }

    fn writer_of(&self, context: &SinkContext, ttl: Option<&str>) -> RedisWriter {
        let config = RedisSinkConfig {
            url: self.server.url.clone(),
            key: format!("{}:{{user_id}}", self.prefix),
            ttl: ttl.map(str::to_owned),
            tls: None,
        };
        RedisWriter::new(&config, context).unwrap()
    }

    fn writer(&self) -> RedisWriter {
        self.writer_of(&context("job"), None)
    }

    fn command(&self, name: &str, user: &str, arguments: &[&str]) -> redis::Value {
        let mut command = redis::cmd(name);
        command
            .arg(format!("{}:{user}", self.prefix))
            .arg(arguments);
        command.query(&mut self.server.connect()).unwrap()
    }

    fn hash(&self, user: &str) -> Hash {
        redis::from_redis_value(self.command("HGETALL", user, &[])).unwrap()
    }

    fn ttl_ms(&self, user: &str) -> i64 {
        redis::from_redis_value(self.command("PTTL", user, &[])).unwrap()
    }
}

fn counts(report: &WriteReport) -> (u64, u64, usize) {
    (report.applied, report.already_there, report.refused.len())
}

#[test]
fn a_row_becomes_a_hash_of_text_fields() {
    let Some(bench) = Bench::new() else { return };
    let rows = every_type();
    let mut context = context("job");
    context.schema = rows.schema();
    let batch = KeyedBatch {
        deleted: BooleanArray::from(vec![false, false]),
        versions: vec![
            Version {
                generation: Generation(1),
                epoch: Epoch(2),
                sequence: 3
            };
            2
        ],
        as_of_ms: 0,
        rows,
    };
    bench
        .writer_of(&context, None)
        .write(&batch, &Owner)
        .unwrap();
    let expected = [
        ("_as_of", "1970-01-01T00:00:00.000Z"),
        ("_job", "job"),
        ("_version", "000000000000001000000000000002000003"),
        ("big", "9007199254740993"),
        ("day", "2024-02-29"),
        ("flag", "true"),
        ("price", "-12.05"),
        ("ratio", "0.1"),
        ("seen", "2026-01-01T00:00:00.001Z"),
        ("small", "-7"),
        ("user_id", "u\"1"),
    ];
    let expected: Hash = expected
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    assert_eq!(bench.hash("u\"1"), expected);
    let fields: Vec<_> = bench.hash("u2").into_keys().collect();
    assert_eq!(fields, ["_as_of", "_job", "_version", "user_id"]);
}

#[test]
fn a_replay_changes_nothing_and_an_older_version_never_wins() {
    let Some(bench) = Bench::new() else { return };
    let (mut one, mut two) = (bench.writer(), bench.writer());
    let new = keyed(1, 20, &[("a", Some(2)), ("b", Some(2))]);
    assert_eq!(counts(&one.write(&new, &Owner).unwrap()), (2, 0, 0));
    assert_eq!(counts(&two.write(&new, &Owner).unwrap()), (0, 2, 0));
    let old = keyed(1, 10, &[("a", Some(1)), ("c", Some(1))]);
    assert_eq!(counts(&two.write(&old, &Owner).unwrap()), (1, 1, 0));
    assert_eq!(bench.hash("a")["clicks"], "2");
    assert_eq!(bench.hash("c")["clicks"], "1");
}

#[test]
fn interleaved_writers_leave_the_greatest_version_of_every_key() {
    let Some(bench) = Bench::new() else { return };
    let threads: Vec<_> = (0..4u64)
        .map(|offset| {
            let mut writer = bench.writer();
            std::thread::spawn(move || {
                for round in 0..40 {
                    // Each thread goes through the epochs in another order.
                    let epoch = 1 + (round * 7 + offset * 11) % 40;
                    let clicks = i64::try_from(epoch).ok();
                    let rows = [("x", clicks), ("y", clicks), ("z", clicks)];
                    writer.write(&keyed(1, epoch, &rows), &Owner).unwrap();
                }
            })
        })
        .collect();
    let mut seen = String::new();
    while !threads.iter().all(std::thread::JoinHandle::is_finished) {
        let version = bench.hash("x").remove("_version").unwrap_or_default();
        assert!(version >= seen, "{version} after {seen}");
        seen = version;
    }
    for thread in threads {
        thread.join().unwrap();
    }
    for user in ["x", "y", "z"] {
        assert_eq!(bench.hash(user)["clicks"], "40");
    }
}

#[test]
fn a_writer_of_an_earlier_generation_is_fenced() {
    let Some(bench) = Bench::new() else { return };
    let (mut zombie, mut owner) = (bench.writer(), bench.writer());
    zombie
        .write(&keyed(1, 100, &[("a", Some(1))]), &Owner)
        .unwrap();
    owner
        .write(&keyed(2, 50, &[("a", Some(2))]), &Owner)
        .unwrap();
    let late = zombie.write(&keyed(1, 900, &[("a", Some(3))]), &Owner);
    assert!(
        matches!(&late, Err(SinkError::Fenced(m)) if m.contains("generation 2")),
        "{late:?}"
    );
    assert_eq!(bench.hash("a")["clicks"], "2");
}

#[test]
fn who_has_lost_the_job_sends_nothing() {
    let Some(bench) = Bench::new() else { return };
    let result = bench.writer().write(&keyed(1, 1, &[("a", Some(1))]), &Lost);
    assert!(matches!(result, Err(SinkError::Fenced(_))));
    assert!(bench.hash("a").is_empty());
}

#[test]
fn a_deleted_row_leaves_a_mark_that_keeps_late_writes_out() {
    let Some(bench) = Bench::new() else { return };
    let mut writer = bench.writer();
    writer
        .write(&keyed(1, 10, &[("a", Some(1))]), &Owner)
        .unwrap();
    writer.write(&keyed(1, 20, &[("a", None)]), &Owner).unwrap();
    assert_eq!(
        counts(
            &writer
                .write(&keyed(1, 15, &[("a", Some(9))]), &Owner)
                .unwrap()
        ),
        (0, 1, 0)
    );
    let fields: Vec<_> = bench.hash("a").into_keys().collect();
    assert_eq!(fields, ["_as_of", "_deleted", "_job", "_version"]);
    assert!((86_000_000..=86_400_000).contains(&bench.ttl_ms("a")));
    writer
        .write(&keyed(1, 30, &[("a", Some(3))]), &Owner)
        .unwrap();
    assert_eq!(
        (bench.hash("a")["clicks"].as_str(), bench.ttl_ms("a")),
        ("3", -1)
    );
}

#[test]
fn a_row_lives_as_long_as_the_job_says() {
    let Some(bench) = Bench::new() else { return };
    let mut writer = bench.writer_of(&context("job"), Some("1h"));
    writer
        .write(&keyed(1, 1, &[("a", Some(1))]), &Owner)
        .unwrap();
    assert!((3_500_000..=3_600_000).contains(&bench.ttl_ms("a")));
}

#[test]
fn what_another_job_or_program_wrote_is_left_alone_and_named() {
    let Some(bench) = Bench::new() else { return };
    bench
        .writer()
        .write(&keyed(1, 1, &[("a", Some(1))]), &Owner)
        .unwrap();
    bench.command("HSET", "b", &["name", "handmade"]);
    let mut other = bench.writer_of(&context("other"), None);
    for (user, owner) in [("a", "the job \"job\""), ("b", "writes no versions")] {
        let result = other.write(&keyed(9, 9, &[(user, Some(9))]), &Owner);
        let Err(SinkError::Fatal(message)) = result else {
            panic!("{user}: {result:?}");
        };
        assert!(
            message.contains(owner) && message.contains(&bench.prefix),
            "{message}"
        );
    }
    assert_eq!(bench.hash("a")["clicks"], "1");
    assert_eq!(bench.hash("b")["name"], "handmade");
}

#[test]
fn a_key_of_another_type_is_refused_and_the_other_rows_are_written() {
    let Some(bench) = Bench::new() else { return };
    bench.command("SET", "a", &["text"]);
    let report = bench
        .writer()
        .write(&keyed(1, 1, &[("a", Some(1)), ("b", Some(2))]), &Owner)
        .unwrap();
    assert_eq!(counts(&report), (1, 0, 1));
    assert!(
        report.refused[0].reason.contains("holds a string"),
        "{:?}",
        report.refused
    );
    assert_eq!(report.refused[0].payload, br#"{"user_id":"a","clicks":1}"#);
}

#[test]
fn keys_may_hold_anything_and_batches_may_be_long() {
    let Some(bench) = Bench::new() else { return };
    let users: Vec<String> = (0..2000).map(|n| format!("{{u}}\n{n} %é\"")).collect();
    let rows: Vec<_> = users
        .iter()
        .zip(0..)
        .map(|(user, n)| (user.as_str(), Some(n)))
        .collect();
    let report = bench.writer().write(&keyed(1, 1, &rows), &Owner).unwrap();
    assert_eq!(counts(&report), (2000, 0, 0));
    assert_eq!(bench.hash(&users[1999])["clicks"], "1999");
}

#[test]
fn a_server_that_comes_back_empty_is_written_again() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let port: u16 = server.url.rsplit(':').next().unwrap().parse().unwrap();
    let bench = Bench {
        server,
        prefix: unique("test"),
    };
    let mut writer = bench.writer();
    let batch = keyed(1, 1, &[("a", Some(1))]);
    writer.write(&batch, &Owner).unwrap();
    redis::cmd("SCRIPT")
        .arg("FLUSH")
        .exec(&mut bench.server.connect())
        .unwrap();
    assert_eq!(counts(&writer.write(&batch, &Owner).unwrap()), (0, 1, 0));
    let prefix = bench.prefix.clone();
    drop(bench);
    let down = writer.write(&batch, &Owner);
    assert!(matches!(down, Err(SinkError::Transient(_))), "{down:?}");
    let bench = Bench {
        server: TestRedis::start_at(port).unwrap(),
        prefix,
    };
    assert_eq!(counts(&writer.write(&batch, &Owner).unwrap()), (1, 0, 0));
    assert_eq!(bench.hash("a")["clicks"], "1");
}

#[test]
fn a_server_out_of_memory_is_tried_again_later() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let bench = Bench {
        server,
        prefix: unique("test"),
    };
    let set = |bytes: &str| {
        let mut command = redis::cmd("CONFIG");
        command.arg("SET").arg("maxmemory").arg(bytes);
        command.exec(&mut bench.server.connect()).unwrap();
    };
    let mut writer = bench.writer();
    set("1");
    let full = writer.write(&keyed(1, 1, &[("a", Some(1))]), &Owner);
    assert!(
        matches!(&full, Err(SinkError::Transient(m)) if m.contains("OOM")),
        "{full:?}"
    );
    set("0");
    assert_eq!(
        counts(
            &writer
                .write(&keyed(1, 1, &[("a", Some(1))]), &Owner)
                .unwrap()
        ),
        (1, 0, 0)
    );
}
