//! What running jobs tell about themselves, compared with what happened to them.

mod health;
mod lag;

use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::harness::{
    eventually::eventually,
    jobfile::{JobFile, from_kafka},
    kafka::{Kafka, Record},
    metrics::Scrape,
    process::{Command, Process},
    redis_server::free_ports,
    server::Server,
};
use crate::shop::LIMIT;

const SOURCE: [(&str, &str); 1] = [("source", "events")];

/// Counts the events of each user, of a topic whose records are `{"user_id", "ts"}`.
fn counting(name: &str, kafka: &Kafka, topic: &str) -> JobFile {
    JobFile::new(name)
        .source(
            "events",
            json!({
                "kafka": from_kafka(kafka.brokers(), topic)["kafka"],
                "schema": { "user_id": "string", "ts": "timestamp_ms" },
                "event_time": { "column": "ts", "out_of_orderness": "1s" },
            }),
        )
        .view(
            "counts",
            "SELECT user_id, count(*) AS events
             FROM rolling(events, INTERVAL '1 day', INTERVAL '1 hour') GROUP BY user_id",
        )
        .sink("out", json!({ "from": "counts", "blackhole": {} }))
}

/// Event times ten seconds apart.
fn event(partition: i32, number: i64) -> Record {
    let ts = 1_760_000_000_000 + number * 10_000;
    Record {
        partition,
        key: None,
        value: Some(format!("{{\"user_id\":\"u{}\",\"ts\":{ts}}}", number % 7)),
        timestamp_ms: None,
    }
}

fn run(job: &JobFile, folder: &TempDir, arguments: &[&str]) -> Process {
    let job = job
        .clone()
        .checkpoints("50ms", &folder.path().join("checkpoints"));
    Command::tidewright(folder.path())
        .arg("run")
        .arg(job.write(folder.path()))
        .args(arguments)
        .start()
}

/// Scrapes until the metrics are as wanted.
fn await_metrics(
    process: &mut Process,
    url: &str,
    what: &str,
    wanted: impl Fn(&Scrape) -> bool,
) -> Scrape {
    eventually(LIMIT, what, || {
        assert!(process.is_running(), "it ended:\n{}", process.stderr());
        Scrape::of(url).filter(&wanted)
    })
}

/// Where a process that was given port 0 says that its metrics are.
fn announced(process: &mut Process) -> String {
    eventually(LIMIT, "where metrics are", || {
        assert!(process.is_running(), "it ended:\n{}", process.stderr());
        let log = process.stderr();
        let line = log
            .lines()
            .find_map(|line| line.strip_prefix("metrics at "))?;
        Some(line.to_owned())
    })
}

#[test]
fn metrics_tell_what_was_read_made_set_aside_and_how_far_it_is() {
    let Some(kafka) = Kafka::require() else {
        return;
    };
    let topic = kafka.create_topic("metrics", 2);
    let folder = TempDir::new().unwrap();
    let job = counting("metrics", &kafka, &topic);
    let good = (0..500).map(|number| event((number % 2) as i32, number));
    kafka.produce(&topic, good);
    let broken = |value: &str| Record {
        value: Some(value.to_owned()),
        ..event(0, 0)
    };
    let no_time = "{\"user_id\":\"a\",\"ts\":null}";
    kafka.produce(&topic, [broken("{"), broken("nonsense"), broken(no_time)]);
    let mut process = run(
        &job,
        &folder,
        &["--metrics", "127.0.0.1:0", "--workers", "2"],
    );
    let url = announced(&mut process);
    let scrape = await_metrics(&mut process, &url, "all is delivered", |scrape| {
        let counter = "tidewright_source_records_total";
        let uncovered = scrape.sum("tidewright_checkpoint_uncovered_seconds", &[]);
        let delivered = scrape.sum("tidewright_delivery_latency_seconds_count", &[]);
        scrape.sum(counter, &SOURCE) == 503.0 && uncovered == 0.0 && delivered == 503.0
    });
    let letters = |reason: &str| {
        let labels = [("relation", "events"), ("reason", reason)];
        scrape.sum("tidewright_dead_letters_total", &labels)
    };
    assert_eq!((letters("decode"), letters("event_time")), (2.0, 1.0));
    assert_eq!(scrape.value("tidewright_job_running", &[]), 1.0);
    let split = |metric: &str, split: &str| {
        let labels = [("source", "events"), ("split", split), ("job", "metrics")];
        scrape.value(metric, &labels)
    };
    for (partition, records) in [("0", 253.0), ("1", 250.0)] {
        assert_eq!(split("tidewright_split_behind_records", partition), 0.0);
        assert_eq!(split("tidewright_split_behind_seconds", partition), 0.0);
        assert_eq!(split("tidewright_split_next_offset", partition), records);
    }
    // The last events are number 498 and 499; the bound is a second.
    let watermark = |number: f64| 1_760_000_000.0 + number * 10.0 - 1.0;
    assert_eq!(
        split("tidewright_split_watermark_timestamp_seconds", "0"),
        watermark(498.0)
    );
    assert_eq!(split("tidewright_split_holds_watermark", "0"), 1.0);
    assert_eq!(split("tidewright_split_holds_watermark", "1"), 0.0);
    let relation = |name| {
        scrape.value(
            "tidewright_watermark_timestamp_seconds",
            &[("relation", name)],
        )
    };
    assert_eq!(
        (relation("events"), relation("counts")),
        (watermark(498.0), watermark(498.0))
    );
    let frontier = |name| {
        scrape.value(
            "tidewright_frontier_timestamp_seconds",
            &[("frontier", name)],
        )
    };
    assert!(frontier("ingested") >= frontier("durable") && frontier("delivered") > 1.7e9);
    assert!(scrape.value("tidewright_checkpoint_last_size_bytes", &[]) > 100.0);
    let latencies = scrape.value("tidewright_delivery_latency_seconds_count", &[]);
    assert_eq!(latencies, 503.0);
    for worker in ["0", "1"] {
        let view = [("worker", worker), ("operator", "counts/rolling")];
        let operators = scrape.label("tidewright_operator_busy_seconds_total", "operator");
        assert_eq!(
            scrape
                .values("tidewright_operator_idle_seconds_total", &view)
                .len(),
            1,
            "{operators:?}"
        );
    }
    assert!(
        scrape.sum(
            "tidewright_operator_busy_seconds_total",
            &[("operator", "read/events")]
        ) > 0.0
    );
    process.terminate();
    process.wait_for_success(LIMIT);
}

