//! Making views again while the job goes on, and putting them in the place of what it has.
//!
//! ```text
//! shadow    reads from the first records to where the job was ·······> reads the rest ·
//! the job   ──────────────── runs ──────────────────────────────stop> final checkpoint                compared, then
//! this run                                                            ········> claims, takes the state over, sends the difference
//! ```
//! The shadow is a job of its own, of the rebuilt views and the keyed sinks behind them. It stops exactly where the job's last
//! checkpoint stands, so its state fits that checkpoint: the views' operators take it under new names, everything else goes on
//! as it is. Before the claim nothing of the job is touched but that its process is asked to stop.
//!
//! In several processes all of them connect first, and process 0 does this, the shadow with its workers alone; the others wait, and
//! read what the views' state has become from the store.

mod leftover;
mod rebuilt;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidewright_checkpoints::manifest::Manifest;
use tidewright_checkpoints::restore::{self as checkpoint, Loader, Which};
use tidewright_checkpoints::store::{self, CheckpointStore};
use tidewright_jobs::Compiled;
use tidewright_jobs::job::SourceConfig;
use tidewright_jobs::plan::{Plan, SinkInput, SinkPlan, SourcePlan};
use tidewright_operators::StateMemory;

use self::leftover::Leftover;
pub use self::rebuilt::Rebuilt;
use super::joined::Joined;
use super::memory::memory;
use super::prepare::{Ahead, prepare_one};
use super::take_over::take_over;
use super::{PreparedJob, Restore, RunError, RunOptions, StartFrom, StartOverride, restore};
use crate::dataflow;
use crate::diff::{DiffOptions, Difference, compare};
use crate::place;
use crate::runtime::until::Until;
use crate::runtime::upgrade::{Allowed, Upgrade};
use crate::sink::EmbeddedStores;
use crate::source;

/// The shadow's name.
const SHADOW: &str = "rebuild";
/// Examples of each kind of difference that are told.
const SAMPLES_MAX: usize = 5;

/// Differences by sink, the job's rows as `a`, the rebuilt ones as `b`.
pub type Differences = BTreeMap<String, Difference>;

/// The job and its shadow, while views are made again.
struct Rebuilding {
    compiled: Compiled,
    shadow: Compiled,
    options: RunOptions,
    url: String,
    store: Arc<dyn CheckpointStore>,
    memory: Option<Arc<StateMemory>>,
    sinks: BTreeSet<String>,
}

/// Makes the views again that the options name, has the running process stop, and prepares the job with them.
///
/// # Errors
/// As a run's own; if the input is no longer there to make them of, nothing has been touched.
pub(super) fn prepare(compiled: Compiled, options: RunOptions) -> Result<PreparedJob, RunError> {
    check_options(&options)?;
    let rebuilding = Rebuilding::begin(compiled, &options)?;
    let (name, manifest) = rebuilding.latest()?;
    rebuilding.check(&manifest)?;
    // Whoever is missing is missed before the long work, and not after it.
    let joined = Joined::connect(&options)?;
    if !options.place().leads() {
        return prepare_one(
            rebuilding.compiled,
            taking_part(options),
            joined.ahead(None),
        );
    }
    let first = Until::of(&manifest);
    rebuilding.run_shadow(Restore::Nothing, first.clone())?;
    let (plan, memory) = (&rebuilding.compiled.plan, rebuilding.memory.as_deref());
    let mut loader = restore::loader(plan, options.place(), memory);
    let (name, last) = rebuilding.stopped_job(name, &first, &mut loader)?;
    if !first.is_where(&last, &rebuilding.shadow.plan) {
        tracing::info!("the job has read on meanwhile: reading what has come since");
        rebuilding.run_shadow(Restore::Latest, last)?;
    }
    let rebuilt = rebuilding.rebuilt(name, loader)?;
    let shadow = Leftover::of(&rebuilding.url, &rebuilding.shadow.plan)?;
    let ahead = joined.ahead(Some(rebuilt));
    let prepared = prepare_one(rebuilding.compiled, taking_part(options), ahead)?;
    shadow.remove_meanwhile();
    Ok(prepared)
}

/// What is left to do when the job has stopped and the views have been made.
fn taking_part(options: RunOptions) -> RunOptions {
    RunOptions {
        take_over: None,
        // It says how far back the shadow reads.
        start: None,
        ..options
    }
}

