//! Sending a whole table again, where a store has lost it.

use std::collections::BTreeMap;

use super::counts::Counts;
use crate::{
    harness::{eventually::eventually, redis::Redis},
    shop::{LIMIT, Shop, ShopJob},
};

#[test]
fn a_store_that_lost_its_rows_gets_all_of_them_back_from_state() {
    let Some(mut shop) = Shop::open(51) else {
        return;
    };
    let job = shop.keyed_job("resynced");
    for _ in 0..5 {
        shop.feed();
    }
    let mut process = job.start(2);
    let redis = shop.redis.clone();
    shop.feed_until("rows of all sinks", || {
        let totals = rows(&redis, &job, ":segment:");
        (totals > 0 && job.durable_epoch() > 0).then_some(())
    });
    process.terminate();
    process.wait_for_success(LIMIT);
    job.finish();
    let contents = job.contents(&shop);
    shop.redis.delete(job.prefix());
    assert!(shop.redis.hashes(job.prefix()).is_empty());

    // Without being asked to, only what changes comes back.
    job.finish();
    assert!(job.contents(&shop).difference(&contents).is_some());

    // The table of a join, and one that differential dataflow derives from it, with other rows coming in.
    for workers in [1, 2] {
        shop.redis.delete(job.prefix());
        let flags = ["--resync", "hot", "--resync", "totals", "--bounded"];
        let mut process = job.command(workers).args(flags).start();
        process.wait_for_success(LIMIT);
        job.contents(&shop).assert_same(&contents);
    }
    for _ in 0..3 {
        shop.feed();
    }
    // With new rows in the very epoch: they win over what was restored.
    let resync = || {
        shop.redis.delete(job.prefix());
        let flags = ["--resync", "hot", "--resync", "totals", "--bounded"];
        let mut process = job.command(2).args(flags).start();
        process.wait_for_success(LIMIT);
        job.contents(&shop)
    };
    let with_news = resync();
    assert!(
        with_news.difference(&contents).is_some(),
        "nothing new came in"
    );
    resync().assert_same(&with_news);
}

fn rows(redis: &Redis, job: &ShopJob, part: &str) -> usize {
    let hashes = redis.hashes(job.prefix());
    hashes.keys().filter(|key| key.contains(part)).count()
}

#[test]
fn rows_that_are_sent_again_survive_a_crash_on_the_way() {
    let Some(mut counts) = Counts::open("resync-crash") else {
        return;
    };
    counts.produce(2_000);
    let mut process = counts.command(&[]).start();
    // What it left undelivered would be the first thing to be sent, before a checkpoint holds what is sent again.
    eventually(LIMIT, "everything in both stores", || {
        (total(&counts.rows()) == 2 * 2_000).then_some(())
    });
    process.terminate();
    process.wait_for_success(LIMIT);
    let contents = counts.rows();
    counts.redis.delete(&format!("{}:", counts.name));
    let mut process = counts
        .command(&["--resync", "hot"])
        .env(crate::crash_points::CRASH_AT, "before-send-keyed:1")
        .start();
    counts.produce(100);
    process.wait(LIMIT);
    assert!(process.was_killed(), "{}", process.stderr());
    counts.produce(50);
    counts.run(&[]);
    let now = counts.rows();
    assert_eq!(now.len(), contents.len(), "a row is missing");
    assert_eq!(total(&now), 2 * 2_150);
}

fn total(rows: &BTreeMap<String, (u64, String)>) -> u64 {
    rows.values().map(|(count, _)| count).sum()
}

#[test]
fn what_cannot_be_sent_again_is_refused() {
    let Some(counts) = Counts::open("resync-refused") else {
        return;
    };
    let log = counts.refused(&["--resync", "hot"], 1);
    assert!(log.contains("starts from nothing"), "{log}");
    let log = counts.refused(&["--resync", "cold"], 1);
    assert!(log.contains("there are: hot, store"), "{log}");
}
