use super::super::catalogue as all;
use super::super::measurements::{Checkpoints, Sink, Split};
use super::*;

fn measured(process: usize) -> Measurements {
    Measurements {
        job: "shop".to_owned(),
        process,
        at_ms: 10_000,
        records_in: [("events".to_owned(), 70)].into(),
        splits: vec![Split {
            source: "events".to_owned(),
            split: "a \"quoted\\ one".to_owned(),
            is_here: process == 0,
            records_behind: Some(5),
            ..Split::default()
        }],
        sinks: vec![Sink {
            sink: "hot".to_owned(),
            failing_since_ms: Some(7_500),
            ..Sink::default()
        }],
        checkpoints: Checkpoints {
            last_published_ms: Some(9_000),
            durations: Distribution::of(&[(5_000, 2), (700_000_000, 1)]),
            ..Checkpoints::default()
        },
        delivery_latency: Distribution::of(&[]),
        ..Measurements::default()
    }
}

fn text() -> String {
    let mut exposition = Exposition::default();
    exposition.add_job(&measured(0));
    exposition.add_job(&measured(1));
    exposition.text()
}

#[track_caller]
fn has(line: &str) {
    let text = text();
    assert!(
        text.lines().any(|found| found == line),
        "no {line} in\n{text}"
    );
}

#[test]
fn samples_carry_their_labels_and_units() {
    has("# UNIT tidewright_split_behind_records records");
    has("tidewright_source_records_total{job=\"shop\",process=\"1\",source=\"events\"} 70.0");
    has(
        "tidewright_split_behind_records{job=\"shop\",process=\"0\",source=\"events\",split=\"a \\\"quoted\\\\ one\"} 5.0",
    );
    has("tidewright_sink_failing_seconds{job=\"shop\",process=\"0\",sink=\"hot\"} 2.5");
    has("tidewright_checkpoint_age_seconds{job=\"shop\",process=\"0\"} 1.0");
    has(
        "tidewright_sink_breaker_state{job=\"shop\",process=\"0\",sink=\"hot\",state=\"closed\"} 1.0",
    );
}

#[test]
fn buckets_count_all_that_are_not_longer() {
    let bucket = |bound: &str, count: u32| {
        has(&format!(
            "tidewright_checkpoint_duration_seconds_bucket{{le=\"{bound}\",job=\"shop\",process=\"0\"}} {count}"
        ));
    };
    bucket("0.005", 2);
    bucket("600.0", 2);
    bucket("+Inf", 3);
}

#[test]
fn every_metric_stands_once_with_all_of_its_samples_and_the_text_has_an_end() {
    let text = text();
    assert!(text.ends_with("# EOF\n"));
    for metric in all::ALL {
        let name = metric.full_name();
        let name = name.strip_suffix("_total").unwrap_or(&name);
        let types = text.lines().filter(|line| {
            line.strip_prefix("# TYPE ")
                .and_then(|rest| rest.split_once(' '))
                .is_some_and(|(found, _)| found == name)
        });
        assert!(types.count() <= 1, "{name} in\n{text}");
    }
    // What belongs to another process is told by that one.
    assert_eq!(text.matches("tidewright_split_idle{").count(), 1);
}
