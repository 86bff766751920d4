//! The control plane's memory: jobs and their versions, operations, idempotency keys and tokens, in one embedded database.
//!
//! Every change is one transaction that is on disk when the call returns, so a server that is killed at any moment finds
//! exactly what it has promised. Values are JSON. Tables:
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | name | number: `format_version`, `last_job_id` |
//! | `jobs` | name | [`Job`] |
//! | `versions` | (job, version) | [`Version`] |
//! | `open_operations`, `operations` | id | [`Operation`], under way or over |
//! | `idempotency` | caller and key | [`Idempotent`] |
//! | `tokens` | SHA-256 of the token | [`Token`] |

mod changes;
mod operations;
pub mod records;
mod removal;
mod submissions;
mod table;
pub mod tokens;

use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use self::operations::finish_with_job;
use self::records::{Idempotent, Job, Operation, Token, Version};
pub use self::submissions::{NewVersion, Submitted};
use self::table::Table;
use super::lifecycle::JobState;

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const JOBS: Table<&str, Job> = Table::new("jobs");
const VERSIONS: Table<(&str, u32), Version> = Table::new("versions");
const OPEN_OPERATIONS: Table<&str, Operation> = Table::new("open_operations");
const OPERATIONS: Table<&str, Operation> = Table::new("operations");
const IDEMPOTENCY: Table<&str, Idempotent> = Table::new("idempotency");
const TOKENS: Table<&str, Token> = Table::new("tokens");

/// The form of the tables that this release writes. What format 1 has noted reads as a job in one process; a release that
/// knows only format 1 would start several as one, so it must not open what this one has written.
const FORMAT_VERSION: u64 = 2;
/// How long operations that are over and idempotency keys are kept, in milliseconds.
pub const KEEP_MS: u64 = 7 * 24 * 3600 * 1000;

/// The database.
#[derive(Debug)]
pub struct Registry {
    database: Database,
}

