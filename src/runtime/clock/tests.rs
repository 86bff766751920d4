use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use proptest::prelude::*;
use tidewright_jobs::job::{FilesSourceConfig, SourceConfig};
use tidewright_jobs::plan::{EventTime, NodeId, RelationKind, SourcePlan};

use super::super::control::MarkerKind;
use super::*;

const BOUND: i64 = 5_000;

fn source(name: &str, node: usize, table: bool) -> SourcePlan {
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    SourcePlan {
        name: name.to_owned(),
        config: SourceConfig::Files(FilesSourceConfig {
            path: name.to_owned(),
        }),
        schema: Arc::new(Schema::new(vec![Field::new("ts", time, true)])),
        kind: if table {
            SourceKind::Table {
                key: vec![0],
                event_time: None,
            }
        } else {
            SourceKind::Stream {
                event_time: Some(EventTime {
                    column: 0,
                    out_of_orderness_ms: BOUND,
                    idle_after_ms: None,
                }),
            }
        },
        node: NodeId(node),
        needs_position: false,
    }
}

fn node(name: &str, op: Op) -> Node {
    let kind = RelationKind::Stream {
        event_time: None,
        key: None,
        positioned: false,
    };
    Node {
        name: name.to_owned(),
        op,
        schema: Arc::new(Schema::empty()),
        kind,
    }
}

/// Two streams, a table, and their union with the table's join behind it.
pub(crate) fn plan() -> Plan {
    Plan {
        name: "job".to_owned(),
        sources: vec![
            source("a", 0, false),
            source("b", 1, false),
            source("t", 2, true),
        ],
        nodes: vec![
            node("a", Op::Source { source: 0 }),
            node("b", Op::Source { source: 1 }),
            node("t", Op::Source { source: 2 }),
            node(
                "union",
                Op::Union {
                    inputs: vec![NodeId(0), NodeId(1)],
                },
            ),
            node(
                "both",
                Op::Union {
                    inputs: vec![NodeId(3), NodeId(2)],
                },
            ),
        ],
        views: Vec::new(),
        sinks: Vec::new(),
    }
}

pub(crate) fn split(source: usize, split: u32, watermark: i64) -> SplitReport {
    SplitReport {
        source,
        split,
        name: split.to_string(),
        next_offset: 0,
        watermark,
        idle: false,
        caught_up: false,
        finished: false,
        lag: None,
        behind: None,
        read_through_ms: None,
    }
}

fn control(worker: usize, splits: Vec<SplitReport>) -> Control {
    Control {
        worker,
        splits,
        ready: true,
        ..Control::default()
    }
}

fn watermarks(tick: &Tick) -> Vec<i64> {
    tick.relations
        .iter()
        .map(|relation| relation.watermark)
        .collect()
}

#[test]
fn the_slowest_active_split_holds_the_watermark_and_tables_hold_nobody() {
    let mut clock = JobClock::new(&plan(), 1, None);
    let splits = vec![
        split(0, 0, 100),
        split(0, 1, 70),
        split(1, 0, 90),
        split(2, 0, 0),
    ];
    let tick = clock.advance(Epoch(1), &[control(0, splits)]);
    assert_eq!(watermarks(&tick), [70, 90, i64::MAX, 70, 70]);
    assert_eq!(tick.relations[0].largest_event_time, 100 + BOUND);
}

#[test]
fn no_watermark_moves_before_every_worker_has_named_its_splits() {
    let mut clock = JobClock::new(&plan(), 2, None);
    let tick = clock.advance(
        Epoch(1),
        &[control(0, vec![split(0, 0, 100), split(1, 0, 100)])],
    );
    assert_eq!(watermarks(&tick)[0], NO_WATERMARK);
    let tick = clock.advance(Epoch(2), &[control(1, vec![split(0, 1, 60)])]);
    assert_eq!(watermarks(&tick)[0], 60);
}

#[test]
fn idle_splits_hold_nobody_and_all_idle_holds_the_watermark() {
    let mut clock = JobClock::new(&plan(), 1, None);
    let idle = |watermark| SplitReport {
        idle: true,
        ..split(0, 1, watermark)
    };
    let tick = clock.advance(Epoch(1), &[control(0, vec![split(0, 0, 100), idle(10)])]);
    assert_eq!(watermarks(&tick)[0], 100);
    let all = vec![SplitReport {
        idle: true,
        ..split(0, 0, 200)
    }];
    let tick = clock.advance(Epoch(2), &[control(0, all)]);
    assert_eq!(watermarks(&tick)[0], 100, "all idle: it stays");
}

