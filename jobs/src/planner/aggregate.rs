//! Aggregations: windows, rolling windows, and aggregates of tables.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion_common::{DataFusionError, Result, internal_datafusion_err};
use datafusion_expr::{Expr, expr, logical_plan};

use super::{
    columns::{Columns, is_constant},
    mapper::Mapper,
    relation::{Relation, Slot, Window, span_of},
    types::supported_type,
};
use crate::{
    plan::{
        Aggregate, AggregateFunction, GroupColumn, NodeId, Op, RelationKind, RollingOp, WindowOp,
    },
    sql::{WindowKind, refuse},
};

/// The functions that the engine aggregates by, as SQL calls them.
const FUNCTIONS: [(&str, AggregateFunction); 7] = [
    ("count", AggregateFunction::Count),
    ("sum", AggregateFunction::Sum),
    ("avg", AggregateFunction::Avg),
    ("min", AggregateFunction::Min),
    ("max", AggregateFunction::Max),
    ("first_value", AggregateFunction::First),
    ("last_value", AggregateFunction::Last),
];

/// The parts of an aggregation, over the columns in front of it.
struct Parts {
    columns: Columns,
    groups: Vec<GroupColumn>,
    aggregates: Vec<Aggregate>,
}

impl Mapper<'_> {
    pub(super) fn map_aggregate(
        &mut self,
        aggregate: &logical_plan::Aggregate,
    ) -> Result<Relation> {
        let input = self.map(&aggregate.input)?;
        let is_stream = matches!(self.nodes[input.node.0].kind, RelationKind::Stream { .. });
        if is_stream && input.window.is_none() {
            return Err(without_window(aggregate));
        }
        let mut parts = self.parts(aggregate, &input)?;
        let schema = result_schema(aggregate, &parts)?;
        let node = match input.window {
            Some(window) => {
                let time = parts.columns.pass(window.time, &self.schema(input.node));
                self.push_window(window, time, input.node, parts, schema, aggregate)?
            }
            None => self.push_table_aggregate(input.node, parts, schema)?,
        };
        let slots = (0..aggregate.schema.fields().len()).map(Slot::Column);
        Ok(Relation {
            node,
            schema: Arc::clone(&aggregate.schema),
            slots: slots.collect(),
            window: None,
            origins: Vec::new(),
        })
    }

    fn parts(&mut self, aggregate: &logical_plan::Aggregate, input: &Relation) -> Result<Parts> {
        let schema = self.schema(input.node);
        let mut columns = Columns::default();
        let mut groups = Vec::new();
        for expr in &aggregate.group_expr {
            if matches!(expr, Expr::GroupingSet(_)) {
                let message = "not supported: GROUPING SETS, ROLLUP and CUBE; write one view for each grouping";
                return Err(refuse(message, span_of(expr)));
            }
            groups.push(match input.slot_of(expr) {
                Some(Slot::WindowStart) => GroupColumn::WindowStart,
                Some(Slot::WindowEnd) => GroupColumn::WindowEnd,
                _ => GroupColumn::Input(columns.add(expr, input, &schema)?),
            });
        }
        let first = aggregate.group_expr.len();
        let mut aggregates = Vec::new();
        for (i, expr) in aggregate.aggr_expr.iter().enumerate() {
            let data_type = aggregate.schema.field(first + i).data_type();
            aggregates.push(self.aggregate(expr, data_type, input, &mut columns)?);
        }
        Ok(Parts {
            columns,
            groups,
            aggregates,
        })
    }

    fn aggregate(
        &mut self,
        expr: &Expr,
        data_type: &DataType,
        input: &Relation,
        columns: &mut Columns,
    ) -> Result<Aggregate> {
        let Expr::AggregateFunction(call) = expr.clone().unalias() else {
            return Err(internal_datafusion_err!("not an aggregate: {expr}"));
        };
        let schema = self.schema(input.node);
        let function = function_of(&call, expr)?;
        self.check_order(function, &call, input, expr)?;
        let argument = match &call.params.args[..] {
            [] => None,
            [constant] if function == AggregateFunction::Count && is_constant(constant) => None,
            [argument, ..] => Some(columns.add(argument, input, &schema)?),
        };
        let filter = match &call.params.filter {
            Some(filter) => Some(columns.add(filter, input, &schema)?),
            None => None,
        };
        let data_type = supported_type(data_type).ok_or_else(|| {
            let message = format!("{expr} is of type {data_type}, which a column cannot have");
            refuse(message, span_of(expr))
        })?;
        Ok(Aggregate {
            function,
            argument,
            filter,
            data_type,
        })
    }

    /// First and last go by event time, and by nothing else.
    fn check_order(
        &mut self,
        function: AggregateFunction,
        call: &expr::AggregateFunction,
        input: &Relation,
        expr: &Expr,
    ) -> Result<()> {
        let ordered = matches!(function, AggregateFunction::First | AggregateFunction::Last);
        let name = call.func.name();
        let order = &call.params.order_by;
        if !ordered {
            if order.is_empty() {
                return Ok(());
            }
            let message = format!("{name} does not depend on an order: leave out ORDER BY");
            return Err(refuse(message, span_of(expr)));
        }
        let Some(window) = input.window else {
            let message = format!(
                "{name} over a table: its rows have no order in time; take it over a stream in rolling(..)"
            );
            return Err(refuse(message, span_of(expr)));
        };
        let by_event_time = match &order[..] {
            [sort] => sort.asc && input.column_of(&sort.expr) == Some(window.time),
            _ => false,
        };
        if !by_event_time {
            let message =
                format!("{name} needs ORDER BY the event time, ascending: {name}(x ORDER BY ts)");
            return Err(refuse(message, span_of(expr)));
        }
        self.need_position(input)
            .map_err(|message| refuse(message, span_of(expr)))
    }

    fn push_window(
        &mut self,
        window: Window,
        time: usize,
        input: NodeId,
        parts: Parts,
        schema: SchemaRef,
        aggregate: &logical_plan::Aggregate,
    ) -> Result<NodeId> {
        let Parts {
            columns,
            groups,
            aggregates,
        } = parts;
        match window.kind {
            WindowKind::Tumble { size_ms } => {
                let key = window_key(&groups).ok_or_else(|| {
                    let message = "GROUP BY must name window_start or window_end: tumble(..) makes a row per group and window";
                    refuse(message, aggregate.group_expr.iter().find_map(span_of))
                })?;
                let lateness_ms = self.current.lateness_ms;
                self.current.lateness_used = true;
                let kind = match lateness_ms {
                    0 => RelationKind::Stream {
                        event_time: position(&groups, GroupColumn::WindowEnd),
                        key: Some(key),
                        positioned: false,
                    },
                    _ => RelationKind::Table { key },
                };
                let start = position(&groups, GroupColumn::WindowStart);
                let twins = start.zip(position(&groups, GroupColumn::WindowEnd));
                let op = Op::Window(WindowOp {
                    input: self.project_if_needed(input, columns),
                    time,
                    size_ms,
                    lateness_ms,
                    groups,
                    aggregates,
                });
                Ok(self.push("window", op, schema, kind, twins))
            }
            WindowKind::Rolling { size_ms, tile_ms } => {
                let kind = RelationKind::Table {
                    key: (0..groups.len()).collect(),
                };
                let op = Op::Rolling(RollingOp {
                    keys: inputs(&groups)?,
                    input: self.project_if_needed(input, columns),
                    time,
                    size_ms,
                    tile_ms,
                    aggregates,
                });
                Ok(self.push("rolling", op, schema, kind, None))
            }
        }
    }

    fn push_table_aggregate(
        &mut self,
        input: NodeId,
        parts: Parts,
        schema: SchemaRef,
    ) -> Result<NodeId> {
        self.refuse_forgotten_rows(input)?;
        let kind = RelationKind::Table {
            key: (0..parts.groups.len()).collect(),
        };
        let op = Op::TableAggregate {
            keys: inputs(&parts.groups)?,
            // Without columns (a bare count(*)) the input stays as it is.
            input: match parts.columns.fields.is_empty() {
                true => input,
                false => self.project_if_needed(input, parts.columns),
            },
            aggregates: parts.aggregates,
        };
        Ok(self.push("aggregate", op, schema, kind, None))
    }
}

