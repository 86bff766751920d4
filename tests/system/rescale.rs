//! A running job goes on with other workers: a process takes it over from the one that runs it, under load.

use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::{
    harness::{
        eventually::eventually,
        process::{Command, Process},
    },
    shop::{LIMIT, Shop, ShopJob},
};

fn status(job: &ShopJob) -> Option<Value> {
    let mut asked = job.ask(&["status"]).start();
    asked.wait(LIMIT).success().then(|| asked.summary())
}

/// Starts a command that takes the job over, and feeds until it runs and the process that ran the job has ended.
fn taken_over(shop: &mut Shop, job: &ShopJob, mut running: Process, successor: Command) -> Process {
    let successor = successor.arg("--take-over").arg(job.socket());
    let mut successor = successor.start();
    shop.feed_until("the process that ran the job ends", || {
        assert!(
            successor.is_running(),
            "ended by itself:\n{}",
            successor.stderr()
        );
        running.status()
    });
    running.wait_for_success(LIMIT);
    let successor = job.await_start(successor);
    let log = successor.stderr();
    assert!(log.contains("going on from"), "it began anew:\n{log}");
    successor
}

#[test]
fn a_job_under_load_goes_on_with_one_two_four_and_three_workers_and_leaves_the_same_results() {
    let Some(mut shop) = Shop::open(61) else {
        return;
    };
    let job = shop.job("taken-over");
    let mut running = job.await_start(job.listening(1).start());
    for workers in [2, 4, 3] {
        let before = job.durable_epoch();
        shop.feed_until("checkpoints", || {
            (job.durable_epoch() > before + 300).then_some(())
        });
        running = taken_over(&mut shop, &job, running, job.listening(workers));
        eventually(LIMIT, "it answers where the other one did", || {
            let status = status(&job)?;
            (status["workers"] == workers && status["pid"] == running.id()).then_some(())
        });
    }
    running.terminate();
    running.wait_for_success(LIMIT);
    assert_eq!(job.manifest().unwrap().workers, 3);
    job.finish();
    job.contents(&shop).assert_same(&shop.undisturbed(&job));
}

#[test]
fn a_job_under_load_goes_on_in_two_processes_and_in_one_again() {
    let Some(mut shop) = Shop::open(64) else {
        return;
    };
    let job = shop.job("taken-over-by-two");
    let mut running = job.await_start(job.listening(2).start());
    for processes in ["2", "1"] {
        let before = job.durable_epoch();
        shop.feed_until("checkpoints", || {
            (job.durable_epoch() > before + 300).then_some(())
        });
        let successor = job.listening(1).args(["--launch", processes]);
        running = taken_over(&mut shop, &job, running, successor);
        let workers: usize = processes.parse().unwrap();
        eventually(LIMIT, "all workers answer", || {
            (status(&job)?["workers"] == workers).then_some(())
        });
    }
    running.terminate();
    running.wait_for_success(LIMIT);
    assert_eq!(job.manifest().unwrap().workers, 1);
    job.finish();
    job.contents(&shop).assert_same(&shop.undisturbed(&job));
}

#[test]
fn a_process_that_dies_while_it_is_taken_over_leaves_its_last_checkpoint() {
    let Some(mut shop) = Shop::open(62) else {
        return;
    };
    let job = shop.job("dies-taken-over");
    let mut running = job.await_start(job.listening(2).start());
    let before = job.durable_epoch();
    shop.feed_until("checkpoints", || {
        (job.durable_epoch() > before + 300).then_some(())
    });
    // It is asked to stop while it stands still, and dies before it can.
    job.suspend(&running);
    let successor = job.listening(1).arg("--take-over").arg(job.socket());
    let mut successor = successor.start();
    thread::sleep(Duration::from_millis(500));
    running.kill();
    let log = successor.wait(LIMIT);
    assert!(!log.success(), "nobody answered, so nothing is taken over");
    assert!(
        successor.stderr().contains("did not answer"),
        "{}",
        successor.stderr()
    );
    job.finish();
    job.contents(&shop).assert_same(&shop.undisturbed(&job));
}

#[test]
fn nothing_is_taken_over_from_nobody_or_from_another_job() {
    let Some(shop) = Shop::open(63) else {
        return;
    };
    let (job, other) = (shop.job("here"), shop.job("there"));
    let mut nobody = job.command(1).arg("--take-over").arg(job.socket()).start();
    assert_eq!(nobody.wait(LIMIT).code(), Some(1));
    assert!(
        nobody.stderr().contains("no job answers at"),
        "{}",
        nobody.stderr()
    );
    let mut running = other.await_start(other.listening(1).start());
    let mistaken = job.command(1).arg("--take-over").arg(other.socket());
    let mut mistaken = mistaken.start();
    assert_eq!(mistaken.wait(LIMIT).code(), Some(1));
    let log = mistaken.stderr();
    assert!(
        log.contains(&other.name) && log.contains("nothing is taken over"),
        "{log}"
    );
    assert!(running.is_running(), "it goes on:\n{}", running.stderr());
    running.terminate();
    running.wait_for_success(LIMIT);
}
