//! What is restored is what was written: after merges and compactions, for any number of workers - or an error says why not.

use std::{collections::BTreeSet, sync::Arc};

use crate::job::{JOB, Job};
use proptest::{prelude::*, test_runner::FileFailurePersistence};
use tidewright_checkpoints::{
    CheckpointStore, Cleaner, Which,
    compaction::{self, Policy},
    paths,
    restore::{RestoreError, Restored, load},
    testing::{MemoryStore, Model, Rng},
};

fn restore(store: &dyn CheckpointStore, which: &Which) -> Restored {
    load(store, JOB, which).unwrap().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40,
        // Failing cases are kept beside this file.
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/suite/restoring.proptest-regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn restoring_gives_the_state_after_any_changes_and_compactions(
        seed: u64, runs_max in 2usize..5, file_bytes_max in 100u64..3000, oldest_ratio_percent in 10u64..300,
        // Below all files and above.
        piece_bytes in 100u64..100_000,
    ) {
        let policy = Policy { runs_max, files_max: 3 * runs_max, oldest_ratio_percent, file_bytes_max, piece_bytes };
        let mut rng = Rng::new(seed);
        let mut job = Job::start(Arc::new(MemoryStore::default()));
        let mut cleaner = Cleaner::default();
        for _ in 0..60 {
            let plan = job.publisher.current().and_then(|manifest| compaction::plan_with(manifest, &policy));
            let generation = job.publisher.head().generation;
            let compacted: Vec<_> = plan.iter()
                .map(|plan| compaction::run(plan, &job.store, JOB, generation).unwrap()).collect();
            // Workers go on while files are merged: the result comes in with a later checkpoint, once in a while.
            if rng.percent(50) {
                let workers = 1 + rng.below(3) as u32;
                job.checkpoint(&mut rng, workers, 3, &[]);
            }
            let workers = 1 + rng.below(3) as u32;
            job.checkpoint(&mut rng, workers, 3, &compacted);
            cleaner.clean(&*job.store, JOB, generation, 1, &BTreeSet::new()).unwrap();
            let restored = restore(&*job.store, &Which::Latest);
            let workers = 1 + rng.below(5) as usize;
            prop_assert_eq!(&Model::restored(&restored, workers).unwrap(), &job.model);
        }
        let files = job.publisher.current().unwrap().files.len();
        let listed = job.store.list(paths::STATE).unwrap().len();
        prop_assert!(listed <= files + 2 * policy.files_max, "{} files in the store, {} in the manifest", listed, files);
    }
}

/// A job with three checkpoints; gives their names.
fn three_checkpoints() -> (Arc<MemoryStore>, Vec<String>, Model) {
    let store = Arc::new(MemoryStore::default());
    let mut rng = Rng::new(7);
    let mut job = Job::start(Arc::clone(&store) as _);
    let mut at_second = Model::default();
    let names = (0..3)
        .map(|number| {
            let name = job.checkpoint(&mut rng, 2, 2, &[]);
            if number == 1 {
                at_second = job.model.clone();
            }
            name
        })
        .collect();
    (store, names, at_second)
}

fn error_of(store: &MemoryStore) -> String {
    load(store, JOB, &Which::Latest).unwrap_err().to_string()
}

#[test]
fn an_older_checkpoint_is_restored_by_its_name() {
    let (store, names, at_second) = three_checkpoints();
    let restored = restore(&*store, &Which::Path(names[1].clone()));
    assert_eq!(Model::restored(&restored, 1).unwrap(), at_second);
}

#[test]
fn a_damaged_state_file_is_named_and_the_checkpoint_before_is_offered() {
    let (store, names, _) = three_checkpoints();
    let file = store.list(paths::STATE).unwrap().remove(0);
    for place in 0..file.bytes as usize {
        store.damage(&file.name, |bytes| bytes[place] ^= 0x10);
        let error = error_of(&store);
        assert!(
            error.contains(&file.name) && error.contains(&names[1]),
            "{error}"
        );
        store.damage(&file.name, |bytes| bytes[place] ^= 0x10);
    }
    store.damage(&file.name, |bytes| bytes.truncate(bytes.len() / 2));
    let error = error_of(&store);
    assert!(
        error.contains(&file.name) && error.contains(&names[2]),
        "{error}"
    );
}

#[test]
fn a_missing_or_foreign_state_file_is_named() {
    let (store, names, _) = three_checkpoints();
    let files = store.list(paths::STATE).unwrap();
    let [first, second] = [&files[0].name, &files[1].name];
    let other = store.get(second).unwrap();
    store.damage(first, |bytes| *bytes = other);
    assert!(error_of(&store).contains(&**first), "{}", error_of(&store));
    store.delete(first).unwrap();
    let error = error_of(&store);
    assert!(
        error.contains(&format!("{first} is not in the checkpoint store")),
        "{error}"
    );
    assert!(error.contains(&names[1]), "{error}");
}

#[test]
fn a_damaged_manifest_is_named_and_the_one_before_is_offered() {
    let (store, names, _) = three_checkpoints();
    store.damage(&names[2], |bytes| bytes[20] ^= 1);
    let error = error_of(&store);
    assert!(
        error.contains(&names[2]) && error.contains(&format!("--restore {}", names[1])),
        "{error}"
    );
}

#[test]
fn the_checkpoint_of_another_job_is_refused() {
    let (store, _, _) = three_checkpoints();
    let error = load(&*store, "other", &Which::Latest)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("belongs to the job test-job, not to other"),
        "{error}"
    );
}

#[test]
fn a_lost_head_is_an_error_and_not_an_empty_start() {
    let (store, names, _) = three_checkpoints();
    store.lose_head();
    let error = load(&*store, JOB, &Which::Latest).unwrap_err();
    assert!(
        matches!(error, RestoreError::MissingHead { newest_manifest, .. } if newest_manifest == names[2])
    );
    assert!(
        load(&MemoryStore::default(), JOB, &Which::Latest)
            .unwrap()
            .is_none()
    );
}
