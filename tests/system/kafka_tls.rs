//! Kafka behind TLS and passwords: rows get there and are read from there, and what is refused is told.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{
    harness::{
        certificates::Authority,
        jobfile::{JobFile, from_files, with},
        kafka_broker::SecuredKafka,
        process::{Command, Process},
    },
    shop::LIMIT,
};

const ROWS: u64 = 500;
const WRONG: &str = "sesame-shut-9";

/// One broker for both: it takes longer to start than the rest of the test.
#[test]
fn kafka_is_written_and_read_over_tls_and_what_is_refused_is_told() {
    let Some(kafka) = SecuredKafka::start() else {
        return;
    };
    let topic = kafka.kafka().create_topic("secured", 3);
    rows_travel(&kafka, &topic);
    refusals_are_told(&kafka, &topic);
    assert_eq!(
        kafka.kafka().read_values(&topic).len() as u64,
        ROWS,
        "whoever was refused has written"
    );
}

fn rows_travel(kafka: &SecuredKafka, topic: &str) {
    let good = |mechanism| kafka.properties(mechanism, &kafka.ca(), SecuredKafka::PASSWORD);
    start(kafka, &writer(kafka, "write", topic, good("PLAIN"))).wait_for_success(LIMIT);
    let expected: BTreeMap<String, u64> = (0..ROWS).map(|n| (format!("row-{n}"), n)).collect();
    let readers = ["PLAIN", "SCRAM-SHA-256"].map(|mechanism| {
        let name = format!("read-{}", mechanism.to_lowercase());
        let (job, output) = reader(kafka, &name, topic, good(mechanism));
        (start(kafka, &job), output)
    });
    for (mut process, output) in readers {
        process.wait_for_success(LIMIT);
        let text = fs::read_to_string(output).unwrap();
        assert_eq!(text.lines().count() as u64, ROWS);
        let rows = text.lines().map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            (
                row["id"].as_str().unwrap().to_owned(),
                row["n"].as_u64().unwrap(),
            )
        });
        assert_eq!(rows.collect::<BTreeMap<_, _>>(), expected);
    }
}

fn refusals_are_told(kafka: &SecuredKafka, topic: &str) {
    let other = Authority::new(kafka.folder(), "other").ca();
    let password = SecuredKafka::PASSWORD;
    let wrong = [
        (
            "authority",
            kafka.properties("PLAIN", &other, password),
            "certificate verify failed",
        ),
        (
            "file",
            kafka.properties("PLAIN", Path::new("/no/ca.pem"), password),
            "ssl.ca.location",
        ),
        (
            "plain",
            kafka.properties("PLAIN", &kafka.ca(), WRONG),
            "SASL authentication error",
        ),
        (
            "scram",
            kafka.properties("SCRAM-SHA-256", &kafka.ca(), WRONG),
            "SASL authentication error",
        ),
    ];
    // All at once: most of the time they wait.
    let mut started = Vec::new();
    for (name, properties, says) in wrong {
        let job = writer(kafka, &format!("to-{name}"), topic, properties.clone());
        started.push((start(kafka, &job), "sink out", says));
        let (job, _) = reader(kafka, &format!("from-{name}"), topic, properties);
        started.push((start(kafka, &job), "source rows", says));
    }
    for (mut process, place, says) in started {
        let code = process.wait(LIMIT).code();
        let (log, printed) = (process.stderr(), process.stdout());
        assert_eq!(code, Some(1), "{place}, {says}:\n{log}");
        let told = log.lines().find(|line| line.starts_with("error: "));
        assert!(
            told.is_some_and(|told| told.contains(place) && told.contains(says)),
            "{place} does not say {says}:\n{log}"
        );
        assert!(!log.contains("panicked"), "{log}");
        for secret in [password, WRONG] {
            assert!(!log.contains(secret) && !printed.contains(secret), "{log}");
        }
    }
}

/// A job that writes all rows into the topic.
fn writer(kafka: &SecuredKafka, name: &str, topic: &str, properties: Value) -> JobFile {
    let input = kafka.folder().join("rows.jsonl");
    if !input.exists() {
        let line = |n| format!("{}\n", json!({ "id": format!("row-{n}"), "n": n }));
        fs::write(&input, (0..ROWS).map(line).collect::<String>()).unwrap();
    }
    let connector = connector(kafka, topic, properties);
    job(kafka, name)
        .source("rows", rows(from_files(&input)))
        .sink("out", with(json!({ "from": "rows" }), connector))
}

/// A job that reads the topic into a file, and the file.
fn reader(kafka: &SecuredKafka, name: &str, topic: &str, properties: Value) -> (JobFile, PathBuf) {
    let output = kafka.folder().join(format!("{name}.jsonl"));
    let job = job(kafka, name)
        .source("rows", rows(connector(kafka, topic, properties)))
        .sink(
            "out",
            json!({ "from": "rows", "files": { "path": output } }),
        );
    (job, output)
}

fn job(kafka: &SecuredKafka, name: &str) -> JobFile {
    JobFile::new(name).checkpoints("50ms", &kafka.folder().join("checkpoints"))
}

fn connector(kafka: &SecuredKafka, topic: &str, properties: Value) -> Value {
    json!({ "kafka": { "brokers": kafka.brokers(), "topic": topic, "properties": properties } })
}

fn rows(connector: Value) -> Value {
    with(
        connector,
        json!({ "schema": { "id": "string", "n": "bigint" } }),
    )
}

fn start(kafka: &SecuredKafka, job: &JobFile) -> Process {
    Command::tidewright(kafka.folder())
        .arg("run")
        .arg(job.write(kafka.folder()))
        .arg("--bounded")
        .start()
}
