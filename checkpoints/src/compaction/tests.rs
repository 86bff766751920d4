use std::convert::Infallible;

use proptest::prelude::*;

use super::*;
use crate::{
    ids::{OperatorId, Shard},
    manifest::tests::sample,
    section::{Entry, ShardDelta, SubKeyRange},
    shard_merge::ShardMerge,
    state_file::{StateFile, StateFileBuilder},
    testing::{MemoryStore, Model, Rng},
};

const POLICY: Policy = Policy {
    runs_max: 3,
    files_max: 9,
    oldest_ratio_percent: 100,
    file_bytes_max: 1000,
    piece_bytes: 1000,
};

fn file(level: u8, epoch: u64, bytes: u64, shards: ShardRange) -> FileEntry {
    FileEntry {
        bytes,
        level,
        shards,
        live_bytes: bytes,
        ..FileEntry::fresh(format!("state/1-{epoch}-w0.state"), b"", Epoch(epoch))
    }
}

fn manifest(files: Vec<FileEntry>) -> Manifest {
    Manifest { files, ..sample() }
}

/// What is planned: the level of the result, its shards, the epochs of the inputs.
fn check(files: &[FileEntry], expected: Option<(u8, ShardRange, &[u64])>) {
    let plan = plan_with(&manifest(files.to_vec()), &POLICY);
    let epochs = |plan: &CompactionJob| {
        plan.inputs
            .iter()
            .map(|file| file.last_epoch.0)
            .collect::<Vec<_>>()
    };
    let planned = plan.map(|plan| (plan.level, plan.shards, epochs(&plan)));
    assert_eq!(
        planned,
        expected.map(|(level, shards, epochs)| (level, shards, epochs.to_vec()))
    );
}

const ALL: ShardRange = ShardRange::ALL;
const LOW: ShardRange = ShardRange { start: 0, end: 512 };
const HIGH: ShardRange = ShardRange {
    start: 512,
    end: 1 << 16,
};

#[test]
fn a_level_is_merged_when_it_is_full() {
    let base = file(OLDEST_LEVEL, 1, 5000, ALL);
    let fresh = |epoch| file(0, epoch, 10, ALL);
    check(&[base.clone(), fresh(2), fresh(3)], None);
    // Files of one epoch, by several workers, are one run.
    check(&[base.clone(), fresh(2), fresh(3), fresh(3)], None);
    check(
        &[base.clone(), fresh(2), fresh(3), fresh(4)],
        Some((1, ALL, &[2, 3, 4])),
    );
    let older = [
        file(1, 2, 30, ALL),
        file(1, 3, 30, ALL),
        file(1, 4, 30, ALL),
    ];
    let files = [&[base][..], &older, &[fresh(5), fresh(6)]].concat();
    check(&files, Some((2, ALL, &[2, 3, 4])));
}

#[test]
fn of_very_many_files_the_oldest_are_merged_first() {
    let base = file(OLDEST_LEVEL, 1, 5000, ALL);
    // Four checkpoints by four workers, of which two fit into one merge.
    let fresh = (2..6).flat_map(|epoch| vec![file(0, epoch, 10, ALL); 4]);
    let files: Vec<_> = [base].into_iter().chain(fresh).collect();
    check(&files, Some((1, ALL, &[2, 2, 2, 2, 3, 3, 3, 3])));
    // One that has more alone.
    let fresh = vec![file(0, 2, 10, ALL); 12];
    check(&[&files[..1], &fresh].concat(), Some((1, ALL, &[2; 12])));
}

#[test]
fn without_a_base_or_with_much_new_everything_is_merged_into_the_base() {
    let fresh = |epoch| file(0, epoch, 10, ALL);
    check(
        &[fresh(1), fresh(2), fresh(3)],
        Some((OLDEST_LEVEL, ALL, &[1, 2, 3])),
    );
    let base = file(OLDEST_LEVEL, 1, 100, ALL);
    let files = [base, file(1, 2, 80, ALL), fresh(3), fresh(4), fresh(5)];
    check(&files, Some((OLDEST_LEVEL, ALL, &[1, 2, 3, 4, 5])));
}

