//! What readers have brought, taken into the open epoch.

use std::time::{Duration, Instant};

use tidewright_operators::routed::RoutedBatch;
use timely::dataflow::operators::Capability;

use super::Source;
use crate::dead_letter::{self, DeadLetter};
use crate::runtime::epoch::wall_clock_ms;
use crate::source::{ReaderRequest, SourceBatch};

/// An epoch with more bytes than this is closed.
pub(super) const EPOCH_BYTES_MAX: usize = 16 << 20;
/// How often it is looked up how far splits reach, so that a source that waits tells how far behind it falls.
const ENDS_INTERVAL: Duration = Duration::from_millis(500);

/// The open epoch so far.
pub(super) struct OpenEpoch {
    pub(super) since: Instant,
    /// When the earliest of its records was read.
    pub(super) ingested_at: Option<Instant>,
    pub(super) records: u64,
    pub(super) bytes: usize,
}

impl OpenEpoch {
    pub(super) fn new(since: Instant) -> Self {
        Self {
            since,
            ingested_at: None,
            records: 0,
            bytes: 0,
        }
    }

    fn add(&mut self, batch: &SourceBatch) {
        self.records += batch.records;
        self.bytes += batch.bytes;
        if batch.records > 0 {
            let earliest = self
                .ingested_at
                .map_or(batch.ingested_at, |at| at.min(batch.ingested_at));
            self.ingested_at = Some(earliest);
        }
    }
}

impl Source {
    /// Takes what the readers have brought; tells whether it had to wait and whether more is there.
    pub(super) fn take_batches(&mut self, capabilities: &[Capability<u64>]) -> (bool, bool) {
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
        self.open.add(&batch);
        if batch.rows.num_rows() > 0 {
            let target = self.settings.worker as u64;
            self.outputs.rows[port]
                .activate()
                .session(&capabilities[port])
                .give(RoutedBatch {
                    target,
                    rows: batch.rows,
                });
        }
        self.give_letters(&batch.dead_letters, capabilities);
    }

    /// Sends records that could not be decoded, and rows that a store refuses, to the sink of dead letters.
    pub(super) fn give_letters(
        &mut self,
        letters: &[DeadLetter],
        capabilities: &[Capability<u64>],
    ) {
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
        self.outputs
            .dead_letters
            .activate()
            .session(&capabilities[port])
            .give(letters);
    }

    /// Ends all sources where they are, once all splits are known: what readers still bring is not taken.
    pub(super) fn drain(&mut self) {
        let known = self.reported.iter().all(|reported| *reported);
        if self.drained || !known || !self.local.draining.get() {
            return;
        }
        self.drained = true;
        self.splits.end_all();
    }

    /// Now and then takes into account how far splits reach: their readers can tell nothing while their batches wait.
    pub(super) fn look_at_ends(&mut self, now: Instant) {
        if now < self.next_ends {
            return;
        }
        self.next_ends = now + ENDS_INTERVAL;
        let now_ms = wall_clock_ms();
        for port in &self.ports {
            self.splits.look_at_ends(port.source, &port.ends, now_ms);
        }
    }
}