#[test]
fn each_process_of_a_job_tells_its_own_part() {
    let Some(kafka) = Kafka::require() else {
        return;
    };
    let topic = kafka.create_topic("metrics", 4);
    let folder = TempDir::new().unwrap();
    kafka.produce(
        &topic,
        (0..400).map(|number| event((number % 4) as i32, number)),
    );
    let port = free_ports(2);
    let address = format!("127.0.0.1:{port}");
    let job = counting("metrics-launched", &kafka, &topic);
    let mut process = run(&job, &folder, &["--launch", "2", "--metrics", &address]);
    let urls = [0, 1].map(|process| format!("http://127.0.0.1:{}/metrics", port + process));
    let (mut records, mut splits) = (0.0, Vec::new());
    for (index, url) in urls.iter().enumerate() {
        let counter = "tidewright_source_records_total";
        let scrape = await_metrics(&mut process, url, "its half", |scrape| {
            scrape.sum(counter, &SOURCE) == 200.0
        });
        records += scrape.value(counter, &[("process", &index.to_string())]);
        splits.extend(scrape.label("tidewright_split_next_offset", "split"));
    }
    splits.sort();
    assert_eq!((records, splits.join(" ")), (400.0, "0 1 2 3".to_owned()));
    process.terminate();
    process.wait_for_success(LIMIT);
}

#[test]
fn metrics_are_served_to_other_machines_only_if_that_was_asked_for() {
    let folder = TempDir::new().unwrap();
    let file = super::serve::counting("public", Some(10));
    let path = folder.path().join("public.yaml");
    std::fs::write(&path, file).unwrap();
    let run = |arguments: &[&str]| {
        let command = Command::tidewright(folder.path()).arg("run").arg(&path);
        command.args(arguments).args(["--bounded"]).run(LIMIT)
    };
    let mut refused = run(&["--metrics", "0.0.0.0:0"]);
    assert_eq!(refused.wait(LIMIT).code(), Some(2));
    assert!(
        refused.stderr().contains("--metrics-public"),
        "{}",
        refused.stderr()
    );
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut refused = run(&["--metrics", &address]);
    assert_eq!(refused.wait(LIMIT).code(), Some(1));
    assert!(refused.stderr().contains(&address), "{}", refused.stderr());
}

#[test]
fn a_server_tells_its_own_metrics_and_those_of_its_jobs() {
    let server = Server::start(&[], &[]);
    for name in ["one", "two"] {
        let body = super::serve::submission(&super::serve::counting(name, None));
        assert_eq!(server.post("/v1/jobs", Some(&body)).status, 201);
    }
    let ended = super::serve::submission(&super::serve::counting("ended", Some(10)));
    assert_eq!(server.post("/v1/jobs", Some(&ended)).status, 201);
    server.await_state("one", "running");
    server.await_state("two", "running");
    server.await_state("ended", "finished");
    let scrape = eventually(Duration::from_secs(30), "both have read something", || {
        let scrape = Scrape::read(&server.text("/metrics"));
        let read = |job| scrape.sum("tidewright_source_records_total", &[("job", job)]);
        (read("one") > 0.0 && read("two") > 0.0).then_some(scrape)
    });
    let state = |job, state| {
        scrape.value(
            "tidewright_server_job_state",
            &[("job", job), ("state", state)],
        )
    };
    assert_eq!(
        (state("one", "running"), state("one", "failed")),
        (1.0, 0.0)
    );
    assert_eq!(
        (state("ended", "finished"), state("ended", "running")),
        (1.0, 0.0)
    );
    assert_eq!(scrape.sum("tidewright_server_job_answers", &[]), 2.0);
    assert_eq!(
        scrape.value("tidewright_server_job_restarts_total", &[("job", "two")]),
        0.0
    );
    let own = Scrape::read(&server.text("/v1/jobs/two/metrics"));
    assert!(own.sum("tidewright_source_records_total", &[("job", "two")]) > 0.0);
    assert!(
        own.values("tidewright_server_job_state", &[("job", "one")])
            .is_empty()
    );
}
