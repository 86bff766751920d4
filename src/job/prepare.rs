//! Before a job runs: claim it, load what it starts from, and refuse what would repeat rows or misread state.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Instant,
};

use tidewright_checkpoints::claim::{self, ClaimRequest, Claimed};
use tidewright_checkpoints::manifest::Manifest;
use tidewright_checkpoints::restore::{self, Restored, Which};
use tidewright_checkpoints::store::{self, CheckpointStore};
use tidewright_checkpoints::{Epoch, OperatorId};
use tidewright_jobs::Compiled;
use tidewright_jobs::job::{Delivery, SinkConfig};
use tidewright_jobs::plan::Plan;

use super::{PreparedJob, Restore, RunError, RunOptions};
use crate::dataflow;
use crate::runtime::context::{JobContext, Settings};
use crate::runtime::crash::with_crash_points;
use crate::runtime::epoch::wall_clock_ms;
use crate::runtime::failure;
use crate::runtime::fence::HeadFence;
use crate::runtime::publish::PublishSettings;
use crate::runtime::stats::Stats;
use crate::sink::embedded::EmbeddedStores;

/// Claims a job and loads what it starts from.
///
/// # Errors
/// If the checkpoint store cannot be used, holds a damaged checkpoint or one of other operators, or the options would
/// repeat rows.
pub fn prepare(compiled: Compiled, options: RunOptions) -> Result<PreparedJob, RunError> {
    failure::end_process_on_panic();
    let settings = Settings::of(&compiled.job);
    let url = options
        .checkpoint_store
        .clone()
        .unwrap_or(compiled.job.checkpoint.store);
    let url = absolute(&url)?;
    let plan = compiled.plan;
    check_eager(&plan, &settings)?;
    let store = store::open(&store::job_url(&url, &plan.name)).map_err(RunError::of)?;
    let store = with_crash_points(store);
    let now_ms = wall_clock_ms();
    let request = ClaimRequest {
        holder: claim::unique_holder(&holder()),
        now_ms,
        accept_missing_head: options.restore != Restore::Latest,
    };
    let claimed = claim::claim(&*store, &request).map_err(RunError::of)?;
    let latest = latest(&*store, &plan.name, &claimed, &options.restore)?;
    let restored = load(&*store, &plan.name, &options.restore)?;
    if let Some(restored) = &restored {
        check_operators(&plan, &restored.manifest)?;
    }
    let latest = latest.as_ref();
    let behind = is_behind(claimed.head.epoch, restored.as_ref());
    if behind && !options.allow_duplicates {
        refuse_append_sinks(&plan)?;
    }
    let newest = claimed.head.epoch.0;
    let stats = Arc::new(Stats::new(&plan));
    stats.durable.raise(newest);
    if let Some(restored) = &restored {
        note_delivered(&stats, &restored.manifest, &dataflow::append_sinks(&plan));
    }
    let start = now_ms.max(newest + 1);
    let fence = Arc::new(HeadFence::new(store.clone(), claimed.generation()));
    let publish = PublishSettings {
        job: plan.name.clone(),
        workers: options.workers,
        claimed: claimed.clone(),
        base: restored.as_ref().map(|restored| restored.manifest.clone()),
        store: store.clone(),
        stats: stats.clone(),
        keep: settings.keep,
        sources: plan
            .sources
            .iter()
            .map(|source| source.name.clone())
            .collect(),
        nodes: plan.nodes.iter().map(|node| node.name.clone()).collect(),
        append_sinks: dataflow::append_sinks(&plan),
        operators: fingerprints(&plan),
        fence: fence.clone(),
    };
    let context = JobContext {
        workers: options.workers,
        bounded: options.bounded,
        start,
        origin: Instant::now(),
        started_ms: i64::try_from(now_ms).unwrap_or(i64::MAX),
        generation: claimed.generation(),
        restored,
        stats,
        stop: Arc::new(AtomicBool::new(false)),
        held: Arc::new(AtomicBool::new(behind && latest.is_some())),
        caught_up_at: if behind { latest.cloned() } else { None },
        allow_duplicates: options.allow_duplicates,
        fence,
        stores: EmbeddedStores::default(),
        readers: Mutex::default(),
        publish: Mutex::new(Some(publish)),
        location: store.location(),
        store,
        settings,
        plan,
    };
    let location = context.location.clone();
    Ok(PreparedJob {
        context: Arc::new(context),
        socket: options.socket,
        location,
    })
}

/// A `file://` URL with a relative path means a folder below the current one.
fn absolute(url: &str) -> Result<String, RunError> {
    match url.strip_prefix("file://") {
        Some(path) if !path.starts_with('/') => {
            let path = std::path::absolute(path).map_err(RunError::of)?;
            Ok(format!("file://{}", path.display()))
        }
        _ => Ok(url.to_owned()),
    }
}

