//! A view that is made again from what its sources still hold, while the job goes on, and then takes the old one's place.

mod files;

use crate::crash_points::CRASH_AT;
use crate::harness::process::Process;
use crate::upgrade::house::{House, SEGMENTS, SOCKET, Says, sum};

const PURCHASES: &str = "
    SELECT user_id, count(*) AS events
    FROM rolling(events, INTERVAL '7 days', INTERVAL '1 hour') WHERE type = 'purchase' GROUP BY user_id";
const MINUTES: &str = "
    SELECT user_id, window_start, count(*) AS events FROM tumble(events, INTERVAL '10 seconds')
    GROUP BY user_id, window_start";
const MINUTES_OF_PURCHASES: &str = "
    SELECT user_id, window_start, count(*) AS events FROM tumble(events, INTERVAL '10 seconds')
    WHERE type = 'purchase' GROUP BY user_id, window_start";

const MINUTES_OF_VIEWS: &str = "
    SELECT user_id, window_start, count(*) AS events FROM tumble(events, INTERVAL '10 seconds')
    WHERE type = 'page_view' GROUP BY user_id, window_start";

/// A rolling view with what is made of it, and windows, all in keyed stores.
fn at_first() -> Says {
    Says::at_first()
        .view("segments", SEGMENTS)
        .view("minutes", MINUTES)
        .sink("recent", "recent")
        .sink("totals", "segments")
        .sink("minutes", "minutes")
}

fn assert_as_undisturbed(house: &House, says: &Says) {
    for sink in ["recent", "hot", "totals", "minutes"] {
        let expected = house.undisturbed(says, sink);
        assert_eq!(house.rows(sink), expected, "{sink}");
    }
}

fn rebuilt(process: &Process, sink: &str, what: &str) -> u64 {
    let summary = process.summary();
    summary["rebuilt"]["sinks"][sink][what].as_u64().unwrap()
}

#[test]
fn a_view_is_made_again_while_the_job_goes_on_and_leaves_no_key_behind() {
    let Some(house) = House::open("rebuild") else {
        return;
    };
    let before = at_first();
    house.produce(300, 10);
    let running = house.start(&before, &[]);
    let old = house.rows("recent");
    let says = before.view("recent", PURCHASES);
    let process = house.rebuild(&says, "recent", running);
    assert_as_undisturbed(&house, &says);
    // What has come since the comparison may have brought a key back.
    let gone = old
        .keys()
        .filter(|user| !house.rows("recent").contains_key(*user));
    assert!(rebuilt(&process, "recent", "only_a") >= gone.count() as u64);
    let compared = ["equal", "different", "only_a"].map(|what| rebuilt(&process, "recent", what));
    assert!(compared.iter().sum::<u64>() >= old.len() as u64);
    assert!(rebuilt(&process, "recent", "different") > 5);
    assert!(rebuilt(&process, "hot", "different") > 5);
    let log = process.stderr();
    assert!(
        log.contains("sink recent:") && log.contains("events differs in"),
        "{log}"
    );
    assert!(
        !log.contains("sink minutes:"),
        "it does not derive from the view:\n{log}"
    );
    // It goes on from there, with the state that was made.
    house.produce(100, 5);
    house.run(&says, &["--workers", "2"]);
    assert_as_undisturbed(&house, &says);
}

#[test]
fn closed_windows_are_made_again_too() {
    let Some(house) = House::open("rebuild-windows") else {
        return;
    };
    let before = at_first();
    house.produce(300, 0);
    let running = house.start(&before, &["--workers", "2"]);
    let old = house.rows("minutes").len();
    let says = before.view("minutes", MINUTES_OF_PURCHASES);
    let process = house.rebuild(&says, "minutes", running);
    assert!(
        rebuilt(&process, "minutes", "only_a") > 10,
        "{}",
        process.stderr()
    );
    assert_as_undisturbed(&house, &says);
    assert!(house.rows("minutes").len() < old);
    house.produce(100, 0);
    house.run(&says, &[]);
    assert_as_undisturbed(&house, &says);
}

