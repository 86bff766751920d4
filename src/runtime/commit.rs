//! The commit operator, on worker 0: publishes a checkpoint once every worker's part of it is durable.
//!
//! The frontier of its output is the durable frontier: it holds a capability at the first epoch that is not published, from
//! the start on, and downgrades it only when HEAD has been swapped. Publishing happens on a thread of its own; while it
//! does, newer checkpoints supersede older ones that wait.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        mpsc::{Receiver, Sender},
    },
    time::Instant,
};

use tidewright_checkpoints::Epoch;
use tidewright_checkpoints::manifest::FileEntry;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::vec::Broadcast;
use timely::dataflow::{Scope, StreamVec};
use timely::scheduling::SyncActivator;

use super::checkpoint_trace::UnderWay;
use super::control::{Control, Marker, RelationClock, Tick};
use super::deliver::Durable;
use super::epoch::wall_clock_ms;
use super::failure::fail;
use super::local::Local;
use super::mutant::Mutant;
use super::persist::Ack;
use super::stats::Stats;

/// Everything that a manifest says about one cut.
#[derive(Clone, Debug)]
pub struct Cut {
    /// The epoch.
    pub epoch: Epoch,
    /// Why it is taken, and the positions.
    pub marker: Marker,
    /// Watermarks of all relations.
    pub relations: Arc<[RelationClock]>,
    /// Files written since the last published checkpoint with the workers that wrote them, oldest first.
    pub files: Vec<(usize, FileEntry)>,
}

/// The thread that publishes, seen from the operator.
pub struct Publisher {
    /// Takes cuts to publish.
    pub cuts: Sender<Cut>,
    /// Epochs that have been published.
    pub published: Receiver<Epoch>,
}

/// What the operator is told.
pub struct CommitSettings {
    /// The job.
    pub job: String,
    /// This worker.
    pub worker: usize,
    /// The first epoch.
    pub start: u64,
    /// The source waits for checkpoints to be published before it asks for more.
    pub local: Local,
    /// Measures.
    pub stats: Arc<Stats>,
}

/// Whose part of which checkpoint is durable, and in which files.
struct Acknowledged {
    workers: usize,
    counts: BTreeMap<u64, usize>,
    files: BTreeMap<u64, Vec<(usize, FileEntry)>>,
}

