//! From the plan's nodes to operators.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use tidewright_jobs::plan::{JoinKind, Node, NodeId, Op, Plan, RelationKind, SourceKind};
use tidewright_operators::differential;
use tidewright_operators::route::Router;
use tidewright_operators::routed::wire::WireSchema;
use tidewright_operators::routed::{Parcels, RoutedBatch};
use tidewright_operators::{DIFF, Operator};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator as _;
use timely::dataflow::operators::{Concat, Concatenate, Inspect};

use super::Building;
use super::ownership::Owner;
use super::replayed::{self, from_state};
use super::specs::{self, made};
use super::stateless::{self, Stage};
use super::tap::Watched;
use crate::runtime::clock;
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

/// Who gets a row.
pub enum Target<'a> {
    /// The owner of its key: these columns.
    Key(&'a [usize]),
    /// One worker.
    Worker(u64),
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
        relations.push(relation);
    }
    let views = context.plan.views.iter().map(|(name, node)| (name, *node));
    let sources = &context.plan.sources;
    let sources = sources.iter().map(|source| (&source.name, source.node));
    for (name, node) in views.chain(sources) {
        let plan = &context.plan.nodes[node.0];
        let watched = Watched::new(context.taps.of(name), name, plan);
        let counter = context.stats.view_rows.get(name).cloned();
        watch(watched, counter, &relations[node.0].live);
    }
    relations
}

/// Shows rows that pass to whoever taps them, and counts what a view makes: gains only, of a table.
fn watch(watched: Watched, counter: Option<Counter>, rows: &Batches<'_>) {
    rows.clone().inspect(move |batch: &RoutedBatch| {
        watched.pass(&batch.rows);
        if let Some(counter) = &counter {
            let rows = match batch.rows.column_by_name(DIFF) {
                None => batch.rows.num_rows(),
                Some(diff) => gains(diff),
            };
            counter.add(rows as u64);
        }
    });
}

fn gains(diff: &arrow::array::ArrayRef) -> usize {
    use arrow::array::AsArray;
    let diffs = diff.as_primitive_opt::<arrow::datatypes::Int8Type>();
    diffs.map_or(0, |diffs| {
        diffs.values().iter().filter(|diff| **diff > 0).count()
    })
}

/// Sends every row, with these visible columns, to the worker that owns it.
pub fn route<'scope>(
    building: &Building<'scope, '_>,
    rows: Batches<'scope>,
    schema: &SchemaRef,
    target: Target<'_>,
) -> Input<'scope> {
    let workers = building.scope.peers();
    if workers == 1 {
        return Input::Here(rows);
    }
    let wire = made("rows between workers", WireSchema::new(schema));
    let mut targets = match target {
        Target::Worker(worker) => Targets::One(worker),
        Target::Key(key) => Targets::ByKey(
            Router::new(schema, key, workers)
                .unwrap_or_else(|error| fail(&format!("cannot route by key: {error}"))),
        ),
    };
    let parcels =
        rows.unary::<CapacityContainerBuilder<Parcels>, _, _, _>(Pipeline, "Route", move |_, _| {
            move |input, output| {
                input.for_each(|capability, batches| {
                    let mut session = output.session(&capability);
                    for batch in batches.drain(..) {
                        targets.split(batch.rows, |target, rows| {
                            session.give(RoutedBatch { target, rows });
                        });
                    }
                });
            }
        });
    Input::Exchanged(parcels, wire)
}

/// Who gets the rows of a batch.
enum Targets {
    One(u64),
    ByKey(Router),
}

impl Targets {
    fn split(&mut self, rows: RecordBatch, mut give: impl FnMut(u64, RecordBatch)) {
        match self {
            Self::One(worker) => give(*worker, rows),
            Self::ByKey(router) => {
                let parts = router
                    .route(rows)
                    .unwrap_or_else(|error| fail(&format!("cannot route by key: {error}")));
                for (worker, rows) in parts {
                    give(worker as u64, rows);
                }
            }
        }
    }
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
            } => {
                let schema = self.schema(*input);
                let spec =
                    specs::table_aggregate(&node.name, &schema, keys, aggregates, &node.schema);
                let rows = self.whole(*input);
                let made = made(
                    &node.name,
                    differential::table_aggregate(rows, &spec, &specs::failures()),
                );
                self.derived(made)
            }
        }
    }

    fn schema(&self, node: NodeId) -> SchemaRef {
        self.building.context.plan.nodes[node.0].schema.clone()
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

    /// A table as an operator's state is made from it: all of it where that state is made again.
    fn table(&self, input: NodeId, key: &[usize]) -> Input<'scope> {
        let context = self.building.context;
        let relation = &self.relations[input.0];
        let rows = match context.is_rebuilt(&state_name(&context.plan, self.node)) {
            true => from_state(self.building, relation),
            false => relation.live.clone(),
        };
        route(self.building, rows, &self.schema(input), Target::Key(key))
    }

    fn routed(&self, input: NodeId, key: &[usize]) -> Input<'scope> {
        let rows = self.relations[input.0].live.clone();
        route(self.building, rows, &self.schema(input), Target::Key(key))
    }

    /// The source with whose splits the node keeps its rows and keys, if it does.
    fn partition_local(&self) -> Option<usize> {
        self.building.context.plan.partition_local(self.node)
    }

    /// Rows on the worker that has their group: that of its key, or the one that reads its partition, where they are.
    fn grouped(&self, input: NodeId, key: &[usize]) -> Input<'scope> {
        match self.partition_local() {
            Some(_) => Input::Here(self.relations[input.0].live.clone()),
            None => self.routed(input, key),
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
            late: context.stats.late.clone(),
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
        let (live, letters) = stage
            .clone()
            .build(input.live.clone(), &self.building.context.stats);
        self.building.dead_letters.push(letters);
        // What fails in a replay has been reported when it was new.
        let replay = self.replay.then_some(input.replay.clone()).flatten();
        let replay = replay.map(|rows| stage.build(rows, &self.building.context.stats).0);
        Relation { live, replay }
    }

    /// Everything that a relation holds and will change: what a derived relation is made from.
    fn whole(&self, input: NodeId) -> Batches<'scope> {
        let relation = &self.relations[input.0];
        match relation.replay.clone() {
            None => relation.live.clone(),
            Some(replay) => relation.live.clone().concat(replay),
        }
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

