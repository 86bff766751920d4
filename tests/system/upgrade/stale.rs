//! Keys that a store holds and the view no longer makes: they are deleted, whatever made them stale.

use super::house::{House, RECENT_CLICKS, SEGMENTS, Says, sum};

const VIPS: &str = "
    SELECT p.user_id, p.segment, r.events
    FROM profiles p LEFT JOIN recent r ON p.user_id = r.user_id WHERE p.segment = 'vip'";
const RECENT_PURCHASES: &str = "
    SELECT user_id, count(*) AS events
    FROM rolling(events, INTERVAL '7 days', INTERVAL '1 hour') WHERE type = 'purchase' GROUP BY user_id";

/// A key that comes after the older checkpoint and goes away in the epoch in which the replay passes the latest one.
fn a_key_that_comes_and_goes(prefix: &str, flags: &[&str]) {
    let Some(house) = House::open(prefix) else {
        return;
    };
    let says = Says::at_first();
    house.run(&says, flags);
    let older = house.checkpoints().latest_name().unwrap();
    house.profile("guest", Some("new"));
    house.profile("stays", Some("new"));
    house.run(&says, flags);
    assert!(house.rows("hot").contains_key("guest"));
    house.profile("guest", None);
    // Long epochs: the guest comes and goes in one.
    let back = ["--restore", &older, "--set", "epoch.tick=1s"];
    let process = house.run(&says, &[&back, flags].concat());
    assert!(
        process
            .stderr()
            .contains("a replay: keyed sinks get nothing until"),
        "{}",
        process.stderr()
    );
    let rows = house.rows("hot");
    assert!(
        !rows.contains_key("guest") && rows.contains_key("stays"),
        "{rows:?}"
    );
    assert_eq!(rows, house.undisturbed(&says, "hot"));
}

#[test]
fn going_back_deletes_what_came_and_went_in_one_epoch() {
    a_key_that_comes_and_goes("stale-back", &[]);
}

#[test]
fn going_back_deletes_what_came_and_went_with_two_processes_too() {
    a_key_that_comes_and_goes("stale-back-two", &["--launch", "2"]);
}

/// A condition that a table view did not have: no state is lost, and its sinks hold what the new one makes.
fn a_changed_condition(prefix: &str, flags: &[&str]) {
    let Some(house) = House::open(prefix) else {
        return;
    };
    let before = Says::at_first()
        .view("segments", SEGMENTS)
        .sink("totals", "segments");
    house.run(&before, flags);
    let all = house.rows("hot");
    house.produce(30, 5);
    let says = before.clone().view("customer", VIPS);
    let process = house.run(&says, flags);
    let log = process.stderr();
    assert!(
        log.contains("sink hot: its rows were") && log.contains("vip"),
        "{log}"
    );
    let expected = house.undisturbed(&says, "hot");
    assert!(
        !expected.is_empty() && expected.len() < all.len(),
        "{expected:?}"
    );
    assert_eq!(house.rows("hot"), expected);
    assert_eq!(house.rows("totals"), house.undisturbed(&says, "totals"));
    // Once is enough; and back again.
    house.produce(10, 3);
    let log = house.run(&says, flags).stderr();
    assert!(!log.contains("sink hot:"), "{log}");
    assert_eq!(house.rows("hot"), house.undisturbed(&says, "hot"));
    house.run(&before, flags);
    assert_eq!(house.rows("hot"), house.undisturbed(&before, "hot"));
    assert_eq!(house.rows("totals"), house.undisturbed(&before, "totals"));
}

#[test]
fn a_table_view_with_another_condition_leaves_no_key_behind() {
    a_changed_condition("stale-where", &[]);
}

#[test]
fn a_table_view_with_another_condition_leaves_no_key_behind_in_two_processes() {
    a_changed_condition("stale-where-two", &["--launch", "2", "--workers", "2"]);
}

#[test]
fn a_changed_condition_in_front_of_a_window_is_refused_by_name_and_a_reset_leaves_no_key_behind() {
    let Some(house) = House::open("stale-reset") else {
        return;
    };
    let before = Says::at_first().sink("recent", "recent");
    house.run(&before, &[]);
    assert!(house.rows("recent").len() > 10);
    let says = before.view("recent", RECENT_PURCHASES);
    let log = house.refused(&says, &[]);
    for part in ["view recent (recent/", "purchase", "--reset-view recent"] {
        assert!(log.contains(part), "{part} is not in\n{log}");
    }
    house.profile("late", Some("vip"));
    house.run(&says, &["--reset-view", "recent"]);
    assert_eq!(house.rows("recent"), [].into(), "nothing has come since");
    let hot = house.rows("hot");
    assert!(
        hot.contains_key("late") && sum(&hot, "events") == 0,
        "{hot:?}"
    );
    house.produce(60, 0);
    house.run(&says, &[]);
    let new = sum(&house.rows("recent"), "events");
    assert!(new > 0 && new < 60, "{new} purchases");
}

#[test]
fn a_reset_view_in_two_processes_leaves_no_key_behind() {
    let Some(house) = House::open("stale-reset-two") else {
        return;
    };
    let before = Says::at_first().sink("recent", "recent");
    house.run(&before, &["--launch", "2"]);
    let says = before.view("recent", RECENT_CLICKS);
    house.produce(5, 0);
    house.run(&says, &["--launch", "2", "--reset-view", "recent"]);
    let rows = house.rows("recent");
    assert_eq!(sum(&rows, "events"), 5, "{rows:?}");
    assert!(rows.len() <= 5, "{rows:?}");
}

#[test]
fn everything_from_the_beginning_deletes_what_the_new_file_does_not_make() {
    let Some(house) = House::open("stale-none") else {
        return;
    };
    house.run(&Says::at_first(), &[]);
    house.produce(20, 3);
    let says = Says::at_first().view("customer", VIPS);
    house.run(&says, &["--restore", "none"]);
    assert_eq!(house.rows("hot"), house.undisturbed(&says, "hot"));
}
