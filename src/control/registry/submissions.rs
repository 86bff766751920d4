//! Submitting: a new job, or a new version of one that has ended.

use redb::{ReadableTable, WriteTransaction};

use super::changes::check_unchanged;
use super::records::{Idempotent, Job, Once, Origin, Version};
use super::{IDEMPOTENCY, JOBS, META, Registry, RegistryError, VERSIONS, database};
use crate::control::lifecycle::Lifecycle;

/// What is submitted, after all checks.
#[derive(Clone, Debug)]
pub struct NewVersion {
    /// The job's name.
    pub name: String,
    /// The job file's name, for messages.
    pub file_name: String,
    /// The job file.
    pub text: String,
    /// Its changed values, (dotted path, value).
    pub overrides: Vec<(String, String)>,
    /// Worker threads of each process.
    pub workers: u16,
    /// Processes.
    pub processes: u16,
    /// Resident memory of all processes together at which they are ended, in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// How it came about.
    pub origin: Origin,
    /// It is the shadow of this name.
    pub shadow: Option<String>,
    /// What only its first start does.
    pub once: Once,
}

impl NewVersion {
    /// As the version of this number.
    pub(super) fn registered(self, version: u32, submitted_by: &str, now_ms: u64) -> Version {
        Version {
            version,
            file_name: self.file_name,
            text: self.text,
            overrides: self.overrides,
            workers: self.workers,
            processes: self.processes,
            memory_limit_bytes: self.memory_limit_bytes,
            submitted_ms: now_ms,
            submitted_by: submitted_by.to_owned(),
            origin: self.origin,
            shadow: self.shadow,
            once: self.once,
        }
    }

    /// Whether a version says the same.
    pub(super) fn is(&self, version: &Version) -> bool {
        let own = self.clone();
        let own = own.registered(version.version, &version.submitted_by, version.submitted_ms);
        own == *version
    }
}

/// What came of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// A new job, or a new version of one.
    Now(Job),
    /// The job that the same request made before.
    Before(Job),
}

impl Registry {
    /// Registers a version of a job, which is to run from now on. `idempotency`: the key, and the SHA-256 of what was asked.
    ///
    /// # Errors
    /// [`RegistryError::StillActive`] if the job has not ended, [`RegistryError::KeyReused`], or if the database fails.
    pub fn submit(
        &self,
        new: NewVersion,
        submitted_by: &str,
        idempotency: Option<(String, String)>,
        now_ms: u64,
    ) -> Result<Submitted, RegistryError> {
        // Keys of different callers have nothing to do with one another.
        let idempotency =
            idempotency.map(|(key, request)| (format!("{submitted_by}\n{key}"), request));
        self.write(|transaction| {
            if let Some(job) = submitted_before(transaction, idempotency.as_ref())? {
                return Ok(Submitted::Before(job));
            }
            let job = match JOBS.get(transaction, &*new.name)? {
                None => Job::new(next_id(transaction)?, &new.name, now_ms),
                Some(job) if job.lifecycle.state.is_terminal() => {
                    check_unchanged(&job)?;
                    Job {
                        version: job.next_version(),
                        lifecycle: Lifecycle::submitted(now_ms),
                        begun_after: None,
                        ..job
                    }
                }
                Some(Job {
                    name, lifecycle, ..
                }) => {
                    let state = lifecycle.state;
                    return Err(RegistryError::StillActive { name, state });
                }
            };
            if let Some((key, request)) = idempotency {
                let first = Idempotent {
                    request,
                    job: new.name.clone(),
                    created_ms: now_ms,
                };
                IDEMPOTENCY.put(transaction, &*key, &first)?;
            }
            let version = new.registered(job.version, submitted_by, now_ms);
            VERSIONS.put(transaction, (&*job.name, job.version), &version)?;
            JOBS.put(transaction, &*job.name, &job)?;
            Ok(Submitted::Now(job))
        })
    }
}

/// The job of an earlier request with the same key.
fn submitted_before(
    transaction: &WriteTransaction,
    idempotency: Option<&(String, String)>,
) -> Result<Option<Job>, RegistryError> {
    let Some((key, request)) = idempotency else {
        return Ok(None);
    };
    match IDEMPOTENCY.get(transaction, &**key)? {
        None => Ok(None),
        Some(first) if first.request != *request => Err(RegistryError::KeyReused),
        Some(first) => JOBS.get(transaction, &*first.job),
    }
}

pub(super) fn next_id(transaction: &WriteTransaction) -> Result<u64, RegistryError> {
    let mut meta = transaction.open_table(META).map_err(database)?;
    let last = meta
        .get("last_job_id")
        .map_err(database)?
        .map_or(0, |value| value.value());
    meta.insert("last_job_id", last + 1).map_err(database)?;
    Ok(last + 1)
}
