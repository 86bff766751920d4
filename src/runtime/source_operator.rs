//! The source operator: one per worker. Joins what this worker's readers bring into one batch of rows per epoch and closes
//! each epoch with a control record.
//!
//! It alone decides when an epoch ends: its tick is over and it has rows, a peer is seen in a later one, a marker is due, a
//! byte limit, or a second of nothing. While the job waits for operators or sinks, it stops taking batches, but still
//! closes epochs: no gate ever waits for an open epoch.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender},
    },
    time::{Duration, Instant},
};

use tidewright_operators::routed::RoutedBatch;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::probe::Handle as ProbeHandle;
use timely::dataflow::{Scope, StreamVec};
use timely::scheduling::Activator;

use super::control::{Control, MarkerKind};
use super::epoch::{EpochClock, EpochLength, wall_clock_ms};
use super::local::Local;
use super::replay::Hold;
use super::savepoints::Savepoints;
use super::split_reports::SplitReports;
use super::stats::{Counter, Stats, Waits};
use super::tolerance::Judge;
use crate::dead_letter::{self, DeadLetter};
use crate::source::{ReaderRequest, SourceBatch, SplitEnds};

/// An epoch of nothing is closed after this time, so that idleness and time get around.
const IDLE_EPOCH: Duration = Duration::from_secs(1);
/// How soon a waiting source looks again whether it may go on.
const BLOCKED_RETRY: Duration = Duration::from_millis(1);
/// How soon a source whose input has ended looks again whether everything is delivered.
const SETTLE_RETRY: Duration = Duration::from_millis(5);
/// Checkpoints that may be under way: one is written while another one waits. Were there more, workers would merge different
/// ones, and none would be complete on all of them.
const UNPUBLISHED_MAX: usize = 2;
/// Its name among the operators.
pub const SOURCE: &str = "source";
/// How often it is looked up how far splits reach, so that a source that waits tells how far behind it falls.
const ENDS_INTERVAL: Duration = Duration::from_millis(500);
/// An epoch with more bytes than this is closed.
const EPOCH_BYTES_MAX: usize = 16 << 20;

/// One source's readers on this worker.
pub struct SourcePort {
    /// Position in the plan.
    pub source: usize,
    /// Decoded batches; disconnected when the reader has ended.
    pub batches: Receiver<SourceBatch>,
    /// Tables are read before streams begin.
    pub is_table: bool,
    /// Records read.
    pub records: Counter,
    /// Judges how many of them cannot be decoded.
    pub judge: Option<Judge>,
    /// How far its splits reach.
    pub ends: SplitEnds,
    /// Its reader. A stream's begins paused while tables are read first.
    pub reader: Sender<ReaderRequest>,
}

/// What the operator is told.
pub struct SourceSettings {
    /// This worker.
    pub worker: usize,
    /// The first epoch.
    pub start: u64,
    /// The origin of epochs, shared by all workers.
    pub origin: Instant,
    /// Length of an epoch.
    pub tick: Duration,
    /// Time between checkpoints.
    pub checkpoint_interval: Duration,
    /// Bytes that may be between ingested and computed, on this worker.
    pub in_flight_bytes_max: usize,
    /// Bytes that may wait in each sink's outbox.
    pub outbox_bytes_max: u64,
    /// There are other processes, which must know when an outbox of this one is full.
    pub tells_fullness: bool,
    /// Streams wait, paused, for tables.
    pub tables_first: bool,
    /// The first epoch brings no records: operators and outboxes get restored rows in it, which must come before any change.
    pub begins_from_state: bool,
    /// Set from outside to end the job with a final checkpoint.
    pub stop: Arc<AtomicBool>,
    /// Set from outside to end the input first.
    pub drain: Arc<AtomicBool>,
    /// Wants markers of its own.
    pub savepoints: Arc<Savepoints>,
    /// Holds back the deliveries of keyed sinks while a replay has not caught up.
    pub hold: Arc<Hold>,
    /// The sinks that are not held.
    pub append_sinks: BTreeSet<String>,
}

