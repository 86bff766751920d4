//! Whether a job file and the options of a run fit what the job starts from, and what follows from that.

use std::collections::{BTreeMap, BTreeSet};

use tidewright_checkpoints::OperatorId;
use tidewright_checkpoints::manifest::Manifest;
use tidewright_checkpoints::restore;
use tidewright_checkpoints::savepoint;
use tidewright_checkpoints::store::{self, CheckpointStore};
use tidewright_jobs::Compiled;
use tidewright_jobs::job::{Delivery, SinkConfig};
use tidewright_jobs::plan::{Plan, SinkInput, SinkPlan};

use super::restore::latest_manifest;
use super::{Allowed, Restore, RunError, RunOptions, StartOverride};
use crate::dataflow;
use crate::runtime::context::Settings;
use crate::runtime::upgrade::{Operator, Upgrade, name_of};

/// A job file that does not fit the checkpoint is refused before the job is taken from the process that may be running it.
/// Whatever else is wrong with the checkpoint is told when it is loaded.
pub fn check_fit(
    store: &dyn CheckpointStore,
    plan: &Plan,
    operators: &BTreeMap<String, Operator>,
    options: &RunOptions,
    savepoint: Option<&Manifest>,
) -> Result<(), RunError> {
    dataflow::check_resync(plan, &options.resync).map_err(RunError::of)?;
    let head = || {
        store
            .head()
            .ok()
            .flatten()
            .and_then(|(head, _)| head.manifest)
    };
    let name = match &options.restore {
        Restore::Nothing | Restore::Savepoint(_) | Restore::LatestOf { .. } => None,
        Restore::Manifest(name) => Some(name.clone()),
        Restore::Latest => head(),
    };
    let manifest = name.and_then(|name| restore::load_manifest(store, &plan.name, &name).ok());
    match manifest.as_ref().or(savepoint) {
        None => Ok(()),
        Some(manifest) => Upgrade::decide(operators, Some(manifest), &options.allowed)
            .map(drop)
            .map_err(RunError::of),
    }
}

/// Whether a job could go on with a job file from its latest checkpoint, which is below `url`; what the user should know if so.
///
/// # Errors
/// If it could not, or the store cannot be read.
pub fn check_upgrade(
    compiled: &Compiled,
    url: &str,
    allowed: &Allowed,
) -> Result<Vec<String>, RunError> {
    let plan = &compiled.plan;
    check_eager(plan, &Settings::of(&compiled.job))?;
    let store = store::open(&store::job_url(url, &plan.name)).map_err(RunError::of)?;
    let head = store.head().map_err(RunError::of)?;
    let name = head.and_then(|(head, _)| head.manifest);
    let manifest = name.map(|name| restore::load_manifest(&*store, &plan.name, &name));
    let manifest = manifest.transpose().map_err(RunError::of)?;
    let operators = dataflow::stateful_operators(plan);
    let upgrade = Upgrade::decide(&operators, manifest.as_ref(), allowed).map_err(RunError::of)?;
    Ok(upgrade.notes)
}

/// Whether a job could begin with the savepoint at this URL; what the user should know if so. Its state files are not read.
/// `shadow`: the job is a shadow of another one.
///
/// # Errors
/// If it could not, or there is none.
pub fn check_savepoint(
    compiled: &Compiled,
    place: &str,
    shadow: bool,
) -> Result<Vec<String>, RunError> {
    let store = store::open_existing(place).map_err(RunError::of)?;
    let manifest = savepoint::manifest(&*store).map_err(RunError::of)?;
    let allowed = Allowed {
        outboxes_anew: shadow && manifest.job != compiled.plan.name,
        ..Allowed::default()
    };
    let mut notes = check_manifest(&compiled.plan, &manifest, &allowed)?;
    if !shadow {
        notes.extend(of_another(&compiled.plan, &manifest));
    }
    Ok(notes)
}

