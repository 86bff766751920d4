//! Fate-sharing: whatever goes wrong for good ends the whole process with its cause, so that the supervisor restarts the
//! job from its last checkpoint. Timely alone would hang. The other processes of the job are told the cause first, and end
//! as well.

use std::{
    backtrace::Backtrace,
    io::Write,
    panic, process,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// Exit code for job files and arguments that are wrong.
pub const EXIT_USAGE: u8 = 2;
/// Exit code of a job that could not go on.
pub const EXIT_FAILED: i32 = 1;
/// Exit code of a process that panicked: a defect of Tidewright.
pub const EXIT_PANICKED: i32 = 101;
/// Exit code of a process that lost its job to another one.
pub const EXIT_FENCED: i32 = 3;
/// Exit code of a job that stopped in good order because too much of its input could not be processed.
pub const EXIT_GAVE_UP: i32 = 9;
/// Exit code of a process whose job has lost another process, or never found it.
pub const EXIT_PEER_LOST: i32 = 5;

/// Exit code of a process one of whose workers hangs.
pub const EXIT_HUNG: i32 = 10;

/// Tells the other processes of the job, with exit code and reason. Must not take long.
pub type TellPeers = Box<dyn Fn(i32, &str) + Send + Sync>;

static TELL_PEERS: OnceLock<TellPeers> = OnceLock::new();
static LAST_WORDS: OnceLock<fn(&str)> = OnceLock::new();
static ENDING: AtomicBool = AtomicBool::new(false);

/// From now on the other processes hear why this one ends.
pub fn tell_before_exit(tell: TellPeers) {
    // A process takes part in one job in its life.
    let _ = TELL_PEERS.set(tell);
}

/// From now on this hears why the process ends, after the other processes. Must not take longer than a second.
pub fn say_before_exit(say: fn(&str)) {
    // The first one stays.
    let _ = LAST_WORDS.set(say);
}

/// Ends the process because the job cannot go on.
pub fn fail(message: &str) -> ! {
    end(message, EXIT_FAILED)
}

/// Ends the process because another one has claimed the job.
pub fn fenced(message: &str) -> ! {
    end(message, EXIT_FENCED)
}

/// Ends the process because one of its workers hangs, whatever else it hinders.
pub fn hung(message: &str) -> ! {
    // The worker may hang with a lock that ending in good order needs, such as that of standard error.
    let _ = thread::Builder::new().spawn(|| {
        thread::sleep(HUNG_LIMIT);
        process::abort();
    });
    end(message, EXIT_HUNG)
}

/// Ends the process because another process of the job is lost.
pub fn peer_lost(message: &str) -> ! {
    end(message, EXIT_PEER_LOST)
}

/// Ends the process because another one has told that it fails. Who lost the job has lost it for all.
pub fn peer_failed(code: i32, message: &str) -> ! {
    let code = if code == EXIT_FENCED {
        EXIT_FENCED
    } else {
        EXIT_PEER_LOST
    };
    end(message, code)
}

/// Ends the process with its cause.
pub fn end(message: &str, code: i32) -> ! {
    only_once();
    // Standard error may be gone; there is nobody left to tell then.
    let _ = writeln!(std::io::stderr(), "error: {message}");
    tell_peers(code, message);
    // Another process has the job: this one must not do anything more.
    if code != EXIT_FENCED {
        say_last_words(message);
    }
    process::exit(code)
}

/// How long a process with a worker that hangs may take to end.
const HUNG_LIMIT: Duration = Duration::from_secs(3);
/// Longer than the first thread needs to end the process.
const ENDING_LIMIT: Duration = Duration::from_secs(5);

/// The first cause is the one that counts: what other threads run into meanwhile are its consequences.
fn only_once() {
    if ENDING.swap(true, Ordering::SeqCst) {
        thread::sleep(ENDING_LIMIT);
        process::abort();
    }
}

fn tell_peers(code: i32, message: &str) {
    if let Some(tell) = TELL_PEERS.get() {
        tell(code, message);
    }
}

fn say_last_words(message: &str) {
    if let Some(say) = LAST_WORDS.get() {
        say(message);
    }
}

/// From now on a panic on any thread logs its cause and ends the process.
pub fn end_process_on_panic() {
    panic::set_hook(Box::new(|info| {
        only_once();
        let trace = Backtrace::capture();
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed");
        let _ = writeln!(
            std::io::stderr(),
            "error: a thread ({name}) panicked, so the job ends and can go on from its last checkpoint: {info}\n{trace}"
        );
        let reason = format!("a thread ({name}) panicked: {info}").replace('\n', " ");
        tell_peers(EXIT_PANICKED, &reason);
        say_last_words(&reason);
        process::exit(EXIT_PANICKED)
    }));
}