/// What the operator makes.
pub struct SourceStreams<'scope> {
    /// Rows, by port.
    pub rows: Vec<StreamVec<'scope, u64, RoutedBatch>>,
    /// Records that could not be decoded.
    pub dead_letters: StreamVec<'scope, u64, RoutedBatch>,
    /// Control records, to be broadcast.
    pub controls: StreamVec<'scope, u64, Control>,
    /// Where readers wake it.
    pub address: Vec<usize>,
}

type Batches = OutputBuilder<u64, CapacityContainerBuilder<Vec<RoutedBatch>>>;

/// Makes the source operator of this worker. `computed` tells which epochs all operators have completed.
pub fn source<'scope>(
    scope: Scope<'scope, u64>,
    settings: SourceSettings,
    ports: Vec<SourcePort>,
    local: Local,
    computed: ProbeHandle<u64>,
    stats: Arc<Stats>,
) -> SourceStreams<'scope> {
    let mut builder = OperatorBuilder::new("Source".to_owned(), scope);
    let address = builder.operator_info().address;
    let activator = scope.activator_for(address.clone());
    local.set_source(scope.activator_for(address.clone()));
    let mut outputs = Vec::new();
    let mut streams = Vec::new();
    for _ in &ports {
        let (output, stream) = builder.new_output();
        outputs.push(Batches::from(output));
        streams.push(stream);
    }
    let (dead_letters, dead_letter_stream) = builder.new_output();
    let (controls, control_stream) = builder.new_output();
    let mut state = Source {
        clock: EpochClock::new(settings.start, settings.origin),
        length: EpochLength::new(settings.tick),
        reported: vec![false; ports.len()],
        ready: false,
        splits: SplitReports::default(),
        drained: false,
        open: OpenEpoch::new(Instant::now()),
        last_marker: Instant::now(),
        unpublished: VecDeque::new(),
        in_flight: VecDeque::new(),
        in_flight_bytes: 0,
        final_sent: false,
        told_full: false,
        told_settled: false,
        wake_at: None,
        next_ends: Instant::now(),
        waits: stats.activity.waits(settings.worker, SOURCE),
        settings,
        ports,
        local,
        computed,
        stats,
        activator,
        outputs,
        dead_letters: Batches::from(dead_letters),
        controls: OutputBuilder::from(controls),
    };
    builder.build(move |mut capabilities| {
        for capability in &mut capabilities {
            capability.downgrade(&state.settings.start);
        }
        let mut capabilities = Some(capabilities);
        move |_| {
            if let Some(held) = &mut capabilities
                && state.run(held)
            {
                capabilities = None;
            }
        }
    });
    SourceStreams {
        rows: streams,
        dead_letters: dead_letter_stream,
        controls: control_stream,
        address: address.to_vec(),
    }
}

/// The open epoch so far.
struct OpenEpoch {
    since: Instant,
    first_record: Option<Instant>,
    ingested_at: Option<Instant>,
    records: u64,
    bytes: usize,
}

impl OpenEpoch {
    fn new(since: Instant) -> Self {
        Self {
            since,
            first_record: None,
            ingested_at: None,
            records: 0,
            bytes: 0,
        }
    }
}

struct Source {
    settings: SourceSettings,
    ports: Vec<SourcePort>,
    local: Local,
    computed: ProbeHandle<u64>,
    stats: Arc<Stats>,
    activator: Activator,
    outputs: Vec<Batches>,
    dead_letters: Batches,
    controls: OutputBuilder<u64, CapacityContainerBuilder<Vec<Control>>>,
    clock: EpochClock,
    length: EpochLength,
    /// Which ports have brought their first batch, which names all their splits.
    reported: Vec<bool>,
    /// A control record has said that all ports reported.
    ready: bool,
    /// What is known of the splits of this worker.
    splits: SplitReports,
    /// The sources have been ended here.
    drained: bool,
    open: OpenEpoch,
    last_marker: Instant,
    /// Epochs of markers whose checkpoints are not published yet.
    unpublished: VecDeque<u64>,
    in_flight: VecDeque<(u64, usize)>,
    in_flight_bytes: usize,
    final_sent: bool,
    /// What the last control record said about this process's outboxes.
    told_full: bool,
    /// It said that nothing is left to deliver.
    told_settled: bool,
    /// The earliest activation that is already asked for.
    wake_at: Option<Instant>,
    next_ends: Instant,
    /// How long it has waited for operators and sinks.
    waits: Waits,
}

