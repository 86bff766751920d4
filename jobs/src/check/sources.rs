//! Sources: one connector, a schema, and what the records mean.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};

use super::{exactly_one, not_empty, suggest};
use crate::{
    diagnostics::{Fault, Report},
    job::{
        DatagenConfig, DatagenKind, EventTimeSpec, KafkaSourceConfig, Ordered, SourceConfig,
        SourceSpec,
    },
    plan::{EventTime, SourceKind},
    planner::{SourceDeclaration, declared_type},
    tree::{Tree, read},
};

const CONNECTORS: &str = "kafka, files, datagen";

const TYPES: [&str; 8] = [
    "boolean",
    "int",
    "bigint",
    "double",
    "string",
    "timestamp_ms",
    "date",
    "decimal(12,2)",
];

/// Client settings that the guarantee depends on.
const ENGINE_PROPERTIES: [&str; 7] = [
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "group.id",
    "isolation.level",
];

/// Checks one source; everything wrong with it goes to the report.
pub(crate) fn source(
    name: &str,
    tree: &Tree,
    report: &mut Report<'_>,
) -> Option<SourceDeclaration> {
    let spec: SourceSpec = report.take(read(tree))?;
    let SourceSpec {
        schema,
        event_time,
        primary_key,
        ..
    } = spec.clone();
    let config = report.take(exactly_one(spec.connectors(), CONNECTORS, tree.position))?;
    check_connector(&config, tree, report);
    let schema = columns(&config, schema.as_ref(), tree, report)?;
    let kind = match primary_key {
        Some(key) => table(&key, event_time.as_ref(), &schema, tree, report)?,
        None => SourceKind::Stream {
            event_time: match &event_time {
                Some(spec) => Some(stream_time(spec, &schema, tree, report)?),
                None => None,
            },
        },
    };
    if let SourceConfig::Kafka(kafka) = &config {
        report.take(partitioned_by(kafka, &schema, &kind, tree));
    }
    Some(SourceDeclaration {
        name: name.to_owned(),
        config,
        schema: Arc::new(schema),
        kind,
    })
}

fn check_connector(config: &SourceConfig, tree: &Tree, report: &mut Report<'_>) {
    match config {
        SourceConfig::Kafka(kafka) => check_kafka(kafka, tree, report),
        SourceConfig::Files(files) => {
            report.take(not_empty(&files.path, "the path", tree, &["files", "path"]));
        }
        SourceConfig::Datagen(datagen) => check_datagen(datagen, tree, report),
    }
}

fn check_kafka(kafka: &KafkaSourceConfig, tree: &Tree, report: &mut Report<'_>) {
    report.take(not_empty(
        &kafka.brokers,
        "the list of brokers",
        tree,
        &["kafka", "brokers"],
    ));
    report.take(not_empty(
        &kafka.topic,
        "the topic",
        tree,
        &["kafka", "topic"],
    ));
    for property in kafka.properties.keys() {
        if ENGINE_PROPERTIES.contains(&property.as_str()) {
            let position = tree.position_of(&["kafka", "properties", property]);
            let message = format!("`{property}` is set by the engine: its guarantees depend on it");
            let help = "use the keys of `kafka` (brokers, start, group) instead";
            report.error(Fault::new(position, message).help(help));
        }
    }
}

/// The column that a topic is partitioned by is the record's key as text.
fn partitioned_by(
    kafka: &KafkaSourceConfig,
    schema: &Schema,
    kind: &SourceKind,
    tree: &Tree,
) -> Result<(), Fault> {
    let Some(name) = &kafka.partitioned_by else {
        return Ok(());
    };
    let fault =
        |message: String| Fault::new(tree.position_of(&["kafka", "partitioned_by"]), message);
    if let SourceKind::Table { .. } = kind {
        let message =
            "`partitioned_by` is for streams: a table's rows are always exchanged by its key";
        return Err(fault(message.to_owned()).help("leave it out here"));
    }
    let Some((_, field)) = schema.column_with_name(name) else {
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let message =
            format!("`partitioned_by` names the column `{name}`, which the schema does not have");
        return Err(fault(message).help(suggest(name, &names)));
    };
    if *field.data_type() != DataType::Utf8View {
        let message = format!("`partitioned_by` names the column `{name}`, which is not a string");
        let help = "the partition is checked by the bytes of the record's key: it must be a column of type string";
        return Err(fault(message).help(help));
    }
    Ok(())
}

