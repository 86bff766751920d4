//! A savepoint is a checkpoint that lives on its own: complete or not one, and nobody's but its owner's.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use tidewright_checkpoints::{
    CheckpointKind, CheckpointStore, Cleaner, Generation, LocalStore, Publisher, Which, claim,
    compaction, paths,
    restore::{Loader, load},
    savepoint::{self, SavepointError},
    store::{self, DiskFilesystem},
    testing::{Faults, Faulty, MemoryStore, Model, Rng},
};

use crate::job::{JOB, Job, cut, request};

/// A job with merged files and newer ones, some of them used in parts only.
pub fn busy_job(seed: u64) -> Job {
    let policy = compaction::Policy {
        runs_max: 3,
        files_max: 9,
        oldest_ratio_percent: 50,
        file_bytes_max: 400,
        piece_bytes: 1 << 10,
    };
    let mut rng = Rng::new(seed);
    let mut job = Job::start(Arc::new(MemoryStore::default()));
    for _ in 0..20 {
        let generation = job.publisher.head().generation;
        let plan = job.publisher.current();
        let plan = plan.and_then(|manifest| compaction::plan_with(manifest, &policy));
        let compacted: Vec<_> = plan
            .iter()
            .map(|plan| compaction::run(plan, &job.store, JOB, generation).unwrap())
            .collect();
        job.checkpoint(&mut rng, 2, 2, &compacted);
    }
    job
}

fn take(job: &Job, target: &dyn CheckpointStore) -> Result<u64, SavepointError> {
    savepoint::write(&*job.store, job.publisher.current().unwrap(), target)
}

#[test]
fn a_savepoint_holds_the_state_and_needs_nothing_else() {
    for seed in 0..20 {
        let job = busy_job(seed);
        let target = MemoryStore::default();
        let bytes = take(&job, &target).unwrap();
        let model = job.model.clone();
        drop(job);
        let restored = savepoint::load(&target).unwrap();
        assert_eq!(restored.manifest.kind, CheckpointKind::Savepoint);
        for workers in [1, 2, 4] {
            assert_eq!(Model::restored(&restored, workers).unwrap(), model);
        }
        let listed = target.list("").unwrap();
        assert_eq!(listed.iter().map(|file| file.bytes).sum::<u64>(), bytes);
    }
}

#[test]
fn a_savepoint_that_is_not_to_be_in_memory_is_read_through_a_folder() {
    let job = busy_job(5);
    let place = MemoryStore::default();
    take(&job, &place).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let load =
        |directory: &Path| savepoint::load_with(&place, &mut Loader::new(None, Some(directory)));
    let loaded = load(folder.path()).unwrap();
    assert_eq!(Model::restored(&loaded, 2).unwrap(), job.model);
    // Its files have no names, and can be copied from where they are.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let own = MemoryStore::default();
    let adopted = savepoint::adopt(loaded, &own, "successor", Generation(7)).unwrap();
    assert_eq!(Model::restored(&adopted, 3).unwrap(), job.model);
    let nowhere = Path::new("/dev/null/here");
    let error = load(nowhere).unwrap_err().to_string();
    assert!(error.contains("/dev/null/here"), "{error}");
}

#[test]
fn a_job_of_any_name_goes_on_from_it_and_no_longer_needs_it() {
    for job_name in [JOB, "successor"] {
        let job = busy_job(3);
        let place = MemoryStore::default();
        take(&job, &place).unwrap();
        let own: Arc<dyn CheckpointStore> = Arc::new(MemoryStore::default());
        let claimed = claim(&*own, &request(100)).unwrap();
        let generation = claimed.generation();
        let adopted = savepoint::load(&place)
            .map(|loaded| savepoint::adopt(loaded, &*own, job_name, generation).unwrap())
            .unwrap();
        assert_eq!(Model::restored(&adopted, 3).unwrap(), job.model);
        drop(place);
        let epoch = adopted.manifest.epoch.0 + 1;
        let mut publisher =
            Publisher::new(Arc::clone(&own), job_name, claimed, Some(adopted.manifest));
        publisher.publish(cut(epoch, vec![]), &[]).unwrap();
        let restored = load(&*own, job_name, &Which::Latest).unwrap().unwrap();
        assert_eq!(Model::restored(&restored, 2).unwrap(), job.model);
        for file in own.list(paths::STATE).unwrap() {
            let (of, _) = paths::origin(&file.name).unwrap();
            assert_eq!(of, generation, "{}", file.name);
        }
    }
}

