//! From logical plans to the engine's operators.
//!
//! Two passes over the same logical plans: the first finds out which columns of each source are used, the second makes
//! the plan with nothing else in it.

mod aggregate;
mod columns;
mod join;
mod mapper;
mod relation;
mod scan;
mod types;
mod union_all;

use std::collections::BTreeSet;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion_common::Result;
use datafusion_expr::logical_plan::LogicalPlan;

pub(crate) use self::mapper::Mapper;
pub(crate) use self::types::{declared_type, type_name};
use crate::{
    job::SourceConfig,
    plan::locality::partition_column,
    plan::{EventTime, Node, NodeId, Op, RelationKind, SourceKind, SourcePlan},
};

/// A checked source of the job file, with all its columns.
#[derive(Clone, Debug)]
pub(crate) struct SourceDeclaration {
    pub name: String,
    pub config: SourceConfig,
    pub schema: SchemaRef,
    pub kind: SourceKind,
}

/// A view and its logical plan.
#[derive(Debug)]
pub(crate) struct PlannedView {
    pub name: String,
    pub plan: LogicalPlan,
    pub lateness_ms: Option<i64>,
}

/// What the second pass makes.
#[derive(Debug)]
pub(crate) struct Mapped {
    pub sources: Vec<SourcePlan>,
    pub nodes: Vec<Node>,
    pub views: Vec<(String, NodeId)>,
    pub twins: Vec<Option<(usize, usize)>>,
}

/// Maps all views again, with only the used columns of each source.
pub(crate) fn map_views(
    sources: &[SourceDeclaration],
    used: &[BTreeSet<usize>],
    planned: &[PlannedView],
) -> Result<Mapped> {
    let mut mapper = Mapper::new(sources, used.to_vec());
    for view in planned {
        mapper.map_view(view)?;
    }
    Ok(mapper.finish(planned))
}

impl SourceDeclaration {
    /// The columns that are decoded whether used or not.
    pub fn needed_columns(&self) -> BTreeSet<usize> {
        match &self.kind {
            SourceKind::Stream { event_time } => {
                let time = event_time.iter().map(|e| e.column);
                time.chain(partition_column(&self.config, &self.schema))
                    .collect()
            }
            SourceKind::Table { key, event_time } => {
                key.iter().chain(event_time).copied().collect()
            }
        }
    }

    /// The source with only some of its columns.
    fn narrowed(&self, kept: &BTreeSet<usize>, node: NodeId, needs_position: bool) -> SourcePlan {
        let place = |column: usize| kept.range(..column).count();
        let kind = match &self.kind {
            SourceKind::Stream { event_time } => SourceKind::Stream {
                event_time: event_time.as_ref().map(|e| EventTime {
                    column: place(e.column),
                    ..e.clone()
                }),
            },
            SourceKind::Table { key, event_time } => SourceKind::Table {
                key: key.iter().map(|column| place(*column)).collect(),
                event_time: event_time.map(place),
            },
        };
        let fields: Vec<_> = kept.iter().map(|c| self.schema.field(*c).clone()).collect();
        SourcePlan {
            name: self.name.clone(),
            config: self.config.clone(),
            schema: Schema::new(fields).into(),
            kind,
            node,
            needs_position,
        }
    }

    /// What the rows of the source's node are.
    pub fn relation_kind(kind: &SourceKind) -> RelationKind {
        match kind {
            SourceKind::Stream { event_time } => RelationKind::Stream {
                event_time: event_time.as_ref().map(|e| e.column),
                key: None,
                positioned: true,
            },
            SourceKind::Table { key, .. } => RelationKind::Table { key: key.clone() },
        }
    }

    fn as_node(source: usize, plan: &SourcePlan) -> Node {
        Node {
            name: plan.name.clone(),
            op: Op::Source { source },
            schema: plan.schema.clone(),
            kind: Self::relation_kind(&plan.kind),
        }
    }
}
