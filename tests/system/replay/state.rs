//! A shadow that begins with the live job's state.

use crate::harness::process::Process;
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
    let two = ["--launch", "2", "--restore"];
    let log = house.refused_as_shadow(&says, "next", &[&two[..], &["latest"]].concat());
    assert!(log.contains("take a savepoint of it"), "{log}");
    let process = house.run_shadow(&says, "next", &[&two[..], &[&place]].concat());
    assert_eq!(read(&process), 33, "{}", process.stderr());
    assert_complete(&house, &says);
}
