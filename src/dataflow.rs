//! The dataflow of a job, on one worker. The only file that knows every stage.
//!
//! ```text
//!  readers ══> Source ──rows──> [route] ──> operators ──> … ──> [route] ──> Outbox ··> Deliver ══> sink threads
//!  (threads)     │ │                           │  ↑               (shared)    │           ↑  │
//!                │ └─dead letters──────────────┼──┼────> Outbox of the dead letters       │  └─> delivered frontier
//!                │                             │  │                           │           │
//!                └─controls─broadcast─> Clock ─┴──┴─ticks──> all             sections     │
//!                                                                             ↓           │
//!                                                         Persist ──acks──> Commit ──durable frontier
//! ```
//! Everything flows to the right inside an epoch. The one back edge is the durable frontier: it frees what outboxes hold
//! and lets readers report their offsets. It closes no cycle in the dataflow, because an outbox is shared by the
//! operator that fills it and the one that empties it.
//!
//! Relations derived by differential dataflow have no state of their own in checkpoints. After a restore the durable
//! operators in front of them replay their content, at the last epoch before the first new one; a gate behind them
//! keeps what that makes from everything durable.

mod node_state;
mod nodes;
mod operators;
mod ownership;
mod presumed;
pub mod read;
mod replayed;
mod resync;
mod route;
mod sinks;
mod sources;
mod specs;
mod stateless;
mod stored;
mod tap;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidewright_jobs::job::SinkConfig;
use tidewright_jobs::plan::Plan;
use tidewright_operators::routed::RoutedBatch;
use timely::dataflow::operators::Concatenate;
use timely::dataflow::operators::probe::{Handle as ProbeHandle, Probe};
use timely::dataflow::{Scope, StreamVec};
use timely::worker::Worker;

pub use self::operators::{derives_from, stateful_operators};
pub use self::ownership::owned;
pub use self::presumed::{brought_over, every_row as presumed_gone, made_whole};
pub use self::resync::check as check_resync;
pub use self::sinks::{is_keyed, state_name as outbox_name};
pub use self::stored::{rows_if_any, stored_rows};
use crate::runtime::activity::Stages;
use crate::runtime::clock::JobClock;
use crate::runtime::clock_operator::{self, ClockSettings};
use crate::runtime::commit::{self, CommitSettings};
use crate::runtime::context::JobContext;
use crate::runtime::control::Tick;
use crate::runtime::local::Local;
use crate::runtime::persist::{self, PersistSettings};
use crate::runtime::source_operator;
use crate::runtime::stateful::Section;
use crate::runtime::stats::Stats;

/// What a worker can watch of the dataflow that it runs.
pub struct Probes {
    /// Epochs that all operators have completed.
    pub computed: ProbeHandle<u64>,
    /// Epochs whose checkpoint is published.
    pub durable: ProbeHandle<u64>,
    /// Per sink: epochs that are visible in its store.
    pub delivered: Vec<(String, ProbeHandle<u64>)>,
    /// What the worker's operators tell each other.
    pub local: Local,
}

/// What the parts of a dataflow under construction have in common.
struct Building<'scope, 'job> {
    scope: Scope<'scope, u64>,
    context: &'job JobContext,
    ticks: StreamVec<'scope, u64, Tick>,
    sections: Vec<StreamVec<'scope, u64, Section>>,
    dead_letters: Vec<StreamVec<'scope, u64, RoutedBatch>>,
    late: Vec<StreamVec<'scope, u64, RoutedBatch>>,
    stages: Stages,
}

