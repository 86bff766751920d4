//! Process 0 answers for all processes.

use serde_json::Value;
use tempfile::TempDir;

use super::{command, endless};
use crate::{
    harness::{
        crew::Crew,
        eventually::eventually,
        process::{Command, Process},
    },
    shop::LIMIT,
};

fn asked(folder: &TempDir, arguments: &[&str]) -> Process {
    let command = Command::tidewright(folder.path()).arg("status");
    let command = command.arg("--socket").arg(folder.path().join("socket"));
    let mut process = command.args(arguments).run(LIMIT);
    process.wait_for_success(LIMIT);
    process
}

/// The numbers of one kind, by process.
fn by_process(status: &Value, name: &str) -> Vec<u64> {
    let processes = status["processes"].as_array().unwrap().iter();
    processes
        .map(|process| process[name].as_u64().unwrap())
        .collect()
}

#[test]
fn status_and_summary_cover_all_processes() {
    let folder = TempDir::new().unwrap();
    let job = endless(folder.path());
    let command = || command(&job, folder.path()).args(["--workers", "2"]);
    let mut crew = Crew::start(folder.path(), 2, command).await_begin(LIMIT);
    let status = eventually(LIMIT, "all processes have read and written", || {
        let status = asked(&folder, &["--output", "json"]).summary();
        let delivered = status["rows_out"]["sinks"]["out"].as_u64()?;
        let busy = status["state"] == "running" && delivered > 0;
        let reading = |events: &u64| *events > 100;
        (busy && by_process(&status, "events_in").iter().all(reading)).then_some(status)
    });
    let ids: Vec<_> = crew
        .0
        .iter()
        .map(|process| u64::from(process.id()))
        .collect();
    assert_eq!(by_process(&status, "pid"), ids);
    assert_eq!(by_process(&status, "process"), [0, 1]);
    assert_eq!(by_process(&status, "workers"), [2, 2]);
    assert_eq!(
        (&status["workers"], &status["pid"]),
        (&4.into(), &ids[0].into())
    );
    let sum = |name: &str| by_process(&status, name).iter().sum::<u64>();
    assert_eq!(status["events_in"]["events"], sum("events_in"));
    assert_eq!(status["peak_rss_bytes"], sum("peak_rss_bytes"));
    let epoch = |name: &str| status["frontiers"][name]["epoch"].as_u64().unwrap();
    assert!(epoch("durable") <= epoch("computed"), "{status}");
    assert!(epoch("computed") <= epoch("ingested"), "{status}");
    let text = asked(&folder, &[]).stdout();
    for part in [
        "running, 2 processes",
        "4 worker(s)",
        "process 0",
        "process 1",
    ] {
        assert!(text.contains(part), "{text}");
    }
    crew.0[1].terminate();
    crew.wait_for_success(LIMIT);
    let summary = crew.0[0].summary();
    assert!(summary["events_in"]["events"].as_u64() >= status["events_in"]["events"].as_u64());
    assert_eq!(summary["processes"], 2);
}
