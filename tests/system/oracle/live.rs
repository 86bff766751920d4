//! The prefix oracle on a job that runs on: whenever its input pauses and a periodic checkpoint with all of it is delivered,
//! Redis and DynamoDB equal the batch over that checkpoint's offsets.

use std::time::Duration;

use tidewright_checkpoints::manifest::{CheckpointKind, Manifest};

use super::shop_batch::{self, Until};
use crate::{
    harness::{eventually::eventually, process::Process},
    shop::{LIMIT, Shop, ShopJob},
};

/// The latest checkpoint, if it holds all that was produced and is delivered to every sink.
fn delivered(shop: &Shop, job: &ShopJob) -> Option<Manifest> {
    let manifest = job.manifest()?;
    let read = ["events", "profiles"].map(|source| {
        let splits = manifest.sources.get(source).into_iter().flatten();
        splits.map(|(_, split)| split.offset as u64).sum::<u64>()
    });
    if read != shop.produced() {
        return None;
    }
    let mut asked = job.ask(&["status"]).run(LIMIT);
    if !asked.status().is_some_and(|status| status.success()) {
        return None;
    }
    let status = asked.summary();
    let epochs = status["delivered"].as_object()?.values();
    let mut epochs = epochs.map(|epoch| epoch.as_u64().unwrap());
    let all = epochs.len() == 3 && epochs.all(|epoch| epoch >= manifest.epoch.0);
    all.then_some(manifest)
}

fn check(shop: &Shop, job: &ShopJob, process: &mut Process) -> Manifest {
    let manifest = eventually(LIMIT, "all input is delivered", || {
        assert!(process.is_running(), "ended early:\n{}", process.stderr());
        delivered(shop, job)
    });
    shop_batch::assert_stores_equal(shop, job, Until::Checkpoint(&manifest));
    assert_eq!(manifest.kind, CheckpointKind::Periodic);
    assert!(process.is_running(), "ended early:\n{}", process.stderr());
    manifest
}

#[test]
fn at_a_delivered_checkpoint_of_a_running_job_its_stores_equal_the_batch_over_its_offsets() {
    let Some(mut shop) = Shop::open(51) else {
        return;
    };
    let job = shop.keyed_job("live");
    for workers in [2, 1] {
        let mut process = job.await_start(job.listening(workers).start());
        let mut last = check(&shop, &job, &mut process);
        for _ in 0..2 {
            shop.feed_for(Duration::from_millis(700));
            let next = check(&shop, &job, &mut process);
            assert_eq!(next.generation, last.generation);
            assert!(next.epoch > last.epoch);
            last = next;
        }
        // The next process goes on behind what the stores show.
        process.kill();
        shop.feed();
    }
}
