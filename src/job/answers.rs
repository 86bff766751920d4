//! What a running job answers to requests of other processes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Weak, atomic::Ordering},
};

use crate::control::protocol::{Answer, Request, StopSavepoint, Stopping};
use crate::control::socket::{Reply, Respond};
use crate::control::status::JobStatus;
use crate::dataflow;
use crate::runtime::context::JobContext;

/// Embedded stores by the names that a request may use: their folder and the view in it.
type Stores = BTreeMap<String, (PathBuf, String)>;

/// Answers requests for as long as the job runs: the socket's threads outlive it, what it has open must not.
pub(super) fn responder(context: &Arc<JobContext>) -> Respond {
    let stores = dataflow::embedded_paths(context);
    let context: Weak<JobContext> = Arc::downgrade(context);
    Arc::new(move |request, reply| match context.upgrade() {
        Some(context) => respond(&context, &stores, request, reply),
        None => reply(Answer::Refused("the job has ended".to_owned())),
    })
}

fn respond(context: &JobContext, stores: &Stores, request: Request, reply: Reply<'_>) {
    match request {
        Request::Get { relation, key } => reply(get(context, stores, &relation, &key)),
        Request::Status {} => reply(Answer::Status(Box::new(JobStatus::of(context)))),
        Request::Savepoint { .. } => reply(no_savepoints()),
        Request::Stop { savepoint, drain } => {
            if drain || savepoint != StopSavepoint::Wanted(false) {
                return reply(no_savepoints());
            }
            context.stop.store(true, Ordering::Relaxed);
            reply(Answer::Stopping(Stopping {
                generation: context.generation.0,
            }));
        }
    }
}

fn no_savepoints() -> Answer {
    Answer::Refused("this release takes no savepoints and cannot drain".to_owned())
}

fn get(context: &JobContext, stores: &Stores, relation: &str, key: &str) -> Answer {
    let Some((path, view)) = stores.get(relation) else {
        return Answer::Refused(if stores.is_empty() {
            "this job has no embedded sink to get rows from".to_owned()
        } else {
            format!(
                "no embedded sink is named {relation} or fed from it; there are: {}",
                stores.keys().cloned().collect::<Vec<_>>().join(", ")
            )
        });
    };
    match read(context, path, view, key) {
        Ok(Some(row)) => Answer::Row(row),
        Ok(None) => Answer::NotFound(format!("{relation} has no row with the key {key}")),
        Err(error) => Answer::Refused(error),
    }
}

fn read(
    context: &JobContext,
    path: &Path,
    view: &str,
    key: &str,
) -> Result<Option<serde_json::Value>, String> {
    let store = context
        .stores
        .open(path)
        .map_err(|error| error.to_string())?;
    store.get(view, key).map_err(|error| error.to_string())
}