impl Source {
    /// One activation; true when the source has ended.
    fn run(&mut self, capabilities: &mut [Capability<u64>]) -> bool {
        if self.local.final_epoch.get().is_some() {
            return true;
        }
        let now = Instant::now();
        self.settle_in_flight();
        if self.local.greatest_seen.get() >= self.clock.current() {
            self.close(capabilities, now, None);
        }
        if std::mem::take(&mut self.settings.begins_from_state) {
            self.close(capabilities, now, None);
        }
        self.drain();
        let refused = self.local.take_refused(self.clock.current());
        self.give_letters(&refused, capabilities);
        let (blocked, more) = self.take_batches(capabilities);
        let now = Instant::now();
        self.waits.note(blocked, now);
        if now >= self.next_ends {
            self.next_ends = now + ENDS_INTERVAL;
            self.look_at_ends();
        }
        if let Some(marker) = self.marker_due(now) {
            self.close(capabilities, now, Some(marker));
        } else if self.epoch_over(now) {
            self.length.adapt(more);
            self.close(capabilities, now, None);
        }
        self.schedule(now, blocked, more);
        false
    }

    /// Forgets the bytes of epochs that all operators have completed.
    fn settle_in_flight(&mut self) {
        while let Some((epoch, bytes)) = self.in_flight.front().copied() {
            if self.computed.less_equal(&epoch) {
                break;
            }
            self.in_flight_bytes -= bytes;
            self.stats.computed.raise(epoch);
            self.in_flight.pop_front();
        }
    }

    /// Too much is on its way. The outboxes of held sinks, a row per key, are drained only when the replay has caught up, so
    /// they don't count until then.
    fn blocked(&self) -> bool {
        self.in_flight_bytes + self.open.bytes > self.settings.in_flight_bytes_max
            || self.outbox_full()
            || self.local.outbox_full_elsewhere.get()
    }

    /// An outbox of this process holds more than it may.
    fn outbox_full(&self) -> bool {
        let limit = self.settings.outbox_bytes_max;
        let held = self.settings.hold.is_on();
        let mut outboxes = self.stats.outbox_bytes.iter();
        outboxes.any(|(sink, bytes)| {
            bytes.get() > limit && (!held || self.settings.append_sinks.contains(sink))
        })
    }

    /// The other workers don't know yet that an outbox of this process has become full, or is so no longer, or that nothing
    /// is left in any of them.
    fn has_news(&self) -> bool {
        (self.settings.tells_fullness && self.outbox_full() != self.told_full)
            || self.is_settled() != self.told_settled
    }

    /// The input has ended, and all that came of it here is computed.
    fn has_computed_all(&self) -> bool {
        let finished_at = self.local.finished_at.get();
        finished_at.is_some_and(|epoch| !self.computed.less_equal(&epoch))
    }

    /// Nothing that this process has to deliver is left, not even dead letters of rows that a store refuses: their rows
    /// stay in the outbox until they are durable. What a replay still holds is for a later run.
    fn is_settled(&self) -> bool {
        let mut outboxes = self.stats.outbox_bytes.values();
        self.has_computed_all()
            && (self.settings.hold.is_on() || outboxes.all(|bytes| bytes.get() == 0))
    }

