//! A job whose file changes goes on with the state that fits, says what does not, and does nothing of its own accord that
//! loses any.

pub mod house;
mod stale;

use self::house::{CUSTOMER_EMAIL, House, RECENT_CLICKS, SEGMENTS, Says, sum};

const EVENTS: u64 = 200;

#[test]
fn a_new_view_begins_empty_and_the_others_go_on() {
    let Some(house) = House::open("upgrade-new") else {
        return;
    };
    house.run(&Says::at_first(), &[]);
    house.produce(100, 3);
    let says = Says::at_first()
        .view("clicks", RECENT_CLICKS)
        .sink("clicks", "clicks");
    let process = house.run(&says, &[]);
    let log = process.stderr();
    assert!(
        log.contains("view clicks") && log.contains("begins empty"),
        "{log}"
    );
    assert!(!log.contains("view recent"), "{log}");
    assert_eq!(house.rows("hot"), house.undisturbed(&says, "hot"));
    assert_eq!(
        sum(&house.rows("clicks"), "events"),
        100,
        "only what came since"
    );
}

#[test]
fn a_new_table_of_tables_and_a_new_sink_begin_with_everything() {
    let Some(house) = House::open("upgrade-whole") else {
        return;
    };
    let before = Says::at_first()
        .without("customer")
        .sink("recent", "recent");
    // The source of profiles must have state, for there to be any.
    let before = before
        .view("people", "SELECT user_id, segment FROM profiles")
        .sink("people", "people");
    house.run(&before, &[]);
    let says = Says {
        views: [before.views.clone(), vec![("customer", house::CUSTOMER)]].concat(),
        sinks: before.sinks.clone(),
    };
    let says = says.sink("hot", "customer").sink("cold", "customer");
    house.run(&says, &[]);
    let expected = house.undisturbed(&says, "hot");
    assert_eq!(house.rows("hot"), expected);
    assert_eq!(house.rows("cold"), expected);
    house.produce(50, 5);
    house.run(&says, &[]);
    assert_eq!(house.rows("hot"), house.undisturbed(&says, "hot"));
}

#[test]
fn an_incompatible_change_is_named_refused_and_done_when_asked_for() {
    let Some(house) = House::open("upgrade-changed") else {
        return;
    };
    house.run(&Says::at_first(), &[]);
    let says = Says::at_first().view("recent", RECENT_CLICKS);
    let log = house.refused(&says, &[]);
    for part in [
        "view recent (recent/",
        "count(*)",
        "is new",
        "empty with --reset-view recent",
        "--rebuild-view recent",
    ] {
        assert!(log.contains(part), "{part} is not in\n{log}");
    }
    // Nothing has happened: the old file goes on.
    house.produce(30, 1);
    house.run(&Says::at_first(), &[]);
    let kept = house.rows("hot");
    assert_eq!(sum(&kept, "events"), EVENTS + 30);

    house.produce(40, 1);
    let process = house.run(&says, &["--reset-view", "recent"]);
    assert!(
        process.stderr().contains("begins empty"),
        "{}",
        process.stderr()
    );
    let reset = house.rows("hot");
    assert_eq!(sum(&reset, "events"), 40, "{reset:?}");
    let segments = |rows: &std::collections::BTreeMap<String, _>| rows.len();
    assert_eq!(segments(&reset), segments(&kept), "profiles are kept");
    // The reset is over: what it made is kept.
    house.produce(5, 0);
    house.run(&says, &[]);
    assert_eq!(sum(&house.rows("hot"), "events"), 45);
}