fn check_options(options: &RunOptions) -> Result<(), RunError> {
    let refused = if options.shadow {
        "a job with something to rebuild, which a shadow is not: leave --shadow out"
    } else if options.restore != Restore::Latest {
        "a job that goes on from its latest checkpoint: leave --restore out"
    } else if options.bounded {
        "a job that goes on: leave --bounded out"
    } else {
        return Ok(());
    };
    Err(RunError::of(format!("--rebuild-view is for {refused}")))
}

impl Rebuilding {
    fn begin(compiled: Compiled, options: &RunOptions) -> Result<Self, RunError> {
        let views = &options.allowed.rebuilt;
        let names: BTreeSet<&String> = compiled.plan.views.iter().map(|(name, _)| name).collect();
        if let Some(name) = views.iter().find(|name| !names.contains(name)) {
            let names: Vec<_> = names.into_iter().map(String::as_str).collect();
            return Err(RunError::of(format!(
                "--rebuild-view {name}: there is no such view; there are: {}",
                names.join(", ")
            )));
        }
        let url = options.checkpoint_store.as_ref();
        let url =
            place::url(url.unwrap_or(&compiled.job.checkpoint.store)).map_err(RunError::of)?;
        let store =
            store::open(&store::job_url(&url, &compiled.plan.name)).map_err(RunError::of)?;
        let state = compiled.job.state.as_ref();
        let memory = memory(state, &url, &compiled.plan, options.workers)?;
        let sinks = keyed_behind(&compiled.plan, views);
        let mut shadow = compiled.clone().shadow(SHADOW).map_err(RunError::of)?;
        shadow.plan = shadow.plan.narrowed(views, &sinks);
        Ok(Self {
            compiled,
            shadow,
            options: options.clone(),
            url,
            store,
            memory,
            sinks,
        })
    }

    /// The job's latest checkpoint.
    fn latest(&self) -> Result<(String, Manifest), RunError> {
        let job = &self.compiled.plan.name;
        let head = self.store.head().map_err(RunError::of)?;
        let Some(name) = head.and_then(|(head, _)| head.manifest) else {
            return Err(RunError::of(format!(
                "the job {job} has no checkpoint in {}, so there is nothing to rebuild: start it without --rebuild-view",
                self.store.location()
            )));
        };
        let manifest = checkpoint::load_manifest(&*self.store, job, &name).map_err(RunError::of)?;
        Ok((name, manifest))
    }

    /// Whatever would be refused later is refused before anything is done.
    fn check(&self, manifest: &Manifest) -> Result<(), RunError> {
        let operators = dataflow::stateful_operators(&self.compiled.plan);
        Upgrade::decide(&operators, Some(manifest), &self.options.allowed).map_err(RunError::of)?;
        for source in &self.shadow.plan.sources {
            self.check_retained(source, manifest)?;
        }
        Ok(())
    }

    fn check_retained(&self, source: &SourcePlan, manifest: &Manifest) -> Result<(), RunError> {
        let refuse = |why: String| {
            let views: Vec<_> = self
                .options
                .allowed
                .rebuilt
                .iter()
                .map(String::as_str)
                .collect();
            let views = views.join(", ");
            Err(RunError::of(format!(
                "--rebuild-view {views}: source {}: {why}",
                source.name
            )))
        };
        if matches!(source.config, SourceConfig::Datagen(_)) {
            return refuse(
                "generated records are not kept anywhere. Let the view begin anew with --reset-view"
                    .to_owned(),
            );
        }
        let there = source::splits(source).map_err(RunError::of)?;
        let known = manifest.sources.get(&source.name).into_iter().flatten();
        for (split, _) in known {
            if !there.iter().any(|(name, _)| name == split) {
                return refuse(format!(
                    "{split} is no longer there to be read again: put it back, or let the view begin anew with --reset-view"
                ));
            }
        }
        let accepted = self.options.start.is_some();
        match there.iter().find(|(_, first)| *first > 0) {
            Some((split, first)) if !accepted => refuse(format!(
                "partition {split} begins at offset {first}, so what came before is no longer retained, and the view would \
                 be made of a part of its input. Accept that with --from-earliest, or let the view begin anew with --reset-view"
            )),
            _ => Ok(()),
        }
    }

