use tidewright_checkpoints::testing::MemoryStore;
use tidewright_checkpoints::{CheckpointKind, Epoch, Generation};

use super::*;

fn manifest(epoch: u64) -> Manifest {
    Manifest {
        format_version: tidewright_checkpoints::manifest::MANIFEST_VERSION,
        job: "test".to_owned(),
        generation: Generation(7),
        epoch: Epoch(epoch),
        kind: CheckpointKind::Periodic,
        created_ms: 0,
        workers: 1,
        files: vec![],
        sources: BTreeMap::new(),
        watermarks: BTreeMap::new(),
        operators: BTreeMap::new(),
        delivered: BTreeMap::new(),
        extra: BTreeMap::new(),
    }
}

struct Job {
    folder: tempfile::TempDir,
    store: Arc<dyn CheckpointStore>,
    savepoints: Arc<Savepoints>,
}

impl Job {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            store: Arc::new(MemoryStore::default()),
            savepoints: Arc::default(),
        }
    }

    fn place(&self, name: &str) -> String {
        format!("file://{}", self.folder.path().join(name).display())
    }

    fn publish(&self, epoch: u64) {
        self.savepoints.published(&manifest(epoch), &self.store);
    }
}

#[test]
fn the_next_checkpoint_at_or_after_the_marker_is_taken() {
    let job = Job::new();
    let outcome = job.savepoints.request(Some(job.place("a")), Moment::Next);
    assert!(job.savepoints.is_due());
    job.publish(4);
    job.savepoints.cut_at(5, false);
    assert!(!job.savepoints.is_due());
    job.publish(4);
    assert!(outcome.try_recv().is_err(), "the marker is behind epoch 4");
    job.publish(6);
    let taken = outcome.recv().expect("an answer").expect("a savepoint");
    assert_eq!((taken.epoch, taken.location), (6, job.place("a")));
    job.savepoints.finish();
    assert!(job.savepoints.pinned().is_empty());
}

#[test]
fn a_savepoint_of_the_end_waits_for_the_final_checkpoint() {
    let job = Job::new();
    let outcome = job.savepoints.request(Some(job.place("a")), Moment::Final);
    assert!(!job.savepoints.is_due(), "it wants no marker of its own");
    job.savepoints.cut_at(5, false);
    job.publish(5);
    assert!(outcome.try_recv().is_err());
    job.savepoints.cut_at(9, true);
    job.publish(9);
    let at_end = job.savepoints.finish().expect("a savepoint of the end");
    assert_eq!(outcome.recv().expect("an answer"), at_end);
    assert_eq!(at_end.expect("a savepoint").epoch, 9);
}

#[test]
fn requests_for_one_place_share_a_savepoint_and_a_taken_place_is_refused() {
    let job = Job::new();
    let ask = || job.savepoints.request(Some(job.place("a")), Moment::Next);
    let (first, second) = (ask(), ask());
    job.savepoints.cut_at(5, false);
    job.publish(5);
    let first = first.recv().expect("an answer");
    assert_eq!(first, second.recv().expect("an answer"));
    assert!(first.is_ok());
    let third = ask();
    job.savepoints.cut_at(8, false);
    job.publish(8);
    let error = third.recv().expect("an answer").expect_err("it is taken");
    assert!(error.contains("a savepoint is there already"), "{error}");
    assert!(check_place(&job.place("a")).is_err());
    assert_eq!(check_place(&job.place("b")), Ok(()));
}

#[test]
fn who_asks_too_late_is_told() {
    let job = Job::new();
    let early = job.savepoints.request(None, Moment::Next);
    assert_eq!(job.savepoints.finish(), None);
    let late = job.savepoints.request(None, Moment::Next);
    for outcome in [early, late] {
        let error = outcome.recv().expect("an answer");
        assert_eq!(error, Err("the job has ended".to_owned()));
    }
}

#[test]
fn who_asks_between_the_last_marker_and_the_end_gets_the_last_checkpoint() {
    let job = Job::new();
    job.savepoints.cut_at(9, true);
    let before = job.savepoints.request(Some(job.place("a")), Moment::Final);
    job.publish(9);
    let after = job.savepoints.request(Some(job.place("b")), Moment::Next);
    for outcome in [before, after] {
        let taken = outcome.recv().expect("an answer").expect("a savepoint");
        assert_eq!(taken.epoch, 9);
    }
    assert!(job.savepoints.finish().is_some());
}
