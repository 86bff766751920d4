//! The publishing thread, on worker 0's process: makes manifests, swaps HEAD, and tidies up behind itself.
//!
//! Compaction and clean-up run on a second thread: a checkpoint never waits for them. What compaction made is swapped in by
//! the next published manifest.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use tidewright_checkpoints::claim::Claimed;
use tidewright_checkpoints::compaction::{self, Compacted};
use tidewright_checkpoints::manifest::{CheckpointKind, Manifest, SplitState};
use tidewright_checkpoints::publish::{
    self, Acknowledgement, PublishError, Publisher as HeadPublisher,
};
use tidewright_checkpoints::retention::Cleaner;
use tidewright_checkpoints::store::CheckpointStore;
use tidewright_checkpoints::{Epoch, OperatorId};
use timely::scheduling::SyncActivator;

use super::commit::{Cut, Publisher};
use super::control::MarkerKind;
use super::failure::{fail, fenced};
use super::fence::HeadFence;
use super::persist::retry;
use super::replay::Hold;
use super::savepoints::Savepoints;
use super::stats::Stats;
use super::upgrade::Upgrade;
use crate::source::identity::Topics;

/// The key under which manifests keep the job's definition.
pub const DEFINITION: &str = "definition";

/// What the thread begins with.
pub struct PublishSettings {
    /// The job.
    pub job: String,
    /// Number of workers.
    pub workers: usize,
    /// This process's claim.
    pub claimed: Claimed,
    /// The checkpoint that the job was restored from.
    pub base: Option<Manifest>,
    /// Where manifests go.
    pub store: Arc<dyn CheckpointStore>,
    /// Measures.
    pub stats: Arc<Stats>,
    /// How many checkpoints are kept.
    pub keep: usize,
    /// Source names by position.
    pub sources: Vec<String>,
    /// Node names by position.
    pub nodes: Vec<String>,
    /// Sinks whose stores only append.
    pub append_sinks: BTreeSet<String>,
    /// Fingerprints of stateful operators.
    pub operators: BTreeMap<OperatorId, u64>,
    /// What a later start needs to know of the operators goes into each checkpoint.
    pub upgrade: Arc<Upgrade>,
    /// What a replay still waits for goes into its checkpoints.
    pub hold: Arc<Hold>,
    /// The topics that sources read, for the next start to compare.
    pub topics: Arc<Topics>,
    /// What every manifest says besides its cut.
    pub extra: BTreeMap<String, serde_json::Value>,
    /// Copies published checkpoints for those who asked.
    pub savepoints: Arc<Savepoints>,
    /// Hears of successful swaps: they prove that this process holds the job.
    pub fence: Arc<HeadFence>,
}

/// Starts the thread.
pub fn start(settings: PublishSettings, activator: SyncActivator) -> Publisher {
    let (cuts, todo) = channel::<Cut>();
    let (report, published) = channel();
    let spawned = thread::Builder::new()
        .name("publish".to_owned())
        .spawn(move || {
            let mut publisher = HeadPublisher::new(
                settings.store.clone(),
                settings.job.clone(),
                settings.claimed.clone(),
                settings.base.clone(),
            );
            let tidier = Tidier::start(&settings);
            for cut in todo {
                let compacted: Vec<Compacted> = tidier.compacted.try_iter().collect();
                let epoch = cut.epoch;
                settings.publish(&mut publisher, cut, &compacted);
                // Before anybody hears of it, so that the job doesn't end without a savepoint of its last checkpoint.
                if let Some(manifest) = publisher.current() {
                    settings.savepoints.published(manifest, &settings.store);
                }
                if report.send(epoch).is_err() {
                    return;
                }
                // The worker is gone only when the job ends.
                let _ = activator.activate();
                if let Some(manifest) = publisher.current() {
                    tidier.tidy(manifest.clone());
                }
            }
        });
    if let Err(error) = spawned {
        fail(&format!(
            "cannot start the thread that publishes checkpoints: {error}"
        ));
    }
    Publisher { cuts, published }
}

impl PublishSettings {
    /// Publishes a cut, again while the store is out of reach.
    fn publish(&self, publisher: &mut HeadPublisher, cut: Cut, compacted: &[Compacted]) {
        let cut = self.cut(cut);
        let what = format!("publish the checkpoint of epoch {}", cut.epoch);
        let mut since = self.fence.now();
        let published = retry(&what, || {
            since = self.fence.now();
            publisher
                .publish(cut.clone(), compacted)
                .map_err(|error| match error {
                    PublishError::Store(error) => error,
                    error @ PublishError::Fenced(_) => fenced(&error.to_string()),
                    error => fail(&format!("cannot {what}: {error}")),
                })
        });
        self.fence.confirm(since);
        self.stats.checkpoint_bytes.add(published.manifest_bytes);
        let files = cut.acknowledgements.iter().flat_map(|worker| &worker.files);
        let state_bytes: u64 = files.map(|file| file.bytes).sum();
        let bytes = state_bytes + published.manifest_bytes;
        self.stats.checkpoint_last_bytes.set(bytes);
    }

