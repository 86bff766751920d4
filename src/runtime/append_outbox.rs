//! The outbox of an append sink: a log of rows that are not known to be in the store.
//!
//! Rows keep the marker of their checkpoint, so that after a crash exactly those behind the store's own marker are sent:
//! the store moves data and marker together.

use std::{collections::VecDeque, sync::Arc};

use tidewright_checkpoints::{Entry, Epoch, Shard, ShardDelta, SubKeyRange};

use super::stats::Counter;

/// Encoded rows, in order, in one piece of memory, as a checkpoint's entry holds them: the form, the marker, then each row
/// with its length in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    bytes: Arc<Vec<u8>>,
    count: u64,
}

/// Rows to which more are added, in the form of [`Rows`] but for the marker, which is not known yet.
#[derive(Debug)]
struct OpenRows {
    bytes: Vec<u8>,
    count: u64,
}

/// Bytes of a row's length.
const LENGTH_BYTES: usize = size_of::<u32>();
/// Bytes before the first row.
const HEAD_BYTES: usize = 1 + size_of::<u64>();
/// A run is closed when it has so many bytes, so that one costs as much memory as the next, and no copy when it grows.
const RUN_BYTES: usize = 256 << 10;

impl OpenRows {
    fn with_capacity(bytes: usize) -> Self {
        let mut rows = Self {
            bytes: Vec::with_capacity(bytes),
            count: 0,
        };
        rows.bytes.push(WHOLE_INTERVAL);
        rows.bytes.extend_from_slice(&[0; size_of::<u64>()]);
        rows
    }

    fn push(&mut self, row: &[u8]) {
        let length = u32::try_from(row.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(row);
        self.count += 1;
    }

    fn close(mut self, form: u8, marker: Epoch) -> Rows {
        self.bytes[0] = form;
        self.bytes[1..HEAD_BYTES].copy_from_slice(&marker.0.to_le_bytes());
        if self.bytes.len() < self.bytes.capacity() / 2 {
            self.bytes.shrink_to_fit();
        }
        Rows {
            bytes: Arc::new(self.bytes),
            count: self.count,
        }
    }
}

impl Rows {
    /// Rows as an entry holds them, with their marker.
    fn read(bytes: &[u8]) -> Result<(Epoch, Self), String> {
        let short = || format!("a log entry of {} bytes is cut off", bytes.len());
        let (format, marker) = bytes.split_first().ok_or_else(short)?;
        if ![WHOLE_INTERVAL, PART_OF_INTERVAL].contains(format) {
            return Err(format!("unknown form {format} of a log entry"));
        }
        let (marker, mut rest) = marker.split_first_chunk::<8>().ok_or_else(short)?;
        let mut count = 0;
        while !rest.is_empty() {
            (_, rest) = split_row(rest).ok_or_else(short)?;
            count += 1;
        }
        let rows = Self {
            bytes: Arc::new(bytes.to_vec()),
            count,
        };
        Ok((Epoch(u64::from_le_bytes(*marker)), rows))
    }

    /// The rows, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.bytes[HEAD_BYTES..];
        std::iter::from_fn(move || {
            let (row, tail) = split_row(rest)?;
            rest = tail;
            Some(row)
        })
    }

    fn bytes(&self) -> u64 {
        (self.bytes.len() - HEAD_BYTES) as u64
    }
}

/// The first row and what is behind it.
fn split_row(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, tail) = bytes.split_first_chunk::<LENGTH_BYTES>()?;
    tail.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// One run of rows in the log, all of one checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its place in the log.
    pub sequence: i64,
    /// The encoded rows, in order.
    pub rows: Rows,
}

/// Runs of rows to append, all or none.
#[derive(Debug, PartialEq, Eq)]
pub struct Append {
    /// The marker to move with them.
    pub through: Epoch,
    /// The runs, in order.
    pub runs: Vec<Run>,
}

/// What is being appended.
#[derive(Debug)]
struct InFlight {
    through: Epoch,
    /// Where the log goes on.
    next_sequence: i64,
    rows: u64,
}

