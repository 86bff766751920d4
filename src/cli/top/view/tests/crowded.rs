//! Pages with more on them than fits easily.

use super::*;
use crate::metrics::watermarks::{HeldBy, RelationWatermark};

const REASON: &str = "sink hot: its store does not answer, the breaker is open since 14:03:27 UTC, 1234567 rows wait: connection \
                      refused by redis-primary.production.internal:6379";

fn unhealthy() -> Option<Health> {
    Some(Health {
        reason: REASON.to_owned(),
        ..Health::default()
    })
}

/// Numbers that are as wide as they get, a split with a long name, and a sentence that is longer than a line.
fn crowded(seconds: u64) -> Seen {
    const MANY: u64 = 9_999_000;
    const LONG_MS: u64 = 110 * 60 * 1_000;
    let mut measured = measured(seconds);
    let at_ms = measured.at_ms;
    measured.processes = 2;
    for counts in [
        &mut measured.records_in,
        &mut measured.view_rows,
        &mut measured.late_rows,
    ] {
        counts.values_mut().for_each(|count| *count = MANY);
    }
    let frontiers = &mut measured.frontiers;
    for frontier in [
        &mut frontiers.ingested,
        &mut frontiers.computed,
        &mut frontiers.durable,
        &mut frontiers.delivered,
    ] {
        frontier.epoch = 1;
        frontier.wall_clock_ms = at_ms - 999;
    }
    measured.checkpoints.count = MANY;
    measured.checkpoints.last_bytes = 1_000 << 20;
    measured.checkpoints.last_duration_s = 0.999;
    measured.checkpoints.uncovered_s = Some(LONG_MS as f64 / 1_000.0);
    measured.state_spilled = MANY;
    measured.state_fetched = MANY;
    measured.resident_bytes = 1_000 << 20;
    measured.watermarks = vec![RelationWatermark {
        relation: "customer".to_owned(),
        watermark_ms: i64::try_from(at_ms - LONG_MS).ok(),
        held_by: HeldBy::Split {
            source: "events".to_owned(),
            split: "11".to_owned(),
        },
    }];
    measured.splits.push(Split {
        watermark_ms: i64::try_from(at_ms + LONG_MS).ok(),
        ..split("1234", MANY, 6_600.0)
    });
    measured.splits[2].source = "clickstream_of_europe".to_owned();
    measured.sinks.push(Sink {
        sink: "profiles_to_redis".to_owned(),
        rows: MANY,
        outbox_rows: MANY,
        delivered_ms: at_ms - LONG_MS,
        breaker: Breaker::HalfOpen,
        failing_since_ms: Some(at_ms - LONG_MS),
        ..Sink::default()
    });
    Seen::Job(Box::new(JobSeen {
        at_ms,
        measured: Some(measured),
        health: unhealthy(),
        view: Some(job("demo", "running", Some(REASON))),
    }))
}

fn crowded_jobs(seconds: u64) -> Seen {
    let mut seen = jobs(seconds);
    if let Seen::Jobs(JobsSeen { jobs, .. }) = &mut seen {
        jobs[0].job.last_error = Some(REASON.to_owned());
        jobs[0].job.health = unhealthy();
        jobs[1].job.name = "profiles_of_customers".to_owned();
    }
    seen
}

fn words(lines: &[String]) -> String {
    let text = lines.join(" ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn nothing_is_cut_off_on_a_terminal_of_80_columns() {
    for (target, seen) in [
        (Target::Socket, crowded as fn(u64) -> Seen),
        (Target::Jobs, crowded_jobs),
    ] {
        let view = view_of(target, seen);
        let whole = view.lines(usize::MAX);
        let whole: Vec<_> = whole.iter().map(ToString::to_string).collect();
        assert!(whole.iter().all(|line| !line.contains('…')), "{whole:?}");
        let drawn = drawn(&view, 80, 60);
        // The last line is help.
        assert_eq!(words(&drawn[..59]), words(&whole));
    }
}

#[test]
fn of_names_that_are_too_long_both_ends_are_shown() {
    let mut view = View::new(Target::Socket);
    let mut seen = crowded(10);
    if let Seen::Job(job) = &mut seen {
        let measured = job.measured.as_mut().expect("is measured");
        measured.splits[2].source = "clickstream_events_of_all_shops_in_europe".to_owned();
    }
    view.see(&Target::Socket, Ok(seen));
    let lines = drawn(&view, 80, 60);
    let line = lines.iter().find(|line| line.starts_with("clickstream"));
    let line = line.expect("is shown");
    assert!(line.contains('…') && line.contains(" / 1234  "), "{line}");
}

#[test]
fn trouble_that_is_longer_than_a_line_is_told_whole() {
    let mut view = view_of(Target::Socket, one_job);
    view.see(&Target::Socket, Err(REASON.to_owned()));
    let lines = drawn(&view, 80, 24);
    assert!(words(&lines[20..]).ends_with(REASON), "{lines:?}");
    assert!(lines[0].starts_with("healthy"), "{lines:?}");
}
