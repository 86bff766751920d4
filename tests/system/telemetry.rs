//! What is exported to an OpenTelemetry collector, compared with what the processes say of themselves; and collectors that do not
//! work.

mod servers;

use std::{collections::BTreeSet, net::TcpListener, path::Path};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpSocket;

use crate::{
    harness::{
        collector::{Collector, Received, attributes, text},
        input::{Events, write_files},
        jobfile::{JobFile, events, from_files},
        process::{Command, Process},
    },
    shop::LIMIT,
};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const ERROR: i32 = 17;
const INFO: i32 = 9;

/// Counts a thousand events of files.
fn job(folder: &Path) -> JobFile {
    let input = folder.join("input");
    if !input.exists() {
        write_files(&Events::default().lines(), &input, "events", 2);
    }
    JobFile::new("exported")
        .source("events", events(from_files(&input), "5s"))
        .view(
            "counts",
            "SELECT user_id, count(*) AS events
             FROM rolling(events, INTERVAL '1 hour', INTERVAL '1 minute') GROUP BY user_id",
        )
        .sink("out", json!({ "from": "counts", "blackhole": {} }))
        .checkpoints("20ms", &folder.join("checkpoints"))
}

fn command(folder: &Path, endpoint: &str) -> Command {
    Command::tidewright(folder)
        .arg("run")
        .arg(job(folder).write(folder))
        .args(["--bounded", "--summary", "json"])
        .env(ENDPOINT, endpoint)
}

fn of_process(process: &str) -> (&str, &str) {
    ("tidewright.process", process)
}

/// What a process sends at its end has a second or two, which may be too little where others need the machine: so a run whose end
/// has not come to its collector is made again, a few times. `look` says what has come of it, or nothing if the end is missing.
#[track_caller]
fn arrived<T>(
    run: impl Fn(&Path, &str) -> Process,
    mut look: impl FnMut(&mut Process, &Received) -> Option<T>,
) -> T {
    let mut last = String::new();
    for _ in 0..5 {
        let folder = TempDir::new().unwrap();
        let collector = Collector::start();
        let mut process = run(folder.path(), &collector.url);
        let received = collector.received();
        if let Some(found) = look(&mut process, &received) {
            return found;
        }
        last = format!("{received:?}");
    }
    panic!("the end of no run has come: {last}")
}

/// The metrics of the run's end are its summary.
#[track_caller]
fn are_the_summary(received: &Received, summary: &Value) {
    let last = |name: &str, labels: &[(&str, &str)]| received.last(of_process("0"), name, labels);
    let of = |path: &str| Some(summary.pointer(path).unwrap().as_f64().unwrap());
    for (metric, label, path) in [
        (
            "tidewright_source_records_total",
            ("source", "events"),
            "/events_in/events",
        ),
        (
            "tidewright_view_rows_total",
            ("view", "counts"),
            "/rows_out/views/counts",
        ),
        (
            "tidewright_sink_rows_total",
            ("sink", "out"),
            "/rows_out/sinks/out",
        ),
    ] {
        let expected = of(path);
        assert_eq!(
            last(metric, &[label, ("job", "exported")]),
            expected,
            "{metric}"
        );
        assert!(expected > Some(0.0), "{metric}");
    }
    let published = summary
        .pointer("/checkpoints/count")
        .and_then(Value::as_f64);
    let told = last("tidewright_checkpoints_total", &[]);
    assert!(told > Some(0.0));
    assert!(
        published.is_none() || told == published,
        "{told:?} {published:?}"
    );
}

#[test]
fn a_run_exports_its_log_its_metrics_and_a_trace_of_each_checkpoint() {
    let run = |folder: &Path, url: &str| {
        command(folder, url)
            .arg("--log-json")
            .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20t0ken")
            .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
            .run(LIMIT)
    };
    arrived(run, |run, received| {
        run.wait_for_success(LIMIT);
        let mut logs = received.logs.iter();
        let last = logs.any(|(_, record)| text(record.body.as_ref()).starts_with("stopped after "));
        let is_final = ends_with_final(received);
        (last && is_final && !received.metrics.is_empty()).then(|| tells_of_itself(run, received))
    });
}

