mod crowded;

use std::collections::BTreeMap;

use ratatui::{Terminal, backend::TestBackend};

use super::*;
use crate::cli::top::ask::{JobSeen, JobsSeen, ServerJob};
use crate::control::api::views::JobView;
use crate::metrics::health::Health;
use crate::metrics::measurements::{
    Breaker, Distribution, Measurements, OperatorTime, Sink, Split,
};

const START_MS: u64 = 1_800_000_000_000;

/// A job that reads 100 records a second and delivers half of them, `seconds` after its start.
fn measured(seconds: u64) -> Measurements {
    let at_ms = START_MS + seconds * 1_000;
    let counts = |name: &str, count: u64| BTreeMap::from([(name.to_owned(), count)]);
    let mut splits = vec![split("0", 0, 0.0)];
    splits.push(split("1", 1_500, 95.0));
    let mut measured = Measurements {
        job: "demo".to_owned(),
        processes: 1,
        at_ms,
        started_ms: START_MS,
        generation: 7,
        workers: 2,
        running: true,
        records_in: counts("events", 100 * seconds),
        view_rows: counts("customer", 50 * seconds),
        late_rows: counts("customer", 3),
        splits,
        operators: vec![operator("customer/join", seconds)],
        sinks: vec![sink(seconds)],
        delivery_latency: Distribution::of(&[(20_000, 98 * seconds), (200_000, 2 * seconds)]),
        cpu_seconds: seconds as f64 / 2.0,
        resident_bytes: 64 << 20,
        ..Measurements::default()
    };
    measured.frontiers.ingested.epoch = 1;
    measured.frontiers.ingested.wall_clock_ms = at_ms - 16;
    measured.checkpoints.count = 10 * seconds;
    measured.checkpoints.last_published_ms = Some(at_ms - 40);
    measured.checkpoints.last_bytes = 2_048;
    measured
}

fn split(name: &str, records: u64, seconds: f64) -> Split {
    Split {
        source: "events".to_owned(),
        split: name.to_owned(),
        records_behind: Some(records),
        seconds_behind: Some(seconds),
        holds_watermark: records > 0,
        ..Split::default()
    }
}

fn operator(name: &str, seconds: u64) -> OperatorTime {
    OperatorTime {
        operator: name.to_owned(),
        worker: 0,
        busy_s: seconds as f64 * 0.25,
        backpressured_s: 0.0,
        idle_s: seconds as f64 * 0.75,
    }
}

fn sink(seconds: u64) -> Sink {
    Sink {
        sink: "hot".to_owned(),
        rows: 25 * seconds,
        outbox_rows: 12,
        breaker: Breaker::Open,
        failing_since_ms: Some(START_MS + seconds * 1_000 - 3_000),
        ..Sink::default()
    }
}

fn job(name: &str, state: &str, last_error: Option<&str>) -> JobView {
    let view = serde_json::json!({
        "name": name, "state": state, "desired": "running", "since_ms": START_MS, "version": 1, "submitted_ms": START_MS,
        "workers": 2, "process_count": 1, "processes": [{ "pid": 1, "started_ms": START_MS, "resident_bytes": 64 << 20 }], "restarts": 0,
        "failures": 2, "crash_looping": false, "last_error": last_error,
    });
    serde_json::from_value(view).expect("is a view")
}

fn one_job(seconds: u64) -> Seen {
    let measured = measured(seconds);
    Seen::Job(Box::new(JobSeen {
        at_ms: measured.at_ms,
        measured: Some(measured),
        health: Some(Health {
            reason: "it keeps up".to_owned(),
            ..Health::default()
        }),
        view: None,
    }))
}

fn jobs(seconds: u64) -> Seen {
    let running = ServerJob {
        job: job("demo", "running", None),
        measured: Some(measured(seconds)),
    };
    let failed = ServerJob {
        job: job("broken", "failed", Some("its file cannot be compiled")),
        measured: None,
    };
    Seen::Jobs(JobsSeen {
        at_ms: START_MS + seconds * 1_000,
        jobs: vec![running, failed],
    })
}

fn view_of(target: Target, seen: impl Fn(u64) -> Seen) -> View {
    let mut view = View::new(target.clone());
    for seconds in [10, 12] {
        view.see(&target, Ok(seen(seconds)));
    }
    view
}

/// The lines of a terminal of this size.
fn drawn(view: &View, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    let drawn = terminal.draw(|frame| frame.render_widget(view, frame.area()));
    drawn.expect("is drawn");
    let buffer = terminal.backend().buffer();
    let rows = buffer.content().chunks(usize::from(width));
    rows.map(|row| {
        let text: String = row.iter().map(|cell| cell.symbol()).collect();
        text.trim_end().to_owned()
    })
    .collect()
}

