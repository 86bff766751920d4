//! A job's whole life on a disk that crashes: claim, restore, checkpoints, compaction, clean-up, crash, and again.
//!
//! After each crash HEAD has to name a complete, readable checkpoint, not older than any that was reported as durable, and its state
//! has to be the state of that epoch. The mutants each leave out one step of the protocol; the run has to notice.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Model, Rng, SyncStep, Unsynced, unsynced::POWER_FAILURE};
use crate::{
    claim::{self, ClaimRequest, Claimed},
    compaction::{self, Policy},
    head::{Head, Tag},
    ids::Epoch,
    manifest::{CheckpointKind, FileEntry},
    paths,
    publish::{Acknowledgement, Cut, Publisher},
    restore::{self, Which},
    retention::Cleaner,
    shard_range::ShardRange,
    state_file::{StateFileBuilder, StateFileHeader},
    store::{CheckpointStore, Listed, LocalStore, StoreError, SwapError},
};

/// A deliberately broken protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A sync is left out.
    Omits(SyncStep),
    /// HEAD is swapped before the files that it leads to are stored.
    HeadBeforeFiles,
}

/// What a crash broke.
#[derive(Debug, thiserror::Error)]
#[error("seed {seed}, life {life}: {what}")]
pub struct Violation {
    /// The run's seed.
    pub seed: u64,
    /// After how many crashes.
    pub life: u64,
    /// What is wrong.
    pub what: String,
}

const JOB: &str = "crash-test";
const LIVES: u64 = 8;
const WORKERS: u32 = 2;

/// What the outside world knows, which no crash takes away.
#[derive(Default)]
struct Witness {
    /// The greatest epoch reported as durable.
    durable: Epoch,
    /// The greatest generation that a claim returned.
    generation: u64,
    /// The state of each epoch for which a checkpoint was tried.
    states: BTreeMap<Epoch, Model>,
    /// The last epoch tried.
    epoch: u64,
}

/// Runs one job through several crashes, by a seed.
///
/// # Errors
/// [`Violation`] if a checkpoint that was durable is lost or damaged.
pub fn crash_run(seed: u64, mutant: Option<Mutant>) -> Result<(), Violation> {
    let disk = Unsynced::new();
    let mut rng = Rng::new(seed);
    let mut witness = Witness::default();
    for life in 0..LIVES {
        let restored = open(&disk, mutant)
            .map_err(Into::into)
            .and_then(|store| start(store, &mut witness));
        let (store, claimed, state) = restored.map_err(|error: Box<dyn Error>| Violation {
            seed,
            life,
            what: error.to_string(),
        })?;
        disk.fail_after(rng.below(160));
        let Err(end) = live(&store, claimed, state, &mut rng, &mut witness);
        // Whatever step it was, only the power may have ended it.
        if !end.to_string().contains(POWER_FAILURE) {
            return Err(Violation {
                seed,
                life,
                what: end.to_string(),
            });
        }
        disk.crash(rng.next_u64());
    }
    Ok(())
}

fn open(disk: &Unsynced, mutant: Option<Mutant>) -> Result<Arc<dyn CheckpointStore>, StoreError> {
    let omit = match mutant {
        Some(Mutant::Omits(omit)) => Some(omit),
        _ => None,
    };
    let store = Arc::new(LocalStore::open(disk.filesystem(omit), "/var/job")?);
    Ok(match mutant {
        Some(Mutant::HeadBeforeFiles) => Arc::new(HeadFirst {
            inner: store,
            waiting: Mutex::default(),
        }),
        _ => store,
    })
}

type Started = (Arc<dyn CheckpointStore>, Claimed, Restarted);

struct Restarted {
    current: Option<crate::manifest::Manifest>,
    model: Model,
}

/// Claims the job, restores it, and compares with what the outside world knows.
fn start(
    store: Arc<dyn CheckpointStore>,
    witness: &mut Witness,
) -> Result<Started, Box<dyn Error>> {
    let request = ClaimRequest {
        holder: claim::unique_holder("test"),
        now_ms: 1,
        accept_missing_head: false,
    };
    let claimed = claim::claim(&*store, &request)?;
    if claimed.generation().0 <= witness.generation {
        return Err(format!("generation {} is given twice", claimed.generation()).into());
    }
    witness.generation = claimed.generation().0;
    let restored = restore::load(&*store, JOB, &Which::Latest)?;
    let epoch = restored
        .as_ref()
        .map_or(Epoch(0), |restored| restored.manifest.epoch);
    if epoch < witness.durable || epoch != claimed.head.epoch {
        return Err(format!("HEAD went back from epoch {} to {epoch}", witness.durable).into());
    }
    let model = match &restored {
        Some(restored) => Model::restored(restored, 3)?,
        None => Model::default(),
    };
    if model != witness.states.get(&epoch).cloned().unwrap_or_default() {
        return Err(
            format!("the state restored at epoch {epoch} is not the state of that epoch").into(),
        );
    }
    let current = restored.map(|restored| restored.manifest);
    Ok((store, claimed, Restarted { current, model }))
}

