//! From relations to outboxes.

use std::cell::RefCell;
use std::rc::Rc;

use arrow::datatypes::SchemaRef;
use tidewright_checkpoints::{Epoch, OperatorId};
use tidewright_jobs::job::Delivery as DeliveryMode;
use tidewright_jobs::plan::{SinkInput, SinkPlan};
use tidewright_operators::Operator;
use tidewright_operators::codec::{CodecError, RowCodec};

use super::feed::{Input, input, log_dead_letters};
use super::{OutgoingSink, is_keyed, stage_name, state_name};
use crate::dataflow::Building;
use crate::dataflow::nodes::Relation;
use crate::dataflow::ownership::Owner;
use crate::dataflow::route::{Target, route};
use crate::runtime::append_outbox::AppendOutbox;
use crate::runtime::context::JobContext;
use crate::runtime::deliver::Outgoing;
use crate::runtime::failure::fail;
use crate::runtime::outbox::KeyedOutbox;
use crate::runtime::outbox_operator::{AppendOutboxOperator, KeyedOutboxOperator, append_schema};
use crate::runtime::stateful::{self, Stateful};
use crate::runtime::stats::Counter;

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
        let made = outbox(building, sink, input);
        let name = &made.sink.name;
        building.stages.built(&building.scope, &stage_name(name));
        outgoing.push(made);
    }
    outgoing
}

/// Puts the outbox of one sink into the dataflow.
fn outbox<'scope>(
    building: &mut Building<'scope, '_>,
    sink: SinkPlan,
    input: Input<'scope>,
) -> OutgoingSink {
    let context = building.context;
    let id = context.upgrade.id(&state_name(&sink.name));
    let made = match is_keyed(&sink.config) {
        true => keyed(context, &sink.name, &input, &id),
        false => append(context, &sink.name, &input, &id),
    };
    let unfit = |error: CodecError| -> Made { fail(&format!("sink {}: {error}", sink.name)) };
    let Made {
        operator,
        outgoing,
        schema,
        rows,
    } = made.unwrap_or_else(unfit);
    let owner = Owner::of_outbox(&sink, context.place.processes);
    let target = match owner {
        Owner::First => Target::Worker(0),
        _ => Target::Key(&input.key),
    };
    let routed = route(building, input.rows, &input.schema, target);
    wrap(building, id, input.clock_node, operator, routed, &owner);
    let outgoing = match owner.owns(building.scope.index()) {
        true => outgoing,
        false => Outgoing::Elsewhere,
    };
    OutgoingSink {
        sink,
        outgoing,
        schema,
        key: input.key,
        rows,
    }
}

/// An outbox with the operator that fills it.
struct Made {
    operator: Box<dyn Operator>,
    outgoing: Outgoing,
    /// The columns of the rows that leave it.
    schema: SchemaRef,
    rows: RowCodec,
}

fn keyed(
    context: &JobContext,
    sink: &str,
    input: &Input<'_>,
    id: &OperatorId,
) -> Result<Made, CodecError> {
    let eager = context.settings.delivery(sink) == DeliveryMode::Eager;
    let bytes = context.stats.outbox_bytes[sink].clone();
    let outbox = KeyedOutbox::new(bytes, Epoch(context.start - 1), eager);
    let outbox = Rc::new(RefCell::new(outbox));
    let rows = context.stats.outbox_rows[sink].clone();
    outbox.borrow_mut().count_rows_in(rows);
    let operator = KeyedOutboxOperator::new(
        id.to_string(),
        outbox.clone(),
        &input.schema,
        &input.key,
        context.delivered(sink),
        eager,
    )?;
    Ok(Made {
        operator: Box::new(operator),
        outgoing: Outgoing::Keyed(outbox),
        schema: input.schema.clone(),
        rows: RowCodec::new(input.schema.clone())?,
    })
}

fn append(
    context: &JobContext,
    sink: &str,
    input: &Input<'_>,
    id: &OperatorId,
) -> Result<Made, CodecError> {
    let bytes = context.stats.outbox_bytes[sink].clone();
    let outbox = AppendOutbox::new(bytes, Epoch(context.start - 1));
    let outbox = Rc::new(RefCell::new(outbox));
    let rows = context.stats.outbox_rows[sink].clone();
    outbox.borrow_mut().count_rows_in(rows);
    let operator = AppendOutboxOperator::new(
        id.to_string(),
        outbox.clone(),
        &input.schema,
        input.table_key.as_deref(),
    )?;
    let schema = append_schema(&input.schema, input.table_key.is_some());
    Ok(Made {
        operator: Box::new(operator),
        outgoing: Outgoing::Append(outbox),
        rows: RowCodec::new(schema.clone())?,
        schema,
    })
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