    /// What each sink's store has: of an append store the marker, which checkpoints without rows don't move.
    fn delivered(&self) -> BTreeMap<String, Epoch> {
        let delivered = self.stats.delivered.iter().map(|(sink, delivered)| {
            let epoch = match self.append_sinks.contains(sink) {
                true => self.stats.appended[sink].get(),
                false => delivered.get(),
            };
            (sink.clone(), Epoch(epoch))
        });
        delivered.collect()
    }

    fn cut(&self, cut: Cut) -> publish::Cut {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let mut acknowledgements: Vec<_> = (0..self.workers)
            .map(|worker| Acknowledgement {
                worker: number(worker),
                epoch: cut.epoch,
                files: Vec::new(),
            })
            .collect();
        for (worker, file) in cut.files {
            acknowledgements[worker].files.push(file);
        }
        let mut sources: BTreeMap<String, BTreeMap<String, SplitState>> = BTreeMap::new();
        for split in &*cut.marker.splits {
            let state = SplitState {
                split: split.split,
                offset: split.next_offset,
                watermark: split.watermark,
                idle: split.idle,
                finished: split.finished,
            };
            sources
                .entry(self.sources[split.source].clone())
                .or_default()
                .insert(split.name.clone(), state);
        }
        let watermarks = self.nodes.iter().zip(&*cut.relations);
        let mut extra = self.extra.clone();
        self.hold.note(cut.epoch, &mut extra);
        self.upgrade.note(&mut extra);
        self.topics.keep(&mut extra);
        publish::Cut {
            epoch: cut.epoch,
            kind: match cut.marker.kind {
                // The savepoint is a copy elsewhere; here it is a checkpoint like others.
                MarkerKind::Periodic | MarkerKind::Savepoint => CheckpointKind::Periodic,
                MarkerKind::Final => CheckpointKind::Final,
            },
            created_ms: super::epoch::wall_clock_ms(),
            workers: number(self.workers),
            acknowledgements,
            sources,
            watermarks: watermarks
                .map(|(name, clock)| (name.clone(), clock.watermark))
                .collect(),
            operators: self.operators.clone(),
            delivered: self.delivered(),
            extra,
        }
    }
}

/// Merges state files and removes what nothing names any more.
struct Tidier {
    manifests: Sender<Manifest>,
    compacted: Receiver<Compacted>,
}

/// Old files are removed after so many checkpoints.
const RETENTION_EVERY: u32 = 16;

impl Tidier {
    fn start(settings: &PublishSettings) -> Self {
        let (manifests, todo) = channel::<Manifest>();
        let (report, compacted) = channel();
        let store = settings.store.clone();
        let generation = settings.claimed.generation();
        let bytes = settings.stats.checkpoint_bytes.clone();
        let keep = settings.keep;
        let job_name = settings.job.clone();
        let savepoints = settings.savepoints.clone();
        let mut cleaner = Cleaner::default();
        let spawned = thread::Builder::new()
            .name("tidy".to_owned())
            .spawn(move || {
                let mut since_retention = 0;
                // The newest counts; the ones before it are history. A merge that is not yet in a manifest must not be planned
                // again: `reported` waits until it is.
                let mut reported: Option<Compacted> = None;
                while let Ok(mut manifest) = todo.recv() {
                    while let Ok(newer) = todo.try_recv() {
                        manifest = newer;
                    }
                    reported = reported.filter(|compacted| still_waits(compacted, &manifest));
                    if reported.is_none()
                        && let Some(job) = compaction::plan_compaction(&manifest)
                    {
                        match compaction::run(&job, &store, &job_name, generation) {
                            Ok(compacted) => {
                                bytes.add(compacted.bytes_written());
                                reported = Some(compacted.clone());
                                if report.send(compacted).is_err() {
                                    return;
                                }
                            }
                            Err(error) => tracing::warn!(%error, "state files are not merged now"),
                        }
                    }
                    since_retention += 1;
                    if since_retention >= RETENTION_EVERY {
                        since_retention = 0;
                        let mut in_flight = savepoints.pinned();
                        in_flight.extend(reported.iter().flat_map(|compacted| {
                            compacted.outputs.iter().map(|file| file.name.clone())
                        }));
                        if let Err(error) =
                            cleaner.clean(&*store, &job_name, generation, keep, &in_flight)
                        {
                            tracing::warn!(%error, "old checkpoints are not removed now");
                        }
                    }
                }
            });
        if let Err(error) = spawned {
            fail(&format!(
                "cannot start the thread that merges state files: {error}"
            ));
        }
        Self {
            manifests,
            compacted,
        }
    }

    fn tidy(&self, manifest: Manifest) {
        if self.manifests.send(manifest).is_err() {
            fail("the thread that merges state files has ended");
        }
    }
}

/// The files that were merged are still in the manifest, so the merge is not.
fn still_waits(compacted: &Compacted, manifest: &Manifest) -> bool {
    compacted.inputs.first().is_some_and(|input| {
        manifest.files.iter().any(|file| {
            file.name == input.name && file.shards.intersect(input.shards) == input.shards
        })
    })
}
