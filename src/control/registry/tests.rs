use super::*;
use crate::control::lifecycle::Desired;
use crate::control::lifecycle::Lifecycle;
use crate::control::protocol::StopSavepoint;
use crate::control::registry::records::{
    Once, OperationKind, OperationState, Origin, Role, SavepointView, Wants,
};
use crate::control::registry::tokens::new_secret;

struct Opened {
    _folder: tempfile::TempDir,
    path: std::path::PathBuf,
    registry: Option<Registry>,
}

impl Opened {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.redb");
        let registry = Some(Registry::open(&path).unwrap());
        Self {
            _folder: folder,
            path,
            registry,
        }
    }

    fn again(&mut self) {
        self.registry = None;
        self.registry = Some(Registry::open(&self.path).unwrap());
    }
}

impl std::ops::Deref for Opened {
    type Target = Registry;

    fn deref(&self) -> &Registry {
        self.registry.as_ref().unwrap()
    }
}

fn new(name: &str, text: &str) -> NewVersion {
    NewVersion {
        name: name.to_owned(),
        file_name: "job.yaml".to_owned(),
        text: text.to_owned(),
        overrides: vec![("a.b".to_owned(), "${env:SECRET}".to_owned())],
        workers: 2,
        processes: 1,
        memory_limit_bytes: None,
        origin: Origin::Submitted,
        shadow: None,
        once: Once::default(),
    }
}

fn key(key: &str, request: &str) -> Option<(String, String)> {
    Some((key.to_owned(), request.to_owned()))
}

fn state(registry: &Registry, name: &str) -> JobState {
    registry.job(name).unwrap().0.lifecycle.state
}

/// Moves a job into a state, as the supervisor does.
fn enter(registry: &Registry, name: &str, state: JobState) {
    let (job, _) = registry.job(name).unwrap();
    let mut next = job.clone();
    next.lifecycle.state = state;
    assert!(registry.replace(&job, &next, 50).unwrap());
}

#[test]
fn what_was_submitted_is_there_after_the_next_start() {
    let mut registry = Opened::new();
    registry.submit(new("one", "text"), "me", None, 10).unwrap();
    registry.submit(new("two", "text"), "me", None, 11).unwrap();
    let before = registry.jobs_with_versions().unwrap();
    registry.again();
    assert_eq!(registry.jobs_with_versions().unwrap(), before);
    let (job, version) = registry.job("two").unwrap();
    assert_eq!((job.id, job.version, version.workers), (2, 1, 2));
    assert_eq!(job.lifecycle, Lifecycle::submitted(11));
    assert_eq!(version.overrides[0].1, "${env:SECRET}");
    assert!(matches!(
        registry.job("three"),
        Err(RegistryError::NoSuchJob(_))
    ));
}

/// What format 1 has noted: no processes per job, no number of the start.
#[test]
fn what_the_release_before_has_noted_is_a_job_in_one_process() {
    let mut registry = Opened::new();
    registry.submit(new("old", "text"), "me", None, 10).unwrap();
    let without = |json: serde_json::Value, names: &[&str]| {
        let mut json = json;
        for name in names {
            let removed = json.as_object_mut().unwrap().remove(*name);
            assert!(removed.is_some(), "{name}");
        }
        serde_json::to_vec(&json).unwrap()
    };
    let (job, version) = registry.job("old").unwrap();
    let job = without(
        serde_json::to_value(&job).unwrap(),
        &["attempt", "last_version", "begun_after", "change"],
    );
    let version = without(
        serde_json::to_value(&version).unwrap(),
        &["processes", "origin", "shadow", "once"],
    );
    registry
        .write(|transaction| {
            let raw = |name| TableDefinition::<&str, &[u8]>::new(name);
            let mut jobs = transaction.open_table(raw("jobs")).unwrap();
            jobs.insert("old", &*job).unwrap();
            let raw = TableDefinition::<(&str, u32), &[u8]>::new("versions");
            let mut versions = transaction.open_table(raw).unwrap();
            versions.insert(("old", 1), &*version).unwrap();
            let mut meta = transaction.open_table(META).unwrap();
            meta.insert("format_version", 1).unwrap();
            Ok(())
        })
        .unwrap();
    registry.again();
    let (job, version) = registry.job("old").unwrap();
    assert_eq!((version.workers, version.processes), (2, 1));
    assert_eq!((job.attempt, job.next_version(), job.change), (0, 2, None));
    assert!(version.once.is_none());
    // From now on that release must not open it.
    let meta = registry.read().unwrap().open_table(META).unwrap();
    let format = meta.get("format_version").unwrap().unwrap().value();
    assert_eq!(format, FORMAT_VERSION);
}