/// The outbox of one append sink; lives on worker 0.
#[derive(Debug)]
pub struct AppendOutbox {
    /// Of the open interval; all but the last are full.
    open: Vec<OpenRows>,
    run_bytes: usize,
    sealed: VecDeque<(Epoch, Vec<Run>)>,
    in_flight: Option<InFlight>,
    next_sequence: i64,
    durable: Epoch,
    delivered: Epoch,
    /// Sequences below are in the store; `dropped` of them are gone from checkpoints already.
    settled: i64,
    dropped: i64,
    /// After a restore the store may hold a part of the log: intervals go one by one until it has caught up.
    one_by_one_through: Epoch,
    bytes: Counter,
    /// Rows that wait.
    rows: Counter,
}

/// The key of all entries: a log has only sequence numbers.
const LOG_KEY: &[u8] = b"log";
/// A checkpoint interval in one entry.
const WHOLE_INTERVAL: u8 = 1;
/// One of several entries of an interval, all with its marker. Releases that know only the other form refuse it.
const PART_OF_INTERVAL: u8 = 2;

impl AppendOutbox {
    /// An empty log that counts its bytes in `bytes`.
    #[must_use]
    pub fn new(bytes: Counter, durable: Epoch) -> Self {
        Self {
            open: Vec::new(),
            run_bytes: RUN_BYTES,
            sealed: VecDeque::new(),
            in_flight: None,
            next_sequence: 0,
            durable,
            delivered: durable,
            settled: 0,
            dropped: 0,
            one_by_one_through: Epoch(0),
            bytes,
            rows: Counter::default(),
        }
    }

    /// Counts its rows in `rows`.
    pub fn count_rows_in(&mut self, rows: Counter) {
        self.rows = rows;
        self.tell_rows();
    }

    /// Per checkpoint, not per row.
    fn tell_rows(&self) {
        let sealed = self.sealed.iter().flat_map(|(_, runs)| runs);
        let sealed: u64 = sealed.map(|run| run.rows.count).sum();
        let in_flight = self.in_flight.as_ref().map_or(0, |sent| sent.rows);
        let open: u64 = self.open.iter().map(|rows| rows.count).sum();
        self.rows.set(open + sealed + in_flight);
    }

    /// Appends a row.
    pub fn push(&mut self, row: &[u8]) {
        let bytes = LENGTH_BYTES + row.len();
        self.bytes.add(bytes as u64);
        match self.open.last_mut() {
            Some(rows) if rows.bytes.len() + bytes <= self.run_bytes => rows.push(row),
            full => {
                // Who has many rows will have many more.
                let capacity = full.map_or(0, |_| self.run_bytes);
                let mut rows = OpenRows::with_capacity(capacity);
                rows.push(row);
                self.open.push(rows);
            }
        }
    }

    /// Closes the interval of a checkpoint and encodes what changed in it.
    pub fn seal(&mut self, marker: Epoch) -> Vec<ShardDelta> {
        let mut delta = ShardDelta {
            shard: Shard::of_key(LOG_KEY),
            ..ShardDelta::default()
        };
        if self.settled > self.dropped {
            delta.drops.push(SubKeyRange {
                start: self.dropped,
                end: self.settled,
            });
            self.dropped = self.settled;
        }
        let mut runs = Vec::new();
        let open = std::mem::take(&mut self.open);
        let form = match open.len() {
            1 => WHOLE_INTERVAL,
            _ => PART_OF_INTERVAL,
        };
        for rows in open {
            let run = Run {
                sequence: self.next_sequence,
                rows: rows.close(form, marker),
            };
            self.next_sequence += 1;
            delta.entries.push(Entry {
                key: LOG_KEY.into(),
                sub_key: run.sequence,
                value: Some(run.rows.bytes.clone().into()),
            });
            runs.push(run);
        }
        self.sealed.push_back((marker, runs));
        self.tell_rows();
        if delta.drops.is_empty() && delta.entries.is_empty() {
            vec![]
        } else {
            vec![delta]
        }
    }