#[test]
fn the_end_of_all_splits_is_the_end_of_the_input() {
    let mut clock = JobClock::new(&plan(), 1, None);
    let ended = |source, number| SplitReport {
        finished: true,
        ..split(source, number, 50)
    };
    let tick = clock.advance(
        Epoch(1),
        &[control(0, vec![ended(0, 0), split(0, 1, 40), ended(1, 0)])],
    );
    assert!(!tick.relations[3].end_of_input);
    assert_eq!(watermarks(&tick)[0], 40);
    assert!(!clock.finished());
    let tick = clock.advance(Epoch(2), &[control(0, vec![ended(0, 1), ended(2, 0)])]);
    assert!(tick.relations[4].end_of_input);
    assert_eq!(watermarks(&tick)[4], i64::MAX);
    assert!(clock.finished());
}

#[test]
fn a_restored_watermark_is_where_the_clock_goes_on() {
    let splits = [split(0, 0, 100)];
    let mut clock = JobClock::new(&plan(), 1, Some((&splits, &[80, 0, 0, 0, 0])));
    let tick = clock.advance(Epoch(1), &[control(0, vec![split(0, 0, 60)])]);
    assert_eq!(tick.relations[0].watermark_before, 80);
    assert_eq!(tick.relations[0].watermark, 80, "it never goes back");
}

#[test]
fn a_marker_comes_with_the_positions_of_all_splits() {
    let mut clock = JobClock::new(&plan(), 2, None);
    clock.advance(
        Epoch(1),
        &[
            control(0, vec![split(0, 0, 1)]),
            control(1, vec![split(0, 1, 2)]),
        ],
    );
    let marker = Control {
        marker: Some(MarkerKind::Periodic),
        ..control(0, vec![split(0, 0, 3)])
    };
    let tick = clock.advance(Epoch(2), &[marker]);
    let positions = tick.marker.map(|marker| {
        marker
            .splits
            .iter()
            .map(|split| split.watermark)
            .collect::<Vec<_>>()
    });
    assert_eq!(positions, Some(vec![3, 2]));
}

#[test]
fn streams_wait_until_every_table_has_caught_up() {
    let mut clock = JobClock::new(&plan(), 1, None);
    clock.advance(
        Epoch(1),
        &[control(0, vec![split(0, 0, 1), split(2, 0, 0)])],
    );
    assert!(!clock.tables_caught_up());
    let caught_up = SplitReport {
        caught_up: true,
        ..split(2, 0, 0)
    };
    clock.advance(Epoch(2), &[control(0, vec![caught_up])]);
    assert!(clock.tables_caught_up());
}

proptest! {
    /// Whatever the splits report, no relation's watermark goes back, and each epoch begins where the one before ended.
    #[test]
    fn watermarks_never_go_back(reports in prop::collection::vec(
        (0..2usize, 0..3u32, -1000..1000i64, any::<bool>(), any::<bool>()), 1..60))
    {
        let mut clock = JobClock::new(&plan(), 1, None);
        let mut before = vec![NO_WATERMARK; 5];
        for (epoch, (source, number, watermark, idle, finished)) in reports.into_iter().enumerate() {
            let report = SplitReport { idle, finished, ..split(source, number, watermark) };
            let tick = clock.advance(Epoch(epoch as u64), &[control(0, vec![report])]);
            for (relation, before) in tick.relations.iter().zip(&before) {
                prop_assert_eq!(relation.watermark_before, *before);
                prop_assert!(relation.watermark >= *before);
            }
            before = watermarks(&tick);
        }
    }
}

#[test]
fn a_replay_has_caught_up_at_its_positions_or_where_a_source_is_shorter_now() {
    let positions = [(0, 0, 10), (1, 0, 5), (1, 7, 3)];
    let at = |source: usize, next_offset: i64, caught_up: bool, lag: Option<i64>| SplitReport {
        next_offset,
        caught_up,
        lag,
        ..split(source, 0, 0)
    };
    let mut clock = JobClock::new(&plan(), 1, None);
    let reaches = |clock: &mut JobClock, epoch: u64, splits: Vec<SplitReport>| {
        clock.advance(Epoch(epoch), &[control(0, splits)]);
        clock.has_reached(&positions)
    };
    let silent = Control {
        worker: 0,
        ..Control::default()
    };
    clock.advance(Epoch(1), &[silent]);
    assert!(!clock.has_reached(&positions), "nothing has been reported");
    assert!(!reaches(
        &mut clock,
        2,
        vec![at(0, 9, false, Some(1)), at(1, 5, false, Some(0))]
    ));
    assert!(reaches(&mut clock, 3, vec![at(0, 10, false, Some(9))]));
    // The topic was made anew and ends here; a generator without an end has none to reach.
    assert!(reaches(&mut clock, 4, vec![at(0, 3, true, Some(0))]));
    assert!(!reaches(&mut clock, 5, vec![at(0, 3, true, None)]));
}
