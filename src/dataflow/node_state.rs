//! What a node of the plan keeps in checkpoints: the name of its state, its operator, and what gives the state its meaning.

use arrow::datatypes::SchemaRef;
use tidewright_jobs::plan::{Node, NodeId, Op, Plan, RelationKind, SourceKind};
use tidewright_operators::Operator;

use super::specs;
use crate::runtime::clock;

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

/// The key of a table; nothing of any other relation.
pub fn table_key(plan: &Plan, node: NodeId) -> &[usize] {
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
