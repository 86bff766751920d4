//! What a logical plan has become so far: a node, and where the logical columns are in it.

use arrow::datatypes::SchemaRef;
use datafusion_common::{
    DFSchema, DFSchemaRef, Result, Span,
    tree_node::{TreeNode, TreeNodeRecursion},
};
use datafusion_expr::{Expr, Volatility, logical_plan::LogicalPlan};

use crate::{
    plan::{NodeId, RelationKind},
    sql::{WindowKind, refuse},
};

/// A logical plan's relation over a node. Selecting and reordering columns makes no node: only `slots` change.
#[derive(Clone, Debug)]
pub(crate) struct Relation {
    pub node: NodeId,
    /// The logical columns.
    pub schema: DFSchemaRef,
    /// Where each logical column is.
    pub slots: Vec<Slot>,
    /// The window that its rows are in, until they are aggregated.
    pub window: Option<Window>,
    /// The sources whose rows these are, once for every way they come in. Rows of an aggregate have none.
    pub origins: Vec<usize>,
}

/// Where a logical column is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// In this column of the node.
    Column(usize),
    /// Nowhere: it was pruned, nothing may refer to it.
    Absent,
    /// Nowhere before the aggregation: the window's first instant.
    WindowStart,
    /// Nowhere before the aggregation: the first instant after the window.
    WindowEnd,
}

/// A window function, not yet aggregated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub kind: WindowKind,
    /// The event time's column in the node.
    pub time: usize,
}

impl Relation {
    /// Where an expression's value is already, if it only names a column.
    pub fn slot_of(&self, expr: &Expr) -> Option<Slot> {
        passed(expr, &self.schema).map(|column| self.slots[column])
    }

    /// The node's column that an expression only names.
    pub fn column_of(&self, expr: &Expr) -> Option<usize> {
        match self.slot_of(expr)? {
            Slot::Column(column) => Some(column),
            _ => None,
        }
    }

    /// Every logical column is the node's column of the same position and name.
    pub fn is_whole(&self, node_schema: &SchemaRef) -> bool {
        let name = |i: usize| self.schema.field(i).name();
        self.is_renamed(node_schema)
            && (0..self.slots.len()).all(|i| node_schema.field(i).name() == name(i))
    }

    /// Every logical column is the node's column of the same position.
    pub fn is_renamed(&self, node_schema: &SchemaRef) -> bool {
        let whole = (0..node_schema.fields().len()).map(Slot::Column);
        self.slots.iter().copied().eq(whole)
    }
}

/// The logical column that an expression passes on unchanged.
fn passed(expr: &Expr, schema: &DFSchema) -> Option<usize> {
    match expr {
        Expr::Column(column) => schema.index_of_column(column).ok(),
        Expr::Alias(alias) => passed(&alias.expr, schema),
        _ => None,
    }
}

/// The kind of a relation whose columns move: `place` tells where a column is afterwards.
pub(crate) fn moved_kind(
    kind: &RelationKind,
    twins: Option<(usize, usize)>,
    place: impl Fn(usize) -> Option<usize>,
) -> RelationKind {
    let key_place = |column: usize| {
        place(column).or_else(|| match twins {
            Some((a, b)) if a == column => place(b),
            Some((a, b)) if b == column => place(a),
            _ => None,
        })
    };
    let moved = |key: &[usize]| {
        key.iter()
            .map(|c| key_place(*c))
            .collect::<Option<Vec<_>>>()
    };
    match kind {
        RelationKind::Stream {
            event_time,
            key,
            positioned,
        } => RelationKind::Stream {
            event_time: event_time.and_then(&place),
            key: key.as_deref().and_then(moved),
            positioned: *positioned,
        },
        RelationKind::Table { key } => match moved(key) {
            Some(key) => RelationKind::Table { key },
            None => RelationKind::Bag,
        },
        RelationKind::Bag => RelationKind::Bag,
    }
}

/// The place of the first column that an expression names.
pub(crate) fn span_of(expr: &Expr) -> Option<Span> {
    let mut span = None;
    let _ = expr.apply(|e| {
        if let Expr::Column(column) = e {
            span = span.or(column.spans().first());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    span
}

/// Refuses what may not be in any expression of a node.
pub(crate) fn check_expressions(plan: &LogicalPlan) -> Result<()> {
    plan.apply_expressions(|expr| {
        expr.apply(|e| match e {
            Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) => Err(refuse(
                "not supported yet: this form of subquery; write it as a join",
                span_of(expr),
            )),
            Expr::ScalarFunction(f) if f.func.signature().volatility != Volatility::Immutable => {
                let name = f.func.name();
                let message = format!(
                    "{name}() is not a function of the input: results would depend on when a row is processed"
                );
                Err(refuse(message, span_of(e)))
            }
            _ => Ok(TreeNodeRecursion::Continue),
        })
    })?;
    Ok(())
}
