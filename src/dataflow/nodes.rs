//! From the plan's nodes to operators.

mod inputs;
mod watch;

use tidewright_jobs::plan::{Aggregate, JoinKind, Node, NodeId, Op, Plan, SourceKind};
use tidewright_operators::differential;
use tidewright_operators::routed::RoutedBatch;
use timely::dataflow::StreamVec;
use timely::dataflow::operators::Concatenate;

use super::Building;
use super::node_state::{operator, state_name, table_key};
use super::ownership::Owner;
use super::replayed;
use super::route::{Target, route};
use super::specs::{self, made};
use super::stateless::{self, Stage};
use crate::runtime::clock;
use crate::runtime::context::JobContext;
use crate::runtime::failure::fail;
use crate::runtime::stateful::{Input, Stateful, stateful};
use crate::runtime::stats::Counter;

pub(super) type Batches<'scope> = StreamVec<'scope, u64, RoutedBatch>;

/// A relation in the dataflow.
pub struct Relation<'scope> {
    /// Its rows or changes from the first new epoch on.
    pub live: Batches<'scope>,
    /// Its whole content at the epoch before that, where derived relations need it after a restore.
    pub replay: Option<Batches<'scope>>,
}

/// Builds all nodes; `sources` are the source operator's outputs, in the plan's order.
pub fn build<'scope>(
    building: &mut Building<'scope, '_>,
    sources: Vec<Batches<'scope>>,
) -> Vec<Relation<'scope>> {
    let context = building.context;
    let replayed = replayed::nodes(building);
    let mut relations: Vec<Relation<'scope>> = Vec::new();
    for (at, node) in context.plan.nodes.iter().enumerate() {
        let replay = replayed.get(at).copied().unwrap_or(false);
        let relation = Builder {
            building,
            relations: &relations,
            at,
            node,
            replay,
        }
        .build(&sources);
        building.stages.built(&building.scope, &node.name);
        relations.push(relation);
    }
    watch::views_and_sources(context, &relations);
    building.stages.skip(&building.scope);
    relations
}

/// Builds one node.
struct Builder<'a, 'scope, 'job> {
    building: &'a mut Building<'scope, 'job>,
    relations: &'a [Relation<'scope>],
    at: usize,
    node: &'a Node,
    replay: bool,
}

