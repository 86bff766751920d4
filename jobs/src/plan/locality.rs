//! Which operators need no exchange, because their input is partitioned by their key already.
//!
//! A source says by `partitioned_by` that all records of a key are in one partition, and its reader checks that. So do
//! the rows of any filter and projection that passes the column on. A window whose groups contain that column then has
//! all rows of a group on the worker that reads the partition: it is *partition-local*. Its state is kept with the
//! partition and moves with it.

use arrow::datatypes::Schema;
use datafusion_physical_expr::expressions::Column;

use super::{GroupColumn, Node, NodeId, Op, Plan, SourcePlan};
use crate::job::SourceConfig;

/// The column of a source's schema that its topic is partitioned by.
pub(crate) fn partition_column(config: &SourceConfig, schema: &Schema) -> Option<usize> {
    match config {
        SourceConfig::Kafka(kafka) => schema.index_of(kafka.partitioned_by.as_ref()?).ok(),
        SourceConfig::Files(_) | SourceConfig::Datagen(_) => None,
    }
}

impl SourcePlan {
    /// The column that its splits are partitioned by: all rows with one value are in one split.
    #[must_use]
    pub fn partitioned_by(&self) -> Option<usize> {
        partition_column(&self.config, &self.schema)
    }
}

impl Plan {
    /// The source with whose splits a node keeps its keys, if the node is partition-local: a position in
    /// [`Plan::sources`].
    #[must_use]
    pub fn partition_local(&self, node: &Node) -> Option<usize> {
        let (input, keys) = match &node.op {
            Op::Window(window) => {
                let groups = window.groups.iter();
                let columns = groups.filter_map(|group| match group {
                    GroupColumn::Input(column) => Some(*column),
                    GroupColumn::WindowStart | GroupColumn::WindowEnd => None,
                });
                (window.input, columns.collect())
            }
            Op::Rolling(rolling) => (rolling.input, rolling.keys.clone()),
            _ => return None,
        };
        let mut keys = keys.into_iter();
        keys.find_map(|key| self.partition_behind(input, key))
    }

    /// The source that a node's rows come from unmoved, if this column of theirs is what it is partitioned by.
    fn partition_behind(&self, node: NodeId, column: usize) -> Option<usize> {
        match &self.nodes[node.0].op {
            Op::Source { source } => {
                let partitioned_by = self.sources[*source].partitioned_by();
                (partitioned_by == Some(column)).then_some(*source)
            }
            Op::Filter { input, .. } => self.partition_behind(*input, column),
            Op::Project { input, exprs } => {
                let column = exprs.get(column)?.downcast_ref::<Column>()?;
                self.partition_behind(*input, column.index())
            }
            // A union's rows come from the splits of several sources, and all others come from other workers.
            _ => None,
        }
    }
}