#[test]
fn only_a_job_that_has_ended_gets_a_new_version() {
    let registry = Opened::new();
    registry.submit(new("job", "old"), "me", None, 10).unwrap();
    for active in [
        JobState::Created,
        JobState::Running,
        JobState::Restarting,
        JobState::Failing,
        JobState::Cancelling,
    ] {
        enter(&registry, "job", active);
        let refused = registry.submit(new("job", "new"), "me", None, 20);
        assert!(matches!(refused, Err(RegistryError::StillActive { .. })));
        assert_eq!(registry.job("job").unwrap().1.text, "old");
    }
    enter(&registry, "job", JobState::Suspended);
    registry.submit(new("job", "new"), "me", None, 20).unwrap();
    let (job, version) = registry.job("job").unwrap();
    assert_eq!((job.id, job.version, &*version.text), (1, 2, "new"));
    assert_eq!(job.lifecycle.state, JobState::Created);
}

#[test]
fn a_key_makes_one_job_and_belongs_to_its_caller_and_request() {
    let mut registry = Opened::new();
    let first = registry
        .submit(new("job", "text"), "me", key("k", "request"), 10)
        .unwrap();
    let Submitted::Now(job) = first else {
        panic!("{first:?}");
    };
    registry.again();
    let again = registry.submit(new("job", "text"), "me", key("k", "request"), 11);
    assert_eq!(again.unwrap(), Submitted::Before(job));
    let other = registry.submit(new("job2", "text"), "me", key("k", "other"), 12);
    assert!(matches!(other, Err(RegistryError::KeyReused)));
    registry
        .submit(new("job2", "text"), "you", key("k", "other"), 13)
        .unwrap();
    assert_eq!(registry.jobs().unwrap().len(), 2);
}

#[test]
fn a_change_that_somebody_else_overtook_is_not_made() {
    let registry = Opened::new();
    registry.submit(new("job", "text"), "me", None, 10).unwrap();
    let (seen, _) = registry.job("job").unwrap();
    registry
        .ask("job", OperationKind::Stop, &Wants::default(), 11)
        .unwrap();
    let mut next = seen.clone();
    next.lifecycle.state = JobState::Running;
    assert!(!registry.replace(&seen, &next, 12).unwrap());
    let (now, _) = registry.job("job").unwrap();
    assert_eq!(now.lifecycle.desired, Desired::Suspended);
    assert_eq!(now.lifecycle.state, JobState::Created);
}

#[test]
fn operations_are_over_with_their_job() {
    let registry = Opened::new();
    for (kind, state, over) in [
        (
            OperationKind::Stop,
            JobState::Suspended,
            OperationState::Succeeded,
        ),
        (
            OperationKind::Stop,
            JobState::Finished,
            OperationState::Succeeded,
        ),
        (
            OperationKind::Stop,
            JobState::Canceled,
            OperationState::Failed,
        ),
        (
            OperationKind::Cancel,
            JobState::Canceled,
            OperationState::Succeeded,
        ),
        (
            OperationKind::Cancel,
            JobState::Failed,
            OperationState::Failed,
        ),
    ] {
        registry.submit(new("job", "text"), "me", None, 10).unwrap();
        let operation = registry.ask("job", kind, &Wants::default(), 11).unwrap();
        let repeated = registry.ask("job", kind, &Wants::default(), 12).unwrap();
        assert_eq!(operation, repeated, "asked again, it is the same operation");
        enter(&registry, "job", JobState::Cancelling);
        assert_eq!(registry.operation(&operation.id).unwrap(), operation);
        enter(&registry, "job", state);
        let done = registry.operation(&operation.id).unwrap();
        assert_eq!(
            (done.state, done.finished_ms),
            (over, Some(50)),
            "{state:?}"
        );
        let late = registry.ask("job", kind, &Wants::default(), 60);
        assert!(matches!(late, Err(RegistryError::AlreadyOver { .. })));
    }
}

