//! Removing jobs that have ended.

use super::changes::check_unchanged;
use super::operations::close;
use super::records::Job;
use super::{IDEMPOTENCY, JOBS, OPEN_OPERATIONS, Registry, RegistryError, VERSIONS};

impl Registry {
    /// Forgets a job that has ended, with its versions and idempotency keys; what is still open of its operations fails.
    /// Operations that are over stay for as long as others. Returns what the job was.
    ///
    /// # Errors
    /// [`RegistryError::NoSuchJob`], [`RegistryError::NotOver`], [`RegistryError::ChangeUnderWay`], or if the database fails.
    pub fn remove(&self, name: &str, now_ms: u64) -> Result<Job, RegistryError> {
        self.write(|transaction| {
            let missing = || RegistryError::NoSuchJob(name.to_owned());
            let job = JOBS.get(transaction, name)?.ok_or_else(missing)?;
            check_unchanged(&job)?;
            let state = job.lifecycle.state;
            if !state.is_terminal() || !job.processes.is_empty() {
                let name = job.name;
                return Err(RegistryError::NotOver { name, state });
            }
            for operation in OPEN_OPERATIONS.entries(transaction)? {
                if operation.job == name {
                    let reason = format!("the job was {} and has been removed", state.name());
                    close(transaction, operation, Err(reason), now_ms)?;
                }
            }
            for version in 1..job.next_version() {
                VERSIONS.remove(transaction, (name, version))?;
            }
            IDEMPOTENCY.retain(transaction, |first| first.job != name)?;
            JOBS.remove(transaction, name)?;
            Ok(job)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::lifecycle::JobState;
    use crate::control::registry::records::{Once, OperationKind, OperationState, Origin, Wants};
    use crate::control::registry::{NewVersion, Submitted};

    fn submit(registry: &Registry, key: &str) -> Submitted {
        let new = NewVersion {
            name: "job".to_owned(),
            file_name: "job.yaml".to_owned(),
            text: "text".to_owned(),
            overrides: Vec::new(),
            workers: 1,
            processes: 1,
            memory_limit_bytes: None,
            origin: Origin::Submitted,
            shadow: None,
            once: Once::default(),
        };
        let key = Some((key.to_owned(), "request".to_owned()));
        registry.submit(new, "me", key, 10).unwrap()
    }

    #[test]
    fn only_what_has_ended_is_removed_and_then_nothing_of_it_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::open(&folder.path().join("registry.redb")).unwrap();
        let none = registry.remove("job", 20);
        assert!(matches!(none, Err(RegistryError::NoSuchJob(_))));
        submit(&registry, "key");
        let active = registry.remove("job", 20);
        assert!(matches!(active, Err(RegistryError::NotOver { .. })));
        let wants = Wants {
            savepoint: crate::control::protocol::StopSavepoint::Wanted(true),
            drain: false,
        };
        let stop = registry.ask("job", OperationKind::Stop, &wants, 20);
        let (job, _) = registry.job("job").unwrap();
        let mut ended = job.clone();
        ended.lifecycle.state = JobState::Suspended;
        assert!(registry.replace(&job, &ended, 30).unwrap());
        assert_eq!(registry.remove("job", 40).unwrap(), ended);
        assert!(registry.jobs().unwrap().is_empty());
        assert!(registry.versions("job").is_err());
        assert!(registry.version("job", 1).is_err());
        assert!(registry.open_operations().unwrap().is_empty());
        let stop = registry.operation(&stop.unwrap().id).unwrap();
        assert_eq!(
            (stop.state, stop.finished_ms),
            (OperationState::Failed, Some(40))
        );
        // Nobody is told of a job that is not there any more.
        let Submitted::Now(new) = submit(&registry, "key") else {
            panic!("the key is remembered");
        };
        assert_eq!((new.id, new.version), (2, 1));
    }
}
