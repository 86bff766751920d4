//! The source operator: one per worker. Joins what this worker's readers bring into one batch of rows per epoch and closes
//! each epoch with a control record.
//!
//! It alone decides when an epoch ends: its tick is over and it has rows, a peer is seen in a later one, a marker is due, a
//! byte limit, or a second of nothing. While the job waits for operators or sinks, it stops taking batches, but still
//! closes epochs: no gate ever waits for an open epoch.

mod backlog;
mod closing;
mod intake;
mod schedule;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::AtomicBool,
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

use self::backlog::InFlight;
use self::intake::OpenEpoch;
use super::control::Control;
use super::epoch::{EpochClock, EpochLength};
use super::local::Local;
use super::replay::Hold;
use super::savepoints::Savepoints;
use super::split_reports::SplitReports;
use super::stats::{Counter, Stats, Waits};
use super::tolerance::Judge;
use crate::source::{ReaderRequest, SourceBatch, SplitEnds};

/// Its name among the operators.
pub const SOURCE: &str = "source";

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

/// Where it sends what it makes. Their capabilities are in this order.
struct Outputs {
    /// By port.
    rows: Vec<Batches>,
    dead_letters: Batches,
    controls: OutputBuilder<u64, CapacityContainerBuilder<Vec<Control>>>,
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
    let (mut rows, mut streams) = (Vec::new(), Vec::new());
    for _ in &ports {
        let (output, stream) = builder.new_output();
        rows.push(Batches::from(output));
        streams.push(stream);
    }
    let (dead_letters, dead_letter_stream) = builder.new_output();
    let (controls, control_stream) = builder.new_output();
    let outputs = Outputs {
        rows,
        dead_letters: Batches::from(dead_letters),
        controls: OutputBuilder::from(controls),
    };
    let mut state = Source::new(settings, ports, local, computed, stats, activator, outputs);
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

struct Source {
    settings: SourceSettings,
    ports: Vec<SourcePort>,
    local: Local,
    computed: ProbeHandle<u64>,
    stats: Arc<Stats>,
    activator: Activator,
    outputs: Outputs,
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
    in_flight: InFlight,
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
    fn new(
        settings: SourceSettings,
        ports: Vec<SourcePort>,
        local: Local,
        computed: ProbeHandle<u64>,
        stats: Arc<Stats>,
        activator: Activator,
        outputs: Outputs,
    ) -> Self {
        let now = Instant::now();
        Self {
            clock: EpochClock::new(settings.start, settings.origin),
            length: EpochLength::new(settings.tick),
            reported: vec![false; ports.len()],
            ready: false,
            splits: SplitReports::default(),
            drained: false,
            open: OpenEpoch::new(now),
            last_marker: now,
            unpublished: VecDeque::new(),
            in_flight: InFlight::default(),
            final_sent: false,
            told_full: false,
            told_settled: false,
            wake_at: None,
            next_ends: now,
            waits: stats.activity.waits(settings.worker, SOURCE),
            settings,
            ports,
            local,
            computed,
            stats,
            activator,
            outputs,
        }
    }

    /// One activation; true when the source has ended.
    fn run(&mut self, capabilities: &mut [Capability<u64>]) -> bool {
        if self.local.final_epoch.get().is_some() {
            return true;
        }
        let now = Instant::now();
        self.settle_in_flight();
        if std::mem::take(&mut self.settings.begins_from_state) {
            self.close(capabilities, now, None);
        }
        self.drain();
        let refused = self.local.take_refused(self.clock.current());
        self.give_letters(&refused, capabilities);
        let (blocked, more) = self.take_batches(capabilities);
        let now = Instant::now();
        self.waits.note(blocked, now);
        self.look_at_ends(now);
        if let Some(marker) = self.marker_due(now) {
            self.close(capabilities, now, Some(marker));
        } else if self.is_behind_a_peer() || self.epoch_over(now) {
            self.length.adapt(more);
            self.close(capabilities, now, None);
        }
        self.schedule(now, blocked, more);
        false
    }
}

#[cfg(test)]
mod tests;
