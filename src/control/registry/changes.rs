//! Changes of jobs that run: new versions, which the supervisor brings about.

use redb::WriteTransaction;

use super::operations::{close, finish_with_job};
use super::records::{Job, Operation, OperationKind, OperationState, Version, Wants};
use super::submissions::{NewVersion, next_id};
use super::{JOBS, OPEN_OPERATIONS, Registry, RegistryError, VERSIONS};
use crate::control::change::{Back, Change, ChangeKind};
use crate::control::lifecycle::{Desired, Lifecycle};

impl Registry {
    /// Registers a version that a job is to go on with, and the operation that brings it about. The same request again,
    /// while it is under way, is the same operation.
    ///
    /// # Errors
    /// [`RegistryError::NoSuchJob`]; [`RegistryError::AlreadyOver`], [`RegistryError::ChangeUnderWay`] or
    /// [`RegistryError::Ending`] if the job is in no state to be changed; or if the database fails.
    pub fn change(
        &self,
        kind: OperationKind,
        new: NewVersion,
        asked_by: &str,
        now_ms: u64,
    ) -> Result<Operation, RegistryError> {
        self.write(|transaction| {
            let missing = || RegistryError::NoSuchJob(new.name.clone());
            let mut job = JOBS.get(transaction, &*new.name)?.ok_or_else(missing)?;
            if let Some(operation) = same_change(transaction, &job, kind, &new)? {
                return Ok(operation);
            }
            check_unchanged(&job)?;
            if job.lifecycle.state.is_terminal() {
                let (name, state) = (job.name, job.lifecycle.state);
                return Err(RegistryError::AlreadyOver { name, state });
            }
            if job.lifecycle.desired != Desired::Running {
                return Err(RegistryError::Ending(job.name));
            }
            let version = new.registered(job.next_version(), asked_by, now_ms);
            let operation = operation(kind, &version, &job.name, now_ms);
            let back = Back {
                version: job.version,
                begun_after: job.begun_after,
            };
            job.last_version = version.version;
            job.change = Some(Change::asked(
                operation.id.clone(),
                version.version,
                Some(back),
                of_kind(kind),
            ));
            put(transaction, &job, &version, &operation)?;
            Ok(operation)
        })
    }

    /// Registers a job that is made from another one, such as a shadow, and an operation that is over when it runs.
    ///
    /// # Errors
    /// [`RegistryError::StillActive`] if there is one of that name that has not ended, or if the database fails.
    pub fn make(
        &self,
        kind: OperationKind,
        new: NewVersion,
        asked_by: &str,
        now_ms: u64,
    ) -> Result<Operation, RegistryError> {
        self.write(|transaction| {
            let job = match JOBS.get(transaction, &*new.name)? {
                None => Job {
                    version: 0,
                    ..Job::new(next_id(transaction)?, &new.name, now_ms)
                },
                Some(job) => {
                    if let Some(operation) = same_change(transaction, &job, kind, &new)? {
                        return Ok(operation);
                    }
                    if !job.lifecycle.state.is_terminal() {
                        let (name, state) = (job.name, job.lifecycle.state);
                        return Err(RegistryError::StillActive { name, state });
                    }
                    job
                }
            };
            let version = new.registered(job.next_version(), asked_by, now_ms);
            let operation = operation(kind, &version, &job.name, now_ms);
            let change = Change::asked(operation.id.clone(), version.version, None, of_kind(kind));
            let job = Job {
                version: version.version,
                last_version: version.version,
                lifecycle: Lifecycle::submitted(now_ms),
                begun_after: None,
                change: Some(change),
                ..job
            };
            put(transaction, &job, &version, &operation)?;
            Ok(operation)
        })
    }

    /// As [`Registry::replace`], and a change's operation is over.
    ///
    /// # Errors
    /// If the database fails.
    pub fn settle(
        &self,
        old: &Job,
        new: &Job,
        operation: &str,
        outcome: Result<String, String>,
        now_ms: u64,
    ) -> Result<bool, RegistryError> {
        self.write(|transaction| {
            if JOBS.get(transaction, &old.name)?.as_ref() != Some(old) {
                return Ok(false);
            }
            JOBS.put(transaction, &new.name, new)?;
            if new.lifecycle.state.is_terminal() && !old.lifecycle.state.is_terminal() {
                finish_with_job(transaction, new, now_ms)?;
            }
            if let Some(operation) = OPEN_OPERATIONS.get(transaction, operation)? {
                close(transaction, operation, outcome.map(Some), now_ms)?;
            }
            Ok(true)
        })
    }

    /// All versions of a job, the first one first.
    ///
    /// # Errors
    /// [`RegistryError::NoSuchJob`], or if the database fails.
    pub fn versions(&self, name: &str) -> Result<(Job, Vec<Version>), RegistryError> {
        let transaction = self.read()?;
        let missing = || RegistryError::NoSuchJob(name.to_owned());
        let job = JOBS.read(&transaction, name)?.ok_or_else(missing)?;
        let mut versions = Vec::new();
        for version in 1..job.next_version() {
            versions.extend(VERSIONS.read(&transaction, (name, version))?);
        }
        Ok((job, versions))
    }

    /// One version of a job.
    ///
    /// # Errors
    /// [`RegistryError::NoSuchJob`], or if the database fails.
    pub fn version(&self, name: &str, version: u32) -> Result<Version, RegistryError> {
        let found = VERSIONS.read(&self.read()?, (name, version))?;
        found.ok_or_else(|| RegistryError::NoSuchJob(name.to_owned()))
    }
}

fn of_kind(kind: OperationKind) -> ChangeKind {
    match kind {
        OperationKind::Rescale => ChangeKind::Shape,
        OperationKind::Upgrade => ChangeKind::File,
        _ => ChangeKind::Beginning,
    }
}

/// Nothing else may be wanted of a job while it changes, but its end.
pub(super) fn check_unchanged(job: &Job) -> Result<(), RegistryError> {
    match &job.change {
        None => Ok(()),
        Some(change) => Err(RegistryError::ChangeUnderWay {
            name: job.name.clone(),
            operation: change.operation.clone(),
        }),
    }
}

/// The operation of the same request, if that is under way.
fn same_change(
    transaction: &WriteTransaction,
    job: &Job,
    kind: OperationKind,
    new: &NewVersion,
) -> Result<Option<Operation>, RegistryError> {
    let Some(change) = &job.change else {
        return Ok(None);
    };
    let version = VERSIONS.get(transaction, (&*job.name, change.version))?;
    let operation = OPEN_OPERATIONS.get(transaction, &*change.operation)?;
    let is_same = version.is_some_and(|version| new.is(&version));
    Ok(operation.filter(|operation| is_same && operation.kind == kind))
}

fn operation(kind: OperationKind, version: &Version, job: &str, now_ms: u64) -> Operation {
    Operation {
        id: uuid::Uuid::new_v4().to_string(),
        job: job.to_owned(),
        kind,
        wants: Wants::default(),
        version: Some(version.version),
        state: OperationState::Running,
        created_ms: now_ms,
        finished_ms: None,
        message: None,
        savepoint: None,
    }
}

fn put(
    transaction: &WriteTransaction,
    job: &Job,
    version: &Version,
    operation: &Operation,
) -> Result<(), RegistryError> {
    VERSIONS.put(transaction, (&*job.name, version.version), version)?;
    OPEN_OPERATIONS.put(transaction, &*operation.id, operation)?;
    JOBS.put(transaction, &*job.name, job)
}
