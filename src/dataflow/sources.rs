//! Readers on their threads, and what goes back to them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tidewright_jobs::plan::SourceKind;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, StreamVec};
use timely::scheduling::SyncActivator;

use crate::runtime::clock_operator::AlignedSource;
use crate::runtime::context::JobContext;
use crate::runtime::control::{SplitReport, Tick};
use crate::runtime::deliver::Durable;
use crate::runtime::failure::fail;
use crate::runtime::pulse;
use crate::runtime::source_operator::{SourcePort, SourceSettings};
use crate::runtime::stats::{Counter, Waits};
use crate::source::{OpenContext, ReaderRequest, SourceBatch, SplitEnds, SplitReader};

/// Batches between a reader and its worker: enough to keep both busy.
const BATCHES_WAITING_MAX: usize = 4;
/// How long a reader waits for records before it looks for requests.
const POLL_TIMEOUT: Duration = Duration::from_millis(50);

/// A source's reader on this worker, as the dataflow sees it.
#[derive(Clone)]
pub struct Reader {
    source: usize,
    requests: Sender<ReaderRequest>,
    activator: Arc<Mutex<Option<SyncActivator>>>,
}

impl Reader {
    /// From now on wakes this operator after every batch.
    pub fn wake(&self, activator: SyncActivator) {
        *self
            .activator
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(activator);
    }
}

/// Starts the readers of this worker.
pub fn open(
    scope: Scope<'_, u64>,
    context: &JobContext,
) -> (Vec<SourcePort>, Vec<AlignedSource>, Vec<Reader>) {
    let (mut ports, mut aligned, mut readers) = (Vec::new(), Vec::new(), Vec::new());
    for (source, plan) in context.plan.sources.iter().enumerate() {
        let _inside = pulse::inside(&format!("opening source {}", plan.name).into());
        let ends = SplitEnds::default();
        let opened = crate::source::open(
            plan,
            &OpenContext {
                job: context.plan.name.clone(),
                worker: scope.index(),
                workers: scope.peers(),
                bounded: context.bounded,
                restored: context.split_starts(&plan.name),
                moved: context.moved_sources.contains(&plan.name),
                topics: context.topics.clone(),
                until: context.until.as_ref().map(|until| until.halts(&plan.name)),
                now_ms: context.started_ms,
                ends: ends.clone(),
            },
        );
        let reader = opened.unwrap_or_else(|error| fail(&error.to_string()));
        let is_table = matches!(plan.kind, SourceKind::Table { .. });
        let (requests, todo) = channel();
        if context.tables_first() && !is_table {
            // The receiver is right here.
            let _ = requests.send(ReaderRequest::Pause(true));
        }
        let (batches, ready) = sync_channel(BATCHES_WAITING_MAX);
        let handle = Reader {
            source,
            requests: requests.clone(),
            activator: Arc::default(),
        };
        start(
            context,
            &plan.name,
            scope.index(),
            reader,
            todo,
            batches,
            handle.activator.clone(),
        );
        ports.push(SourcePort {
            source,
            batches: ready,
            is_table,
            records: context.stats.events_in[&plan.name].clone(),
            judge: context.tolerance.judge(&format!("source {}", plan.name)),
            ends,
            reader: requests.clone(),
        });
        if !is_table {
            aligned.push(AlignedSource {
                node: plan.node.0,
                reader: requests,
            });
        }
        readers.push(handle);
    }
    (ports, aligned, readers)
}

/// Starts the thread of one reader.
fn start(
    context: &JobContext,
    name: &str,
    worker: usize,
    mut reader: Box<dyn SplitReader>,
    requests: Receiver<ReaderRequest>,
    batches: SyncSender<SourceBatch>,
    activator: Arc<Mutex<Option<SyncActivator>>>,
) {
    let mut times = ReaderTimes::new(context, name, worker);
    let spawned = thread::Builder::new()
        .name(format!("source-{name}-{worker}"))
        .spawn(move || {
            loop {
                loop {
                    match requests.try_recv() {
                        Ok(request) => reader.request(request),
                        Err(TryRecvError::Empty) => break,
                        Err(TryRecvError::Disconnected) => return,
                    }
                }
                match reader.poll(POLL_TIMEOUT) {
                    Ok(None) => {}
                    Ok(Some(batch)) => {
                        times.batch_made();
                        if batches.send(batch).is_err() {
                            return;
                        }
                        times.batch_taken();
                        let activator = activator.lock().unwrap_or_else(PoisonError::into_inner);
                        if let Some(activator) = &*activator {
                            // A worker that is gone needs no waking.
                            let _ = activator.activate();
                        }
                    }
                    Err(error) => fail(&error.to_string()),
                }
            }
        });
    match spawned {
        Ok(thread) => context
            .readers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(thread),
        Err(error) => fail(&format!(
            "cannot start the reader of source {name}: {error}"
        )),
    }
}

