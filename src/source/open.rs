//! Opening a source's reader, and dividing its splits among the workers.

use std::{collections::BTreeMap, sync::Arc};

use tidewright_checkpoints::ids::key_hash;
use tidewright_jobs::{job::SourceConfig, plan::SourcePlan};

use super::{
    Halt, SourceError, SplitEnds, SplitReader, SplitStart, datagen::DatagenReader,
    files::FilesReader, identity::Topics, kafka::KafkaReader,
};

/// Splits further ahead of the source's watermark than this wait, in milliseconds of event time.
pub const ALIGN_MS: i64 = 10 * 60 * 1_000;

/// What a reader must know of the job that it reads for.
#[derive(Clone, Debug)]
pub struct OpenContext {
    /// The job's name.
    pub job: String,
    /// The worker that the reader belongs to.
    pub worker: usize,
    /// How many workers there are.
    pub workers: usize,
    /// Read to the ends seen now, then end.
    pub bounded: bool,
    /// Every split of the source in the checkpoint, whichever worker owns it; `None` starts afresh, as does a source that
    /// the checkpoint does not know.
    pub restored: Option<Vec<SplitStart>>,
    /// The source's `start` counts also where the checkpoint has a position: whoever runs the job has said so.
    pub moved: bool,
    /// The topics that sources read, as far as they are known. Readers compare theirs and note it.
    pub topics: Arc<Topics>,
    /// Where reading ends, by split; of a split that is not named, where it begins. `None`: nowhere.
    pub until: Option<BTreeMap<u32, Halt>>,
    /// The wall clock at the start of the job, in milliseconds since 1970, the same on every worker.
    pub now_ms: i64,
    /// Where the reader notes how far its splits reach.
    pub ends: SplitEnds,
}

impl OpenContext {
    /// Where the checkpoint left the split of this name.
    #[must_use]
    pub fn restored_split(&self, name: &str) -> Option<&SplitStart> {
        let splits = self.restored.as_ref()?;
        splits.iter().find(|split| &*split.name == name)
    }

    /// Where reading a split ends although its input goes on.
    #[must_use]
    pub fn halt(&self, split: u32) -> Option<Halt> {
        const AT_ONCE: Halt = Halt {
            offset: 0,
            finished: false,
            idle: true,
        };
        let until = self.until.as_ref()?;
        Some(until.get(&split).copied().unwrap_or(AT_ONCE))
    }

    /// Whether this worker reads the split.
    #[must_use]
    pub fn owns(&self, source: &str, split: u32) -> bool {
        owner_of_split(source, split, self.workers) == self.worker
    }
}

/// The worker that reads a split. Sources begin at different workers, so that many sources with one split each
/// spread out.
#[must_use]
pub fn owner_of_split(source: &str, split: u32, workers: usize) -> usize {
    let workers = workers.max(1) as u64;
    ((key_hash(source.as_bytes()) % workers + u64::from(split)) % workers) as usize
}

/// Opens the reader of this worker's splits.
///
/// # Errors
/// If the source is not there, or not where the checkpoint left it.
pub fn open(plan: &SourcePlan, context: &OpenContext) -> Result<Box<dyn SplitReader>, SourceError> {
    Ok(match &plan.config {
        SourceConfig::Kafka(config) => Box::new(KafkaReader::open(plan, config, context)?),
        SourceConfig::Files(config) => Box::new(FilesReader::open(plan, config, context)?),
        SourceConfig::Datagen(config) => Box::new(DatagenReader::open(plan, config, context)?),
    })
}

/// The names of all splits of a source as they are now, with the first offset that each still holds.
///
/// # Errors
/// If the source cannot be asked.
pub fn splits(plan: &SourcePlan) -> Result<Vec<(String, i64)>, SourceError> {
    let whole = |names: Vec<String>| names.into_iter().map(|name| (name, 0)).collect();
    match &plan.config {
        SourceConfig::Kafka(config) => super::kafka::splits(plan, config),
        SourceConfig::Files(config) => super::files::splits(plan, config).map(whole),
        SourceConfig::Datagen(config) => Ok(whole(super::datagen::splits(config))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_split_has_one_owner_and_neighbours_have_different_ones() {
        for workers in 1..9 {
            let owners: Vec<_> = (0..16)
                .map(|split| owner_of_split("events", split, workers))
                .collect();
            assert!(owners.iter().all(|owner| *owner < workers));
            for pair in owners.windows(2) {
                assert!(workers == 1 || pair[0] != pair[1]);
            }
        }
    }
}
