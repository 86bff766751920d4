//! Joins: a stream with a table, and tables with tables.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion_common::{JoinType, Result, Span, internal_datafusion_err};
use datafusion_expr::{Expr, logical_plan, utils::conjunction};

use super::{
    columns::Columns,
    mapper::Mapper,
    relation::{Relation, Slot, span_of},
};
use crate::{
    plan::{JoinKind, NodeId, Op, RelationKind},
    sql::refuse,
};

/// One side of a join, and the columns that it is made of.
struct Side {
    relation: Relation,
    schema: SchemaRef,
    columns: Columns,
}

/// The equalities of a join: expressions of the first side, then of the second.
type On = Vec<(Expr, Expr)>;

impl Side {
    fn new(relation: Relation, schema: SchemaRef) -> Result<Self> {
        let columns = Columns::all_of(&relation, &schema)?;
        Ok(Self {
            relation,
            schema,
            columns,
        })
    }

    fn add(&mut self, expr: &Expr) -> Result<usize> {
        self.columns.add(expr, &self.relation, &self.schema)
    }

    /// The side's columns that these expressions only name; `None` for computed ones.
    fn named<'e>(&self, exprs: impl Iterator<Item = &'e Expr>) -> Vec<Option<usize>> {
        exprs.map(|e| self.relation.column_of(e)).collect()
    }

    fn names(&self, key: &[usize]) -> String {
        let names: Vec<_> = key
            .iter()
            .map(|c| self.schema.field(*c).name().as_str())
            .collect();
        names.join(", ")
    }
}

