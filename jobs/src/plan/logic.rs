//! What a relation holds, as text that two releases agree on: which rows there are, and what each column is, in terms of
//! sources.
//!
//! Views, projections and the order of conditions leave no trace in it, so that a view may be split or gain a column
//! without a change of what is made of its others. The text is our own, not DataFusion's; what DataFusion decides is the
//! form of the plan that it is made from. [`VERSION`] moves on when either changes the text of a job whose results are
//! the same: checkpoints keep it beside the text, and texts of different versions are not compared.

mod expression;

use std::collections::BTreeSet;

use tidewright_checkpoints::ids::key_hash;

use self::expression::text;
use super::{Aggregate, GroupColumn, JoinKind, Node, NodeId, Op, Plan, RollingOp, WindowOp};

/// The version of the texts.
pub const VERSION: u32 = 1;

/// A longer text stands for itself by its hash where others are made of it: views upon views would grow without bound.
const INLINE_MAX: usize = 240;

/// What a relation holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logic {
    base: String,
    /// The filters above, all of which hold.
    conditions: BTreeSet<String>,
    /// What each visible column is.
    pub columns: Vec<String>,
}

impl Logic {
    /// Which rows there are.
    #[must_use]
    pub fn rows(&self) -> String {
        if self.conditions.is_empty() {
            return self.base.clone();
        }
        let conditions: Vec<_> = self.conditions.iter().map(String::as_str).collect();
        format!("{} where {}", self.base, conditions.join(" and "))
    }

    /// What some columns are.
    #[must_use]
    pub fn names(&self, columns: &[usize]) -> String {
        let names: Vec<_> = columns.iter().map(|column| self.column(*column)).collect();
        names.join(", ")
    }

    fn column(&self, column: usize) -> &str {
        self.columns.get(column).map_or("?", String::as_str)
    }

    fn of(base: String, columns: Vec<String>) -> Self {
        Self {
            base,
            conditions: BTreeSet::new(),
            columns,
        }
    }
}

impl Plan {
    /// What each node's relation holds.
    #[must_use]
    pub fn logic(&self) -> Vec<Logic> {
        let mut known: Vec<Logic> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let mut logic = self.logic_of(node, &known);
            for column in &mut logic.columns {
                *column = short(std::mem::take(column));
            }
            known.push(logic);
        }
        known
    }

    fn logic_of(&self, node: &Node, known: &[Logic]) -> Logic {
        let input = |id: &NodeId| &known[id.0];
        match &node.op {
            Op::Source { source } => {
                let source = &self.sources[*source];
                let fields = source.schema.fields().iter();
                let columns = fields.map(|field| format!("{}.{}", source.name, field.name()));
                Logic::of(source.name.clone(), columns.collect())
            }
            Op::Filter {
                input: from,
                predicate,
            } => {
                let mut logic = input(from).clone();
                expression::conditions(predicate, &logic.columns, &mut logic.conditions);
                logic
            }
            Op::Project { input: from, exprs } => {
                let from = input(from);
                let columns = exprs.iter().map(|expr| text(expr, &from.columns));
                Logic {
                    columns: columns.collect(),
                    ..from.clone()
                }
            }
            Op::Union { inputs } => union(&inputs.iter().map(input).collect::<Vec<_>>()),
            Op::Window(window) => of_window(window, input(&window.input)),
            Op::Rolling(rolling) => of_rolling(rolling, input(&rolling.input)),
            Op::TableAggregate {
                input: from,
                keys,
                aggregates,
            } => grouped("groups".to_owned(), input(from), keys, aggregates),
            Op::Lookup {
                input: left,
                input_key,
                table,
                kind,
            } => join(
                "lookup",
                *kind,
                (input(left), input_key),
                (input(table), &[]),
            ),
            Op::KeyJoin {
                left,
                left_key: left_on,
                right,
                right_key: right_on,
                kind,
            }
            | Op::TableJoin {
                left,
                left_on,
                right,
                right_on,
                kind,
            } => join(
                "join",
                *kind,
                (input(left), left_on),
                (input(right), right_on),
            ),
        }
    }
}

fn of_window(window: &WindowOp, from: &Logic) -> Logic {
    let groups = window.groups.iter().map(|group| match group {
        GroupColumn::Input(column) => from.column(*column).to_owned(),
        GroupColumn::WindowStart => "window_start".to_owned(),
        GroupColumn::WindowEnd => "window_end".to_owned(),
    });
    let groups: Vec<String> = groups.collect();
    let rows = format!(
        "tumble({} ms by {}, late by {} ms) of ({}) per ({})",
        window.size_ms,
        from.column(window.time),
        window.lateness_ms,
        short(from.rows()),
        groups.join(", ")
    );
    Logic::of(rows, with_aggregates(groups, &window.aggregates, from))
}

fn of_rolling(rolling: &RollingOp, from: &Logic) -> Logic {
    let what = format!(
        "rolling({} ms by {}, every {} ms)",
        rolling.size_ms,
        from.column(rolling.time),
        rolling.tile_ms
    );
    grouped(what, from, &rolling.keys, &rolling.aggregates)
}

fn grouped(what: String, from: &Logic, keys: &[usize], aggregates: &[Aggregate]) -> Logic {
    let rows = format!(
        "{what} of ({}) per ({})",
        short(from.rows()),
        from.names(keys)
    );
    let keys = keys.iter().map(|key| from.column(*key).to_owned());
    Logic::of(rows, with_aggregates(keys.collect(), aggregates, from))
}

fn union(inputs: &[&Logic]) -> Logic {
    let rows: Vec<_> = inputs.iter().map(|input| short(input.rows())).collect();
    let count = inputs.first().map_or(0, |first| first.columns.len());
    let column = |at: usize| {
        let texts: Vec<_> = inputs.iter().map(|input| input.column(at)).collect();
        format!("({})", texts.join(" | "))
    };
    Logic::of(
        format!("({})", rows.join(" and all of ")),
        (0..count).map(column).collect(),
    )
}

fn join(
    what: &str,
    kind: JoinKind,
    (left, left_on): (&Logic, &[usize]),
    (right, right_on): (&Logic, &[usize]),
) -> Logic {
    let kind = match kind {
        JoinKind::Inner => "inner",
        JoinKind::Left => "left",
    };
    let rows = format!(
        "{kind} {what} of ({}) by ({}) with ({}) by ({})",
        short(left.rows()),
        left.names(left_on),
        short(right.rows()),
        right.names(right_on)
    );
    // Both sides may be of one table.
    let right = right
        .columns
        .iter()
        .map(|column| format!("joined {column}"));
    Logic::of(rows, left.columns.iter().cloned().chain(right).collect())
}

fn with_aggregates(mut keys: Vec<String>, aggregates: &[Aggregate], from: &Logic) -> Vec<String> {
    keys.extend(aggregates.iter().map(|aggregate| {
        let function = aggregate.function.name();
        let argument = aggregate.argument.map_or("*", |column| from.column(column));
        match aggregate.filter {
            None => format!("{function}({argument})"),
            Some(filter) => format!("{function}({argument}) where {}", from.column(filter)),
        }
    }));
    keys
}

fn short(text: String) -> String {
    if text.len() <= INLINE_MAX {
        return text;
    }
    format!("#{:016x}", key_hash(text.as_bytes()))
}

#[cfg(test)]
mod tests;
