//! The cost of checkpoints follows change, not the size of the state.

use std::{collections::BTreeMap, sync::Arc};

use crate::job::{JOB, cut, request};
use tidewright_checkpoints::{
    Acknowledgement, CheckpointStore, Entry, Epoch, FileEntry, OperatorId, Publisher, Shard,
    ShardDelta, StateFileBuilder, StateFileHeader, claim, compaction,
    manifest::OLDEST_LEVEL,
    paths,
    testing::{MemoryStore, Rng},
};

const KEYS: u64 = 1_000_000;
const CHANGES_PER_CHECKPOINT: u64 = 100;
const CHECKPOINTS_PER_SECOND: u64 = 10;
const WORKERS: u32 = 2;

fn entry(key: u64, rng: &mut Rng) -> Entry {
    let value: Vec<u8> = (0..4).flat_map(|_| rng.next_u64().to_le_bytes()).collect();
    Entry {
        key: format!("u{key:07}").into_bytes().into(),
        sub_key: 0,
        value: Some(value.into()),
    }
}

/// Every worker's file with these entries.
fn files(
    store: &dyn CheckpointStore,
    publisher: &Publisher,
    epoch: u64,
    entries: Vec<Entry>,
) -> Vec<Acknowledgement> {
    let mut shards: BTreeMap<Shard, Vec<Entry>> = BTreeMap::new();
    for entry in entries {
        shards
            .entry(Shard::of_key(&entry.key))
            .or_default()
            .push(entry);
    }
    let operator = OperatorId("engagement_7d/rolling".to_owned());
    let generation = publisher.head().generation;
    let header = |worker| StateFileHeader {
        job: JOB.to_owned(),
        generation,
        epoch: Epoch(epoch),
        worker,
        workers: WORKERS,
    };
    let mut builders: Vec<_> = (0..WORKERS)
        .map(|worker| StateFileBuilder::new(&header(worker)))
        .collect();
    for (shard, mut entries) in shards {
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        entries.dedup_by(|a, b| a.key == b.key);
        let delta = ShardDelta {
            shard,
            drops: vec![],
            entries,
        };
        builders[shard.owner(WORKERS as usize)].push(&operator, &delta);
    }
    let acknowledge = |(worker, builder): (u32, StateFileBuilder)| {
        let name = paths::state(generation, Epoch(epoch), worker);
        let content = builder.finish();
        store.put(&name, &content).unwrap();
        let files = vec![FileEntry::fresh(name, &content, Epoch(epoch))];
        Acknowledgement {
            worker,
            epoch: Epoch(epoch),
            files,
        }
    };
    (0..WORKERS).zip(builders).map(acknowledge).collect()
}

#[test]
fn a_thousand_changes_a_second_write_under_a_hundredth_of_a_million_entries() {
    let store = Arc::new(MemoryStore::default());
    let claimed = claim(&*store, &request(1_763_900_000_000)).unwrap();
    let mut publisher = Publisher::new(Arc::clone(&store) as _, JOB, claimed, None);
    let generation = publisher.head().generation;
    let mut rng = Rng::new(1);
    let start = 1_763_900_000_000u64;
    let all = (0..KEYS).map(|key| entry(key, &mut rng)).collect();
    let loaded = files(&*store, &publisher, start, all);
    publisher.publish(cut(start, loaded), &[]).unwrap();

    let mut epoch = start;
    let (mut bytes_before, mut checkpoints, mut base_rewrites) = (store.bytes_written(), 0, 0);
    let (mut manifest_bytes, mut merged_bytes, mut fresh_bytes) = (0, 0, 0);
    // From one rewrite of the base to the next, so that its cost is counted with all that leads up to it.
    while base_rewrites < 2 {
        epoch += 1000 / CHECKPOINTS_PER_SECOND;
        let plan = publisher.current().and_then(compaction::plan_compaction);
        let compacted: Vec<_> = plan
            .iter()
            .map(|plan| compaction::run(plan, &(Arc::clone(&store) as _), JOB, generation).unwrap())
            .collect();
        let entries = (0..CHANGES_PER_CHECKPOINT)
            .map(|_| entry(rng.below(KEYS), &mut rng))
            .collect();
        let acknowledgements = files(&*store, &publisher, epoch, entries);
        fresh_bytes += acknowledgements
            .iter()
            .flat_map(|a| &a.files)
            .map(|f| f.bytes)
            .sum::<u64>();
        let published = publisher
            .publish(cut(epoch, acknowledgements), &compacted)
            .unwrap();
        manifest_bytes += published.manifest_bytes;
        checkpoints += 1;
        for compacted in &compacted {
            merged_bytes += compacted.bytes_written();
            for input in &compacted.inputs {
                store.delete(&input.name).unwrap();
            }
        }
        store.delete(&published.name).unwrap();
        // The base is in pieces: a rewrite ends with its last piece.
        let ended =
            plan.is_some_and(|plan| plan.level == OLDEST_LEVEL && plan.shards.end == 1 << 16);
        if ended {
            base_rewrites += 1;
            if base_rewrites == 1 {
                (bytes_before, checkpoints) = (store.bytes_written(), 0);
                (manifest_bytes, merged_bytes, fresh_bytes) = (0, 0, 0);
            }
        }
    }
    let manifest = publisher.current().unwrap();
    let base = manifest
        .files
        .iter()
        .filter(|file| file.level == OLDEST_LEVEL);
    let state_bytes: u64 = base.map(|file| file.bytes).sum();
    let seconds = checkpoints as f64 / CHECKPOINTS_PER_SECOND as f64;
    let per_second = (store.bytes_written() - bytes_before) as f64 / seconds;
    let percent = 100.0 * per_second / state_bytes as f64;
    println!(
        "{KEYS} entries, {state_bytes} bytes; over {seconds} s {per_second:.0} bytes/s written ({:.0} fresh, {:.0} merged, {:.0} manifests): {percent:.3} % of the state per second",
        fresh_bytes as f64 / seconds,
        merged_bytes as f64 / seconds,
        manifest_bytes as f64 / seconds,
    );
    assert!(percent < 1.0, "{percent} %");
}