#[test]
fn state_of_a_view_that_is_gone_is_dropped_only_when_asked_for() {
    let Some(house) = House::open("upgrade-gone") else {
        return;
    };
    let more = Says::at_first()
        .view("clicks", RECENT_CLICKS)
        .sink("clicks", "clicks");
    house.run(&more, &[]);
    let less = Says::at_first();
    let log = house.refused(&less, &[]);
    assert!(
        log.contains("view clicks") && log.contains("--drop-view clicks"),
        "{log}"
    );
    let log = house.refused(&less, &["--drop-view", "click"]);
    assert!(
        log.contains("--drop-view click:") && log.contains("clicks"),
        "{log}"
    );
    house.produce(10, 0);
    house.run(&less, &["--drop-view", "clicks"]);
    assert_eq!(house.rows("hot"), house.undisturbed(&less, "hot"));
    // It does not come back by itself either.
    house.produce(7, 0);
    house.run(&more, &[]);
    let new = house.rows("clicks");
    let counts: Vec<_> = new
        .values()
        .map(|row| row["events"].parse::<u64>().unwrap())
        .collect();
    assert!(counts.iter().min().unwrap() <= &7, "{new:?}");
    assert_eq!(house.rows("hot"), house.undisturbed(&more, "hot"));
}

#[test]
fn a_table_takes_a_new_column_and_reads_it_again_when_asked_to() {
    let Some(house) = House::open("upgrade-column") else {
        return;
    };
    house.run(&Says::at_first(), &[]);
    house.produce(20, 4);
    let says = Says::at_first().view("customer", CUSTOMER_EMAIL);
    let process = house.run(&says, &[]);
    let log = process.stderr();
    assert!(
        log.contains("source profiles") && log.contains("column email is new"),
        "{log}"
    );
    let expected = house.undisturbed(&says, "hot");
    let mut rows = house.rows("hot");
    let mut known = 0;
    for (user, row) in &mut rows {
        match row.get("email") {
            Some(email) => {
                known += 1;
                assert_eq!(*email, expected[user]["email"]);
            }
            // Not kept before.
            None => drop(row.insert("email".to_owned(), expected[user]["email"].clone())),
        }
    }
    assert!((1..=4).contains(&known), "{known} profiles changed since");
    assert_eq!(rows, expected, "everything else is there");

    let flags = [
        "--reset-view",
        "profiles",
        "--from-earliest",
        "--from-sources",
        "profiles",
    ];
    house.run(&says, &flags);
    assert_eq!(house.rows("hot"), expected);
    // And without the column again.
    house.produce(10, 2);
    house.run(&Says::at_first(), &[]);
    assert_eq!(
        house.rows("hot"),
        house.undisturbed(&Says::at_first(), "hot")
    );
}

#[test]
fn what_differential_dataflow_derives_from_a_changed_join_stays_right() {
    let Some(house) = House::open("upgrade-derived") else {
        return;
    };
    let with_totals = |says: Says| says.view("segments", SEGMENTS).sink("totals", "segments");
    let before = with_totals(Says::at_first());
    house.run(&before, &["--workers", "2"]);
    assert_eq!(house.rows("totals"), house.undisturbed(&before, "totals"));
    house.produce(50, 10);
    let says = with_totals(Says::at_first().view("customer", CUSTOMER_EMAIL));
    house.run(&says, &["--workers", "2"]);
    let expected = house.undisturbed(&says, "totals");
    assert!(sum(&expected, "customers") >= 20, "{expected:?}");
    assert_eq!(house.rows("totals"), expected);
    house.produce(50, 10);
    house.run(&says, &[]);
    assert_eq!(house.rows("totals"), house.undisturbed(&says, "totals"));
    // A table that is derived anew begins with everything, in state and in its sink.
    let more = says.sink("again", "segments");
    house.run(&more, &["--workers", "3"]);
    assert_eq!(house.rows("again"), house.undisturbed(&more, "again"));
}

#[test]
fn everything_of_a_source_can_be_made_again_in_place() {
    let Some(house) = House::open("upgrade-again") else {
        return;
    };
    house.run(&Says::at_first(), &[]);
    house.produce(60, 2);
    let says = Says::at_first().view("recent", RECENT_CLICKS);
    let flags = [
        "--reset-view",
        "events",
        "--from-earliest",
        "--from-sources",
        "events",
    ];
    let process = house.run(&says, &flags);
    let log = process.stderr();
    assert!(log.contains("keyed sinks get nothing until"), "{log}");
    assert_eq!(house.rows("hot"), house.undisturbed(&says, "hot"));
}