/// The stable name of a node's state in checkpoints; `None` if it has none.
pub fn state_name(plan: &Plan, node: &Node) -> Option<String> {
    role(plan, node).map(|role| format!("{}/{role}", node.name))
}

/// The operator of a node that keeps state in checkpoints, without any state yet; `None` for all other nodes.
pub fn operator(plan: &Plan, node: &Node) -> Option<Box<dyn Operator>> {
    let schema = |node: &NodeId| &plan.nodes[node.0].schema;
    let (name, result) = (&node.name, &node.schema);
    let local = plan.partition_local(node).is_some();
    Some(match &node.op {
        Op::Source { source } => {
            let source = &plan.sources[*source];
            let SourceKind::Table { key, .. } = &source.kind else {
                return None;
            };
            specs::upsert(&source.name, &source.schema, key)
        }
        Op::Window(window) => specs::window(name, window, schema(&window.input), result, local),
        Op::Rolling(rolling) => {
            specs::rolling(name, rolling, schema(&rolling.input), result, local)
        }
        Op::Lookup {
            input,
            input_key,
            table,
            kind,
        } => specs::lookup(
            name,
            (schema(table), table_key(plan, *table)),
            (schema(input), input_key),
            *kind,
            result,
        ),
        Op::KeyJoin {
            left,
            left_key,
            right,
            right_key,
            kind,
        } => specs::key_join(
            name,
            (schema(left), left_key),
            (schema(right), right_key),
            *kind,
            result,
        ),
        Op::Filter { .. }
        | Op::Project { .. }
        | Op::Union { .. }
        | Op::TableJoin { .. }
        | Op::TableAggregate { .. } => return None,
    })
}

fn table_key(plan: &Plan, node: NodeId) -> &[usize] {
    match &plan.nodes[node.0].kind {
        RelationKind::Table { key } => key,
        _ => &[],
    }
}

/// The role of a node's state in checkpoints; `None` if it has none.
fn role(plan: &Plan, node: &Node) -> Option<&'static str> {
    match &node.op {
        Op::Source { source } => {
            matches!(plan.sources[*source].kind, SourceKind::Table { .. }).then_some("upsert")
        }
        Op::Window(_) => Some("window"),
        Op::Rolling(_) => Some("rolling"),
        Op::Lookup { .. } => Some("lookup"),
        Op::KeyJoin { .. } => Some("join"),
        Op::Filter { .. }
        | Op::Project { .. }
        | Op::Union { .. }
        | Op::TableJoin { .. }
        | Op::TableAggregate { .. } => None,
    }
}

/// A hash of everything that gives a node's state its meaning: what it does, and its own and its inputs' columns.
pub fn fingerprint(plan: &Plan, node: &Node) -> u64 {
    let mut text = format!("{} {:?}", shape(plan, &node.op), columns(&node.schema));
    if let Some(source) = plan.partition_local(node) {
        // Its shards are those of splits.
        text.push_str(&format!(" partition-local {}", plan.sources[source].name));
    }
    for input in clock::inputs(&node.op) {
        text.push_str(&format!(" {:?}", columns(&plan.nodes[input].schema)));
    }
    tidewright_checkpoints::ids::key_hash(text.as_bytes())
}

/// Names and types of a schema's columns.
pub fn columns(schema: &SchemaRef) -> Vec<(String, String)> {
    schema
        .fields()
        .iter()
        .map(|field| (field.name().clone(), field.data_type().to_string()))
        .collect()
}

/// What a stateful operator does, without the positions of nodes: those change when other views come and go.
fn shape(plan: &Plan, op: &Op) -> String {
    match op {
        Op::Source { source } => match &plan.sources[*source].kind {
            SourceKind::Table { key, event_time } => format!("upsert {key:?} {event_time:?}"),
            SourceKind::Stream { .. } => String::new(),
        },
        Op::Window(window) => format!(
            "window {} {} {} {:?} {:?}",
            window.time, window.size_ms, window.lateness_ms, window.groups, window.aggregates
        ),
        Op::Rolling(rolling) => format!(
            "rolling {} {} {} {:?} {:?}",
            rolling.time, rolling.size_ms, rolling.tile_ms, rolling.keys, rolling.aggregates
        ),
        Op::Lookup {
            input_key, kind, ..
        } => format!("lookup {input_key:?} {kind:?}"),
        Op::KeyJoin {
            left_key,
            right_key,
            kind,
            ..
        } => {
            format!("join {left_key:?} {right_key:?} {kind:?}")
        }
        Op::Filter { .. }
        | Op::Project { .. }
        | Op::Union { .. }
        | Op::TableJoin { .. }
        | Op::TableAggregate { .. } => String::new(),
    }
}
