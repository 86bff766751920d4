//! What all workers of a process share about the job that they run.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use arrow::array::RecordBatch;
use tidewright_checkpoints::restore::Restored;
use tidewright_checkpoints::store::CheckpointStore;
use tidewright_checkpoints::{Epoch, Generation, Manifest, OperatorId, ShardRange};
use tidewright_jobs::JobSettings;
use tidewright_jobs::job::{Delivery, StartAfter};
use tidewright_jobs::plan::{Plan, SourcePlan};
use tidewright_operators::{Operator, OperatorError, StateMemory};
use timely::scheduling::SyncActivator;

use super::clock_operator::Replay;
use super::commit::Publisher;
use super::control::SplitReport;
use super::failure::fail;
use super::mutant::Mutant;
use super::publish::PublishSettings;
use super::pulse::{self, Pulses};
use super::replay::Hold;
use super::savepoints::Savepoints;
use super::stats::Stats;
use super::tap::Taps;
use super::tolerance::Tolerance;
use super::until::Until;
use super::upgrade::Upgrade;
use crate::sink::Fence;
use crate::sink::embedded::EmbeddedStores;
use crate::source::SplitStart;
use crate::source::identity::Topics;

/// Settings of a run, from the job file and the command line.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Length of an epoch.
    pub epoch_tick: Duration,
    /// Time between checkpoints.
    pub checkpoint_interval: Duration,
    /// Bytes between ingested and computed.
    pub in_flight_bytes: usize,
    /// Bytes in a sink's outbox before sources wait.
    pub outbox_bytes: usize,
    /// Streams wait for tables on a fresh start.
    pub tables_first: bool,
    /// How each sink is served.
    pub delivery: BTreeMap<String, Delivery>,
    /// How many old checkpoints are kept.
    pub keep: usize,
}

impl Settings {
    /// The settings of a compiled job.
    #[must_use]
    pub fn of(job: &JobSettings) -> Self {
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Self {
            epoch_tick: Duration::from_millis(job.epoch_tick_ms),
            checkpoint_interval: Duration::from_millis(job.checkpoint.interval_ms),
            in_flight_bytes: bytes(job.in_flight_bytes.min(in_flight_within(job))),
            outbox_bytes: bytes(job.outbox_bytes),
            tables_first: job.start_after == StartAfter::Tables,
            delivery: job.delivery.iter().cloned().collect(),
            keep: job.checkpoint.keep as usize,
        }
    }

    /// How a sink is served.
    #[must_use]
    pub fn delivery(&self, sink: &str) -> Delivery {
        self.delivery.get(sink).copied().unwrap_or_default()
    }
}

/// Where a process stands among those of its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// How many processes there are.
    pub processes: usize,
    /// This one.
    pub process: usize,
    /// Workers of each process.
    pub threads: usize,
}

impl Place {
    /// Number of workers of the whole job.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.processes * self.threads
    }

    /// The first worker of this process.
    #[must_use]
    pub fn first_worker(&self) -> usize {
        self.process * self.threads
    }

    /// Whether a worker is a thread of this process.
    #[must_use]
    pub fn is_here(&self, worker: usize) -> bool {
        worker / self.threads.max(1) == self.process
    }

    /// This process holds the claim, publishes checkpoints and has what can be in one place only.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.process == 0
    }
}

/// What an epoch asks for is in memory whatever the limit of state says, so an epoch must be much smaller than the limit.
fn in_flight_within(job: &JobSettings) -> u64 {
    const LEAST: u64 = 1 << 20;
    let state = job.state.as_ref();
    state.map_or(u64::MAX, |state| (state.memory_bytes / 16).max(LEAST))
}

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

    /// Where to begin with the splits of a source; `None` on a fresh start.
    #[must_use]
    pub fn split_starts(&self, source: &str) -> Option<Vec<SplitStart>> {
        let manifest = self.restored.as_ref()?;
        // A source that the checkpoint does not know is new: it begins where its configuration says.
        let splits = manifest.sources.get(source)?;
        if self.reread.contains(source) {
            return None;
        }
        let start =
            |(name, split): (&String, &tidewright_checkpoints::manifest::SplitState)| SplitStart {
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
        let watermark = |(at, node): (usize, &tidewright_jobs::plan::Node)| {
            let watermark = manifest.watermarks.get(&node.name).copied();
            let watermark = watermark.filter(|_| !self.derives_from_reread[at]);
            watermark.unwrap_or(super::clock::NO_WATERMARK)
        };
        let nodes = self.plan.nodes.iter().enumerate();
        Some((splits, nodes.map(watermark).collect()))
    }

    /// What a held replay must reach.
    #[must_use]
    pub fn replay(&self) -> Option<Replay> {
        self.hold.is_on().then(|| Replay {
            hold: self.hold.clone(),
            positions: self.hold.awaited().by_split(&self.plan),
        })
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

    /// Where the run ends, by source and split, if its input goes on behind that.
    #[must_use]
    pub fn ending(&self) -> Option<Vec<(usize, u32, i64)>> {
        let until = self.until.as_ref()?;
        Some(until.positions(&self.plan))
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
