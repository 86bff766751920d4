//! What all workers of a process share about the job that they run.

mod place;
mod restored;
mod settings;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Instant,
};

use arrow::array::RecordBatch;
use tidewright_checkpoints::restore::Restored;
use tidewright_checkpoints::store::CheckpointStore;
use tidewright_checkpoints::{Generation, Manifest};
use tidewright_jobs::plan::Plan;
use tidewright_operators::StateMemory;
use timely::scheduling::SyncActivator;

pub use self::place::Place;
pub use self::settings::Settings;
use super::clock_operator::Replay;
use super::commit::Publisher;
use super::earlier::Earlier;
use super::publish::PublishSettings;
use super::pulse::Pulses;
use super::replay::Hold;
use super::savepoints::Savepoints;
use super::stats::Stats;
use super::tap::Taps;
use super::tolerance::Tolerance;
use super::until::Until;
use super::upgrade::Upgrade;
use crate::sink::Fence;
use crate::sink::embedded::EmbeddedStores;
use crate::source::identity::Topics;

/// A job that is about to run in this process.
pub struct JobContext {
    /// What it computes.
    pub plan: Plan,
    /// How.
    pub settings: Settings,
    /// Number of workers of the whole job.
    pub workers: usize,
    /// This process among those of the job.
    pub place: Place,
    /// Sources end where they ended at the start.
    pub bounded: bool,
    /// Sources stand still at these positions, and the run ends there.
    pub until: Option<Until>,
    /// The first new epoch: above every durable one.
    pub start: u64,
    /// The origin of epochs.
    pub origin: Instant,
    /// Wall clock at the job's start, milliseconds since 1970.
    pub started_ms: i64,
    /// This process's claim.
    pub generation: Generation,
    /// Where checkpoints go.
    pub store: Arc<dyn CheckpointStore>,
    /// The checkpoint that it starts from.
    pub restored: Option<Manifest>,
    /// The state of that checkpoint, until all workers of this process have theirs.
    pub state: Mutex<Option<Arc<Restored>>>,
    /// Kafka sources that begin where their `start` says even if the checkpoint has a position.
    pub moved_sources: BTreeSet<String>,
    /// The topics that sources read.
    pub topics: Arc<Topics>,
    /// Sources that are read again from before the checkpoint: everything that derives from them begins anew.
    pub reread: BTreeSet<String>,
    /// By node, whether it derives from one of them.
    pub derives_from_reread: Vec<bool>,
    /// What becomes of the state in the checkpoint.
    pub upgrade: Arc<Upgrade>,
    /// Sinks that are sent their whole table again.
    pub resync: BTreeSet<String>,
    /// Keyed sinks whose stores lose every key that their relation does not bring again.
    pub replaced: BTreeSet<String>,
    /// What their stores hold, as losses, where worker 0 is; taken when its dataflow is built.
    pub presumed: Mutex<BTreeMap<String, Vec<RecordBatch>>>,
    /// What it tells.
    pub stats: Arc<Stats>,
    /// Where its rows can be watched.
    pub taps: Taps,
    /// Signs of life of this process's workers.
    pub pulses: Arc<Pulses>,
    /// Workers whose dataflow is built, with its state restored.
    pub built: AtomicUsize,
    /// Set to end it with a final checkpoint.
    pub stop: Arc<AtomicBool>,
    /// How many records and rows may become dead letters.
    pub tolerance: Tolerance,
    /// Set to end the input first, and then the job.
    pub drain: Arc<AtomicBool>,
    /// Savepoints that were asked for.
    pub savepoints: Arc<Savepoints>,
    /// Holds back the deliveries of keyed sinks while a replay has not caught up.
    pub hold: Arc<Hold>,
    /// Append sinks may receive rows again.
    pub allow_duplicates: bool,
    /// What becomes of rows of this job that append stores already hold.
    pub earlier: Earlier,
    /// The checkpoint store, for people.
    pub location: String,
    /// Whether this process may still write.
    pub fence: Arc<dyn Fence>,
    /// How much keyed state is in memory; `None`: all of it.
    pub memory: Option<Arc<StateMemory>>,
    /// Embedded stores that this process has open.
    pub stores: EmbeddedStores,
    /// Threads to wait for at the end: readers report their last offsets.
    pub readers: Mutex<Vec<JoinHandle<()>>>,
    /// What the publishing thread begins with; taken by worker 0.
    pub publish: Mutex<Option<PublishSettings>>,
}

impl JobContext {
    /// When an epoch was the current one: wall clock, milliseconds since 1970.
    #[must_use]
    pub fn wall_clock_of(&self, epoch: u64) -> u64 {
        // Epochs follow the wall clock, unless the restored ones were ahead of it.
        let started_ms = u64::try_from(self.started_ms).unwrap_or(0);
        epoch.saturating_sub(self.start.saturating_sub(started_ms))
    }

    /// Streams wait for tables: only where nothing has been read yet.
    #[must_use]
    pub fn tables_first(&self) -> bool {
        self.settings.tables_first && self.restored.is_none()
    }

    /// The first epoch is for rows that are there before it: restored ones that operators are made of or sinks are sent once
    /// more, and those that stores hold.
    #[must_use]
    pub fn begins_from_state(&self) -> bool {
        !self.resync.is_empty() || !self.replaced.is_empty() || self.upgrade.makes_state()
    }

    /// The operator of this name is made again from its inputs.
    #[must_use]
    pub fn is_rebuilt(&self, name: &Option<String>) -> bool {
        name.as_ref()
            .is_some_and(|name| self.upgrade.rebuilt.contains(name))
    }

    /// What a held replay must reach.
    #[must_use]
    pub fn replay(&self) -> Option<Replay> {
        self.hold.is_on().then(|| Replay {
            hold: self.hold.clone(),
            positions: self.hold.awaited().by_split(&self.plan),
        })
    }

    /// Where the run ends, by source and split, if its input goes on behind that.
    #[must_use]
    pub fn ending(&self) -> Option<Vec<(usize, u32, i64)>> {
        let until = self.until.as_ref()?;
        Some(until.positions(&self.plan))
    }

    /// A worker of this process has built its dataflow. When all have, nobody needs the restored state in its old form.
    pub fn note_built(&self) {
        if self.built.fetch_add(1, Ordering::Relaxed) + 1 == self.place.threads {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            *state = None;
        }
    }

    /// Starts the publishing thread, on worker 0.
    pub fn publisher(&self, worker: usize, activator: SyncActivator) -> Option<Publisher> {
        if worker != 0 {
            return None;
        }
        let settings = self
            .publish
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()?;
        Some(super::publish::start(settings, activator))
    }
}
