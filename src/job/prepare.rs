//! Before a job runs: claim it, load what it starts from, and refuse what would repeat rows or misread state.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::Instant,
};

use tidewright_checkpoints::Epoch;
use tidewright_checkpoints::manifest::Manifest;
use tidewright_checkpoints::restore::Restored;
use tidewright_checkpoints::store;
use tidewright_jobs::{Compiled, Definition};

use super::beginning::{Beginning, Ingredients};
use super::fit::{
    check_eager, check_fit, check_latest_of, fingerprints, refuse_append_sinks,
    refuse_appended_again,
};
use super::joined::Joined;
use super::memory::memory;
use super::rebuild::{self, Rebuilt};
use super::resent::{Resent, check_resync};
use super::restore;
use super::take_over::take_over;
use super::vitals::Vitals;
use super::{PreparedJob, Restore, RunError, RunOptions, shadow, stop_on_signals};
use crate::dataflow;
use crate::place;
use crate::runtime::context::{JobContext, Settings};
use crate::runtime::crash::open_store;
use crate::runtime::earlier::Earlier;
use crate::runtime::failure;
use crate::runtime::fence::HeadFence;
use crate::runtime::publish::{DEFINITION, PublishSettings};
use crate::runtime::replay::Hold;
use crate::runtime::savepoints::Savepoints;
use crate::runtime::stats::Stats;
use crate::runtime::tap::Taps;
use crate::runtime::tolerance::Tolerance;
use crate::sink::embedded::EmbeddedStores;
use crate::source::identity::Topics;

/// Finds the other processes, if there are any, claims the job and loads what it starts from.
///
/// # Errors
/// If the other processes are missing or run something else, the checkpoint store cannot be used, holds a damaged
/// checkpoint or one of other operators, or the options would repeat rows.
pub fn prepare(compiled: Compiled, options: RunOptions) -> Result<PreparedJob, RunError> {
    match options.allowed.rebuilt.is_empty() {
        true => prepare_one(compiled, options, Ahead::default()),
        false => rebuild::prepare(compiled, options),
    }
}

/// What has been done before.
#[derive(Default)]
pub(super) struct Ahead {
    /// The other processes have been found.
    pub joined: Option<Joined>,
    /// Views have been made again.
    pub rebuilt: Option<Rebuilt>,
}

