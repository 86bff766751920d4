//! When the open epoch ends, with which marker, and the control record that says so.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use timely::dataflow::operators::Capability;

use super::Source;
use super::intake::{EPOCH_BYTES_MAX, OpenEpoch};
use crate::runtime::control::{Control, MarkerKind};

/// An epoch of nothing is closed after this time, so that idleness and time get around.
pub(super) const IDLE_EPOCH: Duration = Duration::from_secs(1);
/// How much later the other workers end an epoch by themselves than the first one.
const FIRST_WORKER_LEAD: Duration = Duration::from_millis(2);
/// Checkpoints that may be under way: one is written while another one waits. Were there more, workers would merge different
/// ones, and none would be complete on all of them.
pub(super) const UNPUBLISHED_MAX: usize = 2;

impl Source {
    /// A peer has opened a later epoch: the open one can be completed, but for this worker.
    pub(super) fn is_behind_a_peer(&self) -> bool {
        self.local.greatest_opened.get() > self.clock.current()
    }

    /// How long the open epoch lasts, if it brings anything. The first worker comes first, and the others follow it under the
    /// same number, unless it has nothing to end the epoch for.
    pub(super) fn epoch_length(&self) -> Duration {
        let length = self.length.current();
        match self.settings.worker {
            0 => length,
            _ => length + FIRST_WORKER_LEAD.min(length),
        }
    }

    /// The open epoch is to end, marker or not.
    pub(super) fn epoch_over(&self, now: Instant) -> bool {
        let news = !self.ready && self.reported.iter().all(|reported| *reported);
        let progress = news || self.splits.have_news() || self.has_news();
        self.open.bytes >= EPOCH_BYTES_MAX
            || now - self.open.since >= IDLE_EPOCH
            || (progress && now - self.open.since >= self.epoch_length())
    }

    /// Worker 0 alone decides when checkpoints are taken.
    pub(super) fn marker_due(&mut self, now: Instant) -> Option<MarkerKind> {
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

    /// Closes the open epoch with a control record, and opens the next one.
    pub(super) fn close(
        &mut self,
        capabilities: &mut [Capability<u64>],
        now: Instant,
        marker: Option<MarkerKind>,
    ) {
        let epoch = self.clock.current();
        self.ready |= self.reported.iter().all(|reported| *reported);
        let next = self.clock.advance(now, self.local.greatest_opened.get());
        let control = self.control_record(next, marker);
        self.told_full = control.outbox_full;
        self.told_settled = control.settled;
        let port = self.ports.len() + 1;
        self.outputs
            .controls
            .activate()
            .session(&capabilities[port])
            .give(control);
        if let Some(kind) = marker {
            self.marked(epoch, kind, now);
        }
        if let Some(at) = self.open.ingested_at {
            self.stats.ingest_times.note(epoch, at, self.open.records);
        }
        self.in_flight.push(epoch, self.open.bytes);
        self.stats.ingested.raise(epoch);
        for capability in capabilities {
            capability.downgrade(&next);
        }
        self.open = OpenEpoch::new(now);
    }

    /// What all workers are told as the open epoch ends.
    fn control_record(&mut self, opens: u64, marker: Option<MarkerKind>) -> Control {
        Control {
            worker: self.settings.worker,
            opens,
            splits: self.splits.take_news(),
            records: self.open.records,
            ready: self.ready,
            outbox_full: self.outbox_full(),
            settled: self.is_settled(),
            marker,
            drain: self.settings.worker == 0 && self.settings.drain.load(Ordering::Relaxed),
        }
    }

    /// The epoch that is being closed has this marker.
    fn marked(&mut self, epoch: u64, kind: MarkerKind, now: Instant) {
        self.last_marker = now;
        self.unpublished.push_back(epoch);
        self.local.changed.set(false);
        let last = kind == MarkerKind::Final;
        self.final_sent |= last;
        self.settings.savepoints.cut_at(epoch, last);
    }
}
