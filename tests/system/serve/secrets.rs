//! What a job file takes from the server's environment is nowhere to be seen, also when the store that wants it refuses it.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::submission;
use crate::{
    harness::{
        eventually::eventually,
        kafka::Kafka,
        redis_server::{RedisServer, free_port},
        server::Server,
    },
    shop::LIMIT,
};

/// Letters and digits alone, so that no form of escaping hides it.
const SECRET: &str = "Xq7secretZk93PassWordVb";

fn into_redis(name: &str, port: u16) -> String {
    let url = format!("redis://:${{env:THE_SECRET}}@127.0.0.1:{port}");
    format!(
        "name: {name}
sources:
  events:
    datagen: {{ kind: events, seed: 1, users: 50, rate: 500 }}
    event_time: {{ column: ts, out_of_orderness: 5s }}
views:
  counts: |
    SELECT user_id, count(*) AS events
    FROM rolling(events, INTERVAL '1 day', INTERVAL '1 hour') GROUP BY user_id
sinks:
  store: {{ from: counts, redis: {{ url: \"{url}\", key: \"{name}:{{user_id}}\" }} }}
"
    )
}

fn from_kafka(name: &str, brokers: &str) -> String {
    let file = super::counting(name, None);
    let start = file.find("    datagen:").unwrap();
    let end = start + file[start..].find("\n").unwrap();
    let source = json!({
        "brokers": brokers,
        "topic": "secrets",
        "properties": {
            "security.protocol": "sasl_plaintext",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "somebody",
            "sasl.password": "${env:THE_SECRET}",
        },
    });
    let schema = r#"{ user_id: string, ts: timestamp_ms }"#;
    let source = format!("    kafka: {source}\n    schema: {schema}");
    file.replace(&file[start..end], &source)
}

/// All files below a folder that hold the secret.
fn files_with_the_secret(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files_with_the_secret(&entry.path(), found);
        } else if kind.is_file() {
            // A file that has just been replaced holds nothing.
            let bytes = fs::read(entry.path()).unwrap_or_default();
            if String::from_utf8_lossy(&bytes).contains(SECRET) {
                found.push(entry.path().display().to_string());
            }
        }
    }
}

/// The job has met its store, and it went wrong.
fn is_in_trouble(server: &Server, job: &Value) -> bool {
    let verdict = job["health"]["verdict"].as_str();
    let log = server.log(job["name"].as_str().unwrap());
    job["last_error"].is_string()
        || verdict.is_some_and(|verdict| verdict != "healthy")
        || ["WARN", "ERROR", "error: "]
            .iter()
            .any(|word| log.contains(word))
}

#[test]
fn a_secret_is_nowhere_to_be_seen_while_its_store_is_down_or_refuses_it() {
    let (Some(kafka), Some(redis)) = (Kafka::require(), RedisServer::start()) else {
        return;
    };
    let mut server = Server::start(&["--stop-patience", "2s"], &[("THE_SECRET", SECRET)]);
    let redis = redis.redis().url().to_owned();
    // It has no password, so it refuses everyone who comes with one.
    let refusing = redis.trim_end_matches('/').rsplit(':').next().unwrap();
    let jobs = [
        (
            "redis-refuses",
            into_redis("redis-refuses", refusing.parse().unwrap()),
        ),
        ("redis-down", into_redis("redis-down", free_port())),
        (
            "kafka-refuses",
            from_kafka("kafka-refuses", kafka.brokers()),
        ),
        (
            "kafka-down",
            from_kafka("kafka-down", &format!("127.0.0.1:{}", free_port())),
        ),
    ];
    for (name, file) in &jobs {
        let reply = server.post("/v1/jobs", Some(&submission(file)));
        assert_eq!(reply.status, 201, "{name}: {reply:?}");
        assert!(!reply.text.contains(SECRET), "{name}: {reply:?}");
    }
    // A wrong job file is told without it.
    let wrong = into_redis("wrong", 1).replace("redis://:", "reds://:");
    let reply = server.post("/v1/jobs", Some(&submission(&wrong)));
    assert_eq!(reply.status, 422, "{reply:?}");
    let mut shown = vec![("a wrong job file".to_owned(), reply.text)];
    let token = server.admin_token();
    for (name, _) in &jobs {
        eventually(LIMIT, "the job meets its store", || {
            is_in_trouble(&server, &server.job(name)).then_some(())
        });
        let savepoint = server.post(&format!("/v1/jobs/{name}/savepoint"), None);
        let operation = savepoint.headers.get("location");
        let operation = operation.map(|place| place.to_str().unwrap().to_owned());
        let own = [
            "",
            "/versions",
            "/logs",
            "/checkpoints",
            "/lag",
            "/metrics",
            "/measurements",
        ];
        let own = own.map(|part| format!("/v1/jobs/{name}{part}"));
        for path in own.into_iter().chain(operation) {
            let reply = server.ask("GET", &path, Some(&token), &[], None);
            shown.push((path, reply.text));
        }
        for command in [
            ["status", name],
            ["logs", name],
            ["versions", name],
            ["top", name],
        ] {
            let process = server.cli(&command);
            let text = format!("{}{}", process.stdout(), process.stderr());
            shown.push((command.join(" "), text));
        }
    }
    for path in ["/v1/jobs", "/metrics"] {
        shown.push((path.to_owned(), server.text(path)));
    }
    for (name, _) in &jobs {
        server.cli_json(&["cancel", name, "--wait"]);
        shown.push((format!("{name}, canceled"), server.job(name).to_string()));
    }
    shown.push(("the server's log".to_owned(), server.process().stderr()));
    for (place, text) in &shown {
        assert!(!text.contains(SECRET), "{place} shows it:\n{text}");
    }
    assert!(
        shown.len() > 40,
        "only {} places were looked at",
        shown.len()
    );
    let mut found = Vec::new();
    files_with_the_secret(&server.data(), &mut found);
    assert!(found.is_empty(), "it is in {found:?}");
}
