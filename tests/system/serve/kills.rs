//! Killed at random moments, workers and servers leave what an undisturbed run leaves.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    harness::{
        eventually::eventually,
        random::Random,
        server::{Server, job_processes, kill},
    },
    shop::{LIMIT, Shop},
};

const KILLS: u64 = 20;

fn pid(job: &Value) -> i32 {
    job["processes"][0]["pid"].as_i64().unwrap() as i32
}

/// Waits until a job runs, with input coming in.
fn running(server: &Server, shop: &mut Shop, name: &str) -> Value {
    shop.feed_until("the job runs", || {
        let job = server.job(name);
        (job["state"] == "running").then_some(job)
    })
}

#[test]
fn kills_of_workers_and_servers_change_neither_results_nor_the_registry() {
    let Some(mut shop) = Shop::open(51) else {
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
    let submitted =
        server.cli_json(&[&["submit", "--workers", "2", "--wait"], &submit[..]].concat());
    assert_eq!(submitted["state"], "running", "{submitted}");
    let mut random = Random::new(51);
    let (mut worker_kills, mut server_kills, mut adopted) = (0, 0, 0);
    for _ in 0..KILLS {
        // Not always a running job: starts are hit as well.
        if random.chance(0.7) {
            running(&server, &mut shop, &job.name);
        }
        shop.feed_for(Duration::from_millis(50 + random.below(700)));
        let before = server.job(&job.name);
        let victim = *random.pick(&["worker", "server", "both"]);
        let process = before["processes"].get(0).map(|_| pid(&before));
        if victim != "server"
            && let Some(process) = process
        {
            kill(process, Signal::KILL);
            worker_kills += 1;
        }
        if victim != "worker" {
            server.kill();
            server_kills += 1;
            shop.feed_for(Duration::from_millis(random.below(300)));
            server.start_again();
        }
        if victim == "server" && before["state"] == "running" {
            let after = running(&server, &mut shop, &job.name);
            assert_eq!(pid(&after), pid(&before), "it was not adopted:\n{after}");
            adopted += 1;
        }
        let alive = job_processes(&server.data());
        assert!(alive.len() <= 1, "the job runs twice: {alive:?}");
    }
    assert!(worker_kills > 3 && server_kills > 3 && adopted > 0);
    let last = running(&server, &mut shop, &job.name);
    let restarts = last["restarts"].as_u64().unwrap();
    assert!(
        (worker_kills..=worker_kills + server_kills).contains(&restarts),
        "{restarts} restarts after {worker_kills} kills of workers and {server_kills} of servers"
    );
    assert_eq!(last["version"], 1);
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