    /// Takes entries of a checkpoint, oldest delta first.
    ///
    /// # Errors
    /// If the bytes are not an entry of a log.
    pub fn restore(&mut self, delta: ShardDelta) -> Result<(), String> {
        for drop in &delta.drops {
            let bytes = &self.bytes;
            self.sealed.retain(|(_, runs)| {
                let gone = runs
                    .iter()
                    .all(|run| (drop.start..drop.end).contains(&run.sequence));
                if gone {
                    bytes.subtract(runs.iter().map(Run::bytes).sum());
                }
                !gone
            });
            self.dropped = self.dropped.max(drop.end);
            self.settled = self.settled.max(drop.end);
            self.next_sequence = self.next_sequence.max(drop.end);
        }
        for entry in delta.entries {
            let Some(value) = entry.value else { continue };
            let (marker, rows) = Rows::read(&value)?;
            let run = Run {
                sequence: entry.sub_key,
                rows,
            };
            self.bytes.add(run.bytes());
            self.next_sequence = self.next_sequence.max(run.sequence + 1);
            self.one_by_one_through = self.one_by_one_through.max(marker);
            self.insert(marker, run);
        }
        if !self.sealed.is_empty() {
            self.delivered = Epoch(0);
        }
        self.tell_rows();
        Ok(())
    }

    /// Puts a restored run in its place. Those of one marker stay together, since the store takes a marker once.
    fn insert(&mut self, marker: Epoch, run: Run) {
        let at = self.sealed.partition_point(|(sealed, _)| *sealed < marker);
        match self.sealed.get_mut(at) {
            Some((sealed, runs)) if *sealed == marker => {
                let at = runs.partition_point(|other| other.sequence < run.sequence);
                runs.insert(at, run);
            }
            _ => self.sealed.insert(at, (marker, vec![run])),
        }
    }

    /// Checkpoints up to this epoch are durable: their rows may be sent.
    pub fn set_durable(&mut self, durable: Epoch) {
        self.durable = self.durable.max(durable);
    }

    /// The next rows to append, if none are in flight: of one checkpoint, or of several that became durable meanwhile.
    /// Checkpoints without rows are passed over: they move no marker.
    pub fn next_append(&mut self, bytes_max: usize) -> Option<Append> {
        if self.in_flight.is_some() {
            return None;
        }
        let mut append = Append {
            through: Epoch(0),
            runs: Vec::new(),
        };
        let mut bytes = 0;
        while let Some((marker, runs)) = self.sealed.front()
            && *marker <= self.durable
            && !(bytes > 0 && (append.through <= self.one_by_one_through || bytes >= bytes_max))
        {
            bytes +=
                usize::try_from(runs.iter().map(Run::bytes).sum::<u64>()).unwrap_or(usize::MAX);
            append.through = *marker;
            if let Some((_, runs)) = self.sealed.pop_front() {
                append.runs.extend(runs);
            }
        }
        let Some(last) = append.runs.last() else {
            self.delivered = self.delivered.max(self.durable);
            return None;
        };
        self.in_flight = Some(InFlight {
            through: append.through,
            next_sequence: last.sequence + 1,
            rows: append.runs.iter().map(|run| run.rows.count).sum(),
        });
        Some(append)
    }

    /// The rows in flight are in the store, or were there already.
    pub fn acknowledge(&mut self, append_bytes: u64) {
        if let Some(done) = self.in_flight.take() {
            self.bytes.subtract(append_bytes);
            self.settled = done.next_sequence;
            self.delivered = self.delivered.max(done.through);
            self.tell_rows();
        }
    }

    /// Everything up to this checkpoint is in the store.
    #[must_use]
    pub fn delivered(&self) -> Epoch {
        self.delivered
    }
}

impl Run {
    fn bytes(&self) -> u64 {
        self.rows.bytes()
    }
}