/// Who holds the job, for people.
fn holder() -> String {
    let uname = rustix::system::uname();
    format!(
        "process {} on {}",
        std::process::id(),
        uname.nodename().to_string_lossy()
    )
}

fn load(
    store: &dyn CheckpointStore,
    job: &str,
    restore: &Restore,
) -> Result<Option<Restored>, RunError> {
    let which = match restore {
        Restore::Nothing => return Ok(None),
        Restore::Latest => Which::Latest,
        Restore::Manifest(name) => Which::Path(name.clone()),
    };
    restore::load(store, job, &which).map_err(RunError::of)
}

/// The manifest that HEAD names, which tells what has been delivered. A damaged one stops only those who want to start
/// from it.
fn latest(
    store: &dyn CheckpointStore,
    job: &str,
    claimed: &Claimed,
    restore: &Restore,
) -> Result<Option<Manifest>, RunError> {
    let Some(name) = &claimed.head.manifest else {
        return Ok(None);
    };
    match restore::load_manifest(store, job, name) {
        Ok(manifest) => Ok(Some(manifest)),
        // Loading it fails as well then, with an offer of the checkpoint before.
        Err(_) if *restore == Restore::Latest => Ok(None),
        Err(error) => {
            tracing::warn!(%error, "the latest checkpoint cannot be read: stores may show older rows until the job has caught up");
            Ok(None)
        }
    }
}

/// Only keyed stores make replays harmless.
fn check_eager(plan: &Plan, settings: &Settings) -> Result<(), RunError> {
    let appends = |config: &SinkConfig| {
        !matches!(
            config,
            SinkConfig::Redis(_) | SinkConfig::Dynamodb(_) | SinkConfig::Embedded(_)
        )
    };
    let eager = |name: &str| settings.delivery(name) == Delivery::Eager;
    match plan
        .sinks
        .iter()
        .find(|sink| eager(&sink.name) && appends(&sink.config))
    {
        None => Ok(()),
        Some(sink) => Err(RunError(format!(
            "sink {}: `delivery: eager` is for keyed stores (redis, dynamodb, embedded): an append-only one would hold rows \
             twice after a restart",
            sink.name
        ))),
    }
}

/// A run that does not start from the latest checkpoint repeats rows that were delivered.
fn is_behind(published: Epoch, restored: Option<&Restored>) -> bool {
    restored.map_or(Epoch(0), |restored| restored.manifest.epoch) < published
}

fn refuse_append_sinks(plan: &Plan) -> Result<(), RunError> {
    let appends =
        |config: &SinkConfig| matches!(config, SinkConfig::Kafka(_) | SinkConfig::Files(_));
    match plan.sinks.iter().find(|sink| appends(&sink.config)) {
        None => Ok(()),
        Some(sink) => Err(RunError(format!(
            "sink {} only appends, and this run does not start from the job's latest checkpoint, so it would append rows \
             again that are there already. Start from the latest checkpoint, or accept them with --allow-duplicates",
            sink.name
        ))),
    }
}

/// Stateful operators by their stable names, with a fingerprint of what their state means.
fn fingerprints(plan: &Plan) -> std::collections::BTreeMap<OperatorId, u64> {
    dataflow::stateful_operators(plan)
}

/// What the checkpoint knows to be in the stores stays known, also if nothing is sent for a while.
fn note_delivered(stats: &Stats, manifest: &Manifest, append_sinks: &BTreeSet<String>) {
    for (sink, epoch) in &manifest.delivered {
        let counters = if append_sinks.contains(sink) {
            &stats.appended
        } else {
            &stats.delivered
        };
        if let Some(counter) = counters.get(sink) {
            counter.raise(epoch.0);
        }
    }
}

/// State belongs to operators by name and form: anything else would be read wrongly.
fn check_operators(plan: &Plan, manifest: &Manifest) -> Result<(), RunError> {
    let now = fingerprints(plan);
    for (id, fingerprint) in &manifest.operators {
        match now.get(id) {
            Some(same) if same == fingerprint => {}
            Some(_) => {
                return Err(RunError(format!(
                    "operator {id} has another form than in the checkpoint of epoch {}: its keys, aggregates or columns were \
                     changed. Restore the job file that wrote it, give the job another name, or start anew with \
                     --restore none",
                    manifest.epoch
                )));
            }
            None => {
                return Err(RunError(format!(
                    "the checkpoint of epoch {} holds state of operator {id}, which the job file no longer has. Restore the job \
                     file that wrote it, give the job another name, or start anew with --restore none",
                    manifest.epoch
                )));
            }
        }
    }
    Ok(())
}