#[test]
fn a_stop_with_a_savepoint_is_over_when_both_are_there() {
    let registry = Opened::new();
    let wants = Wants {
        savepoint: StopSavepoint::Wanted(true),
        drain: false,
    };
    let savepoint = SavepointView {
        location: "s3://b/p".to_owned(),
        epoch: 7,
        bytes: 8,
    };
    for job_first in [true, false] {
        registry.submit(new("job", "text"), "me", None, 10).unwrap();
        let operation = registry
            .ask("job", OperationKind::Stop, &wants, 11)
            .unwrap();
        assert!(registry.job("job").unwrap().0.lifecycle.insist);
        let end = || enter(&registry, "job", JobState::Suspended);
        let made = || registry.savepoint_made(&operation.id, savepoint.clone(), 50);
        let is_open = || {
            registry
                .operation(&operation.id)
                .unwrap()
                .finished_ms
                .is_none()
        };
        if job_first {
            end();
            assert!(is_open());
            made().unwrap();
        } else {
            made().unwrap();
            assert!(is_open());
            end();
        }
        let done = registry.operation(&operation.id).unwrap();
        assert_eq!(done.state, OperationState::Succeeded);
        assert_eq!(done.savepoint.as_ref(), Some(&savepoint));
    }
}

#[test]
fn a_stop_that_the_job_refused_is_not_wanted_any_more() {
    let registry = Opened::new();
    registry.submit(new("job", "text"), "me", None, 10).unwrap();
    let wants = Wants {
        savepoint: StopSavepoint::Wanted(false),
        drain: true,
    };
    let operation = registry
        .ask("job", OperationKind::Stop, &wants, 11)
        .unwrap();
    assert_eq!(
        registry.job("job").unwrap().0.lifecycle.desired,
        Desired::Drained
    );
    registry
        .operation_failed(&operation.id, "cannot", true, 12)
        .unwrap();
    let lifecycle = registry.job("job").unwrap().0.lifecycle;
    assert_eq!(
        (lifecycle.desired, lifecycle.insist),
        (Desired::Running, false)
    );
    let done = registry.operation(&operation.id).unwrap();
    assert_eq!(done.state, OperationState::Failed);
    assert_eq!(done.message.as_deref(), Some("cannot"));
    assert!(registry.open_operations().unwrap().is_empty());
}

#[test]
fn old_operations_and_keys_are_forgotten_and_open_ones_are_not() {
    let registry = Opened::new();
    registry
        .submit(new("job", "text"), "me", key("k", "request"), 10)
        .unwrap();
    registry
        .submit(new("open", "text"), "me", None, 10)
        .unwrap();
    let over = registry
        .ask("job", OperationKind::Stop, &Wants::default(), 11)
        .unwrap();
    let open = registry
        .ask("open", OperationKind::Stop, &Wants::default(), 11)
        .unwrap();
    enter(&registry, "job", JobState::Suspended);
    registry.forget_old(KEEP_MS + 10).unwrap();
    assert!(registry.operation(&over.id).is_ok());
    registry.forget_old(KEEP_MS + 51).unwrap();
    assert!(matches!(
        registry.operation(&over.id),
        Err(RegistryError::NoSuchOperation(_))
    ));
    assert!(registry.operation(&open.id).is_ok());
    let again = registry.submit(new("job", "text"), "me", key("k", "other"), 12);
    assert!(matches!(again, Ok(Submitted::Now(_))), "{again:?}");
    assert_eq!(state(&registry, "job"), JobState::Created);
}

#[test]
fn tokens_are_known_by_their_hash_alone_and_the_last_admin_stays() {
    let mut registry = Opened::new();
    let (admin, viewer) = (new_secret(), new_secret());
    registry.add_token("admin", Role::Admin, &admin, 1).unwrap();
    registry
        .add_token("viewer", Role::Viewer, &viewer, 2)
        .unwrap();
    let taken = registry.add_token("viewer", Role::Admin, &new_secret(), 3);
    assert!(matches!(taken, Err(RegistryError::Token(_))));
    registry.again();
    assert_eq!(registry.token(&viewer).unwrap().unwrap().role, Role::Viewer);
    assert_eq!(registry.token("nonsense").unwrap(), None);
    assert_eq!(registry.tokens().unwrap().len(), 2);
    assert!(registry.revoke_token("admin").is_err());
    registry.revoke_token("viewer").unwrap();
    assert_eq!(registry.token(&viewer).unwrap(), None);
    let bytes = std::fs::read(&registry.path).unwrap();
    for secret in [&admin, &viewer] {
        let found = bytes
            .windows(secret.len())
            .any(|window| window == secret.as_bytes());
        assert!(!found, "a token is stored as it is");
    }
}