    /// Runs the shadow to its end; it may be stopped before that, and then nothing has happened.
    fn run_shadow(&self, restore: Restore, until: Until) -> Result<(), RunError> {
        let from_kafka = |source: &SourcePlan| matches!(source.config, SourceConfig::Kafka(_));
        let reads_kafka = self.shadow.plan.sources.iter().any(from_kafka);
        let earliest = StartOverride {
            from: StartFrom::Earliest,
            only: BTreeSet::new(),
        };
        let start = self.options.start.clone().unwrap_or(earliest);
        let options = RunOptions {
            cluster: None,
            start: (restore == Restore::Nothing && reads_kafka).then_some(start),
            restore,
            shadow: true,
            until: Some(until),
            allowed: Allowed::default(),
            resync: BTreeSet::new(),
            take_over: None,
            metrics: None,
            socket: None,
            ..self.options.clone()
        };
        let done = prepare_one(self.shadow.clone(), options, Ahead::default())?.run()?;
        if let Some(words) = done.gave_up {
            return Err(RunError::of(words));
        }
        if done.stopped {
            return Err(RunError::of(
                "stopped before the views were made again: the job is as it was",
            ));
        }
        Ok(())
    }

    /// Where the job has stopped, which is asked to if it runs.
    fn stopped_job(
        &self,
        before: String,
        first: &Until,
        loader: &mut Loader,
    ) -> Result<(String, Until), RunError> {
        if let Some(socket) = &self.options.take_over {
            let job = &self.compiled.plan.name;
            take_over(socket, job, &*self.store, loader)?;
            let (name, manifest) = self.latest()?;
            return Ok((name, Until::of(&manifest)));
        }
        let (name, _) = self.latest()?;
        if name != before {
            return Err(RunError::of(
                "the job has published checkpoints meanwhile, so it runs: say where with --take-over SOCKET, or stop it first. \
                 Nothing has been changed",
            ));
        }
        Ok((name, first.clone()))
    }

    fn rebuilt(&self, manifest: String, loader: Loader) -> Result<Rebuilt, RunError> {
        let plan = self.shadow.plan.clone();
        let place = store::job_url(&self.url, &plan.name);
        let own = store::open(&place).map_err(RunError::of)?;
        let mut reading = restore::of_all(self.memory.as_deref());
        let restored = checkpoint::load_with(&*own, &plan.name, &Which::Latest, &mut reading);
        let restored = restored.map_err(RunError::of)?;
        let restored = restored.ok_or_else(|| RunError::of("the shadow has made no checkpoint"))?;
        Ok(Rebuilt {
            manifest,
            differences: self.differences()?,
            loader,
            plan,
            restored,
        })
    }

    /// Compares what the job's stores hold with what the shadow's do, while neither runs.
    fn differences(&self) -> Result<Differences, RunError> {
        let stores = EmbeddedStores::default();
        let options = DiffOptions {
            ignored: BTreeSet::new(),
            samples_max: SAMPLES_MAX,
        };
        let mut differences = Differences::new();
        for name in &self.sinks {
            let open = |plan: &Plan| {
                let sink = plan.sinks.iter().find(|sink| sink.name == *name);
                let sink = sink.ok_or_else(|| RunError::of(format!("there is no sink {name}")))?;
                dataflow::rows_if_any(plan, sink, &stores).map_err(RunError::of)
            };
            let (mut a, mut b) = (open(&self.compiled.plan)?, open(&self.shadow.plan)?);
            let difference = compare(&mut *a, &mut *b, &options).map_err(RunError::of)?;
            differences.insert(name.clone(), difference);
        }
        Ok(differences)
    }
}

/// The keyed sinks of everything that derives from views.
fn keyed_behind(plan: &Plan, views: &BTreeSet<String>) -> BTreeSet<String> {
    let behind = dataflow::derives_from(plan);
    let is_behind = |sink: &&SinkPlan| match sink.input {
        SinkInput::Node(node) => !behind[node.0].is_disjoint(views),
        SinkInput::DeadLetters | SinkInput::Late => false,
    };
    let keyed = |sink: &&SinkPlan| dataflow::is_keyed(&sink.config);
    let sinks = plan.sinks.iter().filter(keyed).filter(is_behind);
    sinks.map(|sink| sink.name.clone()).collect()
}
