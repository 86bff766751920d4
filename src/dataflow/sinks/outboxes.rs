//! From relations to outboxes.

use std::cell::RefCell;
use std::rc::Rc;

use arrow::datatypes::SchemaRef;
use tidewright_checkpoints::{Epoch, OperatorId};
use tidewright_jobs::job::Delivery as DeliveryMode;
use tidewright_jobs::plan::{SinkInput, SinkPlan};
use tidewright_operators::Operator;
use tidewright_operators::codec::RowCodec;

use super::feed::{Input, input, log_dead_letters};
use super::{OutgoingSink, is_keyed, stage_name, state_name};
use crate::dataflow::Building;
use crate::dataflow::nodes::Relation;
use crate::dataflow::ownership::Owner;
use crate::dataflow::route::{Target, route};
use crate::runtime::append_outbox::AppendOutbox;
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
        Owner::First => route(building, input.rows, &input.schema, Target::Worker(0)),
        _ => route(building, input.rows, &input.schema, Target::Key(&input.key)),
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
    let rows = route(building, input.rows, &input.schema, Target::Worker(0));
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
