//! What is still under way behind the source: whether that is too much, and whether anything is left.

use std::collections::VecDeque;

use super::Source;

/// Epochs that have been closed and are not computed yet, with their bytes.
#[derive(Default)]
pub(super) struct InFlight {
    epochs: VecDeque<(u64, usize)>,
    bytes: usize,
}

impl InFlight {
    pub(super) fn push(&mut self, epoch: u64, bytes: usize) {
        self.epochs.push_back((epoch, bytes));
        self.bytes += bytes;
    }
}

impl Source {
    /// Forgets the bytes of epochs that all operators have completed.
    pub(super) fn settle_in_flight(&mut self) {
        while let Some((epoch, bytes)) = self.in_flight.epochs.front().copied() {
            if self.computed.less_equal(&epoch) {
                break;
            }
            self.in_flight.bytes -= bytes;
            self.stats.computed.raise(epoch);
            self.in_flight.epochs.pop_front();
        }
    }

    /// Too much is on its way. The outboxes of held sinks, a row per key, are drained only when the replay has caught up, so
    /// they don't count until then.
    pub(super) fn blocked(&self) -> bool {
        self.in_flight.bytes + self.open.bytes > self.settings.in_flight_bytes_max
            || self.outbox_full()
            || self.local.outbox_full_elsewhere.get()
    }

    /// An outbox of this process holds more than it may.
    pub(super) fn outbox_full(&self) -> bool {
        let limit = self.settings.outbox_bytes_max;
        let held = self.settings.hold.is_on();
        let mut outboxes = self.stats.outbox_bytes.iter();
        outboxes.any(|(sink, bytes)| {
            bytes.get() > limit && (!held || self.settings.append_sinks.contains(sink))
        })
    }

    /// The input has ended, and all that came of it here is computed.
    pub(super) fn has_computed_all(&self) -> bool {
        let finished_at = self.local.finished_at.get();
        finished_at.is_some_and(|epoch| !self.computed.less_equal(&epoch))
    }

    /// Nothing that this process has to deliver is left, not even dead letters of rows that a store refuses: their rows
    /// stay in the outbox until they are durable. What a replay still holds is for a later run.
    pub(super) fn is_settled(&self) -> bool {
        let mut outboxes = self.stats.outbox_bytes.values();
        self.has_computed_all()
            && (self.settings.hold.is_on() || outboxes.all(|bytes| bytes.get() == 0))
    }

    /// The other workers don't know yet that an outbox of this process has become full, or is so no longer, or that nothing
    /// is left in any of them.
    pub(super) fn has_news(&self) -> bool {
        (self.settings.tells_fullness && self.outbox_full() != self.told_full)
            || self.is_settled() != self.told_settled
    }
}
