//! Rows as an operator takes them: which of a relation, and on which worker.

use arrow::datatypes::SchemaRef;
use tidewright_jobs::plan::NodeId;
use timely::dataflow::operators::Concat;

use super::{Batches, Builder};
use crate::dataflow::node_state::state_name;
use crate::dataflow::replayed::from_state;
use crate::dataflow::route::{Target, route};
use crate::runtime::stateful::Input;

impl<'scope> Builder<'_, 'scope, '_> {
    pub(super) fn schema(&self, node: NodeId) -> SchemaRef {
        self.building.context.plan.nodes[node.0].schema.clone()
    }

    /// A table as an operator's state is made from it: all of it where that state is made again.
    pub(super) fn table(&self, input: NodeId, key: &[usize]) -> Input<'scope> {
        let context = self.building.context;
        let relation = &self.relations[input.0];
        let rows = match context.is_rebuilt(&state_name(&context.plan, self.node)) {
            true => from_state(self.building, relation),
            false => relation.live.clone(),
        };
        route(self.building, rows, &self.schema(input), Target::Key(key))
    }

    /// What is new of a relation, on the workers that own its keys.
    pub(super) fn routed(&self, input: NodeId, key: &[usize]) -> Input<'scope> {
        let rows = self.relations[input.0].live.clone();
        route(self.building, rows, &self.schema(input), Target::Key(key))
    }

    /// Rows on the worker that has their group: that of its key, or the one that reads its partition, where they are.
    pub(super) fn grouped(&self, input: NodeId, key: &[usize]) -> Input<'scope> {
        match self.plan().partition_local(self.node) {
            Some(_) => Input::Here(self.relations[input.0].live.clone()),
            None => self.routed(input, key),
        }
    }

    /// Everything that a relation holds and will change: what a derived relation is made from.
    pub(super) fn whole(&self, input: NodeId) -> Batches<'scope> {
        let relation = &self.relations[input.0];
        match relation.replay.clone() {
            None => relation.live.clone(),
            Some(replay) => relation.live.clone().concat(replay),
        }
    }
}
