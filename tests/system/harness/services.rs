//! Where the test servers are: `scripts/services` tells it by environment variables.

use std::{
    env,
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// Set to `1` by `scripts/test.sh`: a test that cannot run then fails instead of being skipped.
const REQUIRE: &str = "TIDEWRIGHT_TEST_REQUIRE_SERVICES";

/// The address in an environment variable. `None`, with a line that says so, if the server is absent and may be.
pub fn require(variable: &str) -> Option<String> {
    match env::var(variable) {
        Ok(address) if !address.is_empty() => Some(address),
        _ => skip(&format!("{variable} is not set (see scripts/services)")),
    }
}

/// Skips the calling test, or fails it where everything must run.
///
/// # Panics
/// If `TIDEWRIGHT_TEST_REQUIRE_SERVICES` is `1`.
pub fn skip<T>(reason: &str) -> Option<T> {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    assert!(
        env::var(REQUIRE).as_deref() != Ok("1"),
        "{test} cannot run: {reason}"
    );
    println!("skipped {test}: {reason}");
    None
}

/// A name that no other test uses, on servers that outlive a run too.
pub fn unique_name(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!(
        "{prefix}-{:x}-{}-{}",
        now.as_millis(),
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}