#[test]
fn views_are_made_again_by_one_of_several_processes_for_all_of_them() {
    let Some(house) = House::open("rebuild-crew") else {
        return;
    };
    let before = at_first();
    house.produce(300, 10);
    let mut running = house.start(&before, &["--launch", "2"]);
    let claim = house.checkpoints().claim();
    let says = before.view("recent", PURCHASES);
    let says = says.view("minutes", MINUTES_OF_PURCHASES);
    let other = house.other_socket();
    let more = ["--launch", "3", "--rebuild-view", "minutes"];
    let flags = ["--rebuild-view", "recent", "--take-over", SOCKET];
    let flags = [&flags[..], &["--socket", &other], &more].concat();
    // Process 0 dies with the shadow that it makes, and the two others lose it.
    let mut died = house.ends(&says, &flags, Some((CRASH_AT, "head-swapped:2")));
    let log = died.stderr();
    assert_eq!(
        died.status().and_then(|status| status.code()),
        Some(137),
        "{log}"
    );
    assert!(running.is_running(), "{}", running.stderr());
    assert_eq!(house.checkpoints().claim(), claim);
    let process = house.rebuild_in(&says, "recent", running, &more);
    assert_as_undisturbed(&house, &says);
    let log = process.stderr();
    assert!(rebuilt(&process, "recent", "different") > 5, "{log}");
    assert!(rebuilt(&process, "minutes", "only_a") > 10, "{log}");
    // Each of them has its part in the state.
    house.produce(100, 5);
    house.run(&says, &["--launch", "2"]);
    for sink in ["hot", "minutes"] {
        assert_eq!(house.rows(sink), house.undisturbed(&says, sink), "{sink}");
    }
}

#[test]
fn a_second_rebuild_knows_nothing_of_the_first() {
    let Some(house) = House::open("rebuild-twice") else {
        return;
    };
    house.produce(300, 0);
    let mut running = house.start(&at_first(), &[]);
    for again in [MINUTES_OF_PURCHASES, MINUTES_OF_VIEWS] {
        let says = at_first().view("minutes", again);
        house.rebuild(&says, "minutes", running);
        assert_as_undisturbed(&house, &says);
        house.produce(30, 0);
        running = house.start(&says, &[]);
    }
}

#[test]
fn what_is_no_longer_retained_is_refused_by_name_and_nothing_is_touched() {
    let Some(house) = House::open("rebuild-forgotten") else {
        return;
    };
    let before = at_first();
    house.produce(100, 0);
    house.run(&before, &[]);
    house.forget_events();
    let says = before.clone().view("recent", PURCHASES);
    let log = house.refused(&says, &["--rebuild-view", "recent"]);
    for part in [
        "source events",
        "begins at offset 5",
        "no longer retained",
        "--from-earliest",
    ] {
        assert!(log.contains(part), "{part} is not in\n{log}");
    }
    let log = house.refused(&says, &["--rebuild-view", "recnt"]);
    assert!(log.contains("recnt") && log.contains("recent"), "{log}");
    let kept = house.rows("minutes");
    // Whoever accepts it gets what there is, and the others keep what they have.
    house.run(&says, &["--rebuild-view", "recent", "--from-earliest"]);
    assert_eq!(house.rows("recent"), house.undisturbed(&says, "recent"));
    assert_eq!(house.rows("minutes"), kept);
}

#[test]
fn a_rebuild_that_dies_leaves_the_job_alone() {
    let Some(house) = House::open("rebuild-dies") else {
        return;
    };
    let before = at_first();
    house.produce(100, 0);
    let running = house.start(&before, &[]);
    let claim = house.checkpoints().claim();
    let says = before.view("recent", PURCHASES);
    let other = house.other_socket();
    let flags = [
        "--rebuild-view",
        "recent",
        "--take-over",
        SOCKET,
        "--socket",
        &other,
    ];
    // The shadow's claim, then its checkpoint.
    let mut died = house.ends(&says, &flags, Some((CRASH_AT, "head-swapped:2")));
    assert!(died.was_killed(), "{}", died.stderr());
    assert_eq!(house.checkpoints().claim(), claim);
    house.produce(10, 0);
    let process = house.rebuild(&says, "recent", running);
    assert_as_undisturbed(&house, &says);
    assert!(
        sum(&house.rows("recent"), "events") > 0,
        "{}",
        process.stderr()
    );
}
