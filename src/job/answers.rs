//! What a running job answers to requests of other processes.

mod tap;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        atomic::Ordering,
        mpsc::{Receiver, RecvError},
    },
};

use super::taps::Elsewhere;
use super::vitals::Vitals;
use crate::control::protocol::{Answer, Request, StopSavepoint, Stopping};
use crate::control::socket::{Reply, Respond};
use crate::dataflow;
use crate::runtime::context::JobContext;
use crate::runtime::savepoints::{self, Moment, Outcome};

/// Embedded stores by the names that a request may use: their folder and the view in it.
type Stores = BTreeMap<String, (PathBuf, String)>;

/// What a client waits for, without the job being held.
enum Later {
    Savepoint(Receiver<Outcome>),
    Tap(tap::Open),
}

/// Answers requests for as long as the job runs: the socket's threads outlive it, what it has open must not.
pub(super) fn responder(
    context: &Arc<JobContext>,
    vitals: Arc<Vitals>,
    elsewhere: Option<Arc<Elsewhere>>,
) -> Respond {
    let stores = dataflow::embedded_paths(context);
    let context: Weak<JobContext> = Arc::downgrade(context);
    Arc::new(move |request, reply: Reply<'_>| {
        let Some(context) = context.upgrade() else {
            reply(Answer::Refused("the job has ended".to_owned()));
            return;
        };
        let asked = Asked {
            context: &context,
            vitals: &vitals,
            stores: &stores,
            elsewhere: elsewhere.as_ref(),
        };
        let later = asked.respond(request, reply);
        drop(context);
        match later {
            None => {}
            Some(Later::Tap(tap)) => tap.answer(reply),
            Some(Later::Savepoint(savepoint)) => {
                reply(match savepoint.recv() {
                    Ok(Ok(taken)) => Answer::Savepoint(taken),
                    Ok(Err(error)) => Answer::Refused(format!("no savepoint was made: {error}")),
                    Err(RecvError) => Answer::Refused("no savepoint was made".to_owned()),
                });
            }
        }
    })
}

/// What answers are made from.
struct Asked<'a> {
    context: &'a JobContext,
    vitals: &'a Vitals,
    stores: &'a Stores,
    elsewhere: Option<&'a Arc<Elsewhere>>,
}

impl Asked<'_> {
    /// Answers what can be answered at once, and gives what the client waits for besides.
    fn respond(self, request: Request, reply: Reply<'_>) -> Option<Later> {
        let Self {
            context,
            vitals,
            stores,
            elsewhere,
        } = self;
        let (answer, later) = match request {
            Request::Get { relation, key } => (get(context, stores, &relation, &key), None),
            Request::Status {} => (Answer::Status(Box::new(vitals.status(context))), None),
            Request::Lag {} => (Answer::Lag(Box::new(vitals.lag())), None),
            Request::Health {} => (Answer::Health(vitals.health()), None),
            Request::Metrics {} => (Answer::Metrics(vitals.measurements()), None),
            Request::Tap(request) => match tap::Open::new(context, elsewhere.cloned(), request) {
                Ok(tap) => return Some(Later::Tap(tap)),
                Err(refused) => (refused, None),
            },
            Request::Savepoint { to } => match request_savepoint(context, to, Moment::Next) {
                Ok(savepoint) => return Some(Later::Savepoint(savepoint)),
                Err(refused) => (Answer::Refused(refused), None),
            },
            Request::Stop { savepoint, drain } => match stop(context, savepoint, drain) {
                Ok(savepoint) => {
                    let generation = context.generation.0;
                    let stopping = Answer::Stopping(Stopping { generation });
                    (stopping, savepoint.map(Later::Savepoint))
                }
                Err(refused) => (Answer::Refused(refused), None),
            },
        };
        reply(answer);
        later
    }
}

fn request_savepoint(
    context: &JobContext,
    to: Option<String>,
    moment: Moment,
) -> Result<Receiver<Outcome>, String> {
    if let Some(to) = &to {
        savepoints::check_place(to)?;
    }
    Ok(context.savepoints.request(to, moment))
}

/// Makes the job end. The savepoint is asked for first, so that the final checkpoint finds it waiting.
fn stop(
    context: &JobContext,
    savepoint: StopSavepoint,
    drain: bool,
) -> Result<Option<Receiver<Outcome>>, String> {
    let savepoint = match savepoint {
        StopSavepoint::Wanted(false) => None,
        StopSavepoint::Wanted(true) => Some(request_savepoint(context, None, Moment::Final)?),
        StopSavepoint::To(to) => Some(request_savepoint(context, Some(to), Moment::Final)?),
    };
    let how = if drain { &context.drain } else { &context.stop };
    how.store(true, Ordering::Relaxed);
    Ok(savepoint)
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