/// Why the registry refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// There is no such job.
    #[error("there is no job named {0}")]
    NoSuchJob(String),
    /// There is no such operation.
    #[error("there is no operation {0}; finished ones are kept for seven days")]
    NoSuchOperation(String),
    /// The job has to end first.
    #[error(
        "the job {name} is {}: stop or cancel it first, or submit under another name", .state.name()
    )]
    StillActive {
        /// The job.
        name: String,
        /// Where it is.
        state: JobState,
    },
    /// The job has ended already.
    #[error("the job {name} is {} already; to run it, submit it again", .state.name())]
    AlreadyOver {
        /// The job.
        name: String,
        /// Where it is.
        state: JobState,
    },
    /// Only a job that has ended can be removed.
    #[error(
        "the job {name} is {}, and only one that has ended can be removed: stop or cancel it first", .state.name()
    )]
    NotOver {
        /// The job.
        name: String,
        /// Where it is.
        state: JobState,
    },
    /// The job is being changed.
    #[error(
        "the job {name} is being changed by the operation {operation}: wait until that is over, or cancel the job"
    )]
    ChangeUnderWay {
        /// The job.
        name: String,
        /// The change.
        operation: String,
    },
    /// The job is about to end.
    #[error("the job {0} is about to end: submit it again when it has")]
    Ending(String),
    /// An idempotency key came with another request before.
    #[error("this idempotency key was used for another request; use a new one for each submission")]
    KeyReused,
    /// There is no such token.
    #[error("there is no token named {0}")]
    NoSuchToken(String),
    /// The tokens cannot be changed so.
    #[error("{0}")]
    Token(String),
    /// Another server holds the database.
    #[error("another server uses {0}; stop it, or name another folder with --data")]
    InUse(String),
    /// The database was written by a later release.
    #[error(
        "the registry has format {0}, which this release does not know; use the release that wrote it"
    )]
    Format(u64),
    /// The database failed.
    #[error("the registry failed: {0}")]
    Database(#[from] redb::Error),
    /// A value is not what was written.
    #[error("the registry holds an entry that is not understood: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// redb has an error type per step; all of them are the database's trouble.
fn database(error: impl Into<redb::Error>) -> RegistryError {
    RegistryError::Database(error.into())
}

impl Registry {
    /// Opens the database, or makes a new one.
    ///
    /// # Errors
    /// If another process has it open, it is of a later release, or I/O fails.
    pub fn open(path: &Path) -> Result<Self, RegistryError> {
        let opened = match Database::create(path) {
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => {
                return Err(RegistryError::InUse(path.display().to_string()));
            }
            opened => opened.map_err(database)?,
        };
        let registry = Self { database: opened };
        registry.write(|transaction| {
            JOBS.create(transaction)?;
            OPEN_OPERATIONS.create(transaction)?;
            OPERATIONS.create(transaction)?;
            IDEMPOTENCY.create(transaction)?;
            TOKENS.create(transaction)?;
            VERSIONS.create(transaction)?;
            let mut meta = transaction.open_table(META).map_err(database)?;
            let format = meta
                .get("format_version")
                .map_err(database)?
                .map(|value| value.value());
            match format {
                Some(FORMAT_VERSION) => Ok(()),
                None | Some(1..FORMAT_VERSION) => {
                    meta.insert("format_version", FORMAT_VERSION)
                        .map_err(database)?;
                    Ok(())
                }
                Some(other) => Err(RegistryError::Format(other)),
            }
        })?;
        Ok(registry)
    }

    /// One transaction: all of it is durable on return, or nothing has happened.
    fn write<T>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let transaction = self.database.begin_write().map_err(database)?;
        let done = change(&transaction)?;
        transaction.commit().map_err(database)?;
        Ok(done)
    }

    fn read(&self) -> Result<redb::ReadTransaction, RegistryError> {
        self.database.begin_read().map_err(database)
    }

    /// All jobs, by name.
    ///
    /// # Errors
    /// If the database fails.
    pub fn jobs(&self) -> Result<Vec<Job>, RegistryError> {
        JOBS.all(&self.read()?)
    }

    /// All jobs with the version that each runs, as of one moment.
    ///
    /// # Errors
    /// If the database fails.
    pub fn jobs_with_versions(&self) -> Result<Vec<(Job, Version)>, RegistryError> {
        let transaction = self.read()?;
        let jobs = JOBS.all(&transaction)?;
        let with_version = |job: Job| {
            let version = VERSIONS.read(&transaction, (&*job.name, job.version))?;
            Ok(version.map(|version| (job, version)))
        };
        jobs.into_iter()
            .filter_map(|job| with_version(job).transpose())
            .collect()
    }

    /// One job with the version that it runs.
    ///
    /// # Errors
    /// [`RegistryError::NoSuchJob`], or if the database fails.
    pub fn job(&self, name: &str) -> Result<(Job, Version), RegistryError> {
        let transaction = self.read()?;
        let missing = || RegistryError::NoSuchJob(name.to_owned());
        let job = JOBS.read(&transaction, name)?.ok_or_else(missing)?;
        let version = VERSIONS.read(&transaction, (name, job.version))?;
        Ok((job, version.ok_or_else(missing)?))
    }

    /// Replaces a job by what was made of it, if nobody has changed it meanwhile; false if somebody has. Operations that
    /// wait for the job's end are over with it.
    ///
    /// # Errors
    /// If the database fails.
    pub fn replace(&self, old: &Job, new: &Job, now_ms: u64) -> Result<bool, RegistryError> {
        self.write(|transaction| {
            if JOBS.get(transaction, &old.name)?.as_ref() != Some(old) {
                return Ok(false);
            }
            JOBS.put(transaction, &new.name, new)?;
            if new.lifecycle.state.is_terminal() && !old.lifecycle.state.is_terminal() {
                finish_with_job(transaction, new, now_ms)?;
            }
            Ok(true)
        })
    }

    /// Forgets operations that were over, and idempotency keys that were used, more than [`KEEP_MS`] ago.
    ///
    /// # Errors
    /// If the database fails.
    pub fn forget_old(&self, now_ms: u64) -> Result<(), RegistryError> {
        let limit = now_ms.saturating_sub(KEEP_MS);
        self.write(|transaction| {
            OPERATIONS.retain(transaction, |operation| {
                operation
                    .finished_ms
                    .is_none_or(|finished| finished >= limit)
            })?;
            IDEMPOTENCY.retain(transaction, |key| key.created_ms >= limit)
        })
    }
}

#[cfg(test)]
mod tests;
