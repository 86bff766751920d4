//! What servers and their jobs export.

use std::fs;

use rustix::process::Signal;
use tempfile::TempDir;

use super::ENDPOINT;
use crate::{
    harness::{
        certificates::Authority,
        collector::Collector,
        eventually::eventually,
        server::{Server, kill, pids},
    },
    serve::{counting, submission},
    shop::LIMIT,
};

#[test]
fn a_server_and_its_jobs_export_each_their_own_part() {
    let collector = Collector::start();
    let token = "t0kenOfTheCollector";
    let headers = format!("authorization={token}");
    let server = Server::start(
        &[],
        &[
            (ENDPOINT, &collector.url),
            ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
            ("OTEL_EXPORTER_OTLP_HEADERS", &headers),
        ],
    );
    let file = counting("one", None);
    let named = |path: &str| file.replace("counts.redb", &format!("\"{path}\""));
    let stolen = named("${env:OTEL_EXPORTER_OTLP_HEADERS}");
    let refused = server.post("/v1/jobs", Some(&submission(&stolen)));
    assert_eq!(refused.status / 100, 4, "{refused:?}");
    assert!(
        refused
            .text
            .contains("OTEL_EXPORTER_OTLP_HEADERS is withheld"),
        "{refused:?}"
    );
    assert!(!refused.text.contains(token), "{refused:?}");
    // What the server does not tell a job file, the job's process does not either.
    let file = named("${env:OTEL_EXPORTER_OTLP_HEADERS:-elsewhere.redb}");
    let submitted = server.post("/v1/jobs", Some(&submission(&file)));
    assert_eq!(submitted.status, 201, "{submitted:?}");
    let of_server = ("service.instance.id", "server");
    let of_job = ("tidewright.job", "one");
    let records = "tidewright_source_records_total";
    eventually(LIMIT, "both have exported", || {
        let received = collector.received();
        let running = [("job", "one"), ("state", "running")];
        let state = received.last(of_server, "tidewright_server_job_state", &running);
        let read = received.last(of_job, records, &[("source", "events")]);
        (state == Some(1.0) && read > Some(0.0)).then_some(())
    });
    let received = collector.received();
    assert_eq!(received.last(of_server, records, &[]), None);
    assert!(received.authorizations.iter().all(|value| value == token));
    assert!(server.data().join("jobs/one/elsewhere.redb").exists());
}

#[test]
fn a_certificate_that_is_named_from_the_servers_folder_or_is_away_ends_no_job() {
    let collector = Collector::start();
    let elsewhere = TempDir::new().unwrap();
    let authority = Authority::new(elsewhere.path(), "collector");
    // The server's folder is beside it.
    let folder = elsewhere.path().file_name().unwrap().to_str().unwrap();
    let server = Server::start(
        &[],
        &[
            (ENDPOINT, &collector.url),
            ("OTEL_METRIC_EXPORT_INTERVAL", "50"),
            (
                "OTEL_EXPORTER_OTLP_CERTIFICATE",
                &format!("../{folder}/collector-ca.pem"),
            ),
        ],
    );
    let file = counting("one", None);
    let submitted = server.post("/v1/jobs", Some(&submission(&file)));
    assert_eq!(submitted.status, 201, "{submitted:?}");
    let running = server.await_state("one", "running");
    eventually(LIMIT, "the job exports", || {
        let name = "tidewright_source_records_total";
        let read = collector
            .received()
            .last(("tidewright.job", "one"), name, &[]);
        (read > Some(0.0)).then_some(())
    });
    let warning = "telemetry is not exported";
    assert!(!server.log("one").contains(warning));
    fs::remove_file(authority.ca()).unwrap();
    kill(pids(&running)[0], Signal::KILL);
    let told = eventually(LIMIT, "the job runs again", || {
        let job = server.job("one");
        assert_ne!(job["state"], "failed", "{job}");
        let again = job["state"] == "running" && pids(&job) != pids(&running);
        again.then(|| server.log("one"))
    });
    for part in [warning, "OTEL_EXPORTER_OTLP_CERTIFICATE"] {
        assert!(told.contains(part), "no {part}: {told}");
    }
}
