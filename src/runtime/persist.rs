//! The persist operator: one per worker. Gathers the state sections of a checkpoint and has them written, off the worker's
//! thread, into one file.
//!
//! It holds a capability at the first epoch that is not durable on this worker, from the start on, and downgrades it only
//! when the file is durable. At most one file is being written; checkpoints that are due meanwhile merge into the next
//! one, whose file then holds their sections in order.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tidewright_checkpoints::manifest::FileEntry;
use tidewright_checkpoints::state_file::{StateFileBuilder, StateFileHeader};
use tidewright_checkpoints::store::{CheckpointStore, StoreError};
use tidewright_checkpoints::{Epoch, Generation, OperatorId, ShardDelta, paths};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, StreamVec};
use timely::scheduling::SyncActivator;

use super::control::Tick;
use super::failure::fail;
use super::stateful::Section;
use super::stats::Counter;

/// A worker's part of a checkpoint is durable.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ack {
    /// The checkpoint's epoch.
    pub epoch: u64,
    /// The worker.
    pub worker: usize,
    /// The worker's file; `None` if nothing of its state had changed.
    pub file: Option<FileEntry>,
}

/// What the operator is told.
pub struct PersistSettings {
    /// The job.
    pub job: String,
    /// Goes into the file names.
    pub generation: Generation,
    /// This worker.
    pub worker: usize,
    /// Number of workers.
    pub workers: usize,
    /// The first epoch.
    pub start: u64,
    /// Where files go.
    pub store: Arc<dyn CheckpointStore>,
    /// Counts what is written, in bytes.
    pub bytes: Counter,
}

/// Puts the persist operator of this worker into the dataflow.
pub fn persist<'scope>(
    scope: Scope<'scope, u64>,
    settings: PersistSettings,
    sections: StreamVec<'scope, u64, Section>,
    ticks: StreamVec<'scope, u64, Tick>,
) -> StreamVec<'scope, u64, Ack> {
    let mut builder = OperatorBuilder::new("Persist".to_owned(), scope);
    let address = builder.operator_info().address.to_vec();
    let activator = scope.worker().sync_activator_for(address);
    let mut sections = builder.new_input_connection(sections, Pipeline, []);
    let mut ticks = builder.new_input_connection(ticks, Pipeline, []);
    let (acks, ack_stream) = builder.new_output_connection([]);
    let mut acks = OutputBuilder::<_, CapacityContainerBuilder<Vec<Ack>>>::from(acks);
    let start = settings.start;
    let writer = Writer::start(settings, activator);
    builder.build(move |mut capabilities| {
        let mut capability = capabilities.pop();
        if let Some(capability) = &mut capability {
            capability.downgrade(&start);
        }
        let mut gathered: BTreeMap<u64, Vec<Section>> = BTreeMap::new();
        let mut markers: BTreeMap<u64, ()> = BTreeMap::new();
        let mut due: Option<Job> = None;
        let mut writing = false;
        move |frontiers| {
            sections.for_each(|capability, data| {
                let Some(&time) = capability.least() else {
                    return;
                };
                gathered.entry(time).or_default().append(data);
            });
            ticks.for_each(|_, data| {
                for tick in data.drain(..).filter(|tick| tick.marker.is_some()) {
                    markers.insert(tick.epoch.0, ());
                }
            });
            while let Some(entry) = markers.first_entry() {
                let time = *entry.key();
                if frontiers.iter().any(|frontier| frontier.less_equal(&time)) {
                    break;
                }
                entry.remove();
                let sections = gathered.remove(&time).unwrap_or_default();
                let job = due.get_or_insert_with(|| Job {
                    epoch: time,
                    sections: Vec::new(),
                });
                job.epoch = time;
                job.sections.extend(sections);
            }
            while let Ok(ack) = writer.done.try_recv() {
                writing = false;
                if let Some(held) = &mut capability {
                    let epoch = ack.epoch;
                    acks.activate().session(&held.delayed(&epoch)).give(ack);
                    held.downgrade(&(epoch + 1));
                }
            }
            if !writing && let Some(job) = due.take() {
                writing = true;
                writer.write(job);
            }
            let ended = frontiers.iter().all(|frontier| frontier.is_empty());
            if ended && !writing && markers.is_empty() {
                capability = None;
            }
        }
    });
    ack_stream
}