/// The same, of a job whose views to rebuild have been.
pub(super) fn prepare_one(
    compiled: Compiled,
    mut options: RunOptions,
    ahead: Ahead,
) -> Result<PreparedJob, RunError> {
    let Ahead {
        joined,
        mut rebuilt,
    } = ahead;
    failure::end_process_on_panic();
    let settings = Settings::of(&compiled.job);
    let url = options
        .checkpoint_store
        .clone()
        .unwrap_or(compiled.job.checkpoint.store);
    let url = place::url(&url).map_err(RunError::of)?;
    let memory = memory(
        compiled.job.state.as_ref(),
        &url,
        &compiled.plan,
        options.workers,
    )?;
    let mut plan = compiled.plan;
    let start = options.start.as_ref();
    let moved_sources = start.map(|start| start.apply(&mut plan)).transpose();
    let moved_sources = moved_sources.map_err(RunError::of)?.unwrap_or_default();
    check_eager(&plan, &settings)?;
    let store = open_store(&store::job_url(&url, &plan.name)).map_err(RunError::of)?;
    let operators = dataflow::stateful_operators(&plan);
    // A savepoint is read before the job is claimed: a damaged one disturbs nobody.
    let place = options.place();
    options.restore = restore::resolve(options.restore, &*store)?;
    let mut loader = match &mut rebuilt {
        Some(rebuilt) => std::mem::take(&mut rebuilt.loader),
        None => restore::loader(&plan, place, memory.as_deref()),
    };
    let savepoint = restore::load_savepoint(
        &options.restore,
        &url,
        place,
        &mut loader,
        memory.as_deref(),
    );
    let mut savepoint = savepoint?;
    if let Some(savepoint) = &mut savepoint
        && options.shadow
        && savepoint.manifest.job != plan.name
    {
        restore::forget_stores(&mut savepoint.manifest);
        options.allowed.outboxes_anew = true;
    }
    let savepoint_manifest = savepoint.as_ref().map(|savepoint| &savepoint.manifest);
    check_fit(&*store, &plan, &operators, &options, savepoint_manifest)?;
    if let (Restore::LatestOf { job, .. }, false) = (&options.restore, place.leads()) {
        // What process 0 refuses they all do, and nobody waits for another one.
        check_latest_of(job, &plan, &url, &options.allowed)?;
    }
    if options.take_over.is_some() {
        let read = loader.catch_up(&*store, &plan.name);
        read.map_err(RunError::of)?;
    }
    let joined = joined.map_or_else(|| Joined::connect(&options), Ok);
    let Joined { cluster, stop } = joined?;
    if let Some(socket) = &options.take_over
        && place.leads()
    {
        take_over(socket, &plan.name, &*store, &mut loader)?;
    }
    let ingredients = Ingredients {
        store: &*store,
        plan: &plan,
        operators: &operators,
        options: &options,
        memory: memory.as_deref(),
        cluster: cluster.as_ref(),
        savepoint,
        loader,
        rebuilt: rebuilt.as_ref(),
    };
    let Beginning {
        start,
        claimed,
        restored,
        origin,
        upgrade,
    } = ingredients.begin()?;
    for note in &upgrade.notes {
        tracing::warn!("{note}");
    }
    let latest = start.latest(&*store, &plan.name)?;
    let upgrade = Arc::new(upgrade);
    check_resync(&options.resync, restored.is_some())?;
    let begins_anew = options.begins_anew();
    let latest = latest.as_ref();
    let behind = is_behind(start.newest, restored.as_ref());
    // Its stores hold what an earlier run of it made, and nobody reads them as if they were the live job's.
    let is_new_shadow = options.shadow && behind && restored.is_none();
    let resent = match is_new_shadow {
        true => Resent::all_replaced(&plan),
        false => Resent::decide(&plan, options.resync, &upgrade, behind, restored.is_some()),
    };
    // A shadow that begins anew repeats nothing of a live job's stores, and tells what earlier runs have left in its own.
    let may_append_again = options.allow_duplicates || begins_anew;
    if behind && !may_append_again {
        refuse_append_sinks(&plan)?;
    }
    let has_run = claimed
        .as_ref()
        .is_some_and(|claimed| claimed.head.epoch > Epoch(0));
    if begins_anew && has_run {
        shadow::tell_left(&plan);
    }
    let earlier = match (begins_anew, &restored) {
        (true, _) if !has_run => Earlier::Told,
        (false, None) if !options.allow_duplicates => Earlier::Refused,
        _ => Earlier::Expected,
    };
    // Everything that derives from such a source begins anew, so that nothing counts twice.
    let mut reread = moved_sources.clone();
    reread.retain(|source| restored.is_some() && options.allowed.reset.contains(source));
    let derives_from_reread: Vec<bool> = dataflow::derives_from(&plan)
        .into_iter()
        .map(|behind| !behind.is_disjoint(&reread))
        .collect();
    if !may_append_again {
        refuse_appended_again(&plan, &derives_from_reread)?;
    }
    let latest = latest.filter(|_| behind && !is_new_shadow);
    let hold = Hold::of(restored.as_ref(), latest, &reread).map_err(RunError::of)?;
    let hold = Arc::new(hold);
    let topics = topics(restored.as_ref(), &reread)?;
    let stores = EmbeddedStores::default();
    let mut presumed = match place.leads() {
        true => resent.presumed_gone(&plan, &stores)?,
        false => BTreeMap::new(),
    };
    if let Some(rebuilt) = &rebuilt {
        // The shadow's stores are not those of this job: nobody may get a row from there.
        let shadows = EmbeddedStores::default();
        for (sink, rows) in rebuilt.brought_over(&resent.resync, &shadows)? {
            presumed.entry(sink).or_default().extend(rows);
        }
    }
    let stats = Arc::new(Stats::new(&plan));
    stats.durable.raise(start.newest.0);
    if let Some(restored) = &restored {
        note_delivered(&stats, &restored.manifest, &dataflow::append_sinks(&plan));
    }
    let fence = Arc::new(HeadFence::new(store.clone(), start.generation));
    let savepoints = Arc::new(Savepoints::default());
    let extra = extra(&compiled.definition)?;
    let publish = claimed.map(|claimed| PublishSettings {
        job: plan.name.clone(),
        workers: place.workers(),
        claimed,
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
        operators: fingerprints(&operators, &upgrade),
        upgrade: upgrade.clone(),
        hold: hold.clone(),
        topics: topics.clone(),
        extra,
        savepoints: savepoints.clone(),
        fence: fence.clone(),
    });
    let context = JobContext {
        workers: place.workers(),
        place,
        bounded: options.bounded,
        until: options.until,
        start: start.start,
        origin: Instant::now(),
        started_ms: i64::try_from(start.started_ms).unwrap_or(i64::MAX),
        generation: start.generation,
        restored: restored.as_ref().map(|restored| restored.manifest.clone()),
        state: Mutex::new(restored.map(Arc::new)),
        moved_sources,
        topics,
        upgrade: upgrade.clone(),
        reread,
        derives_from_reread,
        taps: Taps::new(stats.view_rows.keys().chain(stats.events_in.keys())),
        resync: resent.resync,
        replaced: resent.replaced,
        presumed: Mutex::new(presumed),
        stats,
        pulses: Arc::default(),
        built: AtomicUsize::new(0),
        tolerance: Tolerance::new(compiled.job.dead_letter_limit, stop.clone()),
        stop,
        drain: Arc::new(AtomicBool::new(false)),
        savepoints,
        hold,
        allow_duplicates: options.allow_duplicates,
        earlier,
        fence,
        memory,
        stores,
        readers: Mutex::default(),
        publish: Mutex::new(publish),
        location: store.location(),
        store,
        settings,
        plan,
    };
    // Before this, a signal ends the process as it ends any other; nothing has begun.
    stop_on_signals(&context.stop)?;
    let location = context.location.clone();
    let context = Arc::new(context);
    let (vitals, watching) = Vitals::watch(&context, cluster.as_ref()).map_err(RunError::of)?;
    Ok(PreparedJob {
        context,
        vitals,
        watching: Some(watching),
        cluster,
        socket: options.socket,
        socket_required: options.socket_required,
        metrics: options.metrics,
        origin,
        location,
        differences: rebuilt
            .map(|rebuilt| rebuilt.differences)
            .unwrap_or_default(),
    })
}

/// The topics that the checkpoint was made from. What is read again may have another one.
fn topics(restored: Option<&Restored>, reread: &BTreeSet<String>) -> Result<Arc<Topics>, RunError> {
    let topics = match restored {
        Some(restored) => Topics::of(&restored.manifest.extra).map_err(RunError::of)?,
        None => Topics::default(),
    };
    reread.iter().for_each(|source| topics.forget(source));
    Ok(Arc::new(topics))
}

/// What every manifest says besides its cut: what its state means, so that it can be read without the job file.
fn extra(definition: &Definition) -> Result<BTreeMap<String, serde_json::Value>, RunError> {
    let definition = serde_json::to_value(definition).map_err(RunError::of)?;
    Ok(BTreeMap::from([(DEFINITION.to_owned(), definition)]))
}

/// A run that does not start from the latest checkpoint repeats rows that were delivered.
fn is_behind(published: Epoch, restored: Option<&Restored>) -> bool {
    restored.map_or(Epoch(0), |restored| restored.manifest.epoch) < published
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
