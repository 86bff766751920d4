//! Operations: asked for, under way, over.

use redb::WriteTransaction;

use super::changes::check_unchanged;
use super::records::{Job, Operation, OperationKind, OperationState, SavepointView, Wants};
use super::{JOBS, OPEN_OPERATIONS, OPERATIONS, Registry, RegistryError};
use crate::control::change::Change;
use crate::control::lifecycle::{Desired, JobState};

impl Registry {
    /// Asks something of a job. The same request again, while it is under way, is the same operation.
    ///
    /// # Errors
    /// [`RegistryError::NoSuchJob`], [`RegistryError::AlreadyOver`], or if the database fails.
    pub fn ask(
        &self,
        name: &str,
        kind: OperationKind,
        wants: &Wants,
        now_ms: u64,
    ) -> Result<Operation, RegistryError> {
        self.write(|transaction| {
            let missing = || RegistryError::NoSuchJob(name.to_owned());
            let mut job = JOBS.get(transaction, name)?.ok_or_else(missing)?;
            if job.lifecycle.state.is_terminal() {
                let (name, state) = (job.name, job.lifecycle.state);
                return Err(RegistryError::AlreadyOver { name, state });
            }
            let open = OPEN_OPERATIONS.entries(transaction)?;
            let same =
                |open: &Operation| (&*open.job, open.kind, &open.wants) == (name, kind, wants);
            if let Some(operation) = open.into_iter().find(same) {
                return Ok(operation);
            }
            if kind == OperationKind::Stop && job.change.as_ref().is_some_and(Change::is_exchanging)
            {
                check_unchanged(&job)?;
            }
            let operation = Operation {
                id: uuid::Uuid::new_v4().to_string(),
                job: name.to_owned(),
                kind,
                wants: wants.clone(),
                version: None,
                state: OperationState::Running,
                created_ms: now_ms,
                finished_ms: None,
                message: None,
                savepoint: None,
            };
            let desired = match kind {
                OperationKind::Stop if wants.drain => Some(Desired::Drained),
                OperationKind::Stop => Some(Desired::Suspended),
                OperationKind::Cancel => Some(Desired::Canceled),
                OperationKind::Savepoint
                | OperationKind::Rescale
                | OperationKind::Upgrade
                | OperationKind::Replay => None,
            };
            if let Some(desired) = desired {
                job.lifecycle.want(desired, wants.insist());
                JOBS.put(transaction, name, &job)?;
            }
            OPEN_OPERATIONS.put(transaction, &*operation.id, &operation)?;
            Ok(operation)
        })
    }

    /// An operation.
    ///
    /// # Errors
    /// [`RegistryError::NoSuchOperation`], or if the database fails.
    pub fn operation(&self, id: &str) -> Result<Operation, RegistryError> {
        let transaction = self.read()?;
        let open = OPEN_OPERATIONS.read(&transaction, id)?;
        let found = match open {
            Some(operation) => Some(operation),
            None => OPERATIONS.read(&transaction, id)?,
        };
        found.ok_or_else(|| RegistryError::NoSuchOperation(id.to_owned()))
    }

    /// The operations that are under way.
    ///
    /// # Errors
    /// If the database fails.
    pub fn open_operations(&self) -> Result<Vec<Operation>, RegistryError> {
        OPEN_OPERATIONS.all(&self.read()?)
    }

    /// An operation has left its savepoint behind. A stop is over when the job has ended.
    ///
    /// # Errors
    /// If the database fails.
    pub fn savepoint_made(
        &self,
        id: &str,
        savepoint: SavepointView,
        now_ms: u64,
    ) -> Result<(), RegistryError> {
        self.write(|transaction| {
            let Some(mut operation) = OPEN_OPERATIONS.get(transaction, id)? else {
                return Ok(());
            };
            operation.savepoint = Some(savepoint);
            let job = JOBS.get(transaction, &*operation.job)?;
            let ended = job.is_none_or(|job| job.lifecycle.state.is_terminal());
            if operation.kind == OperationKind::Stop && !ended {
                return OPEN_OPERATIONS.put(transaction, id, &operation);
            }
            close(transaction, operation, Ok(None), now_ms)
        })
    }

    /// An operation has failed. What was wanted of its job is not wanted any more if the job `goes_on`.
    ///
    /// # Errors
    /// If the database fails.
    pub fn operation_failed(
        &self,
        id: &str,
        reason: &str,
        goes_on: bool,
        now_ms: u64,
    ) -> Result<(), RegistryError> {
        self.write(|transaction| {
            let Some(operation) = OPEN_OPERATIONS.get(transaction, id)? else {
                return Ok(());
            };
            if goes_on
                && operation.kind == OperationKind::Stop
                && let Some(mut job) = JOBS.get(transaction, &*operation.job)?
                && job.lifecycle.insist
            {
                job.lifecycle.want(Desired::Running, false);
                JOBS.put(transaction, &*operation.job, &job)?;
            }
            close(transaction, operation, Err(reason.to_owned()), now_ms)
        })
    }
}

/// The job has ended: what was asked of it has come true, or can't any more. A stop whose savepoint is not known yet may
/// still hear of it.
pub(super) fn finish_with_job(
    transaction: &WriteTransaction,
    job: &Job,
    now_ms: u64,
) -> Result<(), RegistryError> {
    let state = job.lifecycle.state;
    let now = format!("the job is {}", state.name());
    for operation in OPEN_OPERATIONS.entries(transaction)? {
        let wanted = operation.wants.savepoint_wanted() && operation.savepoint.is_none();
        let came_true = match operation.kind {
            _ if operation.job != job.name => continue,
            // Over when the supervisor says so.
            kind if kind.is_change() => continue,
            OperationKind::Savepoint
            | OperationKind::Rescale
            | OperationKind::Upgrade
            | OperationKind::Replay => false,
            OperationKind::Cancel => state != JobState::Failed,
            OperationKind::Stop if wanted && state != JobState::Failed => continue,
            OperationKind::Stop if operation.wants.drain => state == JobState::Finished,
            OperationKind::Stop => matches!(state, JobState::Suspended | JobState::Finished),
        };
        let outcome = if came_true {
            Ok(Some(now.clone()))
        } else {
            Err(now.clone())
        };
        close(transaction, operation, outcome, now_ms)?;
    }
    Ok(())
}

pub(super) fn close(
    transaction: &WriteTransaction,
    mut operation: Operation,
    outcome: Result<Option<String>, String>,
    now_ms: u64,
) -> Result<(), RegistryError> {
    (operation.state, operation.message) = match outcome {
        Ok(message) => (OperationState::Succeeded, message),
        Err(message) => (OperationState::Failed, Some(message)),
    };
    operation.finished_ms = Some(now_ms);
    OPEN_OPERATIONS.remove(transaction, &*operation.id)?;
    OPERATIONS.put(transaction, &*operation.id, &operation)
}
