//! From relations to outboxes, and from outboxes to the sinks' threads.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray};

use arrow::datatypes::SchemaRef;
use tidewright_checkpoints::{Epoch, OperatorId};
use tidewright_jobs::job::{Delivery as DeliveryMode, SinkConfig};
use tidewright_jobs::plan::{Plan, RelationKind, SinkInput, SinkPlan};
use tidewright_operators::Operator;
use tidewright_operators::codec::RowCodec;
use tidewright_operators::routed::RoutedBatch;
use timely::dataflow::operators::probe::{Handle as ProbeHandle, Probe};
use timely::dataflow::operators::{Concatenate, Inspect};
use timely::dataflow::{Scope, StreamVec};
use timely::scheduling::SyncActivator;

use super::Building;
use super::node_state;
use super::nodes::{self, Relation, Target};
use super::ownership::Owner;
use super::presumed;
use super::replayed::from_state;
use crate::runtime::activity::Stages;
use crate::runtime::append_outbox::AppendOutbox;
use crate::runtime::context::JobContext;
use crate::runtime::deliver::{self, Deliver, Durable, Outgoing};
use crate::runtime::failure::fail;
use crate::runtime::local::Local;
use crate::runtime::outbox::KeyedOutbox;
use crate::runtime::outbox_operator::{AppendOutboxOperator, KeyedOutboxOperator, append_schema};
use crate::runtime::stateful::{self, Stateful};
use crate::runtime::stats::Counter;
use crate::sink::SinkContext;
use crate::sink::driver::{Driver, DriverOptions};
use crate::sink::open::open;

/// A sink whose outbox is in the dataflow.
pub struct OutgoingSink {
    sink: SinkPlan,
    outgoing: Outgoing,
    schema: SchemaRef,
    key: Vec<usize>,
    rows: RowCodec,
}

/// What a sink is fed with.
struct Input<'scope> {
    rows: StreamVec<'scope, u64, RoutedBatch>,
    schema: SchemaRef,
    table_key: Option<Vec<usize>>,
    key: Vec<usize>,
    clock_node: usize,
}

/// Puts the outbox of every sink into the dataflow.
pub fn outboxes<'scope>(
    building: &mut Building<'scope, '_>,
    relations: &[Relation<'scope>],
) -> Vec<OutgoingSink> {
    let sinks = building.context.plan.sinks.clone();
    if !sinks
        .iter()
        .any(|sink| sink.input == SinkInput::DeadLetters)
    {
        log_dead_letters(building);
    }
    let mut outgoing = Vec::new();
    for sink in sinks {
        let input = input(building, relations, &sink);
        let keyed = is_keyed(&sink.config);
        let made = if keyed {
            keyed_outbox(building, sink, input)
        } else {
            append_outbox(building, sink, input)
        };
        let name = &made.sink.name;
        building.stages.built(&building.scope, &stage_name(name));
        outgoing.push(made);
    }
    outgoing
}

/// What a sink is called among operators.
fn stage_name(sink: &str) -> String {
    format!("sink/{sink}")
}

/// Whether a sink's store is written by key; all others only append.
pub fn is_keyed(config: &SinkConfig) -> bool {
    matches!(
        config,
        SinkConfig::Redis(_) | SinkConfig::Dynamodb(_) | SinkConfig::Embedded(_)
    )
}

/// How often a record that cannot be processed is logged where there is no sink for dead letters.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Without a sink for dead letters they are counted, and an example is logged now and then.
fn log_dead_letters(building: &Building<'_, '_>) {
    let letters = building.scope.concatenate(building.dead_letters.clone());
    let mut last: Option<Instant> = None;
    letters.inspect(move |batch: &RoutedBatch| {
        if last.is_some_and(|last| last.elapsed() < LOG_EVERY) {
            return;
        }
        last = Some(Instant::now());
        let text = |column: usize| {
            let column = batch.rows.column(column).as_string_view_opt();
            column.filter(|column| !column.is_empty()).map_or("", |column| column.value(0))
        };
        tracing::warn!(
            relation = text(0),
            origin = text(1),
            "a record or row cannot be processed and is dropped, because the job file has no dead_letter: {}",
            text(2)
        );
    });
}

