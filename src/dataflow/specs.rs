//! From what the plan says to what operators take: the one place where both vocabularies meet.

use arrow::datatypes::SchemaRef;
use tidewright_jobs::plan::{self, GroupColumn, RollingOp, WindowOp};
use tidewright_operators::accumulate::{Aggregate, AggregateFunction};
use tidewright_operators::differential::{TableAggregateSpec, TableJoinSpec};
use tidewright_operators::key_join::{KeyJoin, KeyJoinSpec};
use tidewright_operators::lookup::{Lookup, LookupSpec};
use tidewright_operators::rolling::{Rolling, RollingSpec};
use tidewright_operators::upsert::Upsert;
use tidewright_operators::window::{self, Window, WindowSpec};
use tidewright_operators::{JoinKind, Operator, OperatorError};

use crate::runtime::failure::fail;

/// An operator of the plan that cannot be made is a defect of the planner, told before anything runs.
pub fn made<T>(name: &str, result: Result<T, impl std::fmt::Display>) -> T {
    result.unwrap_or_else(|error| fail(&format!("{name} cannot be planned: {error}")))
}

/// The columns that a window's rows are exchanged by.
pub fn window_key(window: &WindowOp) -> Vec<usize> {
    let input = |group: &GroupColumn| match group {
        GroupColumn::Input(column) => Some(*column),
        GroupColumn::WindowStart | GroupColumn::WindowEnd => None,
    };
    window.groups.iter().filter_map(input).collect()
}

/// Tumbling windows.
pub fn window(
    name: &str,
    op: &WindowOp,
    input: &SchemaRef,
    result: &SchemaRef,
    partition_local: bool,
) -> Box<dyn Operator> {
    let group = |group: &GroupColumn| match group {
        GroupColumn::Input(column) => window::GroupColumn::Input(*column),
        GroupColumn::WindowStart => window::GroupColumn::WindowStart,
        GroupColumn::WindowEnd => window::GroupColumn::WindowEnd,
    };
    let spec = WindowSpec {
        time: op.time,
        size_ms: op.size_ms,
        lateness_ms: op.lateness_ms,
        groups: op.groups.iter().map(group).collect(),
        aggregates: op.aggregates.iter().map(aggregate).collect(),
    };
    let window = made(
        name,
        Window::new(name.to_owned(), input, result.clone(), spec),
    );
    Box::new(if partition_local {
        window.partition_local()
    } else {
        window
    })
}

/// Rolling windows.
pub fn rolling(
    name: &str,
    op: &RollingOp,
    input: &SchemaRef,
    result: &SchemaRef,
    partition_local: bool,
) -> Box<dyn Operator> {
    let spec = RollingSpec {
        time: op.time,
        size_ms: op.size_ms,
        tile_ms: op.tile_ms,
        keys: op.keys.clone(),
        aggregates: op.aggregates.iter().map(aggregate).collect(),
    };
    let rolling = made(name, Rolling::new(name.to_owned(), input, result, spec));
    Box::new(if partition_local {
        rolling.partition_local()
    } else {
        rolling
    })
}

fn aggregate(aggregate: &plan::Aggregate) -> Aggregate {
    Aggregate {
        function: match aggregate.function {
            plan::AggregateFunction::Count => AggregateFunction::Count,
            plan::AggregateFunction::Sum => AggregateFunction::Sum,
            plan::AggregateFunction::Avg => AggregateFunction::Avg,
            plan::AggregateFunction::Min => AggregateFunction::Min,
            plan::AggregateFunction::Max => AggregateFunction::Max,
            plan::AggregateFunction::First => AggregateFunction::First,
            plan::AggregateFunction::Last => AggregateFunction::Last,
        },
        argument: aggregate.argument,
        filter: aggregate.filter,
        data_type: aggregate.data_type.clone(),
    }
}

/// A table source's records resolved by key.
pub fn upsert(name: &str, schema: &SchemaRef, key: &[usize]) -> Box<dyn Operator> {
    Box::new(made(name, Upsert::new(name, schema.clone(), key)))
}

/// One side of a join: its visible columns and the ones that are compared.
pub type Side<'a> = (&'a SchemaRef, &'a [usize]);

/// A stream enriched by a table.
pub fn lookup(
    name: &str,
    table: Side<'_>,
    input: Side<'_>,
    kind: plan::JoinKind,
    result: &SchemaRef,
) -> Box<dyn Operator> {
    let spec = LookupSpec {
        name: name.to_owned(),
        input: input.0.clone(),
        input_key: input.1.to_vec(),
        table: table.0.clone(),
        table_key: table.1.to_vec(),
        kind: join_kind(kind),
        schema: result.clone(),
    };
    Box::new(made(name, Lookup::new(spec)))
}

/// Two tables on their common key.
pub fn key_join(
    name: &str,
    left: Side<'_>,
    right: Side<'_>,
    kind: plan::JoinKind,
    result: &SchemaRef,
) -> Box<dyn Operator> {
    let spec = KeyJoinSpec {
        name: name.to_owned(),
        left: left.0.clone(),
        left_key: left.1.to_vec(),
        right: right.0.clone(),
        right_key: right.1.to_vec(),
        kind: join_kind(kind),
        schema: result.clone(),
    };
    Box::new(made(name, KeyJoin::new(&spec)))
}

fn join_kind(kind: plan::JoinKind) -> JoinKind {
    match kind {
        plan::JoinKind::Inner => JoinKind::Inner,
        plan::JoinKind::Left => JoinKind::Left,
    }
}

/// Two tables on any columns.
pub fn table_join(
    name: &str,
    (left, left_on): Side<'_>,
    (right, right_on): Side<'_>,
    kind: plan::JoinKind,
    schema: &SchemaRef,
) -> TableJoinSpec {
    TableJoinSpec {
        name: name.to_owned(),
        left: left.clone(),
        left_on: left_on.to_vec(),
        right: right.clone(),
        right_on: right_on.to_vec(),
        kind: join_kind(kind),
        schema: schema.clone(),
    }
}

/// Aggregates of a changing table.
pub fn table_aggregate(
    name: &str,
    input: &SchemaRef,
    keys: &[usize],
    aggregates: &[plan::Aggregate],
    schema: &SchemaRef,
) -> TableAggregateSpec {
    TableAggregateSpec {
        name: name.to_owned(),
        input: input.clone(),
        keys: keys.to_vec(),
        aggregates: aggregates.iter().map(aggregate).collect(),
        schema: schema.clone(),
    }
}

/// How a differential operator ends the job.
pub fn failures() -> tidewright_operators::differential::Failures {
    tidewright_operators::differential::Failures::new(|error: OperatorError| {
        fail(&error.to_string())
    })
}
