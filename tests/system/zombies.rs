//! A process that lost its job while it slept, or whose writes arrive late, changes nothing any more.

use std::{thread, time::Duration};

use tidewright_checkpoints::paths;

use crate::{
    harness::{
        eventually::eventually,
        process::Process,
        proxy::Proxy,
        redis::{Hashes, require_redis},
    },
    shop::{
        LIMIT, Shop, ShopJob,
        watch::{self, Watch},
    },
};

/// The exit code of a process that lost its job to another one.
const FENCED: i32 = 3;

/// Waits until the process that holds the job has published a checkpoint and written to Redis.
fn await_progress(shop: &mut Shop, job: &ShopJob) {
    let since = job.durable_epoch();
    shop.feed_until("a checkpoint and rows of its generation", || {
        let head = job.head().filter(|head| head.epoch.0 > since)?;
        let generation = format!("{:015}", head.generation.0);
        let mut rows = shop_rows(job)?.into_values();
        rows.any(|fields| fields["_version"].starts_with(&generation))
            .then_some(())
    });
}

fn shop_rows(job: &ShopJob) -> Option<Hashes> {
    require_redis().map(|redis| redis.hashes(job.prefix()))
}

fn assert_fenced(zombie: &mut Process) {
    let status = zombie.wait(LIMIT);
    let log = zombie.stderr();
    assert_eq!(status.code(), Some(FENCED), "{log}");
    let told = log.lines().any(|line| {
        line.starts_with("error:")
            && (line.contains("lost the job") || line.contains("fenced") || line.contains("claim"))
    });
    assert!(told, "it does not say why it ended:\n{log}");
}

#[test]
fn a_process_that_slept_while_another_took_its_job_publishes_nothing_and_says_why() {
    let Some(mut shop) = Shop::open(11) else {
        return;
    };
    let job = shop.job("zombie");
    let versions = [
        watch::versions_in_redis(&shop, &job),
        watch::versions_in_dynamodb(&shop, &job),
    ];
    let mut first = job.start(1);
    await_progress(&mut shop, &job);
    job.suspend(&first);
    let lost_at = job.head().unwrap();
    let mut second = job.start(2);
    await_progress(&mut shop, &job);
    let claimed = job.head().unwrap();
    assert!(claimed.generation > lost_at.generation);
    first.resume();
    shop.feed_until("the end of the first process", || first.status());
    assert_fenced(&mut first);
    await_progress(&mut shop, &job);
    let head = job.head().unwrap();
    assert_eq!(head.generation, claimed.generation);
    let published_by = head.manifest.as_deref().and_then(paths::origin);
    assert_eq!(published_by, Some((claimed.generation, head.epoch)));
    second.terminate();
    second.wait_for_success(LIMIT);
    job.finish();
    versions.into_iter().for_each(Watch::end);
    job.contents(&shop).assert_same(&shop.undisturbed(&job));
}

/// Lets writes of one process arrive in Redis only after another one has taken over and finished; the difference that they
/// make, if any. `mutant` breaks the first process on purpose.
pub fn late_writes(seed: u64, mutant: Option<&str>) -> Option<Option<String>> {
    let mut shop = Shop::open(seed)?;
    let job = shop.keyed_job("late-writes");
    let proxy = Proxy::start(shop.redis.url());
    let mut command = job
        .command(1)
        .env("REDIS_URL", format!("redis://{}", proxy.address()));
    if let Some(mutant) = mutant {
        command = command.env(crate::mutants::MUTANT, mutant);
    }
    let mut first = job.await_start(command.start());
    await_progress(&mut shop, &job);
    proxy.hold();
    shop.feed_until("writes on their way", || {
        (proxy.held_bytes() > 0).then_some(())
    });
    job.suspend(&first);
    for _ in 0..5 {
        shop.feed();
    }
    job.finish();
    let expected = job.contents(&shop);
    proxy.release();
    eventually(LIMIT, "the late writes have arrived", || {
        (proxy.held_bytes() == 0).then_some(())
    });
    thread::sleep(Duration::from_millis(200));
    let difference = job.contents(&shop).difference(&expected);
    first.resume();
    assert_fenced(&mut first);
    expected.assert_same(&shop.undisturbed(&job));
    Some(difference)
}

#[test]
fn writes_that_arrive_late_lose_against_those_of_the_successor() {
    if let Some(difference) = late_writes(12, None) {
        assert_eq!(difference, None);
    }
}

#[test]
fn a_job_whose_checkpoints_were_deleted_writes_all_its_rows_again_at_greater_versions() {
    let Some(mut shop) = Shop::open(13) else {
        return;
    };
    let job = shop.keyed_job("deleted-state");
    shop.feed();
    job.finish();
    let before = job.versions(&shop);
    let contents = job.contents(&shop);
    std::fs::remove_dir_all(job.folder.path().join("checkpoints")).unwrap();
    job.finish();
    let after = job.versions(&shop);
    assert_eq!(before.len(), after.len());
    for ((key, before), (same_key, after)) in before.iter().zip(&after) {
        assert_eq!(key, same_key);
        assert!(after > before, "{key}: {after} is not above {before}");
    }
    // Not only the versions: what is new in the input arrives as well.
    job.contents(&shop).assert_same(&contents);
    shop.feed();
    job.finish();
    assert!(job.contents(&shop).difference(&contents).is_some());
}
