//! What the checkpoint gives that a run starts from.

use std::sync::PoisonError;

use tidewright_checkpoints::manifest::SplitState;
use tidewright_checkpoints::{Epoch, OperatorId, ShardRange};
use tidewright_jobs::plan::{Node, SourcePlan};
use tidewright_operators::{Operator, OperatorError};

use super::JobContext;
use crate::runtime::clock::NO_WATERMARK;
use crate::runtime::control::SplitReport;
use crate::runtime::failure::fail;
use crate::runtime::mutant::Mutant;
use crate::runtime::pulse;
use crate::source::SplitStart;

impl JobContext {
    /// Where to begin with the splits of a source; `None` on a fresh start.
    #[must_use]
    pub fn split_starts(&self, source: &str) -> Option<Vec<SplitStart>> {
        let manifest = self.restored.as_ref()?;
        // A source that the checkpoint does not know is new: it begins where its configuration says.
        let splits = manifest.sources.get(source)?;
        if self.reread.contains(source) {
            return None;
        }
        let start = |(name, split): (&String, &SplitState)| SplitStart {
            name: name.as_str().into(),
            next_offset: split.offset + i64::from(Mutant::Offset.is_asked_for()),
            watermark: split.watermark,
            idle: split.idle,
        };
        Some(splits.iter().map(start).collect())
    }

    /// Positions of all splits and watermarks of all nodes in the checkpoint.
    #[must_use]
    pub fn restored_clock(&self) -> Option<(Vec<SplitReport>, Vec<i64>)> {
        let manifest = self.restored.as_ref()?;
        let mut splits = Vec::new();
        let known = |plan: &SourcePlan| !self.reread.contains(&plan.name);
        let sources = self.plan.sources.iter().enumerate();
        for (source, plan) in sources.filter(|(_, plan)| known(plan)) {
            for (name, split) in manifest.sources.get(&plan.name).into_iter().flatten() {
                splits.push(SplitReport {
                    source,
                    split: split.split,
                    name: name.clone(),
                    next_offset: split.offset,
                    watermark: split.watermark,
                    idle: split.idle,
                    caught_up: false,
                    finished: false,
                    lag: None,
                    behind: None,
                    read_through_ms: None,
                });
            }
        }
        let watermark = |(at, node): (usize, &Node)| {
            let watermark = manifest.watermarks.get(&node.name).copied();
            let watermark = watermark.filter(|_| !self.derives_from_reread[at]);
            watermark.unwrap_or(NO_WATERMARK)
        };
        let nodes = self.plan.nodes.iter().enumerate();
        Some((splits, nodes.map(watermark).collect()))
    }

    /// The epoch up to which a sink had everything at the checkpoint.
    #[must_use]
    pub fn delivered(&self, sink: &str) -> Epoch {
        let manifest = self.restored.as_ref();
        manifest
            .and_then(|manifest| manifest.delivered.get(sink))
            .copied()
            .unwrap_or_default()
    }

    /// Gives an operator what the checkpoint holds of its state for these shards.
    pub fn restore_operator(
        &self,
        id: &OperatorId,
        operator: &mut dyn Operator,
        shards: &[ShardRange],
    ) {
        let state = self.state.lock();
        let Some(restored) = state.unwrap_or_else(PoisonError::into_inner).clone() else {
            return;
        };
        let _inside = pulse::inside(&format!("restoring operator {id}").into());
        let migration = self.upgrade.migration(id);
        let kept_as = migration.map_or(id, |migration| &migration.from);
        for delta in shards
            .iter()
            .flat_map(|shards| restored.deltas(kept_as, *shards))
        {
            pulse::beat();
            let delta = delta.unwrap_or_else(|error| fail(&error.to_string()));
            let restored = operator.restore(delta);
            trimmed(operator, restored).unwrap_or_else(|error| fail(&error.to_string()));
        }
        let restored = operator.restored();
        restored.unwrap_or_else(|error| fail(&error.to_string()));
        if let Some(migration) = migration {
            let migrated = migration
                .schema()
                .and_then(|from| operator.migrate(&from).map_err(|error| error.to_string()));
            migrated.unwrap_or_else(|error| fail(&format!("operator {id}: {error}")));
        }
        trimmed(operator, Ok(())).unwrap_or_else(|error| fail(&error.to_string()));
    }
}

/// What doesn't fit into memory goes to disk as it is restored.
fn trimmed(
    operator: &mut dyn Operator,
    restored: Result<(), OperatorError>,
) -> Result<(), OperatorError> {
    restored?;
    while operator.trim()? {
        pulse::beat();
    }
    Ok(())
}