#[test]
fn one_server_at_a_time_uses_a_registry() {
    let registry = Opened::new();
    let second = Registry::open(&registry.path);
    assert!(matches!(second, Err(RegistryError::InUse(_))), "{second:?}");
}

fn other(name: &str) -> NewVersion {
    NewVersion {
        workers: 3,
        ..new(name, "text")
    }
}

#[test]
fn a_change_is_a_version_that_waits_and_the_same_request_is_the_same_operation() {
    let mut registry = Opened::new();
    let change = |registry: &Registry, new: NewVersion, now_ms| {
        registry.change(OperationKind::Rescale, new, "me", now_ms)
    };
    let nobody = change(&registry, other("nobody"), 9);
    assert!(matches!(nobody, Err(RegistryError::NoSuchJob(_))));
    registry.submit(new("job", "text"), "me", None, 10).unwrap();
    enter(&registry, "job", JobState::Running);
    let operation = change(&registry, other("job"), 11).unwrap();
    assert_eq!(operation.version, Some(2));
    registry.again();
    assert_eq!(change(&registry, other("job"), 12).unwrap(), operation);
    let (job, version) = registry.job("job").unwrap();
    assert_eq!(
        (job.version, version.workers),
        (1, 2),
        "nothing runs it yet"
    );
    let another = NewVersion {
        workers: 4,
        ..other("job")
    };
    let refused = change(&registry, another, 13);
    assert!(matches!(refused, Err(RegistryError::ChangeUnderWay { .. })));
    let stop = registry.ask("job", OperationKind::Stop, &Wants::default(), 14);
    assert!(matches!(stop, Err(RegistryError::ChangeUnderWay { .. })));
    let mut next = job.clone();
    next.change = None;
    let failed = Err("does not start".to_owned());
    assert!(
        registry
            .settle(&job, &next, &operation.id, failed, 15)
            .unwrap()
    );
    let done = registry.operation(&operation.id).unwrap();
    assert_eq!(
        (done.state, done.finished_ms),
        (OperationState::Failed, Some(15))
    );
    // What never ran is remembered, and its number is not used again.
    let next = change(&registry, other("job"), 16).unwrap();
    assert_eq!(next.version, Some(3));
    assert_eq!(registry.versions("job").unwrap().1.len(), 3);
    registry
        .ask("job", OperationKind::Cancel, &Wants::default(), 17)
        .unwrap();
}

#[test]
fn only_a_job_that_is_to_run_is_changed_and_a_copy_of_one_is_a_job_of_its_own() {
    let registry = Opened::new();
    registry.submit(new("job", "text"), "me", None, 10).unwrap();
    registry
        .ask("job", OperationKind::Stop, &Wants::default(), 11)
        .unwrap();
    let ending = registry.change(OperationKind::Upgrade, other("job"), "me", 12);
    assert!(
        matches!(ending, Err(RegistryError::Ending(_))),
        "{ending:?}"
    );
    enter(&registry, "job", JobState::Suspended);
    let over = registry.change(OperationKind::Upgrade, other("job"), "me", 13);
    assert!(
        matches!(over, Err(RegistryError::AlreadyOver { .. })),
        "{over:?}"
    );
    let make = |now_ms| {
        registry.make(
            OperationKind::Replay,
            new("job.shadow.x", "text"),
            "me",
            now_ms,
        )
    };
    let made = make(14).unwrap();
    assert_eq!(make(15).unwrap(), made, "the same request");
    let (shadow, _) = registry.job("job.shadow.x").unwrap();
    assert_eq!((shadow.id, shadow.version), (2, 1));
    let mut runs = shadow.clone();
    runs.change = None;
    let done = Ok("version 1 is running".to_owned());
    assert!(registry.settle(&shadow, &runs, &made.id, done, 16).unwrap());
    let active = make(17);
    assert!(matches!(active, Err(RegistryError::StillActive { .. })));
    enter(&registry, "job.shadow.x", JobState::Canceled);
    assert_eq!(make(18).unwrap().version, Some(2));
}
