//! The tables of one relation in an embedded store.
//!
//! - `rows/RELATION`: key text -> (version, job, JSON object with all columns, `_version` and `_as_of`). Only live rows,
//!   so its length is their number.
//! - `tombstones/RELATION`: key text -> (version, job, expiry). Deleted rows, for 24 hours.
//! - `expiries/RELATION`: (expiry, key text) -> (). The order in which tombstones may go.
//!
//! Expiries are milliseconds since 1970.

use redb::{Error, ReadableTable, Table, TableDefinition, WriteTransaction};

/// Tombstones removed per batch at most, so that a write stays short.
const REMOVED_MAX: usize = 4096;

pub(super) type RowValue = (&'static str, &'static str, &'static [u8]);
type TombstoneValue = (&'static str, &'static str, u64);
type ExpiryKey = (u64, &'static str);

/// What stays of a deleted row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tombstone<'a> {
    pub(super) version: &'a str,
    pub(super) job: &'a str,
    pub(super) expires_ms: u64,
}

/// The tables of one relation, in a transaction.
pub(super) struct Tables<'t> {
    rows: Table<'t, &'static str, RowValue>,
    tombstones: Table<'t, &'static str, TombstoneValue>,
    expiries: Table<'t, ExpiryKey, ()>,
}

/// The name of a relation's table of live rows.
pub(super) fn rows_name(relation: &str) -> String {
    format!("rows/{relation}")
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction, relation: &str) -> Result<Self, Error> {
        let tombstones = format!("tombstones/{relation}");
        let expiries = format!("expiries/{relation}");
        Ok(Self {
            rows: transaction.open_table(TableDefinition::new(&rows_name(relation)))?,
            tombstones: transaction.open_table(TableDefinition::new(&tombstones))?,
            expiries: transaction.open_table(TableDefinition::new(&expiries))?,
        })
    }

    /// The version and the job of what is stored under a key.
    pub(super) fn stored(&self, key: &str) -> Result<Option<(String, String)>, Error> {
        if let Some(found) = self.rows.get(key)? {
            let (version, job, _) = found.value();
            return Ok(Some((version.to_owned(), job.to_owned())));
        }
        Ok(self.tombstones.get(key)?.map(|found| {
            let (version, job, _) = found.value();
            (version.to_owned(), job.to_owned())
        }))
    }

    /// Stores a row.
    pub(super) fn put(
        &mut self,
        key: &str,
        version: &str,
        job: &str,
        object: &str,
    ) -> Result<(), Error> {
        self.tombstones.remove(key)?;
        self.rows.insert(key, (version, job, object.as_bytes()))?;
        Ok(())
    }

    /// Replaces a row by a tombstone.
    pub(super) fn bury(&mut self, key: &str, tombstone: Tombstone<'_>) -> Result<(), Error> {
        let Tombstone {
            version,
            job,
            expires_ms,
        } = tombstone;
        self.rows.remove(key)?;
        self.tombstones.insert(key, (version, job, expires_ms))?;
        self.expiries.insert((expires_ms, key), ())?;
        Ok(())
    }

    /// Removes tombstones whose time is over.
    pub(super) fn remove_expired(&mut self, now_ms: u64) -> Result<(), Error> {
        let mut over = Vec::new();
        for entry in self.expiries.range(..(now_ms, ""))?.take(REMOVED_MAX) {
            let (expiry, _) = entry?;
            let (expires_ms, key) = expiry.value();
            over.push((expires_ms, key.to_owned()));
        }
        for (expires_ms, key) in over {
            self.expiries.remove((expires_ms, key.as_str()))?;
            // A key that was deleted again has a younger tombstone, with an expiry of its own.
            let current = self
                .tombstones
                .get(key.as_str())?
                .map(|found| found.value().2);
            if current == Some(expires_ms) {
                self.tombstones.remove(key.as_str())?;
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn tombstones_len(&self) -> u64 {
        use redb::ReadableTableMetadata;
        self.tombstones.len().unwrap()
    }
}
