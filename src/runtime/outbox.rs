//! The outbox of a keyed sink: what has changed but is not known to be visible in the store.
//!
//! ```text
//!  changes ─> open ──marker──> sealed ──durable──> waiting ──> sending ──acknowledged──> gone
//!             (since the       (one per           (coalesced) (a cycle of chunks,
//!             last marker)     checkpoint)                     all of one frontier)
//! ```
//! At most one row per key in each stage, coalesced over all checkpoints that wait: bounded by distinct keys however long
//! the store is down. Only rows of durable checkpoints are sent, so at the end of a cycle the store equals the result at
//! that checkpoint.

use std::collections::VecDeque;

use hashbrown::{HashMap, HashSet};
use tidewright_checkpoints::{Entry, Epoch, Shard, ShardDelta, SmallBytes};
use timely::scheduling::Activator;

use super::stats::Counter;

/// A row that has not reached the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The epoch in which it changed.
    pub epoch: Epoch,
    /// It is to be deleted; the row is the one that went away.
    pub deleted: bool,
    /// The encoded row.
    pub row: Box<[u8]>,
}

type Rows = HashMap<SmallBytes, Pending>;

/// A part of what is to be sent, in one write.
#[derive(Debug)]
pub struct Chunk {
    /// The rows with their keys, at most one per key.
    pub rows: Vec<(SmallBytes, Pending)>,
    /// The checkpoint that they belong to.
    pub through: Epoch,
}

/// The outbox of one keyed sink on one worker.
#[derive(Debug, Default)]
pub struct KeyedOutbox {
    open: Rows,
    sealed: VecDeque<(Epoch, Rows)>,
    waiting: Rows,
    sending: Vec<(SmallBytes, Pending)>,
    in_flight: Vec<(SmallBytes, Pending)>,
    /// The checkpoint whose rows are being sent.
    cycle: Option<Epoch>,
    durable: Epoch,
    delivered: Epoch,
    /// Keys whose entries in older checkpoints are no longer needed.
    settled: HashSet<SmallBytes>,
    bytes: Counter,
    /// Where its rows are counted with those of other workers, and how many of its own are in there.
    rows: (Counter, u64),
    eager: bool,
    /// Takes what is released.
    delivery: Option<Activator>,
}

/// The first byte of an encoded entry: the version of its form.
const ENTRY_FORMAT: u8 = 1;
/// Bytes in front of an entry's row: format, deleted flag, epoch.
const ENTRY_HEADER: usize = 10;

impl KeyedOutbox {
    /// An empty outbox that counts its bytes in `bytes`, for a sink that is served eagerly or by checkpoints. Everything up to `durable` is delivered unless it is restored.
    #[must_use]
    pub fn new(bytes: Counter, durable: Epoch, eager: bool) -> Self {
        Self {
            bytes,
            durable,
            delivered: durable,
            eager,
            ..Self::default()
        }
    }

    /// Wakes this operator when rows are released; checkpoints wake it by themselves.
    pub fn wake_on_release(&mut self, delivery: Activator) {
        self.delivery = Some(delivery);
    }

    /// Counts its rows in `rows`, together with other outboxes of the sink.
    pub fn count_rows_in(&mut self, rows: Counter) {
        self.rows = (rows, 0);
        self.tell_rows();
    }

    /// Rows that wait: per checkpoint, not per row.
    fn tell_rows(&mut self) {
        let sealed: usize = self.sealed.iter().map(|(_, rows)| rows.len()).sum();
        let on_their_way = self.waiting.len() + self.sending.len() + self.in_flight.len();
        let now = (self.open.len() + sealed + on_their_way) as u64;
        let (rows, told) = &mut self.rows;
        rows.add(now);
        rows.subtract(*told);
        *told = now;
    }

    /// Notes the last image of a key in an epoch. A gain after a loss of the same epoch wins in either order.
    pub fn put(&mut self, key: &[u8], pending: Pending) {
        if pending.deleted
            && let Some(there) = self.open.get(key)
            && there.epoch == pending.epoch
            && !there.deleted
        {
            return;
        }
        self.bytes.add((key.len() + pending.row.len()) as u64);
        if let Some(there) = self.open.get_mut(key) {
            self.bytes.subtract((key.len() + there.row.len()) as u64);
            *there = pending;
        } else {
            self.open.insert(key.into(), pending);
        }
    }

    /// Closes the interval of a checkpoint and encodes what changed in it.
    pub fn seal(&mut self, marker: Epoch) -> Vec<ShardDelta> {
        let open = std::mem::take(&mut self.open);
        let mut deltas: HashMap<Shard, ShardDelta> = HashMap::new();
        let mut add = |key: &[u8], value: Option<SmallBytes>| {
            let shard = Shard::of_key(key);
            deltas
                .entry(shard)
                .or_insert_with(|| ShardDelta {
                    shard,
                    ..ShardDelta::default()
                })
                .entries
                .push(Entry {
                    key: key.into(),
                    sub_key: 0,
                    value,
                });
        };
        for (key, pending) in &open {
            add(key, Some(encode(pending)));
        }
        if self.eager {
            for (key, pending) in self.unacknowledged() {
                add(key, Some(encode(pending)));
            }
        }
        for key in std::mem::take(&mut self.settled) {
            // A newer row of the key may still be on its way; its entry must stay.
            let awaited = self.waiting.contains_key(&key)
                || self.sealed.iter().any(|(_, rows)| rows.contains_key(&key));
            if !open.contains_key(&key) && !awaited {
                add(&key, None);
            }
        }
        self.sealed.push_back((marker, open));
        self.tell_rows();
        let mut deltas: Vec<_> = deltas.into_values().collect();
        deltas.sort_unstable_by_key(|delta| delta.shard);
        deltas
    }