fn check_datagen(datagen: &DatagenConfig, tree: &Tree, report: &mut Report<'_>) {
    let mut refuse = |key: &str, message: &str| {
        let position = tree.position_of(&["datagen", key]);
        report.error(Fault::new(position, format!("`{key}` {message}")));
    };
    for (key, share) in [("late", datagen.late), ("malformed", datagen.malformed)] {
        if !(0.0..=1.0).contains(&share) {
            refuse(key, "is a share: it must be between 0 and 1");
        }
    }
    if datagen.users == 0 {
        refuse("users", "must be at least 1");
    }
    if datagen.splits == 0 {
        refuse("splits", "must be at least 1");
    }
    if datagen
        .rate
        .is_some_and(|rate| !rate.is_finite() || rate <= 0.0)
    {
        refuse("rate", "must be more than 0 records per second");
    }
}

/// The columns that generated records have.
fn built_in(kind: DatagenKind) -> Vec<(&'static str, &'static str)> {
    match kind {
        DatagenKind::Events => vec![
            ("event_id", "string"),
            ("user_id", "string"),
            ("type", "string"),
            ("ts", "timestamp_ms"),
            ("session_id", "string"),
            ("product_id", "string"),
            ("category", "string"),
            ("price", "decimal(12,2)"),
            ("quantity", "bigint"),
            ("campaign_id", "string"),
            ("url", "string"),
            ("device", "string"),
            ("country", "string"),
        ],
        DatagenKind::Profiles => vec![
            ("user_id", "string"),
            ("email", "string"),
            ("first_name", "string"),
            ("country", "string"),
            ("segment", "string"),
            ("consent", "boolean"),
            ("updated_at", "timestamp_ms"),
        ],
        DatagenKind::Categories => vec![("category", "string"), ("name", "string")],
    }
}

fn columns(
    config: &SourceConfig,
    written: Option<&Ordered<String>>,
    tree: &Tree,
    report: &mut Report<'_>,
) -> Option<Schema> {
    let generated = match config {
        SourceConfig::Datagen(datagen) => Some(built_in(datagen.kind)),
        _ => None,
    };
    match (written, generated) {
        (Some(schema), generated) => written_columns(schema, generated.as_deref(), tree, report),
        (None, Some(columns)) => {
            let field = |(name, type_name): (&str, &str)| {
                declared_type(type_name).map(|data_type| Field::new(name, data_type, true))
            };
            Some(Schema::new(
                columns.into_iter().filter_map(field).collect::<Vec<_>>(),
            ))
        }
        (None, None) => {
            report.error(
                Fault::new(tree.position, "the key `schema` is missing here")
                    .help("name the fields that the job uses: schema: { user_id: string, ts: timestamp_ms }"),
            );
            None
        }
    }
}