impl<'scope> Builder<'_, 'scope, '_> {
    fn build(mut self, sources: &[Batches<'scope>]) -> Relation<'scope> {
        let node = self.node;
        match &node.op {
            Op::Source { source } => self.source(*source, sources),
            Op::Filter { input, predicate } => {
                let schema = self.schema(*input);
                self.stateless(*input, Stage::filter(&node.name, predicate, &schema))
            }
            Op::Project { input, exprs } => {
                let schema = self.schema(*input);
                self.stateless(
                    *input,
                    Stage::project(&node.name, exprs, &schema, &node.schema),
                )
            }
            Op::Union { inputs } => {
                let live = inputs
                    .iter()
                    .map(|input| self.relations[input.0].live.clone());
                let live = self.building.scope.concatenate(live.collect::<Vec<_>>());
                Relation { live, replay: None }
            }
            Op::Window(window) => {
                let rows = self.grouped(window.input, &specs::window_key(window));
                self.durable(window.input.0, vec![rows])
            }
            Op::Rolling(rolling) => {
                let rows = self.grouped(rolling.input, &rolling.keys);
                self.durable(rolling.input.0, vec![rows])
            }
            Op::Lookup {
                input,
                input_key,
                table,
                ..
            } => {
                let table_key = table_key(self.plan(), *table).to_vec();
                let changes = self.table(*table, &table_key);
                let rows = self.routed(*input, input_key);
                self.durable(input.0, vec![changes, rows])
            }
            Op::KeyJoin {
                left,
                left_key,
                right,
                right_key,
                ..
            } => {
                let left_rows = self.table(*left, left_key);
                let right_rows = self.table(*right, right_key);
                self.durable(self.at, vec![left_rows, right_rows])
            }
            Op::TableJoin {
                left,
                left_on,
                right,
                right_on,
                kind,
            } => self.table_join((*left, left_on), (*right, right_on), *kind),
            Op::TableAggregate {
                input,
                keys,
                aggregates,
            } => self.table_aggregate(*input, keys, aggregates),
        }
    }

    fn plan(&self) -> &Plan {
        &self.building.context.plan
    }

    /// A stream as it comes; a table's records resolved into changes.
    fn source(&mut self, source: usize, sources: &[Batches<'scope>]) -> Relation<'scope> {
        let rows = sources[source].clone();
        let plan = &self.building.context.plan.sources[source];
        match &plan.kind {
            SourceKind::Stream { .. } => Relation {
                live: rows,
                replay: None,
            },
            SourceKind::Table { key, .. } => {
                let rows = route(self.building, rows, &plan.schema, Target::Key(key));
                self.durable(self.at, vec![rows])
            }
        }
    }

    /// A stateful operator of our own: in checkpoints, replays itself if need be.
    fn durable(&mut self, clock_node: usize, inputs: Vec<Input<'scope>>) -> Relation<'scope> {
        let context = self.building.context;
        let keeps_none = || fail(&format!("{} keeps no state", self.node.name));
        let mut operator = operator(&context.plan, self.node).unwrap_or_else(keeps_none);
        let name = state_name(&context.plan, self.node).unwrap_or_default();
        let id = context.upgrade.id(&name);
        let worker = self.building.scope.index();
        let owner = Owner::of_node(&context.plan, self.node);
        let shards = owner.shards(worker, context.workers);
        if let Some(memory) = &context.memory {
            let spilling = operator.spill_to(memory);
            spilling.unwrap_or_else(|error| fail(&error.to_string()));
        }
        context.restore_operator(&id, &mut *operator, &shards);
        let how = Stateful {
            id,
            clock_node,
            snapshot_at: self.replay.then_some(context.start - 1),
            late: late_counter(context, &self.node.name),
        };
        let streams = stateful(
            self.building.scope,
            how,
            operator,
            inputs,
            self.building.ticks.clone(),
        );
        self.building.sections.push(streams.sections);
        if let Some(input) = clock::inputs(&self.node.op).first() {
            let visible = context.plan.nodes[*input].schema.fields().len();
            let late = stateless::late_letters(&self.node.name, streams.late, visible);
            self.building.late.push(late);
        }
        Relation {
            live: streams.rows,
            replay: self.replay.then_some(streams.snapshot),
        }
    }

    /// A filter or projection: for what is new and, separately, for what is replayed.
    fn stateless(&mut self, input: NodeId, stage: Stage) -> Relation<'scope> {
        let input = &self.relations[input.0];
        let context = self.building.context;
        let judge = context.tolerance.judge(&format!("view {}", self.node.name));
        let (live, letters) = stage
            .clone()
            .build(input.live.clone(), &context.stats, judge);
        self.building.dead_letters.push(letters);
        // What fails in a replay has been reported when it was new.
        let replay = self.replay.then_some(input.replay.clone()).flatten();
        let replay = replay.map(|rows| stage.build(rows, &context.stats, None).0);
        Relation { live, replay }
    }

    fn table_join(
        &mut self,
        (left, left_on): (NodeId, &[usize]),
        (right, right_on): (NodeId, &[usize]),
        kind: JoinKind,
    ) -> Relation<'scope> {
        let spec = specs::table_join(
            &self.node.name,
            (&self.schema(left), left_on),
            (&self.schema(right), right_on),
            kind,
            &self.node.schema,
        );
        let (left, right) = (self.whole(left), self.whole(right));
        let joined = differential::table_join(left, right, &spec, &specs::failures());
        self.derived(made(&self.node.name, joined))
    }

    fn table_aggregate(
        &self,
        input: NodeId,
        keys: &[usize],
        aggregates: &[Aggregate],
    ) -> Relation<'scope> {
        let (name, result) = (&self.node.name, &self.node.schema);
        let spec = specs::table_aggregate(name, &self.schema(input), keys, aggregates, result);
        let rows = self.whole(input);
        let aggregated = differential::table_aggregate(rows, &spec, &specs::failures());
        self.derived(made(name, aggregated))
    }

    /// Only what a derived relation makes after the restored epoch reaches anything durable.
    fn derived(&self, rows: Batches<'scope>) -> Relation<'scope> {
        let restored = self.building.context.start - 1;
        if self.building.context.restored.is_none() {
            return Relation {
                live: rows,
                replay: None,
            };
        }
        let live = differential::gate(rows.clone(), restored);
        let replay = self.replay.then(|| stateless::only_through(rows, restored));
        Relation { live, replay }
    }
}

/// Where the late rows of a node are counted: those of its view.
fn late_counter(context: &JobContext, node: &str) -> Counter {
    let view = context.stats.late.get(stateless::view_of(node));
    view.cloned().unwrap_or_default()
}
