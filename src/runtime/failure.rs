//! Fate-sharing: whatever goes wrong for good ends the whole process with its cause, so that the supervisor restarts the
//! job from its last checkpoint. Timely alone would hang.

use std::{backtrace::Backtrace, io::Write, panic, process};

/// Exit code of a job that could not go on.
pub const EXIT_FAILED: i32 = 1;
/// Exit code of a process that panicked: a defect of Tidewright.
pub const EXIT_PANICKED: i32 = 101;
/// Exit code of a process that lost its job to another one.
pub const EXIT_FENCED: i32 = 3;

/// Ends the process because the job cannot go on.
pub fn fail(message: &str) -> ! {
    exit(message, EXIT_FAILED)
}

/// Ends the process because another one has claimed the job.
pub fn fenced(message: &str) -> ! {
    exit(message, EXIT_FENCED)
}

fn exit(message: &str, code: i32) -> ! {
    // Standard error may be gone; there is nobody left to tell then.
    let _ = writeln!(std::io::stderr(), "error: {message}");
    process::exit(code)
}

/// From now on a panic on any thread logs its cause and ends the process.
pub fn end_process_on_panic() {
    panic::set_hook(Box::new(|info| {
        let trace = Backtrace::capture();
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed");
        let _ = writeln!(
            std::io::stderr(),
            "error: a thread ({name}) panicked, so the job ends and can go on from its last checkpoint: {info}\n{trace}"
        );
        process::exit(EXIT_PANICKED)
    }));
}