    /// Lets streams begin once every table has been read to the end seen at the start.
    fn begin_streams(&mut self) {
        if !self.settings.tables_first || !self.local.tables_caught_up.get() {
            return;
        }
        self.settings.tables_first = false;
        for port in self.ports.iter().filter(|port| !port.is_table) {
            // A reader that is gone has ended its source.
            let _ = port.reader.send(ReaderRequest::Pause(false));
        }
    }

    /// Ends all sources where they are, once all splits are known: what readers still bring is not taken.
    fn drain(&mut self) {
        let known = self.reported.iter().all(|reported| *reported);
        if self.drained || !known || !self.local.draining.get() {
            return;
        }
        self.drained = true;
        self.splits.end_all();
    }

    /// Takes what the readers have brought; tells whether it had to wait and whether more is there.
    fn take_batches(&mut self, capabilities: &[Capability<u64>]) -> (bool, bool) {
        if self.drained {
            return (false, false);
        }
        self.begin_streams();
        let mut more = true;
        while more && self.open.bytes < EPOCH_BYTES_MAX {
            more = false;
            for port in 0..self.ports.len() {
                if self.blocked() {
                    return (true, true);
                }
                if let Ok(batch) = self.ports[port].batches.try_recv() {
                    self.take(port, batch, capabilities);
                    more = true;
                }
            }
        }
        (false, more)
    }

    fn take(&mut self, port: usize, batch: SourceBatch, capabilities: &[Capability<u64>]) {
        let source = self.ports[port].source;
        self.reported[port] = true;
        self.ports[port].records.add(batch.records);
        if let Some(judge) = &self.ports[port].judge {
            judge.note(batch.records, &batch.dead_letters);
        }
        let now_ms = wall_clock_ms();
        let ends = &self.ports[port].ends;
        for split in &batch.splits {
            self.splits.note(source, split, ends, now_ms);
        }
        self.open.records += batch.records;
        self.open.bytes += batch.bytes;
        if batch.records > 0 {
            self.open.first_record.get_or_insert_with(Instant::now);
            let earliest = self
                .open
                .ingested_at
                .map_or(batch.ingested_at, |at| at.min(batch.ingested_at));
            self.open.ingested_at = Some(earliest);
        }
        if batch.rows.num_rows() > 0 {
            let target = self.settings.worker as u64;
            self.outputs[port]
                .activate()
                .session(&capabilities[port])
                .give(RoutedBatch {
                    target,
                    rows: batch.rows,
                });
        }
        self.give_letters(&batch.dead_letters, capabilities);
    }

    /// Takes into account how far splits reach: their readers can tell nothing while their batches wait.
    fn look_at_ends(&mut self) {
        let now_ms = wall_clock_ms();
        for port in &self.ports {
            self.splits.look_at_ends(port.source, &port.ends, now_ms);
        }
    }

    fn give_letters(&mut self, letters: &[DeadLetter], capabilities: &[Capability<u64>]) {
        if letters.is_empty() {
            return;
        }
        self.stats.dead_letters.count(letters);
        let target = self.settings.worker as u64;
        let letters = RoutedBatch {
            target,
            rows: dead_letter::batch(letters),
        };
        let port = self.ports.len();
        self.dead_letters
            .activate()
            .session(&capabilities[port])
            .give(letters);
    }

    fn epoch_over(&self, now: Instant) -> bool {
        let news = !self.ready && self.reported.iter().all(|reported| *reported);
        let progress = news || self.splits.have_news() || self.has_news();
        self.open.bytes >= EPOCH_BYTES_MAX
            || now - self.open.since >= IDLE_EPOCH
            || (progress && now - self.open.since >= self.length.current())
    }

