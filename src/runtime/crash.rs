//! Named steps at which tests end the process, as a crash would. Only debug builds, which the tests run, know them.

mod filesystem;
mod store;

use std::sync::Arc;

use tidewright_checkpoints::store::{self as stores, CheckpointStore, OpenError};

use self::filesystem::CrashingFilesystem;
pub use self::store::with_crash_points;

/// Opens a checkpoint store; in debug builds one that passes crash points, also where files of a local folder are made
/// durable.
///
/// # Errors
/// As [`stores::open`].
pub fn open_store(url: &str) -> Result<Arc<dyn CheckpointStore>, OpenError> {
    let store = if cfg!(debug_assertions) {
        stores::open_on(CrashingFilesystem::default(), url)
    } else {
        stores::open(url)
    };
    store.map(with_crash_points)
}

/// The variable that names a step, and with `STEP:N` the N-th time that it is passed.
pub const CRASH_AT: &str = "TIDEWRIGHT_TEST_CRASH_AT";

/// Ends the process without any clean-up if the environment asks for it here.
#[cfg(not(debug_assertions))]
pub fn crash_point(_step: &str) {}

/// Ends the process without any clean-up if the environment asks for it here.
#[cfg(debug_assertions)]
pub fn crash_point(step: &str) {
    use std::sync::OnceLock;
    static ASKED: OnceLock<Option<(String, std::sync::atomic::AtomicI64)>> = OnceLock::new();
    let asked = ASKED.get_or_init(|| {
        let value = std::env::var(CRASH_AT).ok()?;
        let (step, times) = value.split_once(':').unwrap_or((&value, "1"));
        Some((step.to_owned(), times.parse().unwrap_or(1).into()))
    });
    if let Some((asked, left)) = asked
        && asked == step
        && left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) == 1
    {
        // SIGKILL: not even exit handlers run.
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}
