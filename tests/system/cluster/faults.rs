//! A process that dies, hangs, is suspended or cut off ends the others, soon and with the reason; and nothing is lost.

use std::{
    collections::BTreeMap,
    env,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{PANICKED, PEER_LOST, SOON, assert_ended, command, endless, start};
use crate::{
    harness::{
        crew::{self, Crew},
        process::Process,
        proxy::Proxy,
        random::Random,
    },
    mutants::MUTANT,
    shop::{LIMIT, Shop, ShopJob, watch},
};

const FENCED: i32 = 3;

/// What a variable says, for longer tests than usual.
fn seconds(variable: &str, usual: u64) -> u64 {
    let seconds = env::var(variable).ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok());
    seconds.unwrap_or(usual)
}

/// `TIDEWRIGHT_TEST_CLUSTER_SECONDS=300` for minutes.
fn kills_last() -> u64 {
    seconds("TIDEWRIGHT_TEST_CLUSTER_SECONDS", 20)
}

/// How long a zombie sleeps on while the next generation works; `TIDEWRIGHT_TEST_SUSPEND_SECONDS=30` for a long sleep.
fn sleep_lasts() -> u64 {
    seconds("TIDEWRIGHT_TEST_SUSPEND_SECONDS", 3)
}

/// The others must end soon after this moment, and name who was lost.
#[track_caller]
fn assert_end_soon(since: Instant, others: &mut [Process], lost: usize) {
    for process in others {
        assert_ended(
            process,
            &[PEER_LOST],
            &[&format!("process {lost} (127.0.0.1:")],
        );
    }
    assert!(since.elapsed() < SOON, "they took {:?}", since.elapsed());
}

#[test]
fn one_of_three_processes_killed_every_few_seconds_changes_no_result() {
    let lasts = kills_last();
    let Some(mut shop) = Shop::with_events(41, 60_000 + lasts * 2_000) else {
        return;
    };
    let job = shop.job("killed");
    let versions = watch::versions_in_redis(&shop, &job);
    let mut random = Random::new(41);
    let (begun, mut kills, mut published) = (Instant::now(), 0, 0);
    while begun.elapsed() < Duration::from_secs(lasts) {
        let before = job.durable_epoch();
        let mut crew = start(&job, 3, 1);
        shop.feed_for(Duration::from_millis(500 + random.below(2_500)));
        crew.assert_running();
        let mut victim = crew.0.remove(kills % 3);
        let since = Instant::now();
        victim.kill();
        assert_end_soon(since, &mut crew.0, kills % 3);
        published += usize::from(job.durable_epoch() > before);
        kills += 1;
    }
    assert!(
        kills >= 3 && published * 2 >= kills,
        "{published} of {kills}"
    );
    let command = || job.command(1).arg("--bounded");
    Crew::start(job.folder.path(), 3, command).wait_for_success(LIMIT);
    versions.end();
    job.contents(&shop).assert_same(&shop.undisturbed(&job));
}

/// Feeds until a checkpoint of the generation that runs now is published.
fn await_checkpoint(shop: &mut Shop, job: &ShopJob) {
    let before = job.durable_epoch();
    shop.feed_until("a checkpoint", || {
        (job.durable_epoch() > before).then_some(())
    });
}

/// No row of the job's keyed stores is older than it was, or gone without a mark.
fn assert_none_went_back(before: Vec<(String, String)>, shop: &Shop, job: &ShopJob) {
    let after: BTreeMap<_, _> = job.versions(shop).into_iter().collect();
    assert!(!before.is_empty());
    for (key, version) in before {
        let now = after.get(&key);
        assert!(
            now >= Some(&version),
            "{key} went back from {version} to {now:?}"
        );
    }
}