    /// Worker 0 alone decides when checkpoints are taken.
    fn marker_due(&mut self, now: Instant) -> Option<MarkerKind> {
        if self.settings.worker != 0 || self.final_sent {
            return None;
        }
        // At the end of the input everything is delivered before the last checkpoint: rows that a store refuses become dead
        // letters, which need an epoch and a checkpoint of their own.
        let settled = self.is_settled() && self.local.all_settled.get();
        if settled || self.settings.stop.load(Ordering::Relaxed) {
            return Some(MarkerKind::Final);
        }
        let durable = self.stats.durable.get();
        self.unpublished.retain(|epoch| *epoch > durable);
        // A checkpoint without the position of a split would have it begin anew.
        if self.unpublished.len() >= UNPUBLISHED_MAX || !self.local.ready.get() {
            return None;
        }
        if self.settings.savepoints.is_due() {
            return Some(MarkerKind::Savepoint);
        }
        let changed = self.local.changed.get() || self.open.records > 0;
        let due = now - self.last_marker >= self.settings.checkpoint_interval;
        (changed && (due || self.has_computed_all())).then_some(MarkerKind::Periodic)
    }

    fn close(
        &mut self,
        capabilities: &mut [Capability<u64>],
        now: Instant,
        marker: Option<MarkerKind>,
    ) {
        let epoch = self.clock.current();
        self.ready |= self.reported.iter().all(|reported| *reported);
        let control = Control {
            worker: self.settings.worker,
            splits: self.splits.take_news(),
            records: self.open.records,
            ready: self.ready,
            outbox_full: self.outbox_full(),
            settled: self.is_settled(),
            marker,
            drain: self.settings.worker == 0 && self.settings.drain.load(Ordering::Relaxed),
        };
        self.told_full = control.outbox_full;
        self.told_settled = control.settled;
        let port = self.ports.len() + 1;
        self.controls
            .activate()
            .session(&capabilities[port])
            .give(control);
        if let Some(kind) = marker {
            self.last_marker = now;
            self.unpublished.push_back(epoch);
            self.local.changed.set(false);
            let last = kind == MarkerKind::Final;
            self.final_sent |= last;
            self.settings.savepoints.cut_at(epoch, last);
        }
        if let Some(at) = self.open.ingested_at {
            self.stats.ingest_times.note(epoch, at, self.open.records);
        }
        self.in_flight.push_back((epoch, self.open.bytes));
        self.in_flight_bytes += self.open.bytes;
        self.stats.ingested.raise(epoch);
        let next = self.clock.advance(now, self.local.greatest_seen.get());
        for capability in capabilities {
            capability.downgrade(&next);
        }
        self.open = OpenEpoch::new(now);
    }

    /// Comes back when something will be due; readers and the clock wake it up for everything else.
    fn schedule(&mut self, now: Instant, blocked: bool, more: bool) {
        let mut wait = (self.open.since + IDLE_EPOCH).saturating_duration_since(now);
        if self.splits.have_news() || self.has_news() {
            wait =
                wait.min((self.open.since + self.length.current()).saturating_duration_since(now));
        }
        let asked = self.settings.savepoints.is_due();
        let changed = self.local.changed.get() || self.open.records > 0;
        if self.settings.worker == 0 && (asked || changed) && self.local.ready.get() {
            let due = match asked {
                true => now,
                false => self.last_marker + self.settings.checkpoint_interval,
            };
            let retry = if self.unpublished.len() < UNPUBLISHED_MAX {
                Duration::ZERO
            } else {
                BLOCKED_RETRY
            };
            wait = wait.min(due.saturating_duration_since(now).max(retry));
        }
        if self.local.finished_at.get().is_some() {
            wait = wait.min(SETTLE_RETRY);
        }
        if blocked || self.told_full {
            wait = wait.min(BLOCKED_RETRY);
        } else if more {
            wait = Duration::ZERO;
        }
        if wait.is_zero() {
            self.activator.activate();
            return;
        }
        // Every activation would ask for another one otherwise, and they would pile up.
        self.wake_at = self.wake_at.filter(|at| *at > now);
        let at = now + wait;
        if self.wake_at.is_none_or(|asked| at < asked) {
            self.wake_at = Some(at);
            self.activator.activate_after(wait);
        }
    }
}
