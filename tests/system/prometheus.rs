//! What is shipped for Prometheus and Grafana, with a real Prometheus: it scrapes a server, and its rules fire.

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};
use tempfile::TempDir;
use tidewright::metrics::catalogue::{ALL, Kind};

use crate::{
    harness::{
        eventually::eventually,
        jobfile::JobFile,
        prometheus::{Prometheus, SHIPPED, promtool},
        redis_server::RedisServer,
        server::{Server, job_processes, kill},
    },
    shop::LIMIT,
};

const NAME: &str = "watched";

fn shipped(path: &str) -> String {
    fs::read_to_string(format!("{SHIPPED}/{path}")).unwrap()
}

/// The names of metrics that a text mentions.
fn mentioned(text: &str) -> BTreeSet<&str> {
    let is_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let words = text.split(|char| !is_name(char));
    words
        .filter(|word| word.starts_with("tidewright_"))
        .collect()
}

/// All names under which a metric can be asked for.
fn known() -> BTreeSet<String> {
    let names = ALL.iter().flat_map(|metric| {
        let name = metric.full_name();
        let parts: &[&str] = match metric.kind {
            Kind::Histogram => &["_bucket", "_sum", "_count"],
            Kind::Counter | Kind::Gauge => &[""],
        };
        parts.iter().map(move |part| format!("{name}{part}"))
    });
    names.collect()
}

#[test]
fn rules_and_dashboard_use_only_metrics_that_exist() {
    let known = known();
    for file in [
        "prometheus/alerts.yaml",
        "prometheus/alerts_test.yaml",
        "grafana/tidewright.json",
    ] {
        let text = shipped(file);
        let names = mentioned(&text);
        assert!(names.len() > 8, "{file}: {names:?}");
        for name in names {
            assert!(
                known.contains(name),
                "{file} asks for {name}, which is no metric"
            );
        }
    }
}

#[test]
fn the_rules_are_rules_and_do_what_their_own_tests_say() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| format!("{SHIPPED}/prometheus/{name}");
    for arguments in [
        ["check", "rules", &*file("alerts.yaml")],
        ["test", "rules", &*file("alerts_test.yaml")],
    ] {
        let Some(mut done) = promtool(&arguments, folder.path()) else {
            return;
        };
        let said = done.stdout() + &done.stderr();
        assert!(done.status().unwrap().success(), "{said}");
        assert!(said.contains("SUCCESS"), "{said}");
    }
    let rules = shipped("prometheus/alerts.yaml");
    let tests = shipped("prometheus/alerts_test.yaml");
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    for alert in alerts {
        assert!(
            tests.contains(&format!("\"{alert}\"")),
            "{alert} has no test"
        );
    }
}

/// A job that makes more and more rows for a store, and waits for it when little of them is undelivered.
fn job(redis_url: &str) -> String {
    JobFile::new(NAME)
        .source(
            "events",
            json!({
                "datagen": { "kind": "events", "seed": 7, "users": 2_000, "rate": 2_000 },
                "event_time": { "column": "ts", "out_of_orderness": "1s" },
            }),
        )
        .view(
            "activity",
            "SELECT user_id, window_start, window_end, count(*) AS events
             FROM tumble(events, INTERVAL '1 second') GROUP BY user_id, window_start, window_end",
        )
        .sink(
            "hot",
            json!({ "from": "activity", "redis": { "url": redis_url, "key": "w:{user_id}:{window_start}", "ttl": "1m" } }),
        )
        .key("limits", json!({ "outbox": "256KiB" }))
        .render()
}

/// A job on a server, its own store, and a Prometheus that watches.
fn watched() -> Option<(RedisServer, Server, Prometheus)> {
    let redis = RedisServer::start()?;
    let server = Server::start(&[], &[]);
    let prometheus = Prometheus::watch(&server)?;
    let submission = json!({ "file": job(redis.redis().url()) });
    let submitted = server.post("/v1/jobs", Some(&submission));
    assert_eq!(submitted.status, 201, "{submitted:?}");
    server.await_state(NAME, "running");
    eventually(LIMIT, "deliveries are seen", || {
        let delivered = prometheus.query("rate(tidewright_sink_rows_total[5s]) > 0");
        (!delivered.is_empty()).then_some(())
    });
    Some((redis, server, prometheus))
}

#[test]
fn a_store_that_stops_raises_alerts_that_go_when_it_is_back() {
    let Some((mut redis, _server, prometheus)) = watched() else {
        return;
    };
    prometheus.await_silence("Tidewright.*");
    redis.stop();
    let down = prometheus.await_alert("TidewrightSinkDown");
    assert_eq!((&down["job"], &down["sink"]), (&json!(NAME), &json!("hot")));
    prometheus.await_alert("TidewrightOutboxFilling");
    let lag = prometheus.await_alert("TidewrightLagGrowing");
    assert_eq!(
        (&lag["job"], &lag["source"]),
        (&json!(NAME), &json!("events"))
    );
    redis.start_again();
    prometheus.await_silence("Tidewright.*");
}

#[test]
fn a_job_that_fails_again_and_again_raises_an_alert() {
    let Some((_redis, server, prometheus)) = watched() else {
        return;
    };
    prometheus.await_silence("Tidewright.*");
    let restarting = eventually(LIMIT, "an alert", || {
        for pid in job_processes(&server.data()) {
            kill(pid, rustix::process::Signal::KILL);
        }
        prometheus
            .firing("TidewrightJobRestarting")
            .into_iter()
            .next()
    });
    assert_eq!(restarting["job"], NAME);
}

/// Every panel shows something of a job that runs, except those that show only trouble.
#[test]
fn every_panel_of_the_dashboard_shows_a_running_job() {
    let Some((_redis, _server, prometheus)) = watched() else {
        return;
    };
    let dashboard: Value = serde_json::from_str(&shipped("grafana/tidewright.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut checked = 0;
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            let expression = expression
                .replace("$__rate_interval", "5s")
                .replace("$job", NAME);
            let trouble = ["Dead letters", "Splits that hold the watermark"].contains(&title);
            eventually(LIMIT, &format!("{title}: {expression}"), || {
                let shown = prometheus.query(&expression);
                (trouble || !shown.is_empty()).then_some(())
            });
            checked += 1;
        }
    }
    assert!(checked > 25, "only {checked} queries");
}
