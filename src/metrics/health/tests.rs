use super::*;
use crate::dead_letter::Cause;
use crate::metrics::measurements::{Breaker, Checkpoints, DeadLetterCount, Sink, Split};
use crate::metrics::window::Sample;

/// A job with two splits that reads 100 records a second and is at its end.
fn job(second: u64) -> Measurements {
    let split = |name: &str, watermark: i64| Split {
        source: "events".to_owned(),
        split: name.to_owned(),
        is_here: true,
        next_offset: second as i64 * 50,
        records_behind: Some(0),
        seconds_behind: Some(0.0),
        watermark_ms: Some(watermark),
        ..Split::default()
    };
    let now = second as i64 * 1000;
    Measurements {
        job: "shop".to_owned(),
        processes: 1,
        at_ms: second * 1000,
        running: true,
        records_in: [("events".to_owned(), second * 100)].into(),
        splits: vec![
            Split {
                holds_watermark: true,
                ..split("0", now)
            },
            split("1", now + 500),
        ],
        sinks: vec![Sink {
            sink: "hot".to_owned(),
            outbox_limit_bytes: 1000,
            ..Sink::default()
        }],
        checkpoints: Checkpoints {
            interval_ms: 100,
            uncovered_s: Some(0.05),
            ..Checkpoints::default()
        },
        ..Measurements::default()
    }
}

/// The verdict after so many seconds of a job that goes like this.
fn verdict_after(seconds: u64, changed: impl Fn(u64, &mut Measurements)) -> Health {
    let mut window = Window::default();
    let mut processes = Vec::new();
    for second in 0..=seconds {
        let mut measured = job(second);
        changed(second, &mut measured);
        processes = vec![measured];
        window.push(Sample::of(&processes));
    }
    Health::of(&processes, &window)
}

#[track_caller]
fn check(health: &Health, verdict: Verdict, problems: &[(ProblemKind, &str)], reason: &str) {
    assert_eq!(health.verdict, verdict, "{health:?}");
    let found: Vec<_> = health
        .problems
        .iter()
        .map(|problem| (problem.problem, &*problem.subject))
        .collect();
    assert_eq!(found, problems, "{health:?}");
    assert!(health.reason.contains(reason), "{health:?}");
}

#[test]
fn a_job_that_keeps_up_is_healthy() {
    check(
        &verdict_after(100, |_, _| {}),
        Verdict::Healthy,
        &[],
        "keeps up",
    );
    let starting = verdict_after(3, |_, job| job.running = false);
    check(&starting, Verdict::Healthy, &[], "reads its state");
}

#[test]
fn much_that_shrinks_is_healthy_and_says_how_long_it_takes() {
    let health = verdict_after(80, |second, job| {
        job.splits[0].records_behind = Some(100_000 - second * 1000);
    });
    check(
        &health,
        Verdict::Healthy,
        &[],
        "20000 records behind and will have caught up in 20 s",
    );
}

#[test]
fn an_open_breaker_degrades_at_once_and_is_unhealthy_after_a_minute() {
    let down = |second: u64, job: &mut Measurements| {
        if second >= 10 {
            job.sinks[0].breaker = if second.is_multiple_of(3) {
                Breaker::HalfOpen
            } else {
                Breaker::Open
            };
            job.sinks[0].failing_since_ms = Some(10_000);
            job.sinks[0].error = Some("connection refused".to_owned());
            job.sinks[0].outbox_rows = 77;
        }
    };
    let sink = [(ProblemKind::SinkDown, "hot")];
    let reason = "open since 00:00:10 UTC, 77 rows wait: connection refused";
    check(&verdict_after(11, down), Verdict::Degraded, &sink, reason);
    check(&verdict_after(71, down), Verdict::Unhealthy, &sink, reason);
}

#[test]
fn a_full_outbox_of_a_store_that_works_degrades() {
    let full = |second: u64, job: &mut Measurements| {
        job.sinks[0].outbox_bytes = if second < 30 { 900 } else { 1001 };
    };
    check(&verdict_after(35, full), Verdict::Healthy, &[], "");
    let slow = [(ProblemKind::SinkSlow, "hot")];
    check(
        &verdict_after(60, full),
        Verdict::Degraded,
        &slow,
        "takes less than comes",
    );
}

