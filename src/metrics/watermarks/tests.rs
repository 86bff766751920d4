use super::*;
use crate::runtime::clock::tests::{plan, split};

/// Two streams, a table, their union and that union with the table; views of the last two.
fn known(splits: &[SplitReport], watermarks: &[i64]) -> (Plan, Known) {
    let mut plan = plan();
    let views = plan.nodes.iter().enumerate().skip(3);
    plan.views = views
        .map(|(at, node)| (node.name.clone(), tidewright_jobs::plan::NodeId(at)))
        .collect();
    let splits = splits
        .iter()
        .map(|split| ((split.source, split.split), split.clone()));
    let known = Known {
        splits: splits.collect(),
        watermarks: watermarks.to_vec(),
        ready: true,
    };
    (plan, known)
}

fn held(plan: &Plan, known: &Known, relation: &str) -> HeldBy {
    let all = relations(plan, known);
    let found = all.iter().find(|found| found.relation == relation);
    found.expect("is a relation").held_by.clone()
}

fn by(source: &str, split: &str) -> HeldBy {
    HeldBy::Split {
        source: source.to_owned(),
        split: split.to_owned(),
    }
}

#[test]
fn the_slowest_active_split_of_the_slowest_input_holds_a_view_back() {
    let idle = SplitReport {
        idle: true,
        ..split(0, 2, 1)
    };
    let splits = [split(0, 0, 70), split(0, 1, 50), idle, split(1, 0, 60)];
    let (plan, known) = known(&splits, &[50, 60, i64::MAX, 50, 50]);
    assert_eq!(held(&plan, &known, "a"), by("a", "1"));
    assert_eq!(held(&plan, &known, "b"), by("b", "0"));
    assert_eq!(held(&plan, &known, "both"), by("a", "1"));
    let holds = |number: usize| super::holds(&plan, &known, &splits[number]);
    assert_eq!(
        [holds(0), holds(1), holds(2), holds(3)],
        [false, true, false, true]
    );
}

#[test]
fn what_has_ended_holds_nobody_back_and_what_is_idle_altogether_is_told() {
    let idle = SplitReport {
        idle: true,
        ..split(0, 0, 50)
    };
    let finished = SplitReport {
        finished: true,
        ..split(1, 0, 60)
    };
    let (plan, mut known) = known(&[idle, finished], &[50, i64::MAX, i64::MAX, 50, 50]);
    let source = "a".to_owned();
    assert_eq!(held(&plan, &known, "union"), HeldBy::Idleness { source });
    assert_eq!(held(&plan, &known, "b"), HeldBy::Nothing);
    let all = relations(&plan, &known);
    let watermarks: Vec<_> = all
        .iter()
        .map(|one| (&*one.relation, one.watermark_ms))
        .collect();
    assert_eq!(
        watermarks,
        [
            ("a", Some(50)),
            ("b", None),
            ("union", Some(50)),
            ("both", Some(50))
        ]
    );
    known.ready = false;
    assert_eq!(held(&plan, &known, "union"), HeldBy::Start);
}