/// How a reader spends its time, as the operator `read/SOURCE`. It waits for records inside of the client, so that only the CPU
/// time of its thread tells how busy it is.
struct ReaderTimes {
    busy: Counter,
    waits: Waits,
}

impl ReaderTimes {
    fn new(context: &JobContext, source: &str, worker: usize) -> Self {
        let (activity, operator) = (&context.stats.activity, format!("read/{source}"));
        Self {
            busy: activity.busy(worker, &operator),
            waits: activity.waits(worker, &operator),
        }
    }

    /// The worker may have to take another batch first.
    fn batch_made(&mut self) {
        let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let seconds = u64::try_from(used.tv_sec).unwrap_or(0);
        let nanoseconds = u64::try_from(used.tv_nsec).unwrap_or(0);
        self.busy.set(seconds * 1_000_000_000 + nanoseconds);
        self.waits.note(true, Instant::now());
    }

    fn batch_taken(&mut self) {
        self.waits.note(false, Instant::now());
    }
}

/// What the source operator of a worker is told.
pub fn settings(context: &JobContext, worker: usize) -> SourceSettings {
    SourceSettings {
        worker,
        start: context.start,
        origin: context.origin,
        tick: context.settings.epoch_tick,
        checkpoint_interval: context.settings.checkpoint_interval,
        in_flight_bytes_max: context.settings.in_flight_bytes / context.workers.max(1),
        outbox_bytes_max: context.settings.outbox_bytes as u64,
        tells_fullness: context.place.processes > 1,
        tables_first: context.tables_first(),
        begins_from_state: context.begins_from_state(),
        stop: context.stop.clone(),
        drain: context.drain.clone(),
        savepoints: context.savepoints.clone(),
        hold: context.hold.clone(),
        append_sinks: super::append_sinks(&context.plan),
    }
}

/// Tells readers which offsets are covered by a durable checkpoint, so that they may report them.
pub fn commit_offsets<'scope>(
    scope: Scope<'scope, u64>,
    context: &JobContext,
    readers: Vec<Reader>,
    durable: Durable<'scope>,
    ticks: StreamVec<'scope, u64, Tick>,
) {
    let mut builder = OperatorBuilder::new("Offsets".to_owned(), scope);
    let mut durable = builder.new_input(durable, Pipeline);
    let mut ticks = builder.new_input(ticks, Pipeline);
    let worker = scope.index();
    let workers = scope.peers();
    let stats = context.stats.clone();
    let names: Vec<String> = context
        .plan
        .sources
        .iter()
        .map(|source| source.name.clone())
        .collect();
    builder.build(move |_| {
        let mut cuts: BTreeMap<u64, Arc<[SplitReport]>> = BTreeMap::new();
        move |frontiers| {
            durable.for_each(|_, _| {});
            ticks.for_each(|_, data| {
                for tick in data.drain(..) {
                    if let Some(marker) = tick.marker {
                        cuts.insert(tick.epoch.0, marker.splits);
                    }
                }
            });
            let mut newest = None;
            while let Some(entry) = cuts.first_entry()
                && !frontiers[0].less_equal(entry.key())
            {
                let (epoch, splits) = entry.remove_entry();
                // Worker 0's process knows already; the others hear of it here.
                stats.durable.raise(epoch);
                newest = Some(splits);
            }
            let Some(splits) = newest else { return };
            for reader in &readers {
                let covered: Vec<_> = splits
                    .iter()
                    .filter(|split| split.source == reader.source)
                    .filter(|split| {
                        crate::source::owner_of_split(&names[split.source], split.split, workers)
                            == worker
                    })
                    .map(|split| (split.split, split.next_offset))
                    .collect();
                if !covered.is_empty() {
                    // A reader that is gone has nobody to tell.
                    let _ = reader.requests.send(ReaderRequest::Commit(covered));
                }
            }
        }
    });
}