#[test]
fn a_large_base_is_rewritten_range_by_range() {
    let bases = [
        file(OLDEST_LEVEL, 1, 600, LOW),
        file(OLDEST_LEVEL, 1, 600, HIGH),
    ];
    let fresh = |epoch| file(0, epoch, 400, ALL);
    let mut manifest = manifest([&bases[..], &[fresh(2), fresh(3), fresh(4)]].concat());
    for shards in [LOW, HIGH] {
        let plan = plan_with(&manifest, &POLICY).unwrap();
        assert_eq!(
            (plan.level, plan.shards, plan.inputs.len()),
            (OLDEST_LEVEL, shards, 4)
        );
        let merged = FileEntry {
            level: OLDEST_LEVEL,
            shards,
            ..FileEntry::fresh(format!("merged {shards:?}"), b"", Epoch(4))
        };
        let compacted = Compacted {
            inputs: plan.inputs,
            outputs: vec![merged],
        };
        apply(&mut manifest, &compacted).unwrap();
    }
    let left: Vec<_> = manifest.files.iter().map(|file| file.shards).collect();
    assert_eq!(left, [LOW, HIGH]);
    assert_eq!(plan_with(&manifest, &POLICY), None);
}

#[test]
fn a_compaction_of_files_that_are_gone_is_refused() {
    let fresh = [
        file(0, 1, 10, ALL),
        file(0, 2, 10, ALL),
        file(0, 3, 10, ALL),
    ];
    let mut manifest = manifest(fresh.to_vec());
    let compacted = Compacted {
        inputs: fresh.to_vec(),
        outputs: vec![],
    };
    apply(&mut manifest, &compacted).unwrap();
    assert_eq!(manifest.files, []);
    let error = apply(&mut manifest, &compacted).unwrap_err();
    assert!(error.to_string().contains(&fresh[0].name), "{error}");
}

/// As a file's section is taken in.
fn take_older(merge: &mut ShardMerge, delta: ShardDelta) {
    let taken = merge.take_older(|gone, entries| {
        let left = delta.entries.into_iter();
        entries.extend(left.filter(|entry| !gone(entry.sub_key)));
        Ok::<_, Infallible>(delta.drops)
    });
    taken.unwrap();
}

#[test]
fn tombstones_and_drops_are_kept_until_nothing_older_exists() {
    let delta = ShardDelta {
        shard: Shard(3),
        drops: vec![
            SubKeyRange { start: 5, end: 9 },
            SubKeyRange { start: 1, end: 5 },
            SubKeyRange { start: 7, end: 7 },
        ],
        entries: vec![Entry {
            key: b"k".as_slice().into(),
            sub_key: 2,
            value: None,
        }],
    };
    let mut merge = ShardMerge::default();
    take_older(&mut merge, delta.clone());
    let kept = merge.clone().into_delta(Shard(3), false);
    assert_eq!(kept.drops, [SubKeyRange { start: 1, end: 9 }]);
    assert_eq!(kept.entries, delta.entries);
    assert_eq!(
        merge.into_delta(Shard(3), true),
        ShardDelta {
            shard: Shard(3),
            ..ShardDelta::default()
        }
    );
}

/// A file of a checkpoint in which each of these shards has a value of so many bytes.
fn stored(store: &MemoryStore, epoch: u64, shards: impl Iterator<Item = u16>) -> FileEntry {
    let mut builder = StateFileBuilder::new(&StateFileHeader {
        job: "job".to_owned(),
        generation: Generation(1),
        epoch: Epoch(epoch),
        worker: 0,
        workers: 1,
    });
    for shard in shards {
        let entry = Entry {
            key: shard.to_le_bytes().as_slice().into(),
            sub_key: 0,
            value: Some(vec![epoch as u8; 100].as_slice().into()),
        };
        let delta = ShardDelta {
            shard: Shard(shard),
            drops: Vec::new(),
            entries: vec![entry],
        };
        builder.push(&OperatorId("users".to_owned()), &delta);
    }
    let content = builder.finish();
    let name = format!("state/1-{epoch}-w0.state");
    store.put(&name, &content).unwrap();
    FileEntry::fresh(name, &content, Epoch(epoch))
}

