//! One process at a time holds a job; whoever loses it can neither publish nor write.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::job::{JOB, Job, cut, request};
use tidewright_checkpoints::{
    Acknowledgement, CheckpointStore, ClaimError, Claimed, Cleaner, Epoch, Lease, LeaseError,
    PublishError, Publisher, Which, claim,
    lease::LeaseClock,
    restore::load,
    retention::CleanError,
    testing::{Faults, Faulty, MemoryStore, Model, Rng},
};

fn claimed(store: &Arc<MemoryStore>) -> Claimed {
    claim(&**store, &request(1)).unwrap()
}

fn nothing_changed(epoch: u64) -> Vec<Acknowledgement> {
    vec![Acknowledgement {
        worker: 0,
        epoch: Epoch(epoch),
        files: vec![],
    }]
}

#[test]
fn a_process_that_lost_the_job_publishes_and_deletes_nothing() {
    let store = Arc::new(MemoryStore::default());
    let mut rng = Rng::new(1);
    let mut zombie = Job::start(Arc::clone(&store) as _);
    zombie.checkpoint(&mut rng, 1, 1, &[]);
    let successor = claimed(&store);
    assert!(successor.generation() > zombie.publisher.head().generation);
    let before = store.head().unwrap();
    let error = zombie
        .publisher
        .publish(cut(9, nothing_changed(9)), &[])
        .unwrap_err();
    assert!(matches!(error, PublishError::Fenced(_)), "{error}");
    assert!(
        error.to_string().contains(&successor.head.holder),
        "{error}"
    );
    assert_eq!(store.head().unwrap(), before);
    let mine = zombie.publisher.head().generation;
    let cleaned = Cleaner::default().clean(&*store, JOB, mine, 1, &Default::default());
    assert!(matches!(cleaned, Err(CleanError::Fenced)));
}

#[test]
fn nothing_is_deleted_before_the_first_checkpoint_of_a_claim() {
    let store = Arc::new(MemoryStore::default());
    let mut rng = Rng::new(1);
    let mut job = Job::start(Arc::clone(&store) as _);
    for _ in 0..5 {
        job.checkpoint(&mut rng, 1, 1, &[]);
    }
    let mine = claimed(&store);
    let clean = || {
        Cleaner::default()
            .clean(&*store, JOB, mine.generation(), 1, &Default::default())
            .unwrap()
    };
    assert!(clean().manifests.is_empty());
    let restored = load(&*store, JOB, &Which::Latest).unwrap().unwrap();
    let mut publisher = Publisher::new(
        Arc::clone(&store) as _,
        JOB,
        mine.clone(),
        Some(restored.manifest),
    );
    publisher.publish(cut(9, nothing_changed(9)), &[]).unwrap();
    assert_eq!(clean().manifests.len(), 5);
    assert!(load(&*store, JOB, &Which::Latest).is_ok());
}

#[test]
fn of_processes_that_claim_at_once_at_most_one_wins_each_generation() {
    let store = MemoryStore::default();
    let outcomes: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| claim(&store, &request(1))))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    let mut generations: Vec<_> = won
        .into_iter()
        .map(|won| won.unwrap().generation())
        .collect();
    generations.sort();
    generations.dedup();
    assert_eq!(generations.len() + lost.len(), 8);
    assert!(
        lost.into_iter()
            .all(|lost| matches!(lost, Err(ClaimError::Taken(_))))
    );
}