fn ends_with_final(received: &Received) -> bool {
    let mut spans = received.spans.iter().map(|(_, span)| span);
    let kind = "tidewright.checkpoint.kind";
    spans.any(|span| {
        attributes(&span.attributes)
            .get(kind)
            .is_some_and(|it| it == "final")
    })
}

#[track_caller]
fn tells_of_itself(run: &Process, received: &Received) {
    assert!(
        received
            .authorizations
            .iter()
            .all(|value| value == "Bearer t0ken")
    );
    assert_eq!(received.authorizations.len(), received.requests);
    let logs = received.logs.iter().map(|(from, _)| from);
    let metrics = received.metrics.iter().map(|(from, _)| from);
    let spans = received.spans.iter().map(|(from, _)| from);
    for from in logs.chain(metrics).chain(spans) {
        for (key, value) in [
            ("service.name", "tidewright"),
            ("service.instance.id", "exported/0"),
            ("tidewright.job", "exported"),
            ("deployment.environment", "test"),
        ] {
            assert_eq!(from[key], value, "{from:?}");
        }
    }
    are_the_summary(received, &run.summary());
    for begin in ["job exported: 1 worker(s)", "stopped after "] {
        let mut logs = received.logs.iter();
        let found = logs.find(|(_, record)| text(record.body.as_ref()).starts_with(begin));
        let (_, record) = found.unwrap_or_else(|| panic!("no {begin}: {received:?}"));
        assert_eq!(
            (record.severity_number, &*record.severity_text),
            (INFO, "INFO")
        );
        assert!(attributes(&record.attributes).contains_key("process"));
    }
    checkpoints_have_traces(received);
}

#[track_caller]
fn checkpoints_have_traces(received: &Received) {
    let spans: Vec<_> = received.spans.iter().map(|(_, span)| span).collect();
    let whole = spans.iter().filter(|span| span.parent_span_id.is_empty());
    let mut kinds = BTreeSet::new();
    for whole in whole {
        assert_eq!(whole.name, "checkpoint");
        let told = attributes(&whole.attributes);
        assert_eq!(told["tidewright.checkpoint.job"], "exported");
        kinds.insert(told["tidewright.checkpoint.kind"].clone());
        let within = spans
            .iter()
            .filter(|span| span.parent_span_id == whole.span_id);
        let mut steps: Vec<_> = within.collect();
        steps.sort_by_key(|step| step.start_time_unix_nano);
        let names: Vec<_> = steps.iter().map(|step| &*step.name).collect();
        assert_eq!(names, ["write state", "publish"]);
        assert_eq!(steps[0].start_time_unix_nano, whole.start_time_unix_nano);
        assert_eq!(steps[0].end_time_unix_nano, steps[1].start_time_unix_nano);
        assert_eq!(steps[1].end_time_unix_nano, whole.end_time_unix_nano);
        assert!(steps.iter().all(|step| step.trace_id == whole.trace_id));
    }
    assert!(kinds.contains("final"), "{kinds:?}");
}

#[test]
fn each_process_of_a_job_exports_its_own_part() {
    let run = |folder: &Path, url: &str| command(folder, url).args(["--launch", "2"]).run(LIMIT);
    arrived(run, |run, received| {
        run.wait_for_success(LIMIT);
        let read = |process| {
            let name = "tidewright_source_records_total";
            received.last(of_process(process), name, &[("process", process)])
        };
        let of_both = read("0")? + read("1")?;
        let spans = received.spans.iter();
        let spans = spans.map(|(from, _)| &*from["tidewright.process"]);
        let by: BTreeSet<_> = spans.collect();
        (!by.is_empty()).then(|| {
            assert_eq!(of_both, 1_000.0);
            assert_eq!(by, ["0"].into());
        })
    });
}

