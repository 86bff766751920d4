use super::listener::{QUEUE_BYTES_MAX, QUEUE_ROWS_MAX, SHARED_LINE_MAX};
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
        slow.listener().offer(5_000, later, &row);
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

/// As it arrives in another process.
fn sent(share: &Share) -> Share {
    let message = serde_json::to_string(share).expect("has a form");
    serde_json::from_str(&message).expect("is a share")
}

#[test]
fn rows_of_other_processes_are_shown_with_ours_and_each_share_is_asked_for() {
    let (here, there) = (taps(), taps());
    let shown = here.listen("clicks", all()).expect("opens");
    let feed = shown.feed([1, 2]);
    let far = there.listen("clicks", all()).expect("opens");
    here.of("clicks").offer(2, row);
    there.of("clicks").offer(3, |number| row(number + 10));
    feed.add(1, sent(&far.share(usize::MAX)));
    let first = shown.next(4, NO_TIME);
    assert_eq!(first.lines, ["0", "1", "10", "11"]);
    assert_eq!((first.passed, &*first.emptied), (5, &[][..]));
    let rest = shown.next(4, NO_TIME);
    assert_eq!((rest.lines.len(), &*rest.emptied), (1, &[1][..]));
    assert!(shown.next(4, NO_TIME).emptied.is_empty(), "told once");
    // Nothing has passed there; it may say so again.
    feed.add(2, sent(&Share::default()));
    assert_eq!(shown.next(4, NO_TIME).emptied, [2]);
}

#[test]
fn a_tap_over_several_processes_ends_with_the_last_of_them() {
    let (here, there) = (taps(), taps());
    let shown = here.listen("clicks", all()).expect("opens");
    let feed = shown.feed([1, 2]);
    let far = there.listen("clicks", all()).expect("opens");
    there.of("clicks").offer(1, row);
    here.end();
    there.end();
    assert!(!shown.next(1, NO_TIME).over);
    feed.add(2, sent(&Share::default().last()));
    let share = far.share(usize::MAX);
    assert_eq!((share.passed(), share.is_empty()), (1, false));
    feed.add(1, sent(&share));
    let last = shown.next(1, Duration::from_secs(60));
    assert_eq!((last.lines.len(), last.passed, last.over), (1, 1, true));
}

#[test]
fn a_share_is_bounded_and_a_row_that_no_message_holds_is_left_out_but_counted() {
    let taps = taps();
    let clicks = taps.listen("clicks", all()).expect("opens");
    let of_bytes = |bytes: usize| {
        move |_: usize| Shown {
            text: "x".repeat(bytes),
            other: None,
        }
    };
    taps.of("clicks").offer(10, of_bytes(100));
    let (here, far) = (self::taps(), clicks.share(250));
    let shown = here.listen("clicks", all()).expect("opens");
    shown.feed([1]).add(1, far);
    assert_eq!(shown.next(usize::MAX, NO_TIME).lines.len(), 3);
    assert_eq!(clicks.next(usize::MAX, NO_TIME).lines.len(), 7);
    taps.of("clicks").offer(1, of_bytes(SHARED_LINE_MAX + 1));
    let long = clicks.share(usize::MAX);
    assert_eq!((long.passed(), long.is_empty()), (11, true));
}