fn without_window(aggregate: &logical_plan::Aggregate) -> DataFusionError {
    let exprs = || aggregate.group_expr.iter().chain(&aggregate.aggr_expr);
    let message = if aggregate.aggr_expr.is_empty() {
        "not supported yet: DISTINCT or GROUP BY without aggregates over a stream; it would have to remember every row"
    } else {
        "an aggregate over a stream needs a window: FROM tumble(relation, INTERVAL '1 minute') or rolling(relation, INTERVAL \
         '7 days', INTERVAL '1 hour')"
    };
    refuse(message, exprs().find_map(span_of))
}

fn function_of(call: &expr::AggregateFunction, expr: &Expr) -> Result<AggregateFunction> {
    let name = call.func.name();
    let known = FUNCTIONS.iter().find(|(n, _)| *n == name);
    let Some((_, function)) = known else {
        let names: Vec<_> = FUNCTIONS.iter().map(|(n, _)| *n).collect();
        let message = format!(
            "not supported yet: {name}(..); there are {}",
            names.join(", ")
        );
        return Err(refuse(message, span_of(expr)));
    };
    if call.params.distinct && !matches!(function, AggregateFunction::Min | AggregateFunction::Max)
    {
        let message = format!("not supported yet: {name}(DISTINCT ..)");
        return Err(refuse(message, span_of(expr)));
    }
    if matches!(
        call.params.null_treatment,
        Some(expr::NullTreatment::IgnoreNulls)
    ) {
        let message = "not supported yet: IGNORE NULLS; write FILTER (WHERE x IS NOT NULL)";
        return Err(refuse(message, span_of(expr)));
    }
    Ok(*function)
}

