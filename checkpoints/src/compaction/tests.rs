use proptest::prelude::*;

use super::*;
use crate::{
    ids::{OperatorId, Shard},
    manifest::tests::sample,
    section::{Entry, ShardDelta, SubKeyRange},
    shard_merge::ShardMerge,
    testing::{Model, Rng},
};

const POLICY: Policy = Policy {
    runs_max: 3,
    files_max: 9,
    oldest_ratio_percent: 100,
    file_bytes_max: 1000,
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
    merge.apply(delta.clone());
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

proptest! {
    #[test]
    fn merged_deltas_have_the_effect_of_all_of_them(seed: u64, before in 0usize..5, merged in 1usize..8) {
        let mut rng = Rng::new(seed);
        let (mut stepwise, mut at_once) = (Model::default(), Model::default());
        for (operator, delta) in (0..before).flat_map(|_| stepwise.change(&mut rng, ShardRange::ALL)).collect::<Vec<_>>() {
            at_once.apply(&operator, &delta);
        }
        let mut merges: std::collections::BTreeMap<(OperatorId, Shard), ShardMerge> = Default::default();
        for _ in 0..merged {
            for (operator, delta) in stepwise.change(&mut rng, ShardRange::ALL) {
                merges.entry((operator, delta.shard)).or_default().apply(delta);
            }
        }
        for ((operator, shard), merge) in merges {
            at_once.apply(&operator, &merge.into_delta(shard, before == 0));
        }
        prop_assert_eq!(at_once, stepwise);
    }
}