#[test]
fn growing_lag_degrades_and_a_split_that_stands_still_for_a_minute_is_unhealthy() {
    let growing = |second: u64, job: &mut Measurements| {
        job.splits[1].records_behind = Some(second * 20);
    };
    let problem = [(ProblemKind::LagGrowing, "events/1")];
    check(
        &verdict_after(40, growing),
        Verdict::Degraded,
        &problem,
        "split 1 falls behind: 800 records wait, 20 more each second",
    );
    let stalled = |_: u64, job: &mut Measurements| {
        job.splits[1].records_behind = Some(3);
        job.splits[1].next_offset = 7;
    };
    check(&verdict_after(40, stalled), Verdict::Healthy, &[], "");
    let problem = [(ProblemKind::SplitStalled, "events/1")];
    check(
        &verdict_after(60, stalled),
        Verdict::Unhealthy,
        &problem,
        "has not been read for 60 s, and 3 records wait",
    );
    let held = |second: u64, job: &mut Measurements| {
        stalled(second, job);
        job.splits[1].held = true;
    };
    check(&verdict_after(60, held), Verdict::Healthy, &[], "");
}

#[test]
fn what_explains_the_others_is_the_reason() {
    let health = verdict_after(40, |second, job| {
        job.splits[0].records_behind = Some(second);
        job.splits[1].records_behind = Some(second * 2);
        job.sinks[0].breaker = Breaker::Open;
    });
    let problems = [
        (ProblemKind::SinkDown, "hot"),
        (ProblemKind::LagGrowing, "events/1"),
    ];
    check(&health, Verdict::Degraded, &problems, "sink hot");
}

#[test]
fn records_that_no_checkpoint_covers_are_unhealthy_after_ten_intervals() {
    let waiting = |waiting: f64, interval_ms: u64| {
        verdict_after(20, move |_, job| {
            job.checkpoints.uncovered_s = Some(waiting);
            job.checkpoints.interval_ms = interval_ms;
        })
    };
    check(&waiting(9.0, 100), Verdict::Healthy, &[], "");
    let overdue = [(ProblemKind::CheckpointOverdue, "")];
    check(
        &waiting(11.0, 100),
        Verdict::Unhealthy,
        &overdue,
        "waiting 11 s for a checkpoint",
    );
    check(&waiting(11.0, 5_000), Verdict::Healthy, &[], "");
    check(
        &waiting(51.0, 5_000),
        Verdict::Unhealthy,
        &overdue,
        "due every 5000 ms",
    );
}

#[test]
fn a_quiet_split_that_holds_the_watermark_back_degrades() {
    let quiet = |second: u64, job: &mut Measurements| {
        if second > 5 {
            job.splits[0].watermark_ms = Some(5_000);
        }
    };
    check(&verdict_after(50, quiet), Verdict::Healthy, &[], "");
    let held = [(ProblemKind::WatermarkHeld, "events/0")];
    check(
        &verdict_after(70, quiet),
        Verdict::Degraded,
        &held,
        "held back by split 0, which has brought nothing for 60 s",
    );
    // If no other one moves either, nothing comes: that holds nobody back.
    let night = |_: u64, job: &mut Measurements| {
        job.splits[0].watermark_ms = Some(5_000);
        job.splits[1].watermark_ms = Some(6_000);
        job.records_in = [("events".to_owned(), 7)].into();
    };
    check(&verdict_after(70, night), Verdict::Healthy, &[], "");
}

#[test]
fn dead_letters_degrade_when_they_rise_by_more_than_chance_and_are_unhealthy_when_they_are_most() {
    let letters = |count: fn(u64) -> u64| {
        verdict_after(60, move |second, job| {
            job.dead_letters = vec![DeadLetterCount {
                relation: "events".to_owned(),
                cause: Cause::Decode,
                count: count(second),
            }];
        })
    };
    // One in a hundred, more or less.
    check(
        &letters(|second| second + second * 7 % 5),
        Verdict::Healthy,
        &[],
        "",
    );
    let rising = [(ProblemKind::DeadLettersRising, "events")];
    let from_40 = |second: u64| second.saturating_sub(40) * 10;
    check(
        &letters(from_40),
        Verdict::Degraded,
        &rising,
        "events: dead letters are rising, 200 of 200",
    );
    let most = [(ProblemKind::DeadLettersMost, "events")];
    check(
        &letters(|second| second * 60),
        Verdict::Unhealthy,
        &most,
        "3600 of 6000 records",
    );
}
