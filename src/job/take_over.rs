//! Taking over a job from the process that runs it, to go on with other workers: what takes long is done before that process
//! stops.
//!
//! ```text
//! this process   plans · reads the latest checkpoint, again and again ·──stop──> · reads what is new · claims · restores · runs
//! the other one  ───────────────── runs ──────────────────────────────> final checkpoint · delivers · ends
//! ```
//! Nothing here is needed for correctness: whatever happens to either process, HEAD says what counts, and the claim fences
//! the one that is still there. It only makes the pause short.

use std::{
    os::unix::net::UnixStream,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use tidewright_checkpoints::restore::Loader;
use tidewright_checkpoints::store::CheckpointStore;

use super::RunError;
use crate::control::client;
use crate::control::protocol::{Answer, Request, StopSavepoint};

/// A round that reads so few files is what a running job makes in passing: the rest is in memory.
const FEW_FILES: usize = 16;
/// Rounds at most: a job that makes files faster than they are read must not keep this process waiting for ever.
const ROUNDS_MAX: usize = 20;
/// How long the other process may take for its final checkpoint and its sinks.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(2);

/// Reads ahead, then has the process that listens at `socket` stop, and waits for its end. Whether this process can go on from
/// the job's state has been checked: a process that is needed is left alone.
///
/// # Errors
/// If nobody listens there, it runs another job, or it does not end.
pub(super) fn take_over(
    socket: &Path,
    job: &str,
    store: &dyn CheckpointStore,
    loader: &mut Loader,
) -> Result<(), RunError> {
    check_job(socket, job)?;
    for _ in 0..ROUNDS_MAX {
        if loader.catch_up(store, job).map_err(RunError::of)? <= FEW_FILES {
            break;
        }
    }
    stop(socket)?;
    let since = Instant::now();
    while UnixStream::connect(socket).is_ok() {
        if since.elapsed() > PATIENCE {
            return Err(RunError::of(format!(
                "the process that listens at {} was asked to stop and has not ended within {} s. End it, then start without \
                 --take-over: its last checkpoint counts",
                socket.display(),
                PATIENCE.as_secs()
            )));
        }
        catch_up(job, store, loader);
        thread::sleep(PAUSE);
    }
    catch_up(job, store, loader);
    Ok(())
}

/// The other process is going to end, so somebody must go on: what is not read ahead is read when it is restored.
fn catch_up(job: &str, store: &dyn CheckpointStore, loader: &mut Loader) {
    if let Err(error) = loader.catch_up(store, job) {
        tracing::debug!(%error, "state is not read ahead now");
    }
}

/// A mistaken socket must not stop somebody else's job.
fn check_job(socket: &Path, job: &str) -> Result<(), RunError> {
    match client::ask_once(socket, &Request::Status {}).map_err(RunError::of)? {
        Answer::Status(status) if status.job == job => Ok(()),
        Answer::Status(status) => Err(RunError::of(format!(
            "the process that listens at {} runs the job {}, not {job}: nothing is taken over",
            socket.display(),
            status.job
        ))),
        answer => Err(RunError::of(client::unexpected(&answer))),
    }
}

fn stop(socket: &Path) -> Result<(), RunError> {
    let request = Request::Stop {
        savepoint: StopSavepoint::Wanted(false),
        drain: false,
    };
    match client::ask_once(socket, &request).map_err(RunError::of)? {
        Answer::Stopping(_) => Ok(()),
        Answer::Refused(reason) => Err(RunError::of(format!(
            "the process that listens at {} does not stop: {reason}",
            socket.display()
        ))),
        answer => Err(RunError::of(client::unexpected(&answer))),
    }
}
