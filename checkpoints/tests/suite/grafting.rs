//! State of another job in a checkpoint: it is what it was there, and changes nothing of what is here.

use std::sync::Arc;

use tidewright_checkpoints::{
    CheckpointStore, Epoch, OperatorId, Publisher, Restored, Shard, ShardDelta, Which, claim,
    compaction,
    graft::{Target, graft},
    restore::load,
};

use crate::job::{JOB, cut, request};
use crate::savepoints::busy_job;

fn of(restored: &Restored, operator: &str) -> Vec<ShardDelta> {
    let operator = OperatorId(operator.to_owned());
    let shards: Vec<Shard> = restored.shards().into_iter().collect();
    let merged = shards
        .into_iter()
        .map(|shard| restored.merged(&operator, shard).unwrap());
    merged.filter(|delta| !delta.entries.is_empty()).collect()
}

#[test]
fn grafted_state_is_there_under_its_new_name_also_after_files_are_merged() {
    for (seed, in_memory) in [(1, true), (2, false)] {
        let (here, there) = (busy_job(seed), busy_job(seed + 100));
        let elsewhere = load(&*there.store, JOB, &Which::Latest).unwrap().unwrap();
        let store: Arc<dyn CheckpointStore> = here.store.clone();
        let epoch = here.epoch;
        drop(here.publisher);
        let mut restored = load(&*store, JOB, &Which::Latest).unwrap().unwrap();
        let before = of(&restored, "view_0/state");
        let claimed = claim(&*store, &request(100)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut target = Target {
            restored: &mut restored,
            store: &*store,
            generation: claimed.generation(),
            epoch: Epoch(epoch),
            scratch: (!in_memory).then(|| folder.path()),
        };
        let id = |name: &str| OperatorId(name.to_owned());
        let names = [
            (id("view_0/state"), id("view_0/state@1")),
            (id("view_2/state"), id("new/state")),
        ];
        graft(&mut target, &elsewhere, &names).unwrap();
        let check = |restored: &Restored| {
            assert_eq!(of(restored, "view_0/state"), before);
            assert_eq!(
                of(restored, "view_0/state@1"),
                of(&elsewhere, "view_0/state")
            );
            assert_eq!(of(restored, "new/state"), of(&elsewhere, "view_2/state"));
            assert!(!of(restored, "new/state").is_empty());
        };
        check(&restored);
        let generation = claimed.generation();
        let mut publisher = Publisher::new(store.clone(), JOB, claimed, Some(restored.manifest));
        publisher.publish(cut(epoch + 1, vec![]), &[]).unwrap();
        check(&load(&*store, JOB, &Which::Latest).unwrap().unwrap());
        let eager = compaction::Policy {
            runs_max: 1,
            files_max: 1,
            oldest_ratio_percent: 1,
            file_bytes_max: 400,
            piece_bytes: 1 << 10,
        };
        let plan = compaction::plan_with(publisher.current().unwrap(), &eager).unwrap();
        let merged = compaction::run(&plan, &store, JOB, generation).unwrap();
        publisher
            .publish(cut(epoch + 2, vec![]), &[merged])
            .unwrap();
        check(&load(&*store, JOB, &Which::Latest).unwrap().unwrap());
    }
}
