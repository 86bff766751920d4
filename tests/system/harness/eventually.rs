//! Waiting for what another process does.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Asks every 20 ms until there is an answer.
///
/// # Panics
/// If there is none within `limit`; the message names `what`.
pub fn eventually<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
