//! Keys on local disk: an embedded store (redb) in a file without a name.
//!
//! It is a cache of what checkpoints hold. Nothing in it outlives the process, so nothing is synced, and the file's name
//! is removed as soon as it is open: however the process ends, the disk space is free again.
//!
//! - `slots`: a [place](place_of) to the key's entries ([packed](super::packed)).
//! - `wakes`: the sub-key at which an operator will want a key, then the key's place. A hint: it may be there although the
//!   key is in memory, has gone, or will be wanted later: what counts is what is packed with its entries.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use redb::{Builder, Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};
use tidewright_checkpoints::scratch::nameless_file;

use super::SpillError;

const SLOTS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("slots");
const WAKES: TableDefinition<&[u8], ()> = TableDefinition::new("wakes");

/// Bytes in front of the key in a place.
const HASH_BYTES: usize = 8;
/// Bytes in front of the place in a wake.
const WAKE_BYTES: usize = 8;

/// Where a key is: see [`place_of`].
pub(super) type Place = Box<[u8]>;

/// A place and the packed entries that are there.
pub(super) type Row = (Place, Vec<u8>);

/// Where a key is: its hash, then its bytes. Keys that are moved together, by hash, are so neighbours on disk.
pub(super) fn place_of(key: &[u8], hash: u64) -> Place {
    [&hash.to_be_bytes(), key].concat().into()
}

/// The key and hash of a place.
pub(super) fn key_at(place: &[u8]) -> (&[u8], u64) {
    match place.split_first_chunk::<HASH_BYTES>() {
        Some((hash, key)) => (key, u64::from_be_bytes(*hash)),
        None => (&[], 0),
    }
}

/// Sub-keys in the order of their bytes.
fn wake_of(sub_key: i64, place: &[u8]) -> Vec<u8> {
    let ordered = sub_key.wrapping_sub(i64::MIN) as u64;
    [&ordered.to_be_bytes(), place].concat()
}

fn sub_key_of(wake: &[u8]) -> i64 {
    let ordered = wake.first_chunk::<WAKE_BYTES>();
    let ordered = ordered.map_or(0, |bytes| u64::from_be_bytes(*bytes));
    (ordered as i64).wrapping_add(i64::MIN)
}

/// What one transaction changes.
#[derive(Debug, Default)]
pub(super) struct Writes {
    pub(super) removed: Vec<Place>,
    pub(super) slots: Vec<Row>,
    pub(super) wakes: Vec<(i64, Place)>,
}

/// The keys of one state that are not in memory.
#[derive(Debug)]
pub(super) struct Store {
    database: Database,
    directory: String,
}

impl Store {
    pub(super) fn create(directory: &Path, cache_bytes: usize) -> Result<Self, SpillError> {
        let shown = directory.display().to_string();
        let failed = |reason: String| SpillError::new(&shown, reason);
        let file = nameless_file(directory).map_err(|error| failed(error.to_string()))?;
        let mut builder = Builder::new();
        builder.set_cache_size(cache_bytes);
        let database = builder.create_with_backend(Unsynced(file));
        let store = Self {
            database: database.map_err(|error| failed(error.to_string()))?,
            directory: shown.clone(),
        };
        store.write(Writes::default())?;
        Ok(store)
    }

    fn failed(&self, error: impl Into<redb::Error>) -> SpillError {
        SpillError::new(&self.directory, error.into().to_string())
    }

    /// Removes, then puts.
    pub(super) fn write(&self, mut writes: Writes) -> Result<(), SpillError> {
        writes.removed.sort_unstable();
        writes.slots.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let write = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            {
                let mut slots = transaction.open_table(SLOTS)?;
                for place in &writes.removed {
                    slots.remove(&**place)?;
                }
                for (place, packed) in &writes.slots {
                    slots.insert(&**place, &packed[..])?;
                }
                let mut wakes = transaction.open_table(WAKES)?;
                let rows = writes.wakes.iter();
                let mut rows: Vec<_> = rows.map(|(at, place)| wake_of(*at, place)).collect();
                rows.sort_unstable();
                for wake in &rows {
                    // A key usually goes to sleep for the same sub-key again: reading costs less than writing.
                    if wakes.get(&wake[..])?.is_none() {
                        wakes.insert(&wake[..], ())?;
                    }
                }
            }
            Ok(transaction.commit()?)
        };
        write().map_err(|error| self.failed(error))
    }

    /// What is at these places, by ascending place.
    pub(super) fn get(&self, mut places: Vec<Place>) -> Result<Vec<Row>, SpillError> {
        places.sort_unstable();
        places.dedup();
        let read = || -> Result<Vec<Row>, redb::Error> {
            let slots = self.database.begin_read()?.open_table(SLOTS)?;
            let mut rows = Vec::new();
            for place in places {
                if let Some(packed) = slots.get(&*place)? {
                    rows.push((place, packed.value().to_vec()));
                }
            }
            Ok(rows)
        };
        read().map_err(|error| self.failed(error))
    }

    /// At most `limit` rows after `after` whose hash is below `end`; `None`: to the last.
    pub(super) fn scan(
        &self,
        after: &[u8],
        end: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Row>, SpillError> {
        let read = || -> Result<Vec<Row>, redb::Error> {
            let slots = self.database.begin_read()?.open_table(SLOTS)?;
            let mut rows = Vec::new();
            for row in slots.range(after..)? {
                let (place, packed) = row?;
                let place = place.value();
                if place == after {
                    continue;
                }
                if rows.len() == limit || end.is_some_and(|end| key_at(place).1 >= end) {
                    break;
                }
                rows.push((place.into(), packed.value().to_vec()));
            }
            Ok(rows)
        };
        read().map_err(|error| self.failed(error))
    }

    /// Takes at most `limit` wakes for sub-keys before this one, the least first: their places, and the sub-key of the
    /// next wake, if there is one.
    pub(super) fn take_wakes(
        &self,
        before: i64,
        limit: usize,
    ) -> Result<(Vec<Place>, Option<i64>), SpillError> {
        let take = || -> Result<_, redb::Error> {
            let transaction = self.database.begin_write()?;
            let (mut taken, mut next) = (Vec::new(), None);
            {
                let mut wakes = transaction.open_table(WAKES)?;
                for row in wakes.iter()? {
                    let wake = row?.0;
                    let sub_key = sub_key_of(wake.value());
                    if sub_key >= before || taken.len() == limit {
                        next = Some(sub_key);
                        break;
                    }
                    taken.push(Box::<[u8]>::from(wake.value()));
                }
                for wake in &taken {
                    wakes.remove(&**wake)?;
                }
            }
            transaction.commit()?;
            let places = taken.iter().map(|wake| wake[WAKE_BYTES..].into());
            Ok((places.collect(), next))
        };
        take().map_err(|error| self.failed(error))
    }
}

/// A file that is never synced.
#[derive(Debug)]
struct Unsynced(File);

impl StorageBackend for Unsynced {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}