fn of_large_files(store: &MemoryStore) -> CompactionJob {
    CompactionJob {
        inputs: vec![
            stored(store, 1, 0..200),
            stored(store, 2, (0..200).step_by(2)),
        ],
        shards: ALL,
        level: OLDEST_LEVEL,
        file_bytes_max: 8_000,
        piece_bytes: 4_000,
    }
}

#[test]
fn of_large_files_a_few_shards_are_read_at_a_time() {
    let store = MemoryStore::default();
    let job = of_large_files(&store);
    let inputs = Inputs::open(&job, &store, "job").unwrap();
    let pieces = inputs.pieces();
    assert_eq!(pieces.concat(), (0..200).map(Shard).collect::<Vec<_>>());
    assert!(pieces.len() > 5, "{}", pieces.len());
    let users = OperatorId("users".to_owned());
    let read = inputs.read(&pieces[1]).unwrap();
    for (_, file) in read {
        // What is not of the piece is not there.
        assert!(file.deltas(&users, Shard(0)).all(|delta| delta.is_err()));
        for delta in file.deltas(&users, pieces[1][0]) {
            delta.unwrap();
        }
    }
}

#[test]
fn large_files_are_merged_into_files_of_bounded_size() {
    let store: Arc<dyn CheckpointStore> = Arc::new(MemoryStore::default());
    let memory = MemoryStore::default();
    let job = of_large_files(&memory);
    for input in &job.inputs {
        store
            .put(&input.name, &memory.get(&input.name).unwrap())
            .unwrap();
    }
    let merged = run(&job, &store, "job", Generation(1)).unwrap();
    assert!(merged.outputs.len() > 2, "{}", merged.outputs.len());
    let users = OperatorId("users".to_owned());
    let mut start = 0;
    for entry in &merged.outputs {
        assert_eq!(entry.shards.start, start);
        assert!(entry.bytes < 9_500, "{}", entry.bytes);
        start = entry.shards.end;
        let file = StateFile::open(entry.name.clone(), store.get(&entry.name).unwrap()).unwrap();
        for delta in file.deltas(&users, ALL) {
            let delta = delta.unwrap();
            let newest = if delta.shard.0 % 2 == 0 { 2 } else { 1 };
            assert!(entry.shards.contains(delta.shard));
            assert_eq!(delta.entries.len(), 1);
            assert_eq!(delta.entries[0].value.as_deref(), Some(&[newest; 100][..]));
        }
    }
    assert_eq!(start, ALL.end);
}

#[test]
fn damage_in_a_large_file_ends_a_merge_with_the_name_of_the_part() {
    let store = MemoryStore::default();
    let job = of_large_files(&store);
    let name = &job.inputs[0].name;
    let mut damaged = store.get(name).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let store: Arc<dyn CheckpointStore> = Arc::new(MemoryStore::default());
    store.put(name, &damaged).unwrap();
    let only = CompactionJob {
        inputs: vec![job.inputs[0].clone()],
        ..job
    };
    let error = run(&only, &store, "job", Generation(1)).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(&only.inputs[0].name) && text.contains("section of users"),
        "{text}"
    );
}

proptest! {
    #[test]
    fn merged_deltas_have_the_effect_of_all_of_them(seed: u64, before in 0usize..5, merged in 1usize..8) {
        let mut rng = Rng::new(seed);
        let (mut stepwise, mut at_once) = (Model::default(), Model::default());
        for (operator, delta) in (0..before).flat_map(|_| stepwise.change(&mut rng, ShardRange::ALL)).collect::<Vec<_>>() {
            at_once.apply(&operator, &delta);
        }
        let later: Vec<_> = (0..merged).flat_map(|_| stepwise.change(&mut rng, ShardRange::ALL)).collect();
        let mut merges: std::collections::BTreeMap<(OperatorId, Shard), ShardMerge> = Default::default();
        for (operator, delta) in later.into_iter().rev() {
            take_older(merges.entry((operator, delta.shard)).or_default(), delta);
        }
        for ((operator, shard), merge) in merges {
            at_once.apply(&operator, &merge.into_delta(shard, before == 0));
        }
        prop_assert_eq!(at_once, stepwise);
    }
}
