//! A local embedded store: redb tables in one file, readable while the job runs (`tidewright get`).
//!
//! Several sinks may share a file: every relation has its own tables ([`tables`]). A batch is one transaction, durable when it
//! is committed.

mod rows;
mod store;
mod tables;

use std::time::{SystemTime, UNIX_EPOCH};

use tidewright_jobs::job::EmbeddedSinkConfig;

pub use self::rows::EmbeddedRows;
pub use self::store::{EmbeddedStore, EmbeddedStores};
use self::tables::{Tables, Tombstone};
use super::{
    Fence, KeyedBatch, KeyedWriter, SinkContext, SinkError, WriteReport,
    cell::{Cell, Cells},
    iso8601::Timestamp,
    json,
    key::KeyTemplate,
    verdict::{self, Stored, TOMBSTONE_TTL_MS, Verdict, field},
};

/// Writes the rows of a relation into an embedded store.
pub struct EmbeddedWriter {
    context: SinkContext,
    place: String,
    path: String,
    store: Option<EmbeddedStore>,
    key: KeyTemplate,
}

impl EmbeddedWriter {
    /// A writer that opens the store when it first writes.
    ///
    /// # Errors
    /// [`SinkError::Fatal`] if the relation cannot go to a keyed store.
    pub fn new(config: &EmbeddedSinkConfig, context: &SinkContext) -> Result<Self, SinkError> {
        context.check_keyed()?;
        Ok(Self {
            place: context.place(&format!("embedded {}", config.path)),
            path: config.path.clone(),
            store: None,
            key: KeyTemplate::joined(&context.key),
            context: context.clone(),
        })
    }

    fn opened(&mut self) -> Result<EmbeddedStore, SinkError> {
        if let Some(store) = &self.store {
            return Ok(store.clone());
        }
        let store = self
            .context
            .stores
            .open(self.path.as_ref())
            .map_err(|e| self.failed(e))?;
        Ok(self.store.insert(store).clone())
    }

    fn write_row(
        &self,
        tables: &mut Tables<'_>,
        batch: &KeyedBatch,
        cells: &Cells<'_>,
        row: usize,
        key: &str,
    ) -> Result<Verdict, SinkError> {
        let version = batch.versions[row].to_string();
        let job = &*self.context.job;
        let stored = tables.stored(key).map_err(|e| self.failed(e))?;
        let seen = stored.as_ref().map(|(version, job)| Stored {
            version: Some(version),
            job: Some(job),
        });
        let verdict = verdict::judge(seen, &version, job);
        match verdict {
            Verdict::Apply if batch.deleted.value(row) => {
                let expires_ms = now_ms().saturating_add(TOMBSTONE_TTL_MS.unsigned_abs());
                let tombstone = Tombstone {
                    version: &version,
                    job,
                    expires_ms,
                };
                tables.bury(key, tombstone).map_err(|e| self.failed(e))?;
            }
            Verdict::Apply => {
                let object = row_object(batch, cells, row, &version);
                tables
                    .put(key, &version, job, &object)
                    .map_err(|e| self.failed(e))?;
            }
            Verdict::AlreadyThere => {}
            Verdict::Fenced => {
                let version = stored.map(|(version, _)| version).unwrap_or_default();
                return Err(verdict::fenced(&self.place, key, &version));
            }
            Verdict::Foreign => {
                let owner = stored.as_ref().map(|(_, job)| job.as_str());
                return Err(verdict::foreign(&self.place, key, owner, job));
            }
        }
        Ok(verdict)
    }

    fn write_rows(
        &self,
        tables: &mut Tables<'_>,
        batch: &KeyedBatch,
    ) -> Result<WriteReport, SinkError> {
        let cells = Cells::of(&batch.rows)?;
        let mut report = WriteReport::default();
        for row in 0..cells.rows() {
            match self.key.render(&cells, row) {
                Ok(key) => match self.write_row(tables, batch, &cells, row, &key)? {
                    Verdict::Apply => report.applied += 1,
                    _ => report.already_there += 1,
                },
                Err(null) => {
                    let refused = self.context.refused(&cells, row, null.to_string());
                    report.refused.push(refused);
                }
            }
        }
        Ok(report)
    }

    fn failed(&self, error: redb::Error) -> SinkError {
        match error {
            // A process that is stopped or about to end may still hold the file.
            redb::Error::DatabaseAlreadyOpen => SinkError::Transient(format!(
                "{}: another process has the store open",
                self.place
            )),
            other => SinkError::Fatal(format!("{}: {other}", self.place)),
        }
    }
}

impl KeyedWriter for EmbeddedWriter {
    fn write(&mut self, batch: &KeyedBatch, fence: &dyn Fence) -> Result<WriteReport, SinkError> {
        let store = self.opened()?;
        fence.check()?;
        let transaction = store.begin_write().map_err(|e| self.failed(e))?;
        let report = {
            let mut tables =
                Tables::open(&transaction, &self.context.relation).map_err(|e| self.failed(e))?;
            tables
                .remove_expired(now_ms())
                .map_err(|e| self.failed(e))?;
            self.write_rows(&mut tables, batch)?
        };
        transaction.commit().map_err(|e| self.failed(e.into()))?;
        Ok(report)
    }
}

fn row_object(batch: &KeyedBatch, cells: &Cells<'_>, row: usize, version: &str) -> String {
    let mut text = String::new();
    let mut object = json::Object::begin(&mut text);
    object.row(cells, row);
    object.field(field::VERSION, Cell::Text(version));
    object.field(field::AS_OF, Cell::Timestamp(Timestamp(batch.as_of_ms)));
    object.end();
    text
}

fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
