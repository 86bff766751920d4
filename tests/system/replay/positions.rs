//! Positions from the command line: where they lead, and which are refused.

use std::fs;

use super::counts::{Counts, PARTITIONS, events_in};
use crate::harness::input::START_MS;

const EVENTS: usize = 2_000;

fn bounded(counts: &Counts, shadow: &str, flags: &[&str]) -> i64 {
    let mut all = vec!["--bounded", "--shadow", shadow];
    all.extend(flags);
    let mut process = counts.command(&all).start();
    process.wait_for_success(crate::shop::LIMIT);
    events_in(&process)
}

fn offsets_file(counts: &Counts, offsets: &[(i32, i64)]) -> String {
    let offsets: serde_json::Map<_, _> = offsets
        .iter()
        .map(|(partition, offset)| (partition.to_string(), (*offset).into()))
        .collect();
    let path = counts.folder.path().join("offsets.json");
    fs::write(&path, serde_json::json!({ "events": offsets }).to_string()).unwrap();
    path.display().to_string()
}

#[test]
fn a_run_begins_at_the_beginning_the_end_a_time_or_offsets() {
    let Some(mut counts) = Counts::open("positions") else {
        return;
    };
    counts.produce(EVENTS);
    let ends = counts.kafka.end_offsets(&counts.name);
    let events = EVENTS as i64;
    assert_eq!(bounded(&counts, "a", &["--from-earliest"]), events);
    assert_eq!(bounded(&counts, "b", &["--from-latest"]), 0);
    // Event 1500 of 2000: events are 10 ms apart, and records have their times.
    let time = (START_MS + 15_000).to_string();
    assert_eq!(bounded(&counts, "c", &["--from-timestamp", &time]), 500);
    let date = "2026-01-01T00:00:15Z";
    assert_eq!(bounded(&counts, "d", &["--from-timestamp", date]), 500);
    let offsets: Vec<_> = ends
        .iter()
        .map(|(partition, end)| (*partition, end - 7))
        .collect();
    let file = offsets_file(&counts, &offsets);
    let flags = ["--from-offsets", &file];
    assert_eq!(bounded(&counts, "e", &flags), 7 * i64::from(PARTITIONS));
    // A partition that the file does not name begins as the job file says: at the earliest.
    let file = offsets_file(&counts, &[(0, ends[&0])]);
    let flags = ["--from-offsets", &file];
    assert_eq!(bounded(&counts, "f", &flags), events - ends[&0]);
}

#[test]
fn offsets_that_a_topic_does_not_hold_are_refused_with_those_that_it_holds() {
    let Some(mut counts) = Counts::open("positions-refused") else {
        return;
    };
    counts.produce(EVENTS);
    let end = counts.kafka.end_offsets(&counts.name)[&2];
    let file = offsets_file(&counts, &[(2, end + 1)]);
    let log = counts.refused(&["--from-offsets", &file], 1);
    let expected = format!(
        "topic {}, partition 2 holds offsets 0 to {end}, not the {}",
        counts.name,
        end + 1
    );
    assert!(log.contains(&expected), "{log}");
    let file = offsets_file(&counts, &[(9, 0)]);
    let log = counts.refused(&["--from-offsets", &file], 1);
    assert!(
        log.contains("partition 9") && log.contains("has 4 partitions"),
        "{log}"
    );
    let log = counts.refused(&["--from-earliest", "--from-sources", "clicks"], 1);
    assert!(
        log.contains("clicks") && log.contains("there are: events"),
        "{log}"
    );
    let log = counts.refused(&["--from-earliest", "--from-latest"], 2);
    assert!(log.contains("cannot be used with"), "{log}");
    let log = counts.refused(&["--from-timestamp", "yesterday"], 2);
    assert!(log.contains("2026-11-23T08:00:00Z"), "{log}");
}

#[test]
fn with_state_a_position_may_skip_but_never_count_twice() {
    let Some(mut counts) = Counts::open("positions-state") else {
        return;
    };
    counts.produce(EVENTS);
    counts.run(&[]);
    let before = counts.rows();
    let log = counts.refused(&["--from-earliest"], 1);
    assert!(
        log.contains("would count twice") && log.contains("--restore none"),
        "{log}"
    );
    counts.produce(500);
    let ends = counts.kafka.end_offsets(&counts.name);
    let file = offsets_file(&counts, &ends.into_iter().collect::<Vec<_>>());
    let mut process = counts
        .command(&["--bounded", "--from-offsets", &file])
        .start();
    process.wait_for_success(crate::shop::LIMIT);
    assert_eq!(events_in(&process), 0);
    assert!(
        process.stderr().contains("offsets are skipped"),
        "{}",
        process.stderr()
    );
    assert_eq!(
        super::counts::contents(&counts.rows()),
        super::counts::contents(&before),
        "what was skipped counts nowhere"
    );
}
