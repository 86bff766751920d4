//! The job's clock: from the control records of an epoch to the watermark of every relation.
//!
//! `W(epoch)` of a source is the minimum over its active splits, of any other relation the minimum over its inputs; it
//! never goes back. Pure: the same records give the same clock on every worker.

use std::{collections::BTreeMap, sync::Arc};

use tidewright_checkpoints::Epoch;
use tidewright_jobs::plan::{Node, Op, Plan, SourceKind};

use super::control::{Control, Marker, RelationClock, SplitReport, Tick};

/// Event time before anything is known.
pub const NO_WATERMARK: i64 = i64::MIN;

/// Watermarks of all relations, moved on by control records.
#[derive(Debug)]
pub struct JobClock {
    workers_ready: Vec<bool>,
    splits: BTreeMap<(usize, u32), SplitReport>,
    sources: Vec<SourceClock>,
    inputs: Vec<Inputs>,
    relations: Vec<RelationClock>,
}

/// What the clock must know of a source.
#[derive(Clone, Copy, Debug)]
struct SourceClock {
    out_of_orderness_ms: i64,
    is_table: bool,
}

/// Where a node's time comes from.
#[derive(Debug)]
enum Inputs {
    Source(usize),
    Nodes(Vec<usize>),
}

impl JobClock {
    /// The clock of a plan at a fresh start, or as a checkpoint left it.
    ///
    /// `restored` holds the positions of all splits and the watermark of each node.
    #[must_use]
    pub fn new(plan: &Plan, workers: usize, restored: Option<(&[SplitReport], &[i64])>) -> Self {
        let (splits, watermarks) = restored.unwrap_or((&[], &[]));
        let relations = (0..plan.nodes.len())
            .map(|node| {
                let watermark = watermarks.get(node).copied().unwrap_or(NO_WATERMARK);
                RelationClock {
                    watermark_before: watermark,
                    watermark,
                    largest_event_time: NO_WATERMARK,
                    end_of_input: false,
                }
            })
            .collect();
        Self {
            workers_ready: vec![false; workers],
            splits: splits
                .iter()
                .map(|split| ((split.source, split.split), split.clone()))
                .collect(),
            sources: plan.sources.iter().map(SourceClock::of).collect(),
            inputs: plan.nodes.iter().map(Inputs::of).collect(),
            relations,
        }
    }

    /// Takes the control records of one completed epoch and tells what the epoch means.
    pub fn advance(&mut self, epoch: Epoch, controls: &[Control]) -> Tick {
        let mut marker = None;
        for control in controls {
            marker = marker.or(control.marker);
            self.workers_ready[control.worker] |= control.ready;
            for split in &control.splits {
                self.splits
                    .insert((split.source, split.split), split.clone());
            }
        }
        self.advance_relations();
        Tick {
            epoch,
            relations: self.relations.as_slice().into(),
            marker: marker.map(|kind| Marker {
                kind,
                splits: self.positions(),
            }),
        }
    }

    fn advance_relations(&mut self) {
        let ready = self.is_ready();
        for node in 0..self.relations.len() {
            let (watermark, largest, ended) = match &self.inputs[node] {
                Inputs::Source(source) => self.source_time(*source, ready),
                Inputs::Nodes(inputs) => inputs.iter().fold(
                    (i64::MAX, NO_WATERMARK, true),
                    |(watermark, largest, ended), input| {
                        let input = &self.relations[*input];
                        (
                            watermark.min(input.watermark),
                            largest.max(input.largest_event_time),
                            ended && input.end_of_input,
                        )
                    },
                ),
            };
            let clock = &mut self.relations[node];
            clock.watermark_before = clock.watermark;
            clock.watermark = clock.watermark.max(watermark);
            clock.largest_event_time = largest;
            clock.end_of_input = ended;
        }
    }

