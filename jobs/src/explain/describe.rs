//! Operators, connectors and types in words.

use arrow::datatypes::{DataType, Schema, SchemaRef};

use super::ColumnNote;
use crate::{
    job::{DatagenKind, SinkConfig, SourceConfig},
    plan::{Aggregate, GroupColumn, JoinKind, Node, NodeId, Op, Plan, RollingOp, WindowOp},
    units::DurationMs,
};

pub(super) fn columns(schema: &Schema) -> Vec<ColumnNote<'_>> {
    let note = |field: &'_ std::sync::Arc<arrow::datatypes::Field>| type_name(field.data_type());
    schema
        .fields()
        .iter()
        .map(|field| ColumnNote {
            name: field.name(),
            r#type: note(field),
        })
        .collect()
}

/// The type as a job file writes it.
fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int32 => "int".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Utf8View => "string".to_owned(),
        DataType::Timestamp(..) => "timestamp_ms".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        other => other.to_string(),
    }
}

const DIFFERENTIAL: &str =
    "differential arrangement, in memory, rebuilt at restore from the state before it";

/// An operator's kind, what it does, and where its state lives.
pub(super) fn operator(plan: &Plan, node: &Node) -> (&'static str, String, Option<&'static str>) {
    let schema = |id: NodeId| &plan.nodes[id.0].schema;
    match &node.op {
        Op::Source { .. } => ("source", String::new(), None),
        Op::Filter { predicate, .. } => ("filter", predicate.to_string(), None),
        Op::Project { .. } => (
            "project",
            names(&node.schema, 0..node.schema.fields().len()),
            None,
        ),
        Op::Union { .. } => ("union", "all rows".to_owned(), None),
        Op::Window(window) => (
            "window",
            window_detail(window, schema(window.input)),
            Some("own keyed state: an entry per group and open window"),
        ),
        Op::Rolling(rolling) => (
            "rolling",
            rolling_detail(rolling, schema(rolling.input)),
            Some("own keyed state: an entry per key and tile"),
        ),
        Op::Lookup {
            input,
            input_key,
            kind,
            ..
        } => (
            "lookup",
            format!(
                "{} on {}, as of arrival",
                join(*kind),
                names(schema(*input), input_key.clone())
            ),
            Some("own keyed state: the table's rows by key"),
        ),
        Op::KeyJoin {
            left,
            left_key,
            kind,
            ..
        } => (
            "key_join",
            format!(
                "{} on the whole key ({})",
                join(*kind),
                names(schema(*left), left_key.clone())
            ),
            Some("own keyed state: both sides' rows by key"),
        ),
        Op::TableJoin {
            left,
            left_on,
            right,
            right_on,
            kind,
        } => (
            "table_join",
            format!(
                "{} on ({}) = ({})",
                join(*kind),
                names(schema(*left), left_on.clone()),
                names(schema(*right), right_on.clone())
            ),
            Some(DIFFERENTIAL),
        ),
        Op::TableAggregate {
            input,
            keys,
            aggregates,
        } => (
            "table_aggregate",
            aggregation(
                names(schema(*input), keys.clone()),
                aggregates,
                schema(*input),
            ),
            Some(DIFFERENTIAL),
        ),
    }
}

fn join(kind: JoinKind) -> &'static str {
    match kind {
        JoinKind::Inner => "inner",
        JoinKind::Left => "left",
    }
}

fn names(schema: &SchemaRef, columns: impl IntoIterator<Item = usize>) -> String {
    let name = |column| schema.field(column).name().as_str();
    columns.into_iter().map(name).collect::<Vec<_>>().join(", ")
}

fn duration(ms: i64) -> DurationMs {
    DurationMs(u64::try_from(ms).unwrap_or(0))
}

fn window_detail(window: &WindowOp, schema: &SchemaRef) -> String {
    let group = |group: &GroupColumn| match group {
        GroupColumn::Input(column) => schema.field(*column).name().as_str(),
        GroupColumn::WindowStart => "window_start",
        GroupColumn::WindowEnd => "window_end",
    };
    let groups: Vec<_> = window.groups.iter().map(group).collect();
    let lateness = match window.lateness_ms {
        0 => String::new(),
        ms => format!(", accepting late rows for {}", duration(ms)),
    };
    format!(
        "tumble {} by {}{lateness}, {}",
        duration(window.size_ms),
        schema.field(window.time).name(),
        aggregation(groups.join(", "), &window.aggregates, schema)
    )
}

fn rolling_detail(rolling: &RollingOp, schema: &SchemaRef) -> String {
    format!(
        "rolling {} by {}, the tail leaves every {}, {}",
        duration(rolling.size_ms),
        schema.field(rolling.time).name(),
        duration(rolling.tile_ms),
        aggregation(
            names(schema, rolling.keys.clone()),
            &rolling.aggregates,
            schema
        )
    )
}

fn aggregation(groups: String, aggregates: &[Aggregate], schema: &SchemaRef) -> String {
    let calls: Vec<_> = aggregates.iter().map(|a| call(a, schema)).collect();
    let groups = match groups.as_str() {
        "" => "in all".to_owned(),
        groups => format!("per ({groups})"),
    };
    format!("{groups}: {}", calls.join(", "))
}

fn call(aggregate: &Aggregate, schema: &SchemaRef) -> String {
    let function = aggregate.function.name();
    let argument = aggregate.argument.map_or("*", |c| schema.field(c).name());
    match aggregate.filter {
        Some(filter) => format!(
            "{function}({argument}) where {}",
            schema.field(filter).name()
        ),
        None => format!("{function}({argument})"),
    }
}

/// A source's connector and where it reads.
pub(super) fn source_target(config: &SourceConfig) -> (&'static str, String) {
    match config {
        SourceConfig::Kafka(kafka) => ("kafka", format!("topic {}", kafka.topic)),
        SourceConfig::Files(files) => ("files", files.path.clone()),
        SourceConfig::Datagen(datagen) => {
            let kind = match datagen.kind {
                DatagenKind::Events => "events",
                DatagenKind::Profiles => "profiles",
                DatagenKind::Categories => "categories",
            };
            ("datagen", format!("{kind}, seed {}", datagen.seed))
        }
    }
}

/// A sink's connector and where it writes.
pub(super) fn sink_target(config: &SinkConfig) -> (&'static str, String) {
    match config {
        SinkConfig::Redis(redis) => ("redis", format!("key {}", redis.key)),
        SinkConfig::Dynamodb(dynamodb) => ("dynamodb", format!("table {}", dynamodb.table)),
        SinkConfig::Kafka(kafka) => ("kafka", format!("topic {}", kafka.topic)),
        SinkConfig::Files(files) => ("files", files.path.clone()),
        SinkConfig::Embedded(store) => ("embedded", store.path.clone()),
        SinkConfig::Stdout(_) => ("stdout", String::new()),
        SinkConfig::Blackhole(_) => ("blackhole", String::new()),
    }
}
