//! The watermarks of relations, and what holds each of them back.

use serde::{Deserialize, Serialize};
use tidewright_jobs::plan::{Op, Plan, SourceKind};
use utoipa::ToSchema;

use crate::runtime::clock::{self, NO_WATERMARK};
use crate::runtime::control::SplitReport;
use crate::runtime::stats::Known;

/// How far event time has come in a relation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RelationWatermark {
    /// The source or view.
    pub relation: String,
    /// Windows that end up to this time are closed: milliseconds since 1970; `null` before the first, and where there is no event time.
    pub watermark_ms: Option<i64>,
    /// What it waits for.
    pub held_by: HeldBy,
}

/// What a watermark waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum HeldBy {
    /// Nothing: the input has ended, or is a table.
    Nothing,
    /// A worker has not named its splits yet.
    Start,
    /// All splits are idle.
    Idleness {
        /// Of this source.
        source: String,
    },
    /// This split has come least far.
    Split {
        /// The source.
        source: String,
        /// The split.
        split: String,
    },
}

/// Event time as JSON has it: the ends of the scale mean that there is none.
#[must_use]
pub fn event_time(ms: i64) -> Option<i64> {
    (ms != NO_WATERMARK && ms != i64::MAX).then_some(ms)
}

/// The watermarks of all sources that are streams, and of all views that have event time.
#[must_use]
pub fn relations(plan: &Plan, known: &Known) -> Vec<RelationWatermark> {
    let streams = plan.sources.iter();
    let streams = streams.filter(|source| matches!(source.kind, SourceKind::Stream { .. }));
    let sources = streams.map(|source| (&source.name, source.node.0));
    let views = plan.views.iter().map(|(name, node)| (name, node.0));
    let watermark = |(name, node): (&String, usize)| RelationWatermark {
        relation: name.clone(),
        watermark_ms: known.watermarks.get(node).copied().and_then(event_time),
        held_by: held_by(plan, known, node),
    };
    sources.chain(views).map(watermark).collect()
}

/// A split is what its source's watermark waits for.
#[must_use]
pub fn holds(plan: &Plan, known: &Known, split: &SplitReport) -> bool {
    let is_stream = matches!(plan.sources[split.source].kind, SourceKind::Stream { .. });
    let holder = slowest(known, split.source);
    is_stream && holder.is_some_and(|holder| holder.split == split.split)
}

/// What a node's watermark waits for: of several inputs the one that has come least far.
fn held_by(plan: &Plan, known: &Known, node: usize) -> HeldBy {
    if let Op::Source { source } = &plan.nodes[node].op {
        return source_held_by(plan, known, *source);
    }
    let inputs = clock::inputs(&plan.nodes[node].op);
    let watermark = |node: &usize| known.watermarks.get(*node).copied();
    let slowest = inputs.into_iter().min_by_key(watermark);
    slowest.map_or(HeldBy::Nothing, |input| held_by(plan, known, input))
}

fn source_held_by(plan: &Plan, known: &Known, source: usize) -> HeldBy {
    let source_plan = &plan.sources[source];
    if matches!(source_plan.kind, SourceKind::Table { .. }) {
        return HeldBy::Nothing;
    }
    if !known.ready {
        return HeldBy::Start;
    }
    let name = source_plan.name.clone();
    match slowest(known, source) {
        Some(split) => HeldBy::Split {
            source: name,
            split: split.name.clone(),
        },
        None if of(known, source).all(|split| split.finished) => HeldBy::Nothing,
        None => HeldBy::Idleness { source: name },
    }
}

/// The active split that has come least far.
fn slowest(known: &Known, source: usize) -> Option<&SplitReport> {
    let active = of(known, source).filter(|split| !split.idle && !split.finished);
    active.min_by_key(|split| split.watermark)
}

fn of(known: &Known, source: usize) -> impl Iterator<Item = &SplitReport> {
    let splits = known.splits.range((source, 0)..=(source, u32::MAX));
    splits.map(|(_, split)| split)
}

#[cfg(test)]
mod tests;
