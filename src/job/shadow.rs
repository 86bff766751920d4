//! Removing what a shadow has left: its rows and its checkpoints. The live job is neither asked nor touched.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tidewright_checkpoints::Epoch;
use tidewright_checkpoints::claim::{self, ClaimRequest};
use tidewright_checkpoints::head::{self, Head};
use tidewright_checkpoints::paths;
use tidewright_checkpoints::store::{self, CheckpointStore};
use tidewright_jobs::Compiled;
use tidewright_jobs::job::SinkConfig;
use tidewright_jobs::plan::Plan;

use super::RunError;
use crate::dataflow;
use crate::place;
use crate::runtime::epoch::wall_clock_ms;
use crate::sink::{EmbeddedStores, SinkError};

/// A job that runs publishes far more often than this, whatever its interval.
const INTERVALS: u32 = 5;
/// The shortest time for which HEAD is watched.
const WATCH_MIN: Duration = Duration::from_secs(1);

/// Removes everything that a shadow has, unless it runs. `url`: the checkpoint store, instead of the job file's. Returns what
/// stays because only its owner can tell who reads it.
///
/// # Errors
/// If there is no such shadow, it runs, or something cannot be removed; then its checkpoints stay, and it can be tried again.
pub fn drop_shadow(shadow: &Compiled, url: Option<&str>) -> Result<Vec<String>, RunError> {
    let job = &shadow.plan.name;
    let url = place::url(url.unwrap_or(&shadow.job.checkpoint.store)).map_err(RunError::of)?;
    let url = store::job_url(&url, job);
    let none = || {
        RunError::of(format!(
            "there is no {job} in {url}: nothing is removed. Name the shadow as it was run with --shadow, and its store with \
             --checkpoint-store if that was given"
        ))
    };
    // Opened to be read only: a mistaken name leaves no folder behind.
    let store = store::open_existing(&url).map_err(|_| none())?;
    let head = store.head().map_err(RunError::of)?.ok_or_else(none)?;
    let interval = Duration::from_millis(shadow.job.checkpoint.interval_ms);
    thread::sleep(WATCH_MIN.max(interval * INTERVALS));
    if store.head().map_err(RunError::of)?.as_ref() != Some(&head) {
        return Err(RunError::of(format!(
            "{job} runs ({}): stop it first. Nothing is removed",
            head.0.holder
        )));
    }
    remove(&shadow.plan, &store)?;
    Ok(left(&shadow.plan))
}

/// Removes a shadow, in order: claims it, so that nobody else goes on with it; its rows; its checkpoints.
///
/// # Errors
/// If something cannot be removed: then its checkpoints stay.
pub(super) fn remove(plan: &Plan, store: &Arc<dyn CheckpointStore>) -> Result<(), RunError> {
    let request = ClaimRequest {
        holder: claim::unique_holder("the removal of a shadow"),
        now_ms: wall_clock_ms(),
        accept_missing_head: true,
    };
    let claimed = claim::claim(&**store, &request).map_err(RunError::of)?;
    // Whoever runs a shadow of this name meanwhile has claimed it, and keeps its rows.
    let may = || match store.head() {
        Ok(Some((_, tag))) if tag == claimed.tag => Ok(()),
        Ok(_) => Err(SinkError::Fatal(format!(
            "{} was claimed by another process meanwhile: what it has now stays",
            plan.name
        ))),
        Err(error) => Err(SinkError::Transient(error.to_string())),
    };
    remove_rows(plan, &may).map_err(RunError::of)?;
    let mut objects = Vec::new();
    for folder in [paths::MANIFESTS, paths::STATE] {
        objects.extend(store.list(folder).map_err(RunError::of)?);
    }
    let empty = Head {
        epoch: Epoch(0),
        manifest: None,
        ..claimed.head
    };
    let tag = head::swap(&**store, Some(&claimed.tag), &empty).map_err(RunError::of)?;
    // Whoever claims it from now on begins with nothing, so nobody needs these.
    for object in objects {
        store.delete(&object.name).map_err(RunError::of)?;
    }
    let now = store.head().map_err(RunError::of)?;
    if now.is_some_and(|(_, now)| now == tag) {
        store.delete(paths::HEAD).map_err(RunError::of)?;
    }
    Ok(())
}

fn remove_rows(plan: &Plan, may: &dyn Fn() -> Result<(), SinkError>) -> Result<(), SinkError> {
    let stores = EmbeddedStores::default();
    let sinks = plan.sinks.iter();
    for sink in sinks.filter(|sink| dataflow::is_keyed(&sink.config)) {
        dataflow::rows_if_any(plan, sink, &stores)?.remove_all(may)?;
    }
    Ok(())
}

/// Tells what of its own a shadow that begins anew finds and goes on with: unlike keyed stores, these cannot lose what they hold.
pub(super) fn tell_left(plan: &Plan) {
    let left = left(plan);
    if !left.is_empty() {
        tracing::warn!(
            "{} begins anew, but what earlier runs of it have appended stays, and the rows of this run follow: {}. To have only \
             these, drop the shadow (tidewright shadow drop) and remove what that names, or make another one",
            plan.name,
            left.join("; ")
        );
    }
}

/// What other programs may read on, or the system may not let a job remove.
fn left(plan: &Plan) -> Vec<String> {
    let left = |config: &SinkConfig| match config {
        SinkConfig::Kafka(kafka) => Some(format!("the topic {}", kafka.topic)),
        SinkConfig::Files(files) => {
            Some(format!("the file {}, with what lies beside it", files.path))
        }
        _ => None,
    };
    let sinks = plan.sinks.iter();
    sinks.filter_map(|sink| left(&sink.config)).collect()
}