/// Builds the job's dataflow on this worker and starts its readers and sinks.
pub fn build(worker: &mut Worker, context: &Arc<JobContext>) -> Probes {
    let computed = ProbeHandle::new();
    let published = ProbeHandle::new();
    let local = Local::default();
    let stages = Stages::watch(worker, context.stats.clone());
    let delivered = worker.dataflow::<u64, _, _>(|scope| {
        stages.skip(&scope);
        let local = local.clone();
        // What is sent again wants a checkpoint, even if no record comes.
        local.changed.set(context.begins_from_state());
        let (ports, aligned, readers) = sources::open(scope, context);
        let source = source_operator::source(
            scope,
            sources::settings(context, scope.index()),
            ports,
            local.clone(),
            computed.clone(),
            context.stats.clone(),
        );
        stages.built(&scope, source_operator::SOURCE);
        for reader in &readers {
            reader.wake(scope.worker().sync_activator_for(source.address.clone()));
        }
        let restored = context.restored_clock();
        let clock = JobClock::new(
            &context.plan,
            scope.peers(),
            restored.as_ref().map(|(splits, w)| (&splits[..], &w[..])),
        );
        let ticks = clock_operator::clock(
            source.controls,
            local.clone(),
            ClockSettings {
                clock,
                sources: aligned,
                replay: context.replay(),
                ending: context.ending(),
                place: context.place,
                known: known(context, scope.index()),
            },
        );
        stages.built(&scope, "clock");
        let mut building = Building {
            scope,
            context,
            ticks: ticks.clone(),
            sections: Vec::new(),
            dead_letters: vec![source.dead_letters],
            late: Vec::new(),
            stages,
        };
        let relations = nodes::build(&mut building, source.rows);
        let outgoing = sinks::outboxes(&mut building, &relations);
        let stages = building.stages;
        let sections = scope.concatenate(building.sections).probe_with(&computed);
        let settings = PersistSettings {
            job: context.plan.name.clone(),
            generation: context.generation,
            worker: scope.index(),
            workers: scope.peers(),
            start: context.start,
            store: context.store.clone(),
            bytes: context.stats.checkpoint_bytes.clone(),
        };
        let acks = persist::persist(scope, settings, sections, ticks.clone());
        let settings = CommitSettings {
            job: context.plan.name.clone(),
            worker: scope.index(),
            start: context.start,
            local: local.clone(),
            stats: context.stats.clone(),
        };
        let durable = commit::commit(scope, settings, acks, ticks.clone(), |activator| {
            context.publisher(scope.index(), activator)
        });
        let durable = durable.probe_with(&published);
        sources::commit_offsets(scope, context, readers, durable.clone(), ticks);
        stages.built(&scope, "checkpoint");
        sinks::deliver(scope, context, outgoing, durable, &local, &stages)
    });
    Probes {
        computed,
        durable: published,
        delivered,
        local,
    }
}

/// Where the clock writes what it knows: on one worker of each process.
fn known(context: &JobContext, worker: usize) -> Option<Arc<Stats>> {
    (worker == context.place.first_worker()).then(|| context.stats.clone())
}

/// How many states by key a worker holds.
#[must_use]
pub fn keyed_states(plan: &Plan) -> usize {
    let names = plan
        .nodes
        .iter()
        .map(|node| node_state::state_name(plan, node));
    names.flatten().count()
}

/// The sinks whose stores only append.
#[must_use]
pub fn append_sinks(plan: &Plan) -> BTreeSet<String> {
    let sinks = plan
        .sinks
        .iter()
        .filter(|sink| !sinks::is_keyed(&sink.config));
    sinks.map(|sink| sink.name.clone()).collect()
}

/// The plan's embedded stores, by the sink's name and by the relation that it is fed from.
#[must_use]
pub fn embedded_paths(context: &JobContext) -> BTreeMap<String, (std::path::PathBuf, String)> {
    let mut paths = BTreeMap::new();
    for sink in &context.plan.sinks {
        if let SinkConfig::Embedded(config) = &sink.config {
            let relation = sinks::relation(&context.plan, sink);
            let place = (std::path::PathBuf::from(&config.path), relation.clone());
            paths.insert(relation, place.clone());
            paths.insert(sink.name.clone(), place);
        }
    }
    paths
}
