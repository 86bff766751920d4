//! What the plan's stateful operators are called, and what gives their state its meaning.

use std::collections::{BTreeMap, BTreeSet};

use tidewright_checkpoints::ids::key_hash;
use tidewright_jobs::describe_operator;
use tidewright_jobs::plan::logic::{self, Logic};
use tidewright_jobs::plan::{Node, Op, Plan, SinkInput, SinkPlan, SourceKind};

use super::{node_state, resync, sinks};
use crate::runtime::clock;
use crate::runtime::upgrade::{FormLogic, Operator, OperatorForm, StateKind};

/// The plan's stateful operators by their stable names, without incarnation.
#[must_use]
pub fn stateful_operators(plan: &Plan) -> BTreeMap<String, Operator> {
    let behind = derives_from(plan);
    let logic = plan.logic();
    let nodes = plan.nodes.iter().enumerate();
    let nodes = nodes.filter_map(|(at, node)| {
        let operator = Operator {
            fingerprint: node_state::fingerprint(plan, node),
            form: form(plan, node, &logic[at]),
            kind: kind(plan, node),
            derives_from: behind[at].clone(),
        };
        Some((node_state::state_name(plan, node)?, operator))
    });
    let sinks = plan.sinks.iter().map(|sink| {
        let operator = Operator {
            fingerprint: sinks::fingerprint(plan, sink),
            form: outbox_form(plan, sink, &logic),
            kind: match resync::is_resendable(plan, sink) {
                true => StateKind::Outbox,
                false => StateKind::Log,
            },
            derives_from: match sink.input {
                SinkInput::Node(node) if sinks::is_keyed(&sink.config) => behind[node.0].clone(),
                _ => BTreeSet::new(),
            },
        };
        (sinks::state_name(&sink.name), operator)
    });
    nodes.chain(sinks).collect()
}

/// By node, the views and sources that it derives from, its own among them.
#[must_use]
pub fn derives_from(plan: &Plan) -> Vec<BTreeSet<String>> {
    let mut behind: Vec<BTreeSet<String>> = Vec::new();
    for node in &plan.nodes {
        let owner = node.name.split('/').next().unwrap_or(&node.name);
        let mut owners = BTreeSet::from([owner.to_owned()]);
        for input in clock::inputs(&node.op) {
            owners.extend(behind[input].iter().cloned());
        }
        behind.push(owners);
    }
    behind
}

/// An operator whose state is rows of tables that other state holds can be made again from there.
fn kind(plan: &Plan, node: &Node) -> StateKind {
    let tables = match &node.op {
        Op::KeyJoin { left, right, .. } => vec![*left, *right],
        Op::Lookup { table, .. } => vec![*table],
        Op::Source { .. } => return StateKind::Rows,
        _ => return StateKind::Fixed,
    };
    match tables
        .into_iter()
        .all(|table| resync::is_whole(plan, table))
    {
        true => StateKind::Derived,
        false => StateKind::Fixed,
    }
}

/// A table source keeps its records as they come: there is nothing that could change.
fn node_logic(node: &Node, logic: &Logic) -> Option<FormLogic> {
    let is_source = matches!(node.op, Op::Source { .. });
    (!is_source).then(|| form_logic(logic.rows(), logic))
}

fn form_logic(rows: String, logic: &Logic) -> FormLogic {
    FormLogic {
        version: logic::VERSION,
        rows,
        columns: key_hash(logic.columns.join(", ").as_bytes()),
    }
}

fn form(plan: &Plan, node: &Node, logic: &Logic) -> OperatorForm {
    let does = match &node.op {
        Op::Source { source } => match &plan.sources[*source].kind {
            SourceKind::Table { key, event_time } => {
                let name = |column: &usize| node.schema.field(*column).name().as_str();
                let key: Vec<_> = key.iter().map(name).collect();
                let by = event_time.as_ref().map_or("arrival", name);
                format!("the latest row per ({}) by {by}", key.join(", "))
            }
            SourceKind::Stream { .. } => String::new(),
        },
        _ => match plan.partition_local(node) {
            Some(source) => {
                let source = &plan.sources[source].name;
                let does = describe_operator(plan, node);
                format!("{does}, with the partitions of {source}")
            }
            None => describe_operator(plan, node),
        },
    };
    let inputs = clock::inputs(&node.op).into_iter();
    OperatorForm {
        does,
        columns: node_state::columns(&node.schema),
        inputs: inputs
            .map(|input| node_state::columns(&plan.nodes[input].schema))
            .collect(),
        logic: node_logic(node, logic),
    }
}

fn outbox_form(plan: &Plan, sink: &SinkPlan, logic: &[Logic]) -> OperatorForm {
    let (columns, logic) = match sink.input {
        SinkInput::Node(at) => {
            let (node, logic) = (&plan.nodes[at.0], &logic[at.0]);
            let key = logic.names(&sinks::key(&node.kind));
            let rows = format!("{} by ({key})", logic.rows());
            (
                node_state::columns(&node.schema),
                Some(form_logic(rows, logic)),
            )
        }
        SinkInput::DeadLetters | SinkInput::Late => (Vec::new(), None),
    };
    let does = match sinks::is_keyed(&sink.config) {
        true => "rows by key",
        false => "a log of rows",
    };
    OperatorForm {
        does: does.to_owned(),
        columns,
        inputs: Vec::new(),
        logic,
    }
}
