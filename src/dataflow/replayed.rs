//! Relations whose whole content is wanted after a restore: what derives from them is made again, or they are sent again.

use tidewright_jobs::plan::{Node, NodeId, Op};
use timely::dataflow::operators::Concat;

use super::node_state::state_name;
use super::nodes::{Batches, Relation};
use super::{Building, resync, stateless};
use crate::runtime::clock;

/// By node, whether it must tell its content once more, at the epoch before the first new one.
pub(super) fn nodes(building: &Building<'_, '_>) -> Vec<bool> {
    let context = building.context;
    let nodes = &context.plan.nodes;
    if context.restored.is_none() {
        return vec![false; nodes.len()];
    }
    let mut again = resync::nodes(&context.plan, &context.resync);
    again.extend(rebuilt_from(building));
    with_inputs(nodes, &again)
}

/// The tables that operators are made again from.
fn rebuilt_from(building: &Building<'_, '_>) -> Vec<NodeId> {
    let context = building.context;
    let nodes = context.plan.nodes.iter();
    let rebuilt = nodes.filter(|node| context.is_rebuilt(&state_name(&context.plan, node)));
    rebuilt
        .flat_map(|node| match &node.op {
            Op::KeyJoin { left, right, .. } => vec![*left, *right],
            Op::Lookup { table, .. } => vec![*table],
            _ => vec![],
        })
        .collect()
}

/// Which nodes must replay their content after a restore: those in front of a derived relation, and those that a sink is
/// to be sent again.
fn with_inputs(nodes: &[Node], again: &[NodeId]) -> Vec<bool> {
    let mut replayed = vec![false; nodes.len()];
    for node in again {
        replayed[node.0] = true;
    }
    for (at, node) in nodes.iter().enumerate().rev() {
        let passes_on = match &node.op {
            Op::TableJoin { .. } | Op::TableAggregate { .. } => true,
            Op::Filter { .. } | Op::Project { .. } | Op::Union { .. } => replayed[at],
            _ => false,
        };
        if passes_on {
            for input in clock::inputs(&node.op) {
                replayed[input] = true;
            }
        }
    }
    replayed
}

/// A relation's whole content as it was restored, in the first new epoch, which is kept free for it, then its changes.
pub(super) fn from_state<'scope>(
    building: &Building<'scope, '_>,
    relation: &Relation<'scope>,
) -> Batches<'scope> {
    let live = relation.live.clone();
    match relation.replay.clone() {
        None => live,
        Some(replay) => live.concat(stateless::at_epoch(replay, building.context.start)),
    }
}
