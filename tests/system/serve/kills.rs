//! Killed at random moments, workers and servers leave what an undisturbed run leaves.

use std::{collections::BTreeSet, thread, time::Duration};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    harness::{
        eventually::eventually,
        random::Random,
        server::{Server, job_processes, kill, pids},
    },
    shop::{LIMIT, Shop},
};

const KILLS: u64 = 20;

/// Waits until a job runs, with a little input coming in.
fn running(server: &Server, shop: &mut Shop, name: &str) -> Value {
    eventually(LIMIT, "the job runs", || {
        let job = server.job(name);
        if job["state"] == "running" {
            return Some(job);
        }
        shop.feed();
        thread::sleep(Duration::from_millis(200));
        None
    })
}

#[test]
fn kills_of_workers_and_servers_change_neither_results_nor_the_registry() {
    kills(51, 1);
}

#[test]
fn kills_of_one_process_of_two_and_of_servers_change_neither_results_nor_the_registry() {
    kills(52, 2);
}

fn kills(seed: u64, processes: usize) {
    let Some(mut shop) = Shop::open(seed) else {
        return;
    };
    let job = shop.job("served");
    let folder = job.folder.path().to_str().unwrap().to_owned();
    let environment = job.environment();
    let environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let mut server = Server::start(&["--allow-files", &folder], &environment);
    let submit = job.submission();
    let submit: Vec<_> = submit.iter().map(String::as_str).collect();
    let shape = [
        format!("--workers={}", 2 / processes),
        format!("--processes={processes}"),
    ];
    let shape = shape.each_ref().map(String::as_str);
    let submitted = server.cli_json(&[&["submit", "--wait"], &shape[..], &submit[..]].concat());
    assert_eq!(submitted["state"], "running", "{submitted}");
    let mut random = Random::new(seed);
    let (mut worker_kills, mut server_kills, mut adopted) = (0, 0, 0);
    let mut killed = BTreeSet::new();
    for _ in 0..KILLS {
        // Not always a running job: starts are hit as well.
        if random.chance(0.7) {
            running(&server, &mut shop, &job.name);
        }
        shop.feed_for(Duration::from_millis(50 + random.below(700)));
        let before = server.job(&job.name);
        let victim = *random.pick(&["worker", "server", "both"]);
        let crew = pids(&before);
        let alive = job_processes(&server.data());
        let is_whole = !crew.is_empty() && crew.iter().all(|pid| alive.contains(pid));
        if victim != "server" && is_whole {
            kill(*random.pick(&crew), Signal::KILL);
            // One that is still on its way out may be hit again.
            worker_kills += u64::from(killed.insert(crew.clone()));
        }
        if victim != "worker" {
            server.kill();
            server_kills += 1;
            shop.feed_for(Duration::from_millis(random.below(300)));
            server.start_again();
        }
        if victim == "server" && before["state"] == "running" {
            let after = running(&server, &mut shop, &job.name);
            assert_eq!(pids(&after), crew, "it was not adopted:\n{after}");
            adopted += 1;
        }
        let alive = job_processes(&server.data());
        assert!(alive.len() <= processes, "the job runs twice: {alive:?}");
    }
    assert!(worker_kills > 3 && server_kills > 3 && adopted > 0);
    // A process that was killed a moment ago may still be taken for running.
    let (last, restarts) = eventually(LIMIT, "every kill is noticed", || {
        let last = running(&server, &mut shop, &job.name);
        let restarts = last["restarts"].as_u64()?;
        (restarts >= worker_kills).then_some((last, restarts))
    });
    assert!(
        (worker_kills..=worker_kills + server_kills).contains(&restarts),
        "{restarts} restarts after {worker_kills} kills of workers and {server_kills} of servers"
    );
    assert_eq!(last["version"], 1);
    assert_eq!(pids(&last).len(), processes);
    let stopped = server.cli_json(&["stop", &job.name, "--wait"]);
    assert_eq!(stopped["state"], "succeeded", "{stopped}");
    assert_eq!(server.job(&job.name)["state"], "suspended");
    assert_eq!(server.get("/v1/jobs")["jobs"].as_array().unwrap().len(), 1);
    eventually(LIMIT, "no process is left", || {
        job_processes(&server.data()).is_empty().then_some(())
    });
    job.finish();
    job.contents(&shop).assert_same(&shop.undisturbed(&job));
}
