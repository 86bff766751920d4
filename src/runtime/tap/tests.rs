use super::*;

const NO_TIME: Duration = Duration::ZERO;

fn taps() -> Taps {
    Taps::new(&["clicks".to_owned(), "customer".to_owned()])
}

fn all() -> Sampling {
    Sampling::new(1, RATE_MAX).expect("in range")
}

fn row(row: usize) -> Shown {
    Shown {
        text: row.to_string(),
        other: None,
    }
}

#[test]
fn a_listener_gets_the_rows_of_its_relation_and_nobody_else_does() {
    let taps = taps();
    assert!(!taps.of("clicks").is_open());
    let clicks = taps.listen("clicks", all()).expect("opens");
    assert!(taps.of("clicks").is_open() && !taps.of("customer").is_open());
    taps.of("clicks").offer(3, row);
    let passed = clicks.next(2, NO_TIME);
    assert_eq!((passed.lines.len(), passed.passed), (2, 3));
    assert_eq!(clicks.next(2, NO_TIME).lines, ["2"]);
    assert_eq!(
        clicks.next(2, NO_TIME).lines,
        [] as [&str; 0],
        "nothing twice"
    );
    drop(clicks);
    assert!(!taps.of("clicks").is_open());
}

#[test]
fn both_images_of_a_changed_row_are_one_line_and_count_as_two() {
    let taps = taps();
    let customer = taps.listen("customer", all()).expect("opens");
    // Two old images and behind them their new ones.
    taps.of("customer").offer(4, |row| Shown {
        text: (row % 2).to_string(),
        other: Some((row + 2) % 4),
    });
    let passed = customer.next(10, NO_TIME);
    assert_eq!(passed.lines, ["0", "1"]);
    assert_eq!((passed.shown, passed.passed), (4, 4));
}

#[test]
fn a_listener_that_does_not_listen_is_given_a_bounded_number_of_rows() {
    let taps = taps();
    let slow = taps.listen("clicks", all()).expect("opens");
    // As time goes by there would be more.
    let mut later = Instant::now();
    for _ in 0..100 {
        later += Duration::from_secs(1);
        slow.listener.offer(5_000, later, &row);
    }
    let passed = slow.next(usize::MAX, NO_TIME);
    assert_eq!(passed.lines.len(), QUEUE_ROWS_MAX);
    assert_eq!(passed.passed, 500_000);
    let large = taps.listen("customer", all()).expect("opens");
    for _ in 0..3 {
        taps.of("customer").offer(100, |_| Shown {
            text: "x".repeat(QUEUE_BYTES_MAX / 4),
            other: None,
        });
    }
    assert_eq!(large.next(usize::MAX, NO_TIME).lines.len(), 4);
}

#[test]
fn only_so_many_may_listen_and_a_wrong_name_is_told_with_the_right_ones() {
    let taps = taps();
    let unknown = taps.listen("click", all()).expect_err("is unknown");
    assert!(unknown.to_string().contains("clicks, customer"));
    let mut open: Vec<_> = (0..LISTENERS_MAX)
        .map(|_| taps.listen("clicks", all()).expect("opens"))
        .collect();
    assert_eq!(
        taps.listen("customer", all()).err(),
        Some(TapError::TooMany)
    );
    open.pop();
    assert!(taps.listen("customer", all()).is_ok());
}

#[test]
fn the_end_of_the_job_ends_its_taps_behind_the_last_row() {
    let taps = taps();
    let clicks = taps.listen("clicks", all()).expect("opens");
    taps.of("clicks").offer(1, row);
    taps.end();
    let last = clicks.next(1, Duration::from_secs(60));
    assert_eq!((last.lines.len(), last.over), (1, true));
    assert!(clicks.next(1, Duration::from_secs(60)).over);
    assert_eq!(taps.listen("clicks", all()).err(), Some(TapError::Over));
}