fn position(groups: &[GroupColumn], column: GroupColumn) -> Option<usize> {
    groups.iter().position(|g| *g == column)
}

/// The group and one bound of the window: the other one says nothing more.
fn window_key(groups: &[GroupColumn]) -> Option<Vec<usize>> {
    let start = position(groups, GroupColumn::WindowStart);
    let bound = start.or_else(|| position(groups, GroupColumn::WindowEnd))?;
    let is_key = |i: usize| i == bound || matches!(groups[i], GroupColumn::Input(_));
    Some((0..groups.len()).filter(|i| is_key(*i)).collect())
}

fn inputs(groups: &[GroupColumn]) -> Result<Vec<usize>> {
    let column = |group: &GroupColumn| match group {
        GroupColumn::Input(column) => Ok(*column),
        _ => Err(internal_datafusion_err!("a window column without a window")),
    };
    groups.iter().map(column).collect()
}

fn result_schema(aggregate: &logical_plan::Aggregate, parts: &Parts) -> Result<SchemaRef> {
    let groups = parts.groups.iter().map(|group| match group {
        GroupColumn::Input(column) => parts.columns.fields[*column].data_type().clone(),
        _ => DataType::Timestamp(TimeUnit::Millisecond, None),
    });
    let types = groups.chain(parts.aggregates.iter().map(|a| a.data_type.clone()));
    let fields: Vec<Field> = aggregate
        .schema
        .fields()
        .iter()
        .zip(types)
        .map(|(field, data_type)| Field::new(field.name(), data_type, true))
        .collect();
    if fields.len() != aggregate.schema.fields().len() {
        return Err(internal_datafusion_err!(
            "an aggregation with further columns"
        ));
    }
    Ok(Arc::new(Schema::new(fields)))
}