impl Mapper<'_> {
    pub(super) fn map_join(&mut self, join: &logical_plan::Join) -> Result<Relation> {
        let left = self.map(&join.left)?;
        let right = self.map(&join.right)?;
        let span = span_of_join(join);
        if left.window.is_some() || right.window.is_some() {
            let message = "the rows of a window function must be aggregated before they are joined: join a view, or a subquery with GROUP BY";
            return Err(refuse(message, span));
        }
        let kind = join_kind(join.join_type, span)?;
        let swap = kind == JoinKind::Inner && self.reads_better_swapped(join, &left, &right);
        let mut on: On = join.on.clone();
        let (first, second) = match swap {
            true => (right, left),
            false => (left, right),
        };
        if swap {
            on = on.into_iter().map(|(l, r)| (r, l)).collect();
        }
        let widths = (first.slots.len(), second.slots.len());
        let origins = first.origins.clone();
        let mut residual: Vec<Expr> = join.filter.iter().cloned().collect();
        let first = Side::new(first.clone(), self.schema(first.node))?;
        let second = Side::new(second.clone(), self.schema(second.node))?;
        let (node, offset) = self.push_join(first, second, &on, kind, &mut residual, span)?;
        let first_slots = (0..widths.0).map(Slot::Column);
        let second_slots = (offset..offset + widths.1).map(Slot::Column);
        let slots = match swap {
            true => second_slots.chain(first_slots).collect(),
            false => first_slots.chain(second_slots).collect(),
        };
        let joined = Relation {
            node,
            schema: Arc::clone(&join.schema),
            slots,
            window: None,
            origins,
        };
        match conjunction(residual) {
            None => Ok(joined),
            Some(_) if kind == JoinKind::Left => Err(refuse(
                "not supported yet: a LEFT JOIN with conditions beyond equalities between both sides' columns",
                span,
            )),
            Some(predicate) => self.filter(joined, &predicate),
        }
    }

    /// The stream, or the side with more than a single row, comes first.
    fn reads_better_swapped(
        &self,
        join: &logical_plan::Join,
        left: &Relation,
        right: &Relation,
    ) -> bool {
        let (l, r) = (self.kind_of(left), self.kind_of(right));
        let is_stream = |kind: &RelationKind| matches!(kind, RelationKind::Stream { .. });
        (is_stream(r) && !is_stream(l)) || (join.on.is_empty() && is_single(l) && !is_single(r))
    }

    fn kind_of(&self, relation: &Relation) -> &RelationKind {
        &self.nodes[relation.node.0].kind
    }

    /// Returns the node and where the second side's columns begin in it.
    fn push_join(
        &mut self,
        first: Side,
        second: Side,
        on: &[(Expr, Expr)],
        kind: JoinKind,
        residual: &mut Vec<Expr>,
        span: Option<Span>,
    ) -> Result<(NodeId, usize)> {
        let first_kind = self.kind_of(&first.relation).clone();
        let second_kind = self.kind_of(&second.relation).clone();
        match (&first_kind, &second_kind) {
            (RelationKind::Stream { .. }, RelationKind::Stream { .. }) => Err(refuse(
                "not supported yet: a join of two streams; aggregate one of them into a table with rolling(..)",
                span,
            )),
            (_, RelationKind::Stream { .. }) => Err(refuse(
                "a table LEFT JOIN a stream: the stream must be on the left",
                span,
            )),
            (RelationKind::Stream { .. }, RelationKind::Table { key }) => {
                self.push_lookup(first, second, key, on, kind, residual, span)
            }
            (RelationKind::Stream { .. }, RelationKind::Bag) => Err(refuse(
                "a stream joins a table by the table's key, which this table has lost: select its key columns",
                span,
            )),
            _ if on.is_empty() && !is_single(&second_kind) => Err(refuse(
                "a join needs at least one equality between the two sides: ON a.x = b.y",
                span.or_else(|| residual.iter().find_map(span_of)),
            )),
            (RelationKind::Table { key: a }, RelationKind::Table { key: b })
                if on_whole_keys(&first, a, &second, b, on) =>
            {
                self.push_key_join(first, second, on, kind)
            }
            _ => self.push_table_join(first, second, on, kind),
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one join")]
    fn push_lookup(
        &mut self,
        mut stream: Side,
        table: Side,
        key: &[usize],
        on: &[(Expr, Expr)],
        kind: JoinKind,
        residual: &mut Vec<Expr>,
        span: Option<Span>,
    ) -> Result<(NodeId, usize)> {
        let named = table.named(on.iter().map(|pair| &pair.1));
        let mut used = vec![false; on.len()];
        let mut stream_key = Vec::new();
        for column in key {
            let Some(pair) = named.iter().position(|n| *n == Some(*column)) else {
                let message = format!(
                    "a stream joins a table by the table's whole key ({}), each column as it is; cast or compute on the \
                     stream's side",
                    table.names(key)
                );
                return Err(refuse(message, span));
            };
            used[pair] = true;
            stream_key.push((stream.add(&on[pair].0)?, *column));
        }
        for ((l, r), used) in on.iter().zip(used) {
            if !used {
                residual.push(l.clone().eq(r.clone()));
            }
        }
        let (input, table) = (self.side(stream), self.side(table));
        let moved_key = match &self.nodes[table.0].kind {
            RelationKind::Table { key } => key.clone(),
            _ => return Err(internal_datafusion_err!("a lookup's table lost its key")),
        };
        let op = Op::Lookup {
            input,
            input_key: stream_key.into_iter().map(|(column, _)| column).collect(),
            table,
            kind,
        };
        debug_assert_eq!(
            moved_key.len(),
            key.len(),
            "a key keeps its order when it moves"
        );
        let schema = self.joined_schema(input, table);
        let result = self.nodes[input.0].kind.clone();
        let twins = self.twins[input.0];
        let offset = self.nodes[input.0].schema.fields().len();
        Ok((self.push("lookup", op, schema, result, twins), offset))
    }

    fn push_key_join(
        &mut self,
        mut first: Side,
        mut second: Side,
        on: &[(Expr, Expr)],
        kind: JoinKind,
    ) -> Result<(NodeId, usize)> {
        let (left_key, right_key) = both(&mut first, &mut second, on)?;
        let (left, right) = (self.side(first), self.side(second));
        let schema = self.joined_schema(left, right);
        let result = self.nodes[left.0].kind.clone();
        let offset = self.nodes[left.0].schema.fields().len();
        let op = Op::KeyJoin {
            left,
            left_key,
            right,
            right_key,
            kind,
        };
        Ok((self.push("join", op, schema, result, None), offset))
    }

    fn push_table_join(
        &mut self,
        mut first: Side,
        mut second: Side,
        on: &[(Expr, Expr)],
        kind: JoinKind,
    ) -> Result<(NodeId, usize)> {
        let (left_on, right_on) = both(&mut first, &mut second, on)?;
        self.refuse_forgotten_rows(first.relation.node)?;
        self.refuse_forgotten_rows(second.relation.node)?;
        let (left, right) = (self.side(first), self.side(second));
        let offset = self.nodes[left.0].schema.fields().len();
        let result = table_join_kind(
            (&self.nodes[left.0].kind, &left_on),
            (&self.nodes[right.0].kind, &right_on),
            kind,
            offset,
        );
        let schema = self.joined_schema(left, right);
        let op = Op::TableJoin {
            left,
            left_on,
            right,
            right_on,
            kind,
        };
        Ok((self.push("join", op, schema, result, None), offset))
    }

    /// A side without the columns that the join does not need.
    fn side(&mut self, side: Side) -> NodeId {
        self.project_if_needed(side.relation.node, side.columns)
    }

    fn joined_schema(&self, left: NodeId, right: NodeId) -> SchemaRef {
        let left = self.nodes[left.0].schema.fields().iter();
        let fields: Vec<_> = left
            .chain(self.nodes[right.0].schema.fields())
            .cloned()
            .collect();
        Arc::new(Schema::new(fields))
    }
}

fn join_kind(join_type: JoinType, span: Option<Span>) -> Result<JoinKind> {
    let message = match join_type {
        JoinType::Inner => return Ok(JoinKind::Inner),
        JoinType::Left => return Ok(JoinKind::Left),
        JoinType::Right => "not supported: RIGHT JOIN; swap the sides and write LEFT JOIN",
        JoinType::Full => "not supported yet: FULL JOIN",
        _ => "not supported yet: IN (SELECT ..) and EXISTS (..); write a join with the table's key",
    };
    Err(refuse(message, span))
}

fn is_single(kind: &RelationKind) -> bool {
    matches!(kind, RelationKind::Table { key } if key.is_empty())
}

fn both(
    first: &mut Side,
    second: &mut Side,
    on: &[(Expr, Expr)],
) -> Result<(Vec<usize>, Vec<usize>)> {
    let mut left = Vec::new();
    let mut right = Vec::new();
    for (l, r) in on {
        left.push(first.add(l)?);
        right.push(second.add(r)?);
    }
    Ok((left, right))
}

/// Whether the equalities are exactly between the whole keys of both sides.
fn on_whole_keys(
    first: &Side,
    a: &[usize],
    second: &Side,
    b: &[usize],
    on: &[(Expr, Expr)],
) -> bool {
    let left = first.named(on.iter().map(|pair| &pair.0));
    let right = second.named(on.iter().map(|pair| &pair.1));
    let covers = |key: &[usize], named: &[Option<usize>]| {
        key.len() == named.len() && key.iter().all(|column| named.contains(&Some(*column)))
    };
    covers(a, &left) && covers(b, &right)
}

/// What identifies a joined row: the left row, if it has one match at most; the right row likewise; else both.
fn table_join_kind(
    (left, left_on): (&RelationKind, &[usize]),
    (right, right_on): (&RelationKind, &[usize]),
    kind: JoinKind,
    offset: usize,
) -> RelationKind {
    let (RelationKind::Table { key: l }, RelationKind::Table { key: r }) = (left, right) else {
        return RelationKind::Bag;
    };
    let covers = |key: &[usize], on: &[usize]| key.iter().all(|column| on.contains(column));
    let moved = || r.iter().map(|column| offset + column);
    let key = if covers(r, right_on) {
        l.clone()
    } else if kind == JoinKind::Inner && covers(l, left_on) {
        moved().collect()
    } else {
        l.iter().copied().chain(moved()).collect()
    };
    RelationKind::Table { key }
}

fn span_of_join(join: &logical_plan::Join) -> Option<Span> {
    let on = join
        .on
        .iter()
        .find_map(|(l, r)| span_of(l).or_else(|| span_of(r)));
    on.or_else(|| join.filter.as_ref().and_then(span_of))
}
