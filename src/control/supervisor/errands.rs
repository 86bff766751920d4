//! What has to be asked of a running job at its socket: savepoints and stops. Each errand waits on a thread of its own for as long as the job takes; the supervisor goes on meanwhile.
//!
//! An errand that the job's death cuts short is run again when the job is back, and so is one that the server's death cut
//! short. A savepoint may be made twice then, under two names.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use super::{Wake, now_ms};
use crate::control::client::{self, ClientError};
use crate::control::protocol::{Answer, Request, SavepointTaken, StopSavepoint};
use crate::control::registry::records::{Operation, OperationKind, SavepointView};
use crate::control::registry::{Registry, RegistryError};

/// How often a job that drains is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The errands under way, by operation.
#[derive(Clone, Debug, Default)]
pub struct Errands(Arc<Mutex<BTreeSet<String>>>);

/// What came of an errand.
#[derive(Debug)]
enum Outcome {
    /// The savepoint is there.
    Savepoint(SavepointTaken),
    /// The job refused; whether it goes on as before.
    Refused(String, bool),
    /// The job has ended, as it was asked to or not.
    Interrupted,
}

impl Errands {
    /// Whether this operation's errand is under way.
    pub fn is_under_way(&self, operation: &Operation) -> bool {
        self.lock().contains(&operation.id)
    }

    /// Runs an operation's errand, unless it is under way.
    pub fn run(&self, operation: Operation, socket: PathBuf, registry: Arc<Registry>, wake: &Wake) {
        if !self.lock().insert(operation.id.clone()) {
            return;
        }
        let (errands, wake, id) = (self.clone(), wake.clone(), operation.id.clone());
        let spawned = thread::Builder::new()
            .name("errand".to_owned())
            .spawn(move || {
                let outcome = outcome(&operation, &socket);
                tracing::info!(job = operation.job, ?outcome, "asked the job");
                if let Err(error) = note(&registry, &operation, outcome) {
                    tracing::error!(%error, "what the job answered cannot be noted; it is asked again");
                }
                errands.lock().remove(&operation.id);
                wake.now();
            });
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread for an errand; it is tried again");
            self.lock().remove(&id);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn outcome(operation: &Operation, socket: &Path) -> Outcome {
    // Whatever kept the answer away, the job is asked again if it lives.
    ask(operation, socket).unwrap_or(Outcome::Interrupted)
}

fn ask(operation: &Operation, socket: &Path) -> Result<Outcome, ClientError> {
    let wants = &operation.wants;
    if operation.kind == OperationKind::Savepoint {
        let to = match &wants.savepoint {
            StopSavepoint::To(to) => Some(to.clone()),
            StopSavepoint::Wanted(_) => None,
        };
        let answer = client::ask(socket, &Request::Savepoint { to })?.answer(None)?;
        return Ok(of_savepoint(answer, true));
    }
    // If the job died after its savepoint was made, it is asked for no other.
    let savepoint = match operation.savepoint {
        None => wants.savepoint.clone(),
        Some(_) => StopSavepoint::default(),
    };
    let wanted = savepoint != StopSavepoint::default();
    let drain = wants.drain;
    let mut asked = client::ask(socket, &Request::Stop { savepoint, drain })?;
    match asked.answer(Some(client::TIMEOUT))? {
        Answer::Stopping(_) if wanted => Ok(of_savepoint(asked.answer(None)?, false)),
        Answer::Stopping(_) => {
            // Asked once; what comes of it shows when the process has ended.
            while client::ask_once(socket, &Request::Status {}).is_ok() {
                thread::sleep(LOOK_EVERY);
            }
            Ok(Outcome::Interrupted)
        }
        other => Ok(of_savepoint(other, true)),
    }
}

fn of_savepoint(answer: Answer, goes_on: bool) -> Outcome {
    match answer {
        Answer::Savepoint(taken) => Outcome::Savepoint(taken),
        Answer::Refused(reason) => Outcome::Refused(reason, goes_on),
        other => Outcome::Refused(client::unexpected(&other), goes_on),
    }
}

fn note(registry: &Registry, operation: &Operation, outcome: Outcome) -> Result<(), RegistryError> {
    match outcome {
        // A stop is over when the supervisor sees a good end; otherwise the job is asked again when it is back.
        Outcome::Interrupted => Ok(()),
        Outcome::Savepoint(taken) => {
            let savepoint = SavepointView {
                location: taken.location,
                epoch: taken.epoch,
                bytes: taken.bytes,
            };
            registry.savepoint_made(&operation.id, savepoint, now_ms())
        }
        // A job that refuses to stop for a change is going to end, or killed when patience is over.
        Outcome::Refused(..) if operation.kind.is_change() => Ok(()),
        Outcome::Refused(reason, goes_on) => {
            registry.operation_failed(&operation.id, &reason, goes_on, now_ms())
        }
    }
}
