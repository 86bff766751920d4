//! What a view reads: sources and other views, and the windows over streams.

use std::sync::Arc;

use datafusion_common::{DFSchema, Result, internal_datafusion_err};
use datafusion_expr::{
    Expr, UserDefinedLogicalNode,
    logical_plan::{Extension, TableScan},
    utils::conjunction,
};

use super::{
    mapper::Mapper,
    relation::{Relation, Slot, Window, span_of},
};
use crate::{
    plan::{NodeId, RelationKind},
    sql::{self, SourceOf, WindowAssign, WindowKind, refuse},
};

impl Mapper<'_> {
    pub(super) fn map_scan(&mut self, scan: &TableScan) -> Result<Relation> {
        let source = scan.source.as_ref();
        let scanned: &sql::Relation = source
            .downcast_ref()
            .ok_or_else(|| internal_datafusion_err!("a foreign table"))?;
        let all = DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scanned.schema)?;
        let projection = match &scan.projection {
            Some(projection) => projection.clone(),
            None => (0..scanned.schema.fields().len()).collect(),
        };
        let (node, slots, origins) = match scanned.of {
            SourceOf::View(view) => {
                let (node, origins) = self.views[view].clone();
                let slots = (0..scanned.schema.fields().len()).map(Slot::Column);
                (node, slots.collect::<Vec<_>>(), origins)
            }
            SourceOf::Source(source) => {
                self.ask(source, &projection, &scan.filters, &all)?;
                (NodeId(source), self.slots_of(source), vec![source])
            }
        };
        let mut relation = Relation {
            node,
            schema: Arc::new(all),
            slots,
            window: None,
            origins,
        };
        if let Some(predicate) = conjunction(scan.filters.iter().cloned()) {
            relation = self.filter(relation, &predicate)?;
        }
        Ok(Relation {
            schema: Arc::clone(&scan.projected_schema),
            slots: projection.iter().map(|c| relation.slots[*c]).collect(),
            ..relation
        })
    }

    fn ask(
        &mut self,
        source: usize,
        projection: &[usize],
        filters: &[Expr],
        schema: &DFSchema,
    ) -> Result<()> {
        self.asked[source].extend(projection);
        for column in filters.iter().flat_map(Expr::column_refs) {
            self.asked[source].insert(schema.index_of_column(column)?);
        }
        Ok(())
    }

    fn slots_of(&self, source: usize) -> Vec<Slot> {
        let kept = &self.kept[source];
        let columns = self.declarations[source].schema.fields().len();
        (0..columns)
            .map(|column| match kept.contains(&column) {
                true => Slot::Column(kept.range(..column).count()),
                false => Slot::Absent,
            })
            .collect()
    }

    pub(super) fn map_window(&mut self, extension: &Extension) -> Result<Relation> {
        let node: &dyn UserDefinedLogicalNode = extension.node.as_ref();
        let assign: &WindowAssign = node
            .as_any()
            .downcast_ref()
            .ok_or_else(|| internal_datafusion_err!("a foreign node"))?;
        let input = self.map(&assign.input)?;
        let span = span_of(&assign.time);
        let RelationKind::Stream { event_time, .. } = &self.nodes[input.node.0].kind else {
            let message = "tumble(..) and rolling(..) are over streams; this is a table: its rows change and have no order in time";
            return Err(refuse(message, span));
        };
        if input.window.is_some() {
            return Err(refuse(
                "a window over a window: aggregate the inner one first",
                span,
            ));
        }
        let time = input.column_of(&assign.time);
        let Some(time) = time.filter(|time| Some(*time) == *event_time) else {
            let message = "the event time column must come through unchanged from its source";
            return Err(refuse(message, span));
        };
        let schema = &assign.schema;
        let mut slots = Vec::new();
        for (qualifier, field) in schema.iter() {
            let position = assign
                .input
                .schema()
                .index_of_column_by_name(qualifier, field.name());
            slots.push(match (field.name().as_str(), assign.kind) {
                ("window_start", WindowKind::Tumble { .. }) => Slot::WindowStart,
                ("window_end", WindowKind::Tumble { .. }) => Slot::WindowEnd,
                (name, _) => {
                    input.slots[position
                        .ok_or_else(|| internal_datafusion_err!("no column {name} in the input"))?]
                }
            });
        }
        Ok(Relation {
            schema: Arc::clone(schema),
            slots,
            window: Some(Window {
                kind: assign.kind,
                time,
            }),
            ..input
        })
    }
}