/// Takes checkpoints until the power fails.
fn live(
    store: &Arc<dyn CheckpointStore>,
    claimed: Claimed,
    state: Restarted,
    rng: &mut Rng,
    witness: &mut Witness,
) -> Result<Infallible, Box<dyn Error>> {
    let generation = claimed.generation();
    let mut model = state.model;
    let mut publisher = Publisher::new(Arc::clone(store), JOB, claimed, state.current);
    let mut cleaner = Cleaner::default();
    let policy = Policy {
        runs_max: 3,
        file_bytes_max: 400,
        piece_bytes: 1 << 10,
        ..Policy::default()
    };
    loop {
        witness.epoch += 1;
        let epoch = Epoch(witness.epoch);
        let mut files = Vec::new();
        for worker in 0..WORKERS {
            let header = header(generation, epoch, worker);
            files.push(write_state(&**store, &header, &mut model, rng)?);
        }
        witness.states.insert(epoch, model.clone());
        let plan = publisher
            .current()
            .and_then(|current| compaction::plan_with(current, &policy));
        let compacted = match plan {
            Some(plan) => vec![compaction::run(&plan, store, JOB, generation)?],
            None => vec![],
        };
        witness.durable = publisher.publish(cut(epoch, files), &compacted)?.epoch;
        if rng.percent(30) {
            cleaner.clean(&**store, JOB, generation, 2, &BTreeSet::new())?;
        }
    }
}

fn header(generation: crate::ids::Generation, epoch: Epoch, worker: u32) -> StateFileHeader {
    StateFileHeader {
        job: JOB.to_owned(),
        generation,
        epoch,
        worker,
        workers: WORKERS,
    }
}

/// One worker's file for a checkpoint, if anything changed.
fn write_state(
    store: &dyn CheckpointStore,
    header: &StateFileHeader,
    model: &mut Model,
    rng: &mut Rng,
) -> Result<Acknowledgement, StoreError> {
    let mut builder = StateFileBuilder::new(header);
    let shards = ShardRange::owned_by(header.worker as usize, header.workers as usize);
    for (operator, delta) in model.change(rng, shards) {
        builder.push(&operator, &delta);
    }
    let mut files = Vec::new();
    if !builder.is_empty() {
        let name = paths::state(header.generation, header.epoch, header.worker);
        let content = builder.finish();
        store.put(&name, &content)?;
        files.push(FileEntry::fresh(name, &content, header.epoch));
    }
    Ok(Acknowledgement {
        worker: header.worker,
        epoch: header.epoch,
        files,
    })
}

fn cut(epoch: Epoch, acknowledgements: Vec<Acknowledgement>) -> Cut {
    Cut {
        epoch,
        kind: CheckpointKind::Periodic,
        created_ms: 0,
        workers: WORKERS,
        acknowledgements,
        sources: BTreeMap::new(),
        watermarks: BTreeMap::new(),
        operators: BTreeMap::new(),
        delivered: BTreeMap::new(),
        extra: BTreeMap::new(),
    }
}

/// The mutant that stores objects only after HEAD was swapped.
#[derive(Debug)]
struct HeadFirst {
    inner: Arc<dyn CheckpointStore>,
    waiting: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl CheckpointStore for HeadFirst {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.insert(name.to_owned(), bytes.to_owned());
        Ok(())
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting
            .get(name)
            .cloned()
            .map_or_else(|| self.inner.get(name), Ok)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.inner.delete(name)
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        self.inner.list(folder)
    }

    fn head(&self) -> Result<Option<(Head, Tag)>, StoreError> {
        self.inner.head()
    }

    fn swap_head(&self, expected: Option<&Tag>, new: &Head) -> Result<Tag, SwapError> {
        let tag = self.inner.swap_head(expected, new)?;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((name, bytes)) = waiting.pop_first() {
            self.inner.put(&name, &bytes)?;
        }
        Ok(tag)
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}