impl Acknowledged {
    fn new(workers: usize) -> Self {
        Self {
            workers,
            counts: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }

    fn add(&mut self, ack: Ack) {
        *self.counts.entry(ack.epoch).or_default() += 1;
        let file = ack.file.map(|file| (ack.worker, file));
        self.files.entry(ack.epoch).or_default().extend(file);
    }

    /// The newest of these checkpoints that every worker has acknowledged. A worker that merged one into the next acknowledges
    /// only that next one: its file holds changes of both, so nothing that is durable shows its state at the first.
    fn newest(&self, checkpoints: impl Iterator<Item = u64>) -> Option<u64> {
        checkpoints
            .filter(|epoch| self.counts.get(epoch) == Some(&self.workers))
            .last()
    }

    /// All files up to a checkpoint that have not been taken yet, oldest first.
    fn take_through(&mut self, epoch: u64) -> Vec<(usize, FileEntry)> {
        self.counts = self.counts.split_off(&(epoch + 1));
        let later = self.files.split_off(&(epoch + 1));
        std::mem::replace(&mut self.files, later)
            .into_values()
            .flatten()
            .collect()
    }
}

/// Puts the commit operator into the dataflow. `publisher` makes the thread, on worker 0 only.
pub fn commit<'scope>(
    scope: Scope<'scope, u64>,
    settings: CommitSettings,
    acks: StreamVec<'scope, u64, Ack>,
    ticks: StreamVec<'scope, u64, Tick>,
    publisher: impl FnOnce(SyncActivator) -> Option<Publisher>,
) -> Durable<'scope> {
    let mut builder = OperatorBuilder::new("Commit".to_owned(), scope);
    let address = builder.operator_info().address.to_vec();
    let workers = scope.peers();
    let publisher = publisher(scope.worker().sync_activator_for(address));
    let mut acks = builder.new_input_connection(acks, Exchange::new(|_: &Ack| 0), []);
    let mut ticks = builder.new_input_connection(ticks, Pipeline, []);
    let (output, durable) = builder.new_output_connection([]);
    let mut output = OutputBuilder::<_, CapacityContainerBuilder<Vec<Control>>>::from(output);
    builder.build(move |mut capabilities| {
        let mut capability = capabilities.pop();
        if let Some(capability) = &mut capability {
            capability.downgrade(&settings.start);
        }
        if settings.worker != 0 {
            capability = None;
        }
        let mut acknowledged = Acknowledged::new(workers);
        let mut markers: BTreeMap<u64, (Tick, Instant)> = BTreeMap::new();
        let mut publishing: Option<UnderWay> = None;
        move |frontiers| {
            let _ = &mut output;
            acks.for_each(|_, data| {
                data.drain(..).for_each(|ack| acknowledged.add(ack));
            });
            ticks.for_each(|_, data| {
                for tick in data.drain(..).filter(|tick| tick.marker.is_some()) {
                    markers.insert(tick.epoch.0, (tick, Instant::now()));
                }
            });
            let Some(publisher) = &publisher else { return };
            while let Ok(epoch) = publisher.published.try_recv() {
                settings.stats.durable.raise(epoch.0);
                settings.local.wake_source();
                if let Some(checkpoint) = publishing.take() {
                    checkpoint.published(&settings.job);
                    let duration = checkpoint.marked.elapsed();
                    settings.stats.checkpoint_times.record(duration, 1);
                    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
                    settings.stats.checkpoint_last_micros.set(micros);
                    settings.stats.checkpoints.add(1);
                    settings.stats.published_ms.raise(wall_clock_ms());
                }
                if let Some(held) = &mut capability {
                    let ahead = if Mutant::Capability.is_asked_for() {
                        60_000
                    } else {
                        1
                    };
                    held.downgrade(&(epoch.0 + ahead).max(*held.time()));
                }
            }
            if publishing.is_none() {
                let passed =
                    |epoch: &u64| frontiers.iter().all(|frontier| !frontier.less_equal(epoch));
                let newest = acknowledged.newest(markers.keys().copied().take_while(passed));
                if let Some(epoch) = newest
                    && let Some((tick, marked)) = markers.remove(&epoch)
                    && let Some(marker) = tick.marker
                {
                    markers = markers.split_off(&epoch);
                    let cut = Cut {
                        epoch: Epoch(epoch),
                        marker,
                        relations: tick.relations,
                        files: acknowledged.take_through(epoch),
                    };
                    publishing = Some(UnderWay {
                        epoch,
                        kind: cut.marker.kind,
                        files: cut.files.len(),
                        marked,
                        durable: Instant::now(),
                    });
                    if publisher.cuts.send(cut).is_err() {
                        fail("the thread that publishes checkpoints has ended");
                    }
                }
            }
            let ended = frontiers.iter().all(|frontier| frontier.is_empty());
            if ended && publishing.is_none() && markers.is_empty() {
                capability = None;
            }
        }
    });
    // Broadcast, although nothing is sent: every worker's deliveries hear of the frontier.
    durable.broadcast()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acknowledged(workers: usize, acks: &[(usize, u64)]) -> Acknowledged {
        let mut acknowledged = Acknowledged::new(workers);
        for (worker, epoch) in acks {
            let name = format!("{worker}-{epoch}");
            let file = Some(FileEntry::fresh(name, &[], Epoch(*epoch)));
            acknowledged.add(Ack {
                epoch: *epoch,
                worker: *worker,
                file,
            });
        }
        acknowledged
    }

    #[test]
    fn a_checkpoint_that_one_worker_merged_into_the_next_is_not_complete() {
        let all = || [3, 4, 5].into_iter();
        // Worker 0 wrote 4 and 5 in one file.
        let some = acknowledged(2, &[(0, 3), (1, 3), (0, 5), (1, 4)]);
        assert_eq!(some.newest(all()), Some(3));
        let more = acknowledged(2, &[(0, 3), (1, 3), (0, 5), (1, 4), (1, 5)]);
        assert_eq!(more.newest(all()), Some(5));
        assert_eq!(acknowledged(2, &[(0, 5), (1, 4)]).newest(all()), None);
    }

    #[test]
    fn files_of_skipped_checkpoints_belong_to_the_one_that_is_published() {
        let mut acknowledged = acknowledged(2, &[(0, 5), (1, 4), (1, 5), (0, 6)]);
        let names: Vec<_> = acknowledged
            .take_through(5)
            .into_iter()
            .map(|(_, file)| file.name)
            .collect();
        assert_eq!(names, ["1-4", "0-5", "1-5"]);
        assert_eq!(acknowledged.take_through(6).len(), 1);
    }
}