    /// Watermark, largest event time and end of a source: over its active splits only.
    fn source_time(&self, source: usize, ready: bool) -> (i64, i64, bool) {
        let SourceClock {
            out_of_orderness_ms: bound,
            is_table,
        } = self.sources[source];
        let mut active = None::<i64>;
        let mut largest = NO_WATERMARK;
        let mut ended = ready;
        for split in self.splits_of(source) {
            if split.watermark != NO_WATERMARK {
                largest = largest.max(split.watermark.saturating_add(bound));
            }
            ended &= split.finished;
            if !split.idle && !split.finished {
                active = Some(active.map_or(split.watermark, |least| least.min(split.watermark)));
            }
        }
        let watermark = match active {
            // A table has no event time of its own and holds nobody back.
            _ if ended || is_table => i64::MAX,
            // A reader that hasn't reported may hold older splits; when all are idle, the watermark stays.
            _ if !ready => NO_WATERMARK,
            Some(least) => least,
            None => NO_WATERMARK,
        };
        (watermark, largest, ended)
    }

    fn splits_of(&self, source: usize) -> impl Iterator<Item = &SplitReport> {
        self.splits
            .range((source, 0)..=(source, u32::MAX))
            .map(|(_, split)| split)
    }

    /// The positions of all splits.
    #[must_use]
    pub fn positions(&self) -> Arc<[SplitReport]> {
        self.splits.values().cloned().collect()
    }

    /// Every worker has named all of its splits.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.workers_ready.iter().all(|ready| *ready)
    }

    /// Every source has ended, on all workers.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.is_ready() && self.splits.values().all(|split| split.finished)
    }

    /// Every table source has been read to the end seen at the start: streams may begin.
    #[must_use]
    pub fn tables_caught_up(&self) -> bool {
        self.is_ready()
            && self.splits.values().all(|split| {
                !self.sources[split.source].is_table || split.caught_up || split.finished
            })
    }

    /// Every split of these (source, split, offset) has been read up to its offset, or, where it has become shorter than
    /// that or is gone, as far as it goes.
    #[must_use]
    pub fn has_reached(&self, positions: &[(usize, u32, i64)]) -> bool {
        let whole =
            |split: &SplitReport| split.finished || (split.caught_up && split.lag.is_some());
        self.is_ready()
            && positions.iter().all(|(source, split, offset)| {
                self.splits
                    .get(&(*source, *split))
                    .is_none_or(|split| split.next_offset >= *offset || whole(split))
            })
    }

    /// The watermarks of all nodes.
    pub fn watermarks(&self) -> impl Iterator<Item = i64> {
        self.relations.iter().map(|relation| relation.watermark)
    }

    /// The least watermark of a source's active splits that have not been read up to these (source, split, offset): those
    /// that nobody reads any more hold nobody back.
    #[must_use]
    pub fn slowest(&self, node: usize, positions: &[(usize, u32, i64)]) -> i64 {
        let Inputs::Source(source) = self.inputs[node] else {
            return self.watermark(node);
        };
        let is_read = |split: &&SplitReport| {
            let end = positions
                .iter()
                .find(|(of, number, _)| (*of, *number) == (source, split.split));
            !split.idle && !split.finished && end.is_some_and(|(.., end)| split.next_offset < *end)
        };
        let read = self.splits_of(source).filter(is_read);
        read.map(|split| split.watermark).min().unwrap_or(i64::MAX)
    }

    /// The watermark of a node.
    #[must_use]
    pub fn watermark(&self, node: usize) -> i64 {
        self.relations[node].watermark
    }
}

impl SourceClock {
    fn of(source: &tidewright_jobs::plan::SourcePlan) -> Self {
        match &source.kind {
            SourceKind::Stream { event_time } => Self {
                out_of_orderness_ms: event_time
                    .as_ref()
                    .map_or(0, |time| time.out_of_orderness_ms),
                is_table: false,
            },
            SourceKind::Table { .. } => Self {
                out_of_orderness_ms: 0,
                is_table: true,
            },
        }
    }
}

impl Inputs {
    fn of(node: &Node) -> Self {
        match &node.op {
            Op::Source { source } => Self::Source(*source),
            op => Self::Nodes(inputs(op)),
        }
    }
}

/// The nodes that an operator reads, in port order.
#[must_use]
pub fn inputs(op: &Op) -> Vec<usize> {
    op.inputs().into_iter().map(|node| node.0).collect()
}

#[cfg(test)]
pub(crate) mod tests;
