//! The open store, shared by the writers and readers of this process.

use std::{
    collections::BTreeMap,
    ops::Bound,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use redb::{
    Database, Error, ReadableDatabase, ReadableTableMetadata, StorageError, TableDefinition,
    TableError, TableHandle, WriteTransaction,
};

use super::tables::{RowValue, rows_name};

/// An open store: a cheap handle. Readers see the last committed batch and never wait for a writer.
#[derive(Clone)]
pub struct EmbeddedStore {
    database: Arc<Database>,
}

/// The stores that this process has open: a file can be opened only once, by all sinks together.
#[derive(Clone, Debug, Default)]
pub struct EmbeddedStores {
    open: Arc<Mutex<BTreeMap<PathBuf, EmbeddedStore>>>,
}

impl std::fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedStore").finish_non_exhaustive()
    }
}

impl EmbeddedStores {
    /// The store in a file; opens it, and creates file and folder, if this process has not.
    ///
    /// # Errors
    /// [`Error::DatabaseAlreadyOpen`] if another process has it open; other errors if the file is none of redb's, or I/O fails.
    pub fn open(&self, path: &Path) -> Result<EmbeddedStore, Error> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = open.get(path) {
            return Ok(store.clone());
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(StorageError::Io)?;
        }
        let store = EmbeddedStore {
            database: Arc::new(Database::create(path)?),
        };
        open.insert(path.to_owned(), store.clone());
        Ok(store)
    }

    /// Closes the stores that nobody else holds any more: another process may open them then.
    pub fn close(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.clear();
    }

    /// The stores that are open, by path.
    #[must_use]
    pub fn all(&self) -> Vec<(PathBuf, EmbeddedStore)> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter()
            .map(|(path, store)| (path.clone(), store.clone()))
            .collect()
    }
}

impl EmbeddedStore {
    /// A row of a relation as a JSON object with all columns, `_version` and `_as_of`; `None` if there is no such row. The key
    /// is the text of the key column; of several columns, joined by `|` ([`KeyTemplate::joined`](crate::sink::key::KeyTemplate::joined)).
    ///
    /// # Errors
    /// If the store cannot be read, or what it holds is not JSON.
    pub fn get(&self, relation: &str, key: &str) -> Result<Option<serde_json::Value>, Error> {
        let Some(rows) = self.rows(relation)? else {
            return Ok(None);
        };
        let Some(found) = rows.get(key)? else {
            return Ok(None);
        };
        let (_, _, object) = found.value();
        parse(relation, key, object).map(Some)
    }

    /// So many rows of a relation with their keys, in the order of their keys, behind the key `after`.
    ///
    /// # Errors
    /// If the store cannot be read, or what it holds is not JSON.
    pub fn page(
        &self,
        relation: &str,
        after: Option<&str>,
        rows_max: usize,
    ) -> Result<Vec<(String, serde_json::Value)>, Error> {
        let Some(rows) = self.rows(relation)? else {
            return Ok(Vec::new());
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = Vec::new();
        for found in rows.range::<&str>((from, Bound::Unbounded))?.take(rows_max) {
            let (key, value) = found?;
            let (key, (_, _, object)) = (key.value().to_owned(), value.value());
            let object = parse(relation, &key, object)?;
            page.push((key, object));
        }
        Ok(page)
    }

    /// The number of rows of a relation.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn count(&self, relation: &str) -> Result<u64, Error> {
        match self.rows(relation)? {
            Some(rows) => Ok(rows.len()?),
            None => Ok(0),
        }
    }

    /// The names of the relations in the store.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn relations(&self) -> Result<Vec<String>, Error> {
        let transaction = self.database.begin_read()?;
        let names = transaction
            .list_tables()?
            .filter_map(|table| table.name().strip_prefix("rows/").map(str::to_owned))
            .collect();
        Ok(names)
    }

    pub(super) fn begin_write(&self) -> Result<WriteTransaction, Error> {
        Ok(self.database.begin_write()?)
    }

    fn rows(
        &self,
        relation: &str,
    ) -> Result<Option<redb::ReadOnlyTable<&'static str, RowValue>>, Error> {
        let transaction = self.database.begin_read()?;
        match transaction.open_table(TableDefinition::new(&rows_name(relation))) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn parse(relation: &str, key: &str, object: &[u8]) -> Result<serde_json::Value, Error> {
    serde_json::from_slice(object)
        .map_err(|error| Error::Corrupted(format!("row {key:?} of {relation}: {error}")))
}