#[test]
fn a_suspended_process_ends_the_others_and_loses_against_the_next_generation() {
    let lasts = sleep_lasts();
    let Some(mut shop) = Shop::with_events(42, 60_000 + lasts * 4_000) else {
        return;
    };
    for suspended in [0, 2] {
        let job = shop.job("suspended");
        let versions = watch::versions_in_redis(&shop, &job);
        let mut crew = start(&job, 3, 1);
        await_checkpoint(&mut shop, &job);
        let mut zombie = crew.0.remove(suspended);
        let since = job.suspend(&zombie);
        assert_end_soon(since, &mut crew.0, suspended);
        let mut next = start(&job, 3, 1);
        await_checkpoint(&mut shop, &job);
        shop.feed_for(Duration::from_secs(lasts));
        let claimed = job.head().unwrap().generation;
        let written = job.versions(&shop);
        zombie.resume();
        assert_ended(&mut zombie, &[PEER_LOST, FENCED], &[]);
        next.assert_running();
        await_checkpoint(&mut shop, &job);
        assert_eq!(job.head().unwrap().generation, claimed);
        assert_none_went_back(written, &shop, &job);
        next.0[1].terminate();
        next.wait_for_success(LIMIT);
        job.finish();
        versions.end();
        job.contents(&shop).assert_same(&shop.undisturbed(&job));
    }
}

/// Three processes, of which process 1 reaches process 0 only by a way that can be cut.
fn start_with_detour(job: &ShopJob) -> (Crew, Proxy) {
    let folder = job.folder.path();
    let addresses = crew::addresses(3);
    let direct = crew::write_hosts(folder, &addresses);
    let proxy = Proxy::start(&addresses[0]);
    let detour = [vec![proxy.address()], addresses[1..].to_vec()].concat();
    let detour = crew::write_hosts(folder, &detour);
    let processes = [(0, &direct), (1, &detour), (2, &direct)];
    let processes =
        processes.map(|(index, hosts)| crew::as_process(job.command(1), index, 3, hosts).start());
    (Crew(processes.into()).await_begin(LIMIT), proxy)
}

#[test]
fn a_network_cut_under_load_ends_all_processes_and_changes_no_result() {
    let Some(mut shop) = Shop::open(43) else {
        return;
    };
    let job = shop.job("cut");
    let versions = watch::versions_in_redis(&shop, &job);
    let (mut crew, proxy) = start_with_detour(&job);
    await_checkpoint(&mut shop, &job);
    shop.feed_for(Duration::from_millis(500));
    crew.assert_running();
    let since = Instant::now();
    proxy.freeze();
    shop.feed_for(Duration::from_secs(1));
    for process in &mut crew.0 {
        // Either side notices first and tells the third; the other side may hear only silence.
        assert_ended(
            process,
            &[PEER_LOST],
            &["nothing has arrived from it for 3 s"],
        );
    }
    assert!(since.elapsed() < SOON, "they took {:?}", since.elapsed());
    let written = job.versions(&shop);
    let mut next = start(&job, 3, 1);
    await_checkpoint(&mut shop, &job);
    next.0[2].terminate();
    next.wait_for_success(LIMIT);
    assert_none_went_back(written, &shop, &job);
    job.finish();
    versions.end();
    job.contents(&shop).assert_same(&shop.undisturbed(&job));
}

#[test]
fn a_process_that_fails_tells_the_others_why() {
    let folder = TempDir::new().unwrap();
    let job = endless(folder.path());
    let hosts = crew::write_hosts(folder.path(), &crew::addresses(3));
    let processes = [0, 1, 2].map(|index| {
        let command = crew::as_process(command(&job, folder.path()), index, 3, &hosts);
        match index {
            2 => command.env(MUTANT, "panic").start(),
            _ => command.start(),
        }
    });
    let mut crew = Crew(processes.into());
    assert_ended(&mut crew.0[2], &[PANICKED], &["panicked"]);
    for process in &mut crew.0[..2] {
        // Directly, or from the other one.
        assert_ended(
            process,
            &[PEER_LOST],
            &["process 2 (", "an operator that fails on purpose"],
        );
    }
}