impl Append {
    /// Bytes of its rows.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.runs.iter().map(Run::bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn intervals_of_a_restored_log_go_one_by_one_because_the_store_may_hold_some() {
        let mut log = AppendOutbox::new(Counter::default(), Epoch(0));
        let mut deltas = Vec::new();
        for epoch in 1..=3u64 {
            log.push(&[epoch as u8]);
            deltas.extend(log.seal(Epoch(epoch)));
        }
        let mut log = AppendOutbox::new(Counter::default(), Epoch(3));
        for delta in deltas {
            log.restore(delta).expect("own entries");
        }
        let mut through = Vec::new();
        while let Some(append) = log.next_append(usize::MAX) {
            through.push(append.through.0);
            log.acknowledge(append.bytes());
        }
        assert_eq!(through, [1, 2, 3]);
    }

    #[test]
    fn bytes_that_are_no_entry_are_refused() {
        for bytes in [
            &b""[..],
            &[9],
            &[WHOLE_INTERVAL, 1, 2],
            &[WHOLE_INTERVAL, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1],
        ] {
            assert!(Rows::read(bytes).is_err(), "{bytes:?}");
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push,
        Seal,
        Durable,
        Send,
        CrashAfterWrite,
        Crash,
    }

    proptest! {
        /// With a store that moves data and marker together, every durable row is there once and in order.
        #[test]
        fn each_row_is_appended_once_and_in_order(steps in prop::collection::vec(
            prop_oneof![
                4 => Just(Step::Push), 2 => Just(Step::Seal), 2 => Just(Step::Durable), 2 => Just(Step::Send),
                1 => Just(Step::CrashAfterWrite), 1 => Just(Step::Crash),
            ], 1..150))
        {
            // Two rows fill a run.
            let new = |durable| AppendOutbox {
                run_bytes: HEAD_BYTES + 2 * (LENGTH_BYTES + 4),
                ..AppendOutbox::new(Counter::default(), durable)
            };
            let mut log = new(Epoch(0));
            let mut deltas: Vec<(Epoch, Vec<ShardDelta>, u32)> = Vec::new();
            let (mut epoch, mut durable, mut pushed) = (0u64, (Epoch(0), 0u32), 0u32);
            let mut store: (Vec<u32>, Epoch) = (Vec::new(), Epoch(0));
            let write = |log: &mut AppendOutbox, store: &mut (Vec<u32>, Epoch)| {
                let append = log.next_append(8);
                if let Some(append) = &append && append.through > store.1 {
                    for row in append.runs.iter().flat_map(|run| run.rows.iter()) {
                        store.0.push(u32::from_le_bytes(row.try_into().expect("four bytes")));
                    }
                    store.1 = append.through;
                }
                append
            };
            for step in steps {
                epoch += 1;
                let crash = match step {
                    Step::Push => { log.push(&pushed.to_le_bytes()); pushed += 1; false }
                    Step::Seal => { deltas.push((Epoch(epoch), log.seal(Epoch(epoch)), pushed)); false }
                    Step::Durable => {
                        if let Some((epoch, _, pushed)) = deltas.last() { durable = (*epoch, *pushed); log.set_durable(*epoch); }
                        false
                    }
                    Step::Send => {
                        while let Some(append) = write(&mut log, &mut store) { log.acknowledge(append.bytes()); }
                        prop_assert_eq!(store.0.len() as u32, durable.1);
                        false
                    }
                    Step::CrashAfterWrite => { write(&mut log, &mut store); true }
                    Step::Crash => true,
                };
                if crash {
                    deltas.retain(|(epoch, _, _)| *epoch <= durable.0);
                    pushed = durable.1;
                    log = new(durable.0);
                    for (_, deltas, _) in &deltas { for delta in deltas { prop_assert_eq!(log.restore(delta.clone()), Ok(())); } }
                }
                prop_assert!(store.0.iter().copied().eq(0..store.0.len() as u32), "{:?}", store.0);
            }
        }
    }
}