#[test]
fn retention_leaves_savepoints_and_pinned_files_alone() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().join("job").display());
    let own = store::open(&url).unwrap();
    let mut rng = Rng::new(5);
    let mut job = Job::start(Arc::clone(&own));
    job.checkpoint(&mut rng, 2, 2, &[]);
    let manifest = job.publisher.current().unwrap().clone();
    let place = paths::savepoint(&own.location(), Generation(1), manifest.epoch);
    let model = job.model.clone();
    savepoint::write(&*own, &manifest, &*store::open(&place).unwrap()).unwrap();
    let generation = job.publisher.head().generation;
    let all: BTreeSet<String> = manifest
        .files
        .iter()
        .map(|file| file.name.clone())
        .collect();
    let merged = compaction::CompactionJob {
        inputs: manifest.files.clone(),
        shards: tidewright_checkpoints::ShardRange::ALL,
        level: 1,
        file_bytes_max: 1 << 20,
        piece_bytes: 8 << 20,
    };
    let merged = compaction::run(&merged, &own, JOB, generation).unwrap();
    job.checkpoint(&mut rng, 2, 2, &[merged]);
    job.checkpoint(&mut rng, 2, 2, &[]);
    let mut cleaner = Cleaner::default();
    let plan = cleaner.clean(&*own, JOB, generation, 1, &all).unwrap();
    assert!(
        plan.files.iter().all(|name| !all.contains(name)),
        "{plan:?}"
    );
    let plan = cleaner
        .clean(&*own, JOB, generation, 1, &BTreeSet::new())
        .unwrap();
    assert_eq!(plan.files.into_iter().collect::<BTreeSet<_>>(), all);
    let restored = savepoint::load(&*store::open_existing(&place).unwrap()).unwrap();
    assert_eq!(Model::restored(&restored, 1).unwrap(), model);
}

#[test]
fn a_place_that_is_taken_is_refused_and_left_as_it_is() {
    let job = busy_job(1);
    let error = take(&job, &*job.store).unwrap_err().to_string();
    assert!(error.contains("the checkpoint store of a job"), "{error}");
    let target = MemoryStore::default();
    take(&job, &target).unwrap();
    let error = take(&job, &target).unwrap_err().to_string();
    assert!(error.contains("a savepoint is there already"), "{error}");
    savepoint::load(&target).unwrap();
    target.delete(paths::SAVEPOINT).unwrap();
    let error = take(&job, &target).unwrap_err().to_string();
    assert!(error.contains("not completed"), "{error}");
}

#[test]
fn what_is_no_complete_savepoint_is_named_and_never_restored() {
    let job = busy_job(2);
    let load_error = |store: &dyn CheckpointStore| savepoint::load(store).unwrap_err().to_string();
    let error = load_error(&MemoryStore::default());
    assert!(error.contains("no savepoint is there"), "{error}");
    let error = load_error(&*job.store);
    assert!(error.contains("the checkpoint store of a job"), "{error}");
    let target = MemoryStore::default();
    take(&job, &target).unwrap();
    for file in target.list("").unwrap() {
        for place in [0, file.bytes as usize / 2, file.bytes as usize - 1] {
            target.damage(&file.name, |bytes| bytes[place] ^= 0x10);
            let error = load_error(&target);
            assert!(error.contains(&file.name), "{}: {error}", file.name);
            target.damage(&file.name, |bytes| bytes[place] ^= 0x10);
        }
    }
    let file = target.list(paths::STATE).unwrap().remove(0).name;
    target.delete(&file).unwrap();
    let error = load_error(&target);
    assert!(error.contains(&file), "{error}");
    target.delete(paths::SAVEPOINT).unwrap();
    let error = load_error(&target);
    assert!(error.contains("interrupted"), "{error}");
}

#[test]
fn a_copy_that_fails_leaves_a_whole_savepoint_or_none() {
    let job = busy_job(4);
    let faults = Faults {
        fail: 3,
        time_out_undone: 2,
        time_out_done: 2,
        ..Faults::default()
    };
    let mut failed = 0;
    for seed in 0..200 {
        let place: Arc<dyn CheckpointStore> = Arc::new(MemoryStore::default());
        let target = Faulty::new(Arc::clone(&place), faults, seed);
        let taken = take(&job, &target);
        failed += usize::from(taken.is_err());
        match savepoint::load(&*place) {
            Ok(restored) => assert_eq!(Model::restored(&restored, 2).unwrap(), job.model),
            Err(_) => assert!(taken.is_err(), "seed {seed}"),
        }
    }
    assert!((20..200).contains(&failed), "{failed} of 200 failed");
}

#[test]
fn a_damaged_state_file_is_not_copied() {
    let job = busy_job(6);
    let target = MemoryStore::default();
    let name = job.publisher.current().unwrap().files[0].name.clone();
    let mut content = job.store.get(&name).unwrap();
    content[30] ^= 1;
    job.store.put(&name, &content).unwrap();
    let error = take(&job, &target).unwrap_err().to_string();
    assert!(error.contains(&name), "{error}");
    assert!(target.list("").unwrap().is_empty());
}

#[test]
fn a_folder_that_is_read_is_neither_made_nor_changed() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent");
    assert!(LocalStore::existing(DiskFilesystem, &absent).is_err());
    assert!(!absent.exists());
    let store = LocalStore::existing(DiskFilesystem, folder.path()).unwrap();
    assert!(savepoint::load(&store).is_err());
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}
