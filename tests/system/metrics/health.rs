//! The verdict about a job whose store goes away and comes back.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::lag::into_redis;
use super::{announced, await_metrics, event, run};
use crate::harness::{
    eventually::eventually, kafka::Kafka, metrics::Scrape, process::Command,
    redis_server::RedisServer, server::Server, services::unique_name,
};
use crate::shop::LIMIT;

/// Until the first minute is over, trends are those of fewer samples.
const PATIENCE: Duration = Duration::from_secs(120);

fn problem(scrape: &Scrape, problem: &str, subject: &str) -> bool {
    let labels = [("problem", problem), ("subject", subject)];
    !scrape.values("tidewright_job_problem", &labels).is_empty()
}

fn verdict(scrape: &Scrape, verdict: &str) -> bool {
    scrape.sum("tidewright_job_health", &[("verdict", verdict)]) == 1.0
}

fn status(folder: &TempDir) -> Value {
    let mut asked = Command::tidewright(folder.path())
        .args(["status", "--output", "json", "--socket"])
        .arg(folder.path().join("socket"))
        .run(LIMIT);
    assert!(asked.wait(LIMIT).success(), "{}", asked.stderr());
    serde_json::from_str(&asked.stdout()).unwrap()
}

#[test]
fn a_redis_that_stops_is_told_by_breaker_and_verdict_lag_grows_and_both_recover() {
    let (Some(kafka), Some(mut redis)) = (Kafka::require(), RedisServer::start()) else {
        return;
    };
    let topic = kafka.create_topic("health", 2);
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("socket");
    let job = into_redis(&unique_name("health"), &kafka, &topic, &redis);
    let arguments = [
        "--metrics",
        "127.0.0.1:0",
        "--socket",
        socket.to_str().unwrap(),
    ];
    let mut process = run(&job, &folder, &arguments);
    let url = announced(&mut process);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Over(&over);
        scope.spawn(|| {
            let sender = kafka.sender();
            let mut number = 0;
            while !over.load(Ordering::Relaxed) {
                let some = number..number + 20;
                sender.send(
                    &topic,
                    some.map(|number| event((number % 2) as i32, number)),
                );
                number += 20;
                thread::sleep(Duration::from_millis(20));
            }
        });
        await_metrics(&mut process, &url, "it delivers and is healthy", |scrape| {
            scrape.sum("tidewright_sink_rows_total", &[("sink", "hot")]) > 0.0
                && verdict(scrape, "healthy")
        });
        redis.stop();
        await_metrics(
            &mut process,
            &url,
            "the breaker and the verdict tell",
            |scrape| {
                let open = [("sink", "hot"), ("state", "closed")];
                scrape.sum("tidewright_sink_breaker_state", &open) == 0.0
                    && scrape.sum("tidewright_sink_failing_seconds", &[("sink", "hot")]) > 0.0
                    && scrape.sum("tidewright_sink_outbox_rows", &[("sink", "hot")]) > 0.0
                    && problem(scrape, "sink_down", "hot")
                    && verdict(scrape, "degraded")
            },
        );
        let reason = status(&folder)["health"]["reason"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(
            reason.starts_with("sink hot: its breaker has been open since"),
            "{reason}"
        );
        let scrape = eventually(PATIENCE, "the lag is seen to grow", || {
            assert!(process.is_running(), "{}", process.stderr());
            let scrape = Scrape::of(&url)?;
            let grows = |split| problem(&scrape, "lag_growing", split);
            (grows("events/0") || grows("events/1")).then_some(scrape)
        });
        let source = [("operator", "source")];
        let waited = scrape.sum("tidewright_operator_backpressured_seconds_total", &source);
        assert!(waited > 1.0, "the source has waited for {waited} s only");
        redis.start_again();
        let scrape = eventually(PATIENCE, "it is healthy again", || {
            let scrape = Scrape::of(&url)?;
            let behind = scrape.sum("tidewright_split_behind_seconds", &[]);
            (verdict(&scrape, "healthy") && behind < 5.0).then_some(scrape)
        });
        assert!(scrape.values("tidewright_job_problem", &[]).is_empty());
        assert!(scrape.sum("tidewright_sink_failed_attempts_total", &[("sink", "hot")]) >= 3.0);
    });
    process.terminate();
    process.wait_for_success(LIMIT);
}

/// Set when the test fails too: its thread must not go on.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_server_shows_verdict_and_lag_of_each_job() {
    let server = Server::start(&[], &[]);
    let submit = |name: &str, file: String| {
        let body = crate::serve::submission(&file);
        assert_eq!(server.post("/v1/jobs", Some(&body)).status, 201);
        server.await_state(name, "running");
    };
    submit("well", crate::serve::counting("well", None));
    let health = eventually(LIMIT, "a verdict", || {
        let health = server.job("well")["health"].clone();
        (!health.is_null()).then_some(health)
    });
    assert_eq!(health["verdict"], "healthy", "{health}");
    assert_eq!(
        server.get("/v1/jobs")["jobs"][0]["health"]["verdict"],
        "healthy"
    );
    let lag = eventually(LIMIT, "enough samples for a trend", || {
        let lag = server.cli_json(&["lag", "well"]);
        (lag["splits"][0]["trend"] != "unknown").then_some(lag)
    });
    assert_eq!(
        (&lag["job"], &lag["splits"][0]["source"]),
        (&"well".into(), &"events".into())
    );
    // A generator is behind by what has become due within the last moment.
    let trend = &lag["splits"][0]["trend"];
    assert!(
        ["caught_up", "steady"].map(Value::from).contains(trend),
        "{lag}"
    );
    assert!(lag["records_behind"].as_u64().unwrap() < 500, "{lag}");
    let told = server.cli(&["status", "well"]);
    assert!(
        told.stdout().contains("health       healthy: "),
        "{}",
        told.stdout()
    );
    let mut missing = server.cli(&["lag", "nobody"]);
    assert_eq!(missing.wait(LIMIT).code(), Some(4));
    let stopped = server.post("/v1/jobs/well/stop", None);
    assert_eq!(stopped.status, 202, "{stopped:?}");
    let job = server.await_state("well", "suspended");
    assert_eq!(job["health"], Value::Null);
    let mut ended = server.cli(&["lag", "well"]);
    assert_eq!(ended.wait(LIMIT).code(), Some(2));
    assert!(
        ended.stderr().contains("is suspended"),
        "{}",
        ended.stderr()
    );
}