fn input<'scope>(
    building: &Building<'scope, '_>,
    relations: &[Relation<'scope>],
    sink: &SinkPlan,
) -> Input<'scope> {
    let special = |streams: &[StreamVec<'scope, u64, RoutedBatch>]| Input {
        rows: building.scope.concatenate(streams.to_vec()),
        schema: crate::dead_letter::schema(),
        table_key: None,
        key: Vec::new(),
        clock_node: 0,
    };
    match sink.input {
        SinkInput::DeadLetters => special(&building.dead_letters),
        SinkInput::Late => special(&building.late),
        SinkInput::Node(node) => {
            let plan = &building.context.plan.nodes[node.0];
            let key = key(&plan.kind);
            let is_table = matches!(plan.kind, RelationKind::Table { .. });
            let table_key = is_table.then(|| key.clone());
            let relation = &relations[node.0];
            let rows = if building.context.resync.contains(&sink.name) {
                from_state(building, relation)
            } else {
                relation.live.clone()
            };
            let rows = presumed::with_losses(building, &sink.name, rows);
            Input {
                rows,
                schema: plan.schema.clone(),
                table_key,
                key,
                clock_node: node.0,
            }
        }
    }
}

/// The columns that identify a row; empty if nothing does.
pub(super) fn key(kind: &RelationKind) -> Vec<usize> {
    match kind {
        RelationKind::Table { key } => key.clone(),
        RelationKind::Stream { key, .. } => key.clone().unwrap_or_default(),
        RelationKind::Bag => Vec::new(),
    }
}

fn keyed_outbox<'scope>(
    building: &mut Building<'scope, '_>,
    sink: SinkPlan,
    input: Input<'scope>,
) -> OutgoingSink {
    let context = building.context;
    let eager = context.settings.delivery(&sink.name) == DeliveryMode::Eager;
    let bytes = context.stats.outbox_bytes[&sink.name].clone();
    let outbox = Rc::new(RefCell::new(KeyedOutbox::new(
        bytes,
        Epoch(context.start - 1),
        eager,
    )));
    let rows = context.stats.outbox_rows[&sink.name].clone();
    outbox.borrow_mut().count_rows_in(rows);
    let id = context.upgrade.id(&state_name(&sink.name));
    let operator = KeyedOutboxOperator::new(
        id.to_string(),
        outbox.clone(),
        &input.schema,
        &input.key,
        context.delivered(&sink.name),
        eager,
    );
    let operator = operator.unwrap_or_else(|error| fail(&format!("sink {}: {error}", sink.name)));
    let owner = Owner::of_outbox(&sink, context.place.processes);
    let rows = match owner {
        Owner::First => nodes::route(building, input.rows, &input.schema, Target::Worker(0)),
        _ => nodes::route(building, input.rows, &input.schema, Target::Key(&input.key)),
    };
    wrap(
        building,
        id,
        input.clock_node,
        Box::new(operator),
        rows,
        &owner,
    );
    let outgoing = if owner.owns(building.scope.index()) {
        Outgoing::Keyed(outbox)
    } else {
        Outgoing::Elsewhere
    };
    finish(sink, outgoing, input.schema, input.key)
}

fn append_outbox<'scope>(
    building: &mut Building<'scope, '_>,
    sink: SinkPlan,
    input: Input<'scope>,
) -> OutgoingSink {
    let context = building.context;
    let bytes = context.stats.outbox_bytes[&sink.name].clone();
    let outbox = Rc::new(RefCell::new(AppendOutbox::new(
        bytes,
        Epoch(context.start - 1),
    )));
    let rows = context.stats.outbox_rows[&sink.name].clone();
    outbox.borrow_mut().count_rows_in(rows);
    let id = context.upgrade.id(&state_name(&sink.name));
    let operator = AppendOutboxOperator::new(
        id.to_string(),
        outbox.clone(),
        &input.schema,
        input.table_key.as_deref(),
    );
    let operator = operator.unwrap_or_else(|error| fail(&format!("sink {}: {error}", sink.name)));
    let owner = Owner::of_outbox(&sink, context.place.processes);
    let rows = nodes::route(building, input.rows, &input.schema, Target::Worker(0));
    wrap(
        building,
        id,
        input.clock_node,
        Box::new(operator),
        rows,
        &owner,
    );
    let schema = append_schema(&input.schema, input.table_key.is_some());
    let outgoing = if owner.owns(building.scope.index()) {
        Outgoing::Append(outbox)
    } else {
        Outgoing::Elsewhere
    };
    finish(sink, outgoing, schema, input.key)
}

/// The stable name of a sink's outbox.
pub fn state_name(sink: &str) -> String {
    format!("sink/{sink}")
}

fn wrap<'scope>(
    building: &mut Building<'scope, '_>,
    id: OperatorId,
    clock_node: usize,
    mut operator: Box<dyn Operator>,
    rows: stateful::Input<'scope>,
    owner: &Owner,
) {
    let shards = owner.shards(building.scope.index(), building.context.workers);
    building
        .context
        .restore_operator(&id, &mut *operator, &shards);
    let how = Stateful {
        id,
        clock_node,
        snapshot_at: None,
        late: Counter::default(),
    };
    let streams = stateful::stateful(
        building.scope,
        how,
        operator,
        vec![rows],
        building.ticks.clone(),
    );
    building.sections.push(streams.sections);
}