fn written_columns(
    schema: &Ordered<String>,
    generated: Option<&[(&'static str, &'static str)]>,
    tree: &Tree,
    report: &mut Report<'_>,
) -> Option<Schema> {
    let mut fields = Vec::new();
    if schema.0.is_empty() {
        let position = tree.position_of(&["schema"]);
        report.error(Fault::new(position, "the schema has no columns"));
    }
    for (name, type_name) in &schema.0 {
        let position = tree.position_of(&["schema", name]);
        if name.starts_with('_') {
            let message = format!(
                "the column name `{name}` is reserved: names that begin with _ are the engine's own"
            );
            report.error(Fault::new(position, message));
        }
        if let Some(columns) = generated
            && !columns.contains(&(name.as_str(), type_name.as_str()))
        {
            let known: Vec<_> = columns.iter().map(|(n, t)| format!("{n}: {t}")).collect();
            let shown = tree.shown(&["schema", name], type_name);
            let message = format!("generated records have no column `{name}: {shown}`");
            report.error(
                Fault::new(position, message).help(format!("there are: {}", known.join(", "))),
            );
            continue;
        }
        match declared_type(type_name) {
            Some(data_type) => fields.push(Field::new(name, data_type, true)),
            None => {
                let shown = tree.shown(&["schema", name], type_name);
                let message = format!("unknown type `{shown}` of column `{name}`");
                report.error(Fault::new(position, message).help(suggest(type_name, &TYPES)));
            }
        }
    }
    (fields.len() == schema.0.len() && !fields.is_empty()).then(|| Schema::new(fields))
}

fn column(name: &str, schema: &Schema, tree: &Tree, path: &[&str]) -> Result<usize, Fault> {
    schema.index_of(name).map_err(|_| {
        let names: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let shown = tree.shown(path, name);
        Fault::new(
            tree.position_of(path),
            format!("there is no column `{shown}` in the schema"),
        )
        .help(suggest(name, &names))
    })
}

fn time_column(spec: &EventTimeSpec, schema: &Schema, tree: &Tree) -> Result<usize, Fault> {
    let path = ["event_time", "column"];
    let position = column(&spec.column, schema, tree, &path)?;
    match schema.field(position).data_type() {
        DataType::Timestamp(..) => Ok(position),
        _ => Err(Fault::new(
            tree.position_of(&path),
            format!("the event time `{}` is not a timestamp", spec.column),
        )
        .help(format!("declare it as `{}: timestamp_ms`", spec.column))),
    }
}

fn stream_time(
    spec: &EventTimeSpec,
    schema: &Schema,
    tree: &Tree,
    report: &mut Report<'_>,
) -> Option<EventTime> {
    Some(EventTime {
        column: report.take(time_column(spec, schema, tree))?,
        out_of_orderness_ms: i64::try_from(spec.out_of_orderness.0).unwrap_or(i64::MAX),
        idle_after_ms: spec.idle_after.map(|d| d.0),
    })
}

fn table(
    key: &[String],
    time: Option<&EventTimeSpec>,
    schema: &Schema,
    tree: &Tree,
    report: &mut Report<'_>,
) -> Option<SourceKind> {
    let mut positions = Vec::new();
    if key.is_empty() {
        let position = tree.position_of(&["primary_key"]);
        report.error(
            Fault::new(position, "the primary key has no columns")
                .help("leave `primary_key` out if the source is a stream of events"),
        );
        return None;
    }
    for (i, name) in key.iter().enumerate() {
        let index = i.to_string();
        let path = ["primary_key", index.as_str()];
        let position = report.take(column(name, schema, tree, &path))?;
        let place = tree.position_of(&path);
        if positions.contains(&position) {
            report.error(Fault::new(
                place,
                format!("`{name}` is in the primary key twice"),
            ));
        }
        if *schema.field(position).data_type() == DataType::Float64 {
            let message = format!(
                "`{name}` is a double: it cannot be a key, equal numbers can differ in their bits"
            );
            report.error(Fault::new(place, message).help("use bigint, decimal or string"));
        }
        positions.push(position);
    }
    if time.is_some_and(|spec| spec.idle_after.is_some()) {
        let position = tree.position_of(&["event_time", "idle_after"]);
        report.error(Fault::new(
            position,
            "`idle_after` is for streams: tables hold no watermark",
        ));
    }
    let event_time = match time {
        Some(spec) => Some(report.take(time_column(spec, schema, tree))?),
        None => None,
    };
    Some(SourceKind::Table {
        key: positions,
        event_time,
    })
}