/// What whoever takes over another job's state may not know of its rows.
fn of_another(plan: &Plan, manifest: &Manifest) -> Option<String> {
    let (other, job) = (&manifest.job, &plan.name);
    let theirs: BTreeSet<&str> = manifest.operators.keys().map(name_of).collect();
    let is_shared = |sink: &&SinkPlan| {
        dataflow::is_keyed(&sink.config) && theirs.contains(&*dataflow::outbox_name(&sink.name))
    };
    let shared = plan.sinks.iter().filter(is_shared);
    let shared: Vec<_> = shared.map(|sink| &*sink.name).collect();
    (other != job && !shared.is_empty()).then(|| {
        format!(
            "the savepoint is of the job {other}, and a row in a keyed store stays with the job that wrote it first: {job} ends at the \
             first row of {other}'s that it would change (sinks {}). Where both write the same keys, let {job} write others, or into \
             another database or table; or, if it is to take the place of {other}, stop that and submit this with --name {other}",
            shared.join(", ")
        )
    })
}

/// Whether a shadow could begin with the latest checkpoint of its job, which is below `url`; what the user should know if so.
/// Its state files are not read.
///
/// # Errors
/// If it could not, or there is none.
pub fn check_latest_of(
    job: &str,
    shadow: &Plan,
    url: &str,
    allowed: &Allowed,
) -> Result<Vec<String>, RunError> {
    let allowed = Allowed {
        outboxes_anew: true,
        ..allowed.clone()
    };
    check_manifest(shadow, &latest_manifest(job, url)?, &allowed)
}

fn check_manifest(
    plan: &Plan,
    manifest: &Manifest,
    allowed: &Allowed,
) -> Result<Vec<String>, RunError> {
    let operators = dataflow::stateful_operators(plan);
    let upgrade = Upgrade::decide(&operators, Some(manifest), allowed);
    Ok(upgrade.map_err(RunError::of)?.notes)
}

/// Whether a job could read its input again from there. `appends`: what appends must not get rows again.
///
/// # Errors
/// If it could not.
pub fn check_replay(
    compiled: &Compiled,
    start: &StartOverride,
    appends: bool,
) -> Result<(), RunError> {
    start
        .apply(&mut compiled.plan.clone())
        .map_err(RunError::of)?;
    if appends {
        refuse_append_sinks(&compiled.plan)?;
    }
    Ok(())
}

/// Only keyed stores make replays harmless.
pub fn check_eager(plan: &Plan, settings: &Settings) -> Result<(), RunError> {
    let eager = |name: &str| settings.delivery(name) == Delivery::Eager;
    match plan
        .sinks
        .iter()
        .find(|sink| eager(&sink.name) && !dataflow::is_keyed(&sink.config))
    {
        None => Ok(()),
        Some(sink) => Err(RunError::of(format!(
            "sink {}: `delivery: eager` is for keyed stores (redis, dynamodb, embedded): an append-only one would hold rows \
             twice after a restart",
            sink.name
        ))),
    }
}

/// A run that does not start from the latest checkpoint would append again what came after its start.
pub fn refuse_append_sinks(plan: &Plan) -> Result<(), RunError> {
    match plan.sinks.iter().find(keeps_all) {
        None => Ok(()),
        Some(sink) => Err(RunError::of(format!(
            "sink {} only appends, and this run does not start from the job's latest checkpoint, so it would append rows \
             again that are there already. Start from the latest checkpoint, accept them with --allow-duplicates, or run a shadow (--shadow)",
            sink.name
        ))),
    }
}

/// Whether a sink's store keeps every row that it was ever sent.
fn keeps_all(sink: &&SinkPlan) -> bool {
    matches!(sink.config, SinkConfig::Kafka(_) | SinkConfig::Files(_))
}

/// What a source brings again must not be appended again.
pub fn refuse_appended_again(plan: &Plan, derives_from_reread: &[bool]) -> Result<(), RunError> {
    let again = |sink: &&SinkPlan| match sink.input {
        SinkInput::Node(node) => derives_from_reread[node.0],
        SinkInput::DeadLetters | SinkInput::Late => derives_from_reread.contains(&true),
    };
    match plan.sinks.iter().filter(keeps_all).find(again) {
        None => Ok(()),
        Some(sink) => Err(RunError::of(format!(
            "sink {} only appends, and this run reads again what it was made of, so it would append rows that are there \
             already. Accept them with --allow-duplicates, or run a shadow (--shadow)",
            sink.name
        ))),
    }
}

/// The fingerprints of stateful operators, by the names under which their state is kept.
pub fn fingerprints(
    operators: &BTreeMap<String, Operator>,
    upgrade: &Upgrade,
) -> BTreeMap<OperatorId, u64> {
    let operators = operators.iter();
    operators
        .map(|(name, operator)| (upgrade.id(name), operator.fingerprint))
        .collect()
}