fn finish(sink: SinkPlan, outgoing: Outgoing, schema: SchemaRef, key: Vec<usize>) -> OutgoingSink {
    let rows = RowCodec::new(schema.clone())
        .unwrap_or_else(|error| fail(&format!("sink {}: {error}", sink.name)));
    OutgoingSink {
        sink,
        outgoing,
        schema,
        key,
        rows,
    }
}

/// Starts the sinks' threads and puts the delivery operators into the dataflow.
pub fn deliver<'scope>(
    scope: Scope<'scope, u64>,
    context: &JobContext,
    outgoing: Vec<OutgoingSink>,
    durable: Durable<'scope>,
    local: &Local,
    stages: &Stages,
) -> Vec<(String, ProbeHandle<u64>)> {
    let mut probes = Vec::new();
    for OutgoingSink {
        sink,
        outgoing,
        schema,
        key,
        rows,
    } in outgoing
    {
        let activator = Arc::new(Mutex::new(None::<SyncActivator>));
        let elsewhere = matches!(outgoing, Outgoing::Elsewhere);
        let driver = (!elsewhere).then(|| start(context, &sink, schema, key, activator.clone()));
        if let Some(driver) = &driver {
            context.stats.sinks.add(&sink.name, driver.status());
        }
        let deliver = Deliver {
            outgoing,
            driver,
            rows,
            generation: context.generation,
            start: context.start,
            hold: context.hold.clone(),
            appended: context.stats.appended[&sink.name].clone(),
            delivered_rows: context.stats.sink_rows[&sink.name].clone(),
            refuse_marker: context.restored.is_none() && !context.allow_duplicates,
            local: local.clone(),
            is_last_resort: sink.input == SinkInput::DeadLetters,
            judge: context.tolerance.judge(&format!("sink {}", sink.name)),
            sink: sink.name.clone(),
        };
        let delivered = deliver::deliver(scope, deliver, durable.clone(), |made| {
            *activator.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
        });
        let probe = ProbeHandle::new();
        delivered.probe_with(&probe);
        stages.built(&scope, &stage_name(&sink.name));
        probes.push((sink.name, probe));
    }
    probes
}

fn start(
    context: &JobContext,
    sink: &SinkPlan,
    schema: SchemaRef,
    key: Vec<usize>,
    activator: Arc<Mutex<Option<SyncActivator>>>,
) -> Driver {
    let sink_context = SinkContext {
        job: context.plan.name.as_str().into(),
        sink: sink.name.as_str().into(),
        relation: relation(&context.plan, sink).into(),
        // A log has one writer, on worker 0.
        writer: 0,
        generation: context.generation,
        schema,
        key,
        table: is_keyed(&sink.config),
        stores: context.stores.clone(),
    };
    let writer = open(&sink.config, &sink_context)
        .unwrap_or_else(|error| fail(&format!("sink {}: {error}", sink.name)));
    let wake = move || {
        if let Some(activator) = &*activator.lock().unwrap_or_else(PoisonError::into_inner) {
            // A worker that is gone needs no waking.
            let _ = activator.activate();
        }
    };
    let delivered = context.delivered(&sink.name);
    let options = DriverOptions {
        sink: sink.name.as_str().into(),
        capacity: 1,
        delivered: (delivered.0 > 0).then_some(delivered),
        accept_lost_marker: context.allow_duplicates,
    };
    Driver::start(writer, context.fence.clone(), options, wake)
        .unwrap_or_else(|error| fail(&format!("sink {}: {error}", sink.name)))
}

/// The name of what a sink is fed from.
pub fn relation(plan: &Plan, sink: &SinkPlan) -> String {
    match sink.input {
        SinkInput::DeadLetters => "dead_letter".to_owned(),
        SinkInput::Late => "late".to_owned(),
        SinkInput::Node(node) => {
            let view = plan.views.iter().find(|(_, view)| *view == node);
            view.map_or_else(|| plan.nodes[node.0].name.clone(), |(name, _)| name.clone())
        }
    }
}

/// A hash of what gives a sink's outbox its meaning: the columns of its rows, and how they are kept.
pub fn fingerprint(plan: &Plan, sink: &SinkPlan) -> u64 {
    let columns = match sink.input {
        SinkInput::Node(node) => format!("{:?}", node_state::columns(&plan.nodes[node.0].schema)),
        SinkInput::DeadLetters | SinkInput::Late => "letters".to_owned(),
    };
    let kind = if is_keyed(&sink.config) {
        "keyed"
    } else {
        "append"
    };
    tidewright_checkpoints::ids::key_hash(format!("{kind} {columns}").as_bytes())
}
