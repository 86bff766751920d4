//! Killed at random moments, a job leaves in all its stores what an undisturbed run leaves.

use std::{env, time::Duration};

use crate::{
    harness::{eventually::eventually, random::Random},
    oracle::shop_batch::{self, Until},
    shop::{
        LIMIT, Shop,
        watch::{self, Watch},
    },
};

/// The same kills for the same seed, as far as time allows; `TIDEWRIGHT_TEST_SEED` for others.
fn seed() -> u64 {
    let seed = env::var("TIDEWRIGHT_TEST_SEED").ok();
    seed.and_then(|seed| seed.parse().ok())
        .unwrap_or(20_261_123)
}

const KILLS: usize = 24;

#[test]
fn every_effect_is_there_once_after_two_dozen_kills_at_random_moments() {
    let Some(mut shop) = Shop::open(seed()) else {
        return;
    };
    let job = shop.job("killed");
    let versions = [
        watch::versions_in_redis(&shop, &job),
        watch::versions_in_dynamodb(&shop, &job),
    ];
    let offsets = watch::group_offsets(&shop, &job);
    let mut random = Random::new(seed());
    let mut published = 0;
    for kill in 0..KILLS {
        let before = job.durable_epoch();
        let mut process = job.start(1 + kill % 2);
        shop.feed_for(Duration::from_millis(20 + random.below(800)));
        assert!(
            process.is_running(),
            "ended by itself:\n{}",
            process.stderr()
        );
        process.kill();
        published += usize::from(job.durable_epoch() > before);
    }
    assert!(
        published >= KILLS / 3,
        "only {published} of {KILLS} runs published a checkpoint"
    );
    job.finish();
    let contents = job.contents(&shop);
    versions.into_iter().for_each(Watch::end);
    offsets.end();
    contents.assert_same(&shop.undisturbed(&job));
    // What an undisturbed run gives is right, too.
    shop_batch::assert_stores_equal(&shop, &job, Until::End);
}

/// Otherwise "never ahead of the checkpoint" would hold for a job that reports nothing.
#[test]
fn offsets_are_reported_to_the_consumer_group_once_a_checkpoint_covers_them() {
    let Some(shop) = Shop::open(seed()) else {
        return;
    };
    let job = shop.keyed_job("offsets");
    let _process = job.start(2);
    eventually(LIMIT, "the checkpoint's offsets in the group", || {
        let committed = shop.committed_events(&job.name);
        let manifest = job.manifest()?;
        let durable = manifest.sources.get("events")?.iter();
        let durable = durable.map(|(name, split)| (name.parse().unwrap(), split.offset));
        (committed.len() == 4 && durable.eq(committed)).then_some(())
    });
}