#[test]
fn a_job_fits_on_a_small_terminal() {
    let lines = drawn(&view_of(Target::Socket, one_job), 80, 24);
    let expected = [
        "healthy: it keeps up",
        "demo  running, 2 worker(s), up 12 s, generation 7",
        "  events       100/s, 1200 in all, 3 late, 0 dead letters",
        "  frontiers    ingested -16 ms  computed -  durable -  delivered -",
        "  latency      half within 25 ms, 99 % within 250 ms",
        "  checkpoints  120, the last 40 ms ago: 2.0 KiB in 0 ms; all is covered",
        "  process      0.50 cores, 64 MiB of memory, 0 keys moved to disk, 0 back",
        "",
        "VIEW                        ROWS/S      ROWS      LATE  EVENT TIME BEHIND",
        "customer                        50       600         3",
        "",
        "SINK                  ROWS/S     ROWS  WAITING   BEHIND  STORE",
        "hot                       25      300       12        -  down for 3.0 s",
        "",
        "SOURCE / SPLIT                   RECORDS   BEHIND  EVENT T.",
        "events / 1                          1500     95 s         -  holds the watermark",
        "events / 0                             0     0 ms         -",
        "",
        "OPERATOR                                        BUSY   BACKPR.      IDLE",
        "customer/join                                   25 %       0 %      75 %",
    ];
    assert_eq!(lines[..expected.len()], expected);
    assert_eq!(lines[23], " q quit   arrows scroll");
}

#[test]
fn a_servers_jobs_are_a_list_with_the_chosen_ones_error() {
    let mut view = view_of(Target::Jobs, jobs);
    assert_eq!(view.wish(Wish::Move(1)), Effect::None);
    let lines = drawn(&view, 80, 24);
    let expected = [
        "2 job(s), 1 running",
        "JOB                    STATE           FOR  EVENTS/S   BEHIND  FAILED   MEMORY",
        "demo                   running        12 s       100     95 s       2   64 MiB",
        "broken                 failed         12 s         -        -       2   64 MiB",
        "",
        "last error: its file cannot be compiled",
    ];
    assert_eq!(lines[..expected.len()], expected);
}

#[test]
fn any_size_can_be_drawn_on_and_scrolling_stops_at_the_ends() {
    for (target, seen) in [
        (Target::Socket, one_job as fn(u64) -> Seen),
        (Target::Jobs, jobs),
    ] {
        let mut view = view_of(target, seen);
        for wish in [Wish::Move(1), Wish::Move(i16::MAX), Wish::Move(i16::MIN)] {
            view.wish(wish);
            for (width, height) in [(1, 1), (3, 2), (20, 5), (80, 24), (300, 100)] {
                assert_eq!(drawn(&view, width, height).len(), usize::from(height));
            }
        }
    }
    let mut view = view_of(Target::Socket, one_job);
    view.wish(Wish::Move(i16::MAX));
    let small = drawn(&view, 80, 6);
    assert!(small[4].starts_with("customer/join"), "{small:?}");
}

#[test]
fn keys_lead_from_the_list_into_a_job_and_back_and_out() {
    let mut view = view_of(Target::Jobs, jobs);
    view.wish(Wish::Move(1));
    let broken = Target::Job("broken".to_owned());
    assert_eq!(view.wish(Wish::Open), Effect::Look(broken.clone()));
    assert_eq!(drawn(&view, 40, 3)[0], "asking ...");
    // An answer about what was looked at before comes too late.
    view.see(&Target::Jobs, Ok(jobs(13)));
    assert_eq!(drawn(&view, 40, 3)[0], "asking ...");
    assert_eq!(view.wish(Wish::Back), Effect::Look(Target::Jobs));
    assert_eq!(view.wish(Wish::Back), Effect::End);
    assert_eq!(view.wish(Wish::Quit), Effect::End);
}

#[test]
fn trouble_is_told_below_what_was_seen_last() {
    let mut view = view_of(Target::Socket, one_job);
    view.see(&Target::Socket, Err("no job answers".to_owned()));
    let lines = drawn(&view, 80, 24);
    assert!(lines[1].starts_with("demo"));
    assert_eq!(lines[23], "no job answers");
    view.see(&Target::Socket, Ok(one_job(13)));
    assert_eq!(drawn(&view, 80, 24)[23], " q quit   arrows scroll");
}
