//! A shadow that begins with the live job's state.

use crate::harness::process::Process;
use crate::shop::LIMIT;
use crate::upgrade::house::{House, SEGMENTS, Says};

fn read(process: &Process) -> u64 {
    let read = &process.summary()["events_in"];
    read["events"].as_u64().unwrap() + read["profiles"].as_u64().unwrap()
}

/// A view over windows, a join and a table of a table: everything that has to be there from the first moment.
fn says() -> Says {
    Says::at_first()
        .view("segments", SEGMENTS)
        .sink("recent", "recent")
        .sink("totals", "segments")
}

fn assert_complete(house: &House, says: &Says) {
    for sink in ["hot", "recent", "totals"] {
        assert_eq!(
            house.shadow_rows("next", sink),
            house.undisturbed(says, sink),
            "{sink}"
        );
    }
}

#[test]
fn a_shadow_of_the_latest_checkpoint_has_everything_and_reads_only_what_is_new() {
    let Some(house) = House::open("shadow-state") else {
        return;
    };
    let says = says();
    house.run(&says, &[]);
    let live: Vec<_> = ["hot", "recent", "totals"]
        .map(|sink| house.rows(sink))
        .into();
    house.produce(40, 3);
    let process = house.run_shadow(&says, "next", &["--restore", "latest"]);
    assert_eq!(read(&process), 43, "{}", process.stderr());
    assert_complete(&house, &says);
    // The same command once more: it goes on from its own checkpoint.
    house.produce(20, 2);
    let process = house.run_shadow(&says, "next", &["--restore", "latest", "--workers", "2"]);
    assert_eq!(read(&process), 22, "{}", process.stderr());
    assert_complete(&house, &says);
    for (sink, before) in ["hot", "recent", "totals"].into_iter().zip(live) {
        assert_eq!(house.rows(sink), before, "the live {sink} was touched");
    }
}

#[test]
fn a_shadow_of_a_savepoint_has_everything_in_two_processes() {
    let Some(house) = House::open("shadow-place") else {
        return;
    };
    let says = says();
    let place = house.savepoint(&says);
    house.produce(30, 3);
    let process = house.run_shadow(&says, "next", &["--launch", "2", "--restore", &place]);
    assert_eq!(read(&process), 33, "{}", process.stderr());
    assert_complete(&house, &says);
}

#[test]
fn a_shadow_of_the_latest_checkpoint_has_everything_in_several_processes_while_the_job_goes_on() {
    let Some(house) = House::open("shadow-crew") else {
        return;
    };
    let says = says();
    let two = ["--launch", "2", "--restore", "latest"];
    let log = house.refused_as_shadow(&says, "next", &two);
    assert!(log.contains("wait for its first one"), "{log}");
    let mut running = house.start(&says, &[]);
    let from = format!("(generation {})", house.checkpoints().claim().0);
    // The job goes on to other checkpoints while the processes come together.
    let latest = ["--launch", "3", "--restore", "latest"];
    let process = house.run_shadow_fed(&says, "next", &latest);
    let log = process.stderr();
    assert!(log.contains(&from), "{from} is not in\n{log}");
    assert_complete(&house, &says);
    // Each of them goes on from the shadow's own checkpoint.
    house.produce(20, 2);
    let process = house.run_shadow(&says, "next", &[&latest[..], &["--workers", "2"]].concat());
    assert_eq!(read(&process), 22, "{}", process.stderr());
    running.terminate();
    running.wait_for_success(LIMIT);
    // And may begin again with that of the job.
    house.produce(10, 1);
    let live = ["--launch", "2", "--restore", "live"];
    let process = house.run_shadow(&says, "next", &live);
    assert!(read(&process) >= 11, "{}", process.stderr());
    let log = process.stderr();
    assert!(log.contains(&from), "{from} is not in\n{log}");
    assert_complete(&house, &says);
}
