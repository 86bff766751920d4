//! A run that ends exactly where a checkpoint of another job stands: its sources stand still there, and when all of them do,
//! that is the end of its input: everything is delivered, and a last checkpoint taken. What was the end of input there is the
//! end of input here, and what was idle is idle, so that time stands where it stood.

use std::collections::BTreeMap;

use tidewright_checkpoints::manifest::Manifest;
use tidewright_jobs::plan::Plan;

use crate::source::Halt;

/// Where a run ends.
#[derive(Clone, Debug, Default)]
pub struct Until {
    sources: BTreeMap<String, BTreeMap<u32, Halt>>,
}

impl Until {
    /// The positions of a checkpoint.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        let sources = manifest.sources.iter().map(|(source, splits)| {
            let halts = splits.values().map(|split| {
                let halt = Halt {
                    offset: split.offset,
                    finished: split.finished,
                    idle: split.idle,
                };
                (split.split, halt)
            });
            (source.clone(), halts.collect())
        });
        Self {
            sources: sources.collect(),
        }
    }

    /// Where reading a source ends.
    #[must_use]
    pub fn halts(&self, source: &str) -> BTreeMap<u32, Halt> {
        self.sources.get(source).cloned().unwrap_or_default()
    }

    /// What has to be reached of a plan's sources, by source and split.
    #[must_use]
    pub fn positions(&self, plan: &Plan) -> Vec<(usize, u32, i64)> {
        let mut positions = Vec::new();
        for (source, plan) in plan.sources.iter().enumerate() {
            let halts = self.sources.get(&plan.name).into_iter().flatten();
            positions.extend(halts.map(|(split, halt)| (source, *split, halt.offset)));
        }
        positions
    }

    /// Both end at the same positions of a plan's sources.
    #[must_use]
    pub fn is_where(&self, other: &Self, plan: &Plan) -> bool {
        let mut sources = plan.sources.iter();
        sources.all(|source| self.halts(&source.name) == other.halts(&source.name))
    }
}
