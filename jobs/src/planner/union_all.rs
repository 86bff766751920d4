//! `UNION ALL` of streams.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion_common::{Result, internal_datafusion_err};
use datafusion_expr::logical_plan::{LogicalPlan, Union};

use super::{
    columns::Columns,
    mapper::Mapper,
    relation::{Relation, Slot},
};
use crate::{
    plan::{Op, RelationKind},
    sql::refuse,
};

impl Mapper<'_> {
    pub(super) fn map_union(&mut self, union: &Union, plan: &LogicalPlan) -> Result<Relation> {
        let mut inputs = Vec::new();
        let mut origins = Vec::new();
        let mut kinds = Vec::new();
        let mut schema: Option<SchemaRef> = None;
        for input in &union.inputs {
            let mut relation = self.map(input)?;
            if relation.window.is_some() {
                return Err(refuse(
                    "UNION ALL of window rows: aggregate them first",
                    None,
                ));
            }
            if !matches!(
                self.nodes[relation.node.0].kind,
                RelationKind::Stream { .. }
            ) {
                let message = "UNION ALL is for streams: rows of different tables can have the same key. Join or aggregate instead";
                return Err(refuse(message, None));
            }
            relation.schema = Arc::clone(plan.schema());
            let columns = Columns::all_of(&relation, &self.schema(relation.node))?;
            let node = self.project_if_needed(relation.node, columns);
            let own = self.schema(node);
            if schema.as_ref().is_some_and(|first| *first != own) {
                return Err(internal_datafusion_err!(
                    "the sides of a union differ: {own}"
                ));
            }
            schema = Some(own);
            kinds.push(self.nodes[node.0].kind.clone());
            inputs.push(node);
            origins.append(&mut relation.origins);
        }
        let schema = schema.ok_or_else(|| internal_datafusion_err!("an empty union"))?;
        let kind = union_kind(&kinds)?;
        let slots = (0..schema.fields().len()).map(Slot::Column).collect();
        let node = self.push("union", Op::Union { inputs }, schema, kind, None);
        Ok(Relation {
            node,
            schema: Arc::clone(plan.schema()),
            slots,
            window: None,
            origins,
        })
    }
}

fn union_kind(kinds: &[RelationKind]) -> Result<RelationKind> {
    let mut times = Vec::new();
    let mut all_positioned = Vec::new();
    for kind in kinds {
        if let RelationKind::Stream {
            event_time,
            positioned,
            ..
        } = kind
        {
            times.push(*event_time);
            all_positioned.push(*positioned);
        }
    }
    let same = |values: &[bool]| values.windows(2).all(|pair| pair[0] == pair[1]);
    if !same(&all_positioned) {
        let message =
            "not supported yet: UNION ALL of a source's rows with the rows of closed windows";
        return Err(refuse(message, None));
    }
    let event_time = times.first().copied().flatten();
    Ok(RelationKind::Stream {
        event_time: event_time.filter(|_| times.windows(2).all(|pair| pair[0] == pair[1])),
        key: None,
        positioned: all_positioned.first().copied().unwrap_or(false),
    })
}