#[test]
fn collectors_that_do_not_work_neither_fail_nor_hold_up_a_job() {
    // Connections are made, but nobody answers: only a limit at the end of the process lets it end, as requests may take an hour.
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    let refusing = Collector::answering(503);
    // A port that is taken, but where nobody listens.
    let taken = TcpSocket::new_v4().unwrap();
    taken.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let absent = format!("http://{}", taken.local_addr().unwrap());
    let token = "t0kenOfTheCollector";
    let with_token = format!("{}/?api-key={token}", refusing.url);
    for (url, told) in [
        (&*with_token, Some("it answers 503")),
        (&*absent, Some("refused")),
        (&*silent, None),
    ] {
        let folder = TempDir::new().unwrap();
        let mut run = command(folder.path(), url)
            .env("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000")
            .env("OTEL_METRIC_EXPORT_INTERVAL", "20")
            .run(LIMIT);
        run.wait_for_success(LIMIT);
        assert_eq!(run.summary()["events_in"]["events"], 1_000);
        let log = run.stderr();
        assert!(!log.contains(token), "{log}");
        let warnings = log
            .lines()
            .filter(|line| line.contains("cannot be sent to"));
        let warnings: Vec<_> = warnings.collect();
        assert_eq!(warnings.len(), usize::from(told.is_some()), "{log}");
        assert!(
            warnings
                .iter()
                .all(|line| line.contains(told.unwrap_or_default())),
            "{log}"
        );
    }
    assert!(refusing.received().requests > 0);
}

#[test]
fn a_job_that_cannot_go_on_exports_why() {
    let run = |folder: &Path, url: &str| {
        let command = command(folder, url);
        command.args(["--restore", "/no/such/savepoint"]).run(LIMIT)
    };
    let severity = arrived(run, |run, received| {
        assert!(!run.wait(LIMIT).success());
        let log = run.stderr();
        let error = log.lines().find_map(|line| line.strip_prefix("error: "));
        let error = error.unwrap_or_else(|| panic!("no error: {log}"));
        let mut logs = received.logs.iter();
        let found = logs.find(|(_, record)| text(record.body.as_ref()).starts_with(error));
        found.map(|(_, record)| record.severity_number)
    });
    assert_eq!(severity, ERROR);
}

#[test]
fn settings_that_cannot_be_followed_end_a_process_before_it_has_done_anything() {
    let folder = TempDir::new().unwrap();
    let refused = |mut process: Process, says: [&str; 2]| {
        assert_eq!(process.wait(LIMIT).code(), Some(2), "{}", process.stderr());
        for part in says {
            assert!(process.stderr().contains(part), "{}", process.stderr());
        }
    };
    let no_url = [ENDPOINT, "http://HOST:4318"];
    let run = command(folder.path(), "localhost:4318");
    refused(run.run(LIMIT), no_url);
    assert!(!folder.path().join("checkpoints").exists());
    let run = command(folder.path(), "http://localhost:4317");
    let run = run.env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    refused(
        run.run(LIMIT),
        ["OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "http/protobuf"],
    );
    for subcommand in ["demo", "serve"] {
        let command = Command::tidewright(folder.path()).arg(subcommand);
        refused(command.env(ENDPOINT, "nonsense").run(LIMIT), no_url);
    }
    assert!(!folder.path().join("tidewright-data").exists());
}

#[test]
fn no_command_shows_a_job_file_the_collectors_headers() {
    let folder = TempDir::new().unwrap();
    let token = "t0kenOfTheCollector";
    let stolen =
        json!({ "from": "counts", "embedded": { "path": "${env:OTEL_EXPORTER_OTLP_HEADERS}" } });
    let file = job(folder.path())
        .sink("store", stolen)
        .write(folder.path());
    let file = file.to_str().unwrap();
    for arguments in [
        &["run", file][..],
        &["validate", file],
        &["diff", file, "@next"],
        &["shadow", "drop", file, "next"],
    ] {
        let command = Command::tidewright(folder.path()).args(arguments);
        let headers = format!("authorization={token}");
        let command = command.env("OTEL_EXPORTER_OTLP_HEADERS", headers);
        let mut process = command.run(LIMIT);
        assert_eq!(process.wait(LIMIT).code(), Some(2), "{arguments:?}");
        let said = process.stdout() + &process.stderr();
        let reason = "the environment variable OTEL_EXPORTER_OTLP_HEADERS is withheld";
        assert!(said.contains(reason), "{arguments:?}: {said}");
        assert!(!said.contains(token), "{arguments:?}: {said}");
    }
}