/// The sections of one or several merged checkpoints.
struct Job {
    epoch: u64,
    sections: Vec<Section>,
}

/// The thread that encodes and writes files.
struct Writer {
    jobs: Sender<Job>,
    done: Receiver<Ack>,
}

impl Writer {
    fn start(settings: PersistSettings, activator: SyncActivator) -> Self {
        let (jobs, todo) = channel::<Job>();
        let (report, done) = channel();
        let name = format!("persist-{}", settings.worker);
        let spawned = thread::Builder::new().name(name).spawn(move || {
            for job in todo {
                let ack = settings.write(job);
                if report.send(ack).is_err() {
                    return;
                }
                // The worker is gone only when the job ends.
                let _ = activator.activate();
            }
        });
        if let Err(error) = spawned {
            fail(&format!(
                "cannot start the thread that writes checkpoints: {error}"
            ));
        }
        Self { jobs, done }
    }

    fn write(&self, job: Job) {
        if self.jobs.send(job).is_err() {
            fail("the thread that writes checkpoints has ended");
        }
    }
}

impl PersistSettings {
    fn write(&self, job: Job) -> Ack {
        if job.sections.is_empty() {
            return Ack {
                epoch: job.epoch,
                worker: self.worker,
                file: None,
            };
        }
        crash_point("before-encode");
        let epoch = Epoch(job.epoch);
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let header = StateFileHeader {
            job: self.job.clone(),
            generation: self.generation,
            epoch,
            worker: number(self.worker),
            workers: number(self.workers),
        };
        let deltas = job.sections.iter().flat_map(|section| &section.deltas);
        let bytes = deltas.map(ShardDelta::bytes_about).sum();
        let mut builder = StateFileBuilder::with_capacity(&header, bytes);
        for (operator, delta) in by_shard(&job.sections) {
            builder.push(operator, delta);
        }
        let bytes = builder.finish();
        let name = paths::state(self.generation, epoch, number(self.worker));
        crash_point("checkpoint-encoded");
        put_durably(&*self.store, &name, &bytes);
        self.bytes.add(bytes.len() as u64);
        crash_point("checkpoint-written");
        let file = Some(FileEntry::fresh(name, &bytes, epoch));
        Ack {
            epoch: job.epoch,
            worker: self.worker,
            file,
        }
    }
}

/// All deltas, those of a shard together: whoever needs some shards of the file then reads one piece of it. Several of one
/// operator's shard stay in order.
fn by_shard(sections: &[Section]) -> Vec<(&OperatorId, &ShardDelta)> {
    let deltas = sections.iter().flat_map(|section| {
        let deltas = section.deltas.iter();
        deltas.map(|delta| (&section.operator, delta))
    });
    let mut deltas: Vec<_> = deltas.collect();
    deltas.sort_by_key(|(_, delta)| delta.shard);
    deltas
}

/// How long a store may be out of reach before the process gives up, so that another may take over.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);

/// Stores an object, again while the store is out of reach. Dirty state is never forgotten: after the last attempt the
/// process ends.
pub fn put_durably(store: &dyn CheckpointStore, name: &str, bytes: &[u8]) {
    retry(&format!("write {name} to {}", store.location()), || {
        store.put(name, bytes)
    });
}

/// Calls again, with growing pauses, until it works or the store has been out of reach for too long.
pub fn retry<T>(what: &str, mut call: impl FnMut() -> Result<T, StoreError>) -> T {
    let mut waited = Duration::ZERO;
    let mut pause = Duration::from_millis(50);
    loop {
        match call() {
            Ok(value) => return value,
            Err(error) if waited < GIVE_UP_AFTER => {
                tracing::warn!(%error, "cannot {what} yet");
                thread::sleep(pause);
                waited += pause;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
            Err(error) => fail(&format!("cannot {what}: {error}")),
        }
    }
}

pub use super::crash::crash_point;