#[test]
fn a_checkpoint_needs_the_word_of_every_worker_for_its_epoch() {
    let store = Arc::new(MemoryStore::default());
    let mut publisher = Publisher::new(Arc::clone(&store) as _, JOB, claimed(&store), None);
    let mut check = |workers: &[(u32, u64)], expected: &str| {
        let acknowledgements = workers.iter().map(|(worker, epoch)| Acknowledgement {
            worker: *worker,
            epoch: Epoch(*epoch),
            files: vec![],
        });
        let mut cut = cut(5, acknowledgements.collect());
        cut.workers = 2;
        let error = publisher.publish(cut, &[]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(&[(0, 5)], "worker 1");
    check(&[(0, 5), (1, 4)], "worker 1");
    check(&[(0, 5), (0, 5), (1, 5)], "worker 0");
    check(&[(0, 5), (1, 5), (2, 5)], "worker 2");
    assert!(store.list("manifests/").unwrap().is_empty());
}

#[test]
fn epochs_of_checkpoints_only_grow() {
    let store = Arc::new(MemoryStore::default());
    let mut publisher = Publisher::new(Arc::clone(&store) as _, JOB, claimed(&store), None);
    publisher.publish(cut(5, nothing_changed(5)), &[]).unwrap();
    let error = publisher
        .publish(cut(5, nothing_changed(5)), &[])
        .unwrap_err();
    assert!(matches!(error, PublishError::NotAfter { .. }), "{error}");
}

#[test]
fn publishing_goes_on_through_faults_of_the_store() {
    for seed in 0..10 {
        let store = Arc::new(MemoryStore::default());
        let faults = Faults {
            fail: 10,
            time_out_undone: 10,
            time_out_done: 10,
            ..Faults::default()
        };
        let mut job = Job::start(Arc::clone(&store) as _);
        let mut rng = Rng::new(seed);
        job.checkpoint(&mut rng, 1, 1, &[]);
        let (head, tag) = store.head().unwrap().unwrap();
        let faulty = Arc::new(Faulty::new(Arc::clone(&store) as _, faults, seed));
        let current = job.publisher.current().cloned();
        let mut publisher = Publisher::new(faulty, JOB, Claimed { head, tag }, current);
        for epoch in 2..20 {
            loop {
                match publisher.publish(cut(epoch, nothing_changed(epoch)), &[]) {
                    Ok(published) => break assert_eq!(published.epoch, Epoch(epoch)),
                    Err(PublishError::Store(_)) => {}
                    Err(error) => panic!("seed {seed}, epoch {epoch}: {error}"),
                }
            }
            assert_eq!(store.head().unwrap().unwrap().0.epoch, Epoch(epoch));
        }
        let restored = load(&*store, JOB, &Which::Latest).unwrap().unwrap();
        assert_eq!(Model::restored(&restored, 2).unwrap(), job.model);
    }
}

#[derive(Clone, Default)]
struct TestClock(Arc<AtomicU64>);

impl LeaseClock for TestClock {
    fn now(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

#[test]
fn a_lease_lasts_ten_seconds_after_a_look_at_head() {
    let store = Arc::new(MemoryStore::default());
    let mine = claimed(&store);
    let clock = TestClock::default();
    let lease = Lease::with_clock(
        Arc::clone(&store) as _,
        mine.generation(),
        Box::new(clock.clone()),
    );
    lease.check().unwrap();
    let other = claimed(&store);
    clock.0.store(9, Ordering::SeqCst);
    lease.check().unwrap();
    clock.0.store(10, Ordering::SeqCst);
    for _ in 0..2 {
        match lease.check() {
            Err(LeaseError::Fenced { generation, holder }) => {
                assert_eq!(
                    (generation, holder),
                    (other.generation(), other.head.holder.clone())
                );
            }
            outcome => panic!("{outcome:?}"),
        }
    }
    // What is lost stays lost, also if a swap begun long ago is reported now.
    lease.confirm(Duration::from_secs(10));
    assert!(lease.check().is_err());
}

#[test]
fn a_lease_that_was_never_confirmed_reads_head_first() {
    let store = Arc::new(MemoryStore::default());
    let mine = claimed(&store);
    claimed(&store);
    let lease = Lease::with_clock(
        Arc::clone(&store) as _,
        mine.generation(),
        Box::new(TestClock::default()),
    );
    assert!(matches!(lease.check(), Err(LeaseError::Fenced { .. })));
}

#[test]
fn a_successful_swap_renews_the_lease_from_its_beginning() {
    let store = Arc::new(MemoryStore::default());
    let mine = claimed(&store);
    let clock = TestClock::default();
    let faults = Faults {
        fail: 100,
        ..Faults::default()
    };
    let unreachable = Faulty::new(Arc::clone(&store) as _, faults, 0);
    let lease = Lease::with_clock(
        Arc::new(unreachable),
        mine.generation(),
        Box::new(clock.clone()),
    );
    assert!(matches!(lease.check(), Err(LeaseError::Store(_))));
    lease.confirm(Duration::from_secs(5));
    clock.0.store(14, Ordering::SeqCst);
    lease.check().unwrap();
    clock.0.store(15, Ordering::SeqCst);
    assert!(matches!(lease.check(), Err(LeaseError::Store(_))));
}