    /// What was released but is not acknowledged, newest image of each key.
    fn unacknowledged(&self) -> impl Iterator<Item = (&[u8], &Pending)> {
        let started = self.sending.iter().chain(&self.in_flight);
        let newest = |key: &[u8]| !self.waiting.contains_key(key) && !self.open.contains_key(key);
        let waiting = self.waiting.iter().map(|(key, pending)| (&**key, pending));
        started
            .map(|(key, pending)| (&**key, pending))
            .filter(move |(key, _)| newest(key))
            .chain(waiting)
    }

    /// Takes an entry of a checkpoint; entries at or below `delivered` are garbage.
    ///
    /// # Errors
    /// If the bytes are not an entry of an outbox.
    pub fn restore(&mut self, delta: ShardDelta, delivered: Epoch) -> Result<(), String> {
        for entry in delta.entries {
            let old = match entry.value {
                None => self.waiting.remove(&entry.key),
                Some(value) => {
                    let pending = decode(&value)?;
                    self.bytes.add((entry.key.len() + pending.row.len()) as u64);
                    self.waiting.insert(entry.key.clone(), pending)
                }
            };
            if let Some(old) = old {
                self.bytes
                    .subtract((entry.key.len() + old.row.len()) as u64);
            }
        }
        let bytes = &self.bytes;
        self.waiting.retain(|key, pending| {
            let keep = pending.epoch > delivered;
            if !keep {
                bytes.subtract((key.len() + pending.row.len()) as u64);
            }
            keep
        });
        if !self.waiting.is_empty() {
            self.delivered = delivered;
        }
        self.tell_rows();
        Ok(())
    }

    /// Lets the rows of a completed epoch go without waiting for a checkpoint (`delivery: eager`). What is not acknowledged
    /// by the next marker goes into its checkpoint whole.
    pub fn release(&mut self, epoch: Epoch) {
        let open = std::mem::take(&mut self.open);
        if let Some(delivery) = self.delivery.as_ref().filter(|_| !open.is_empty()) {
            delivery.activate();
        }
        self.sealed.push_back((epoch, open));
        self.set_durable(epoch);
    }

    /// Checkpoints up to this epoch are durable: their rows may be sent.
    pub fn set_durable(&mut self, durable: Epoch) {
        self.durable = self.durable.max(durable);
        while let Some((marker, _)) = self.sealed.front()
            && *marker <= durable
            && let Some((_, rows)) = self.sealed.pop_front()
        {
            for (key, pending) in rows {
                if let Some(old) = self.waiting.get(&key) {
                    self.bytes.subtract((key.len() + old.row.len()) as u64);
                }
                self.waiting.insert(key, pending);
            }
        }
    }

    /// The next rows to send, if none are in flight.
    pub fn next_chunk(&mut self, rows_max: usize) -> Option<Chunk> {
        if !self.in_flight.is_empty() {
            return None;
        }
        if self.sending.is_empty() {
            if self.waiting.is_empty() {
                self.cycle = None;
                self.delivered = self.delivered.max(self.durable);
                return None;
            }
            // Their entries must outlive every checkpoint until they are acknowledged again.
            for key in self.waiting.keys() {
                self.settled.remove(key);
            }
            self.sending = std::mem::take(&mut self.waiting).into_iter().collect();
            self.cycle = Some(self.durable);
        }
        let through = self.cycle?;
        let rest = self.sending.len().saturating_sub(rows_max);
        let rows = self.sending.split_off(rest);
        self.in_flight.clone_from(&rows);
        Some(Chunk { rows, through })
    }

    /// The chunk in flight is visible in the store.
    pub fn acknowledge(&mut self) {
        for (key, pending) in self.in_flight.drain(..) {
            self.bytes.subtract((key.len() + pending.row.len()) as u64);
            self.settled.insert(key);
        }
        if self.sending.is_empty()
            && let Some(through) = self.cycle.take()
        {
            self.delivered = self.delivered.max(through);
        }
        self.tell_rows();
    }

    /// Rows up to this epoch may be sent.
    #[must_use]
    pub fn durable(&self) -> Epoch {
        self.durable
    }

    /// Everything up to this checkpoint is visible in the store.
    #[must_use]
    pub fn delivered(&self) -> Epoch {
        self.delivered
    }
}

fn encode(pending: &Pending) -> SmallBytes {
    let mut bytes = Vec::with_capacity(ENTRY_HEADER + pending.row.len());
    bytes.push(ENTRY_FORMAT);
    bytes.push(u8::from(pending.deleted));
    bytes.extend_from_slice(&pending.epoch.0.to_le_bytes());
    bytes.extend_from_slice(&pending.row);
    bytes.into()
}

fn decode(bytes: &[u8]) -> Result<Pending, String> {
    let (header, row) = bytes
        .split_at_checked(ENTRY_HEADER)
        .ok_or_else(|| format!("an outbox entry of {} bytes is too short", bytes.len()))?;
    let (&[format, deleted], epoch) = header
        .split_first_chunk::<2>()
        .ok_or("an outbox entry is too short")?;
    if format != ENTRY_FORMAT || deleted > 1 {
        return Err(format!(
            "unknown form of an outbox entry ({format}, {deleted})"
        ));
    }
    let epoch = epoch
        .try_into()
        .map_err(|_| "an outbox entry is too short")?;
    Ok(Pending {
        epoch: Epoch(u64::from_le_bytes(epoch)),
        deleted: deleted == 1,
        row: row.into(),
    })
}

#[cfg(test)]
mod tests;
