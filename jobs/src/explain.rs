//! What a compiled job is, for people and for programs: relations, keys, operators, state and where it lives, sinks.
//!
//! Connector settings are named by place only (topic, table, path), never with addresses or client settings, which may
//! hold secrets.

mod describe;

use std::fmt::Write;

use serde::Serialize;

use self::describe::{columns, operator, sink_target, source_target};
use crate::{
    compile::{Compiled, JobSettings},
    plan::{Node, NodeId, Op, Plan, RelationKind, SinkInput, SourceKind},
    units::{ByteSize, DurationMs},
};

/// A plan in words.
#[derive(Debug, Serialize)]
struct Explanation<'c> {
    name: &'c str,
    sources: Vec<SourceNote<'c>>,
    views: Vec<ViewNote<'c>>,
    sinks: Vec<SinkNote<'c>>,
    settings: &'c JobSettings,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct SourceNote<'c> {
    name: &'c str,
    connector: &'static str,
    target: String,
    #[serde(flatten)]
    relation: RelationNote<'c>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_time: Option<TimeNote<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partitioned_by: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct TimeNote<'c> {
    column: &'c str,
    out_of_orderness_ms: i64,
    idle_after_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct RelationNote<'c> {
    kind: &'static str,
    key: Option<Vec<&'c str>>,
    columns: Vec<ColumnNote<'c>>,
}

#[derive(Debug, Serialize)]
struct ColumnNote<'c> {
    name: &'c str,
    r#type: String,
}

#[derive(Debug, Serialize)]
struct ViewNote<'c> {
    name: &'c str,
    #[serde(flatten)]
    relation: RelationNote<'c>,
    operators: Vec<OperatorNote<'c>>,
}

#[derive(Debug, Serialize)]
struct OperatorNote<'c> {
    name: &'c str,
    operator: &'static str,
    inputs: Vec<&'c str>,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    /// The source with whose partitions the operator's rows and state stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    partition_local: Option<&'c str>,
}

#[derive(Debug, Serialize)]
struct SinkNote<'c> {
    name: &'c str,
    from: &'c str,
    connector: &'static str,
    target: String,
    delivery: crate::job::Delivery,
}

/// The plan as text: sources, views as stream or table with keys, windows, state and where it lives, sinks.
#[must_use]
pub fn explain(compiled: &Compiled) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = Explanation::of(compiled).write(&mut out);
    out
}

/// The plan as JSON, with the same content as [`explain`].
#[must_use]
pub fn explain_json(compiled: &Compiled) -> serde_json::Value {
    // Only strings as keys, no floats: this cannot fail.
    serde_json::to_value(Explanation::of(compiled)).unwrap_or_default()
}

/// What an operator does, in words: `rolling 7d by ts, the tail leaves every 1h, per (user_id): count(*)`.
#[must_use]
pub fn describe_operator(plan: &Plan, node: &Node) -> String {
    operator(plan, node).1
}

impl<'c> Explanation<'c> {
    fn of(compiled: &'c Compiled) -> Self {
        let plan = &compiled.plan;
        Self {
            name: &plan.name,
            sources: plan.sources.iter().map(|s| source(plan, s)).collect(),
            views: views(plan),
            sinks: sinks(compiled),
            settings: &compiled.job,
            warnings: compiled
                .warnings
                .iter()
                .map(|w| w.message.clone())
                .collect(),
        }
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "job {}", self.name)?;
        for source in &self.sources {
            writeln!(out, "\nsource {}: {}", source.name, source.relation)?;
            writeln!(out, "  from {} {}", source.connector, source.target)?;
            if let Some(column) = source.partitioned_by {
                writeln!(out, "  partitioned by {column}, which is checked")?;
            }
            if let Some(time) = &source.event_time {
                let bound = DurationMs(u64::try_from(time.out_of_orderness_ms).unwrap_or(0));
                write!(
                    out,
                    "  event time {}, out of order by up to {bound}",
                    time.column
                )?;
                match time.idle_after_ms {
                    Some(idle) => writeln!(out, ", idle after {}", DurationMs(idle))?,
                    None => writeln!(out, ", never idle")?,
                }
            }
            if let Some(state) = source.state {
                writeln!(out, "  state: {state}")?;
            }
            writeln!(out, "  columns: {}", names(&source.relation.columns))?;
        }
        for view in &self.views {
            writeln!(out, "\nview {}: {}", view.name, view.relation)?;
            writeln!(out, "  columns: {}", names(&view.relation.columns))?;
            for operator in &view.operators {
                let inputs = operator.inputs.join(", ");
                writeln!(out, "  {} <- {inputs}: {}", operator.name, operator.detail)?;
                if let Some(state) = operator.state {
                    writeln!(out, "    state: {state}")?;
                }
                if let Some(source) = operator.partition_local {
                    writeln!(
                        out,
                        "    partition-local: no exchange, rows and state stay with the partitions of {source}"
                    )?;
                }
            }
        }
        writeln!(out)?;
        for sink in &self.sinks {
            let delivery = match sink.delivery {
                crate::job::Delivery::ExactlyOnce => "exactly once",
                crate::job::Delivery::Eager => "eager",
            };
            writeln!(
                out,
                "sink {} <- {}: {} {}, {delivery}",
                sink.name, sink.from, sink.connector, sink.target
            )?;
        }
        let settings = self.settings;
        if let Some(limit) = settings.dead_letter_limit {
            writeln!(
                out,
                "stops over {} dead letters of {} records",
                limit.stop_above, limit.window_records
            )?;
        }
        writeln!(
            out,
            "\ncheckpoint every {} into {}, {} kept; epochs of {}",
            DurationMs(settings.checkpoint.interval_ms),
            settings.checkpoint.store,
            settings.checkpoint.keep,
            DurationMs(settings.epoch_tick_ms)
        )?;
        let Some(state) = &settings.state else {
            return writeln!(out, "state in memory");
        };
        writeln!(
            out,
            "own keyed state in up to {} of memory per process, the rest on local disk{}; differential arrangements in \
             memory beside that",
            ByteSize(state.memory_bytes),
            match &state.directory {
                Some(directory) => format!(" in {directory}"),
                None => String::new(),
            }
        )
    }
}

impl std::fmt::Display for RelationNote<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.key {
            Some(key) if key.is_empty() => write!(f, "{}, a single row", self.kind),
            Some(key) => write!(f, "{}, key ({})", self.kind, key.join(", ")),
            None => write!(f, "{}, no key", self.kind),
        }
    }
}

fn names(columns: &[ColumnNote<'_>]) -> String {
    let column = |c: &ColumnNote<'_>| format!("{} {}", c.name, c.r#type);
    columns.iter().map(column).collect::<Vec<_>>().join(", ")
}

fn relation<'c>(node: &'c Node) -> RelationNote<'c> {
    let name = |column: &usize| node.schema.field(*column).name().as_str();
    let (kind, key) = match &node.kind {
        RelationKind::Stream { key, .. } => ("stream", key.as_deref()),
        RelationKind::Table { key } => ("table", Some(&key[..])),
        RelationKind::Bag => ("changes", None),
    };
    RelationNote {
        kind,
        key: key.map(|key| key.iter().map(name).collect()),
        columns: columns(&node.schema),
    }
}

fn source<'c>(plan: &'c Plan, source: &'c crate::plan::SourcePlan) -> SourceNote<'c> {
    let (connector, target) = source_target(&source.config);
    let event_time = match &source.kind {
        SourceKind::Stream {
            event_time: Some(time),
        } => Some(TimeNote {
            column: source.schema.field(time.column).name(),
            out_of_orderness_ms: time.out_of_orderness_ms,
            idle_after_ms: time.idle_after_ms,
        }),
        _ => None,
    };
    let is_table = matches!(source.kind, SourceKind::Table { .. });
    SourceNote {
        name: &source.name,
        connector,
        target,
        relation: relation(&plan.nodes[source.node.0]),
        event_time,
        partitioned_by: source
            .partitioned_by()
            .map(|column| source.schema.field(column).name().as_str()),
        state: is_table.then_some("own keyed state: the latest row of every key"),
    }
}

/// Every operator belongs to the view whose name its own begins with.
fn views(plan: &Plan) -> Vec<ViewNote<'_>> {
    plan.views
        .iter()
        .map(|(name, node)| ViewNote {
            name,
            relation: relation(&plan.nodes[node.0]),
            operators: plan
                .nodes
                .iter()
                .filter(|n| n.name.split_once('/').is_some_and(|(view, _)| view == name))
                .map(|node| operator_note(plan, node))
                .collect(),
        })
        .collect()
}

fn operator_note<'c>(plan: &'c Plan, node: &'c Node) -> OperatorNote<'c> {
    let (operator, detail, state) = operator(plan, node);
    OperatorNote {
        name: &node.name,
        operator,
        inputs: inputs(&node.op)
            .into_iter()
            .map(|n| plan.nodes[n.0].name.as_str())
            .collect(),
        detail,
        state,
        partition_local: plan
            .partition_local(node)
            .map(|source| plan.sources[source].name.as_str()),
    }
}

fn inputs(op: &Op) -> Vec<NodeId> {
    match op {
        Op::Source { .. } => vec![],
        Op::Filter { input, .. } | Op::Project { input, .. } | Op::TableAggregate { input, .. } => {
            vec![*input]
        }
        Op::Union { inputs } => inputs.clone(),
        Op::Window(window) => vec![window.input],
        Op::Rolling(rolling) => vec![rolling.input],
        Op::Lookup { input, table, .. } => vec![*input, *table],
        Op::KeyJoin { left, right, .. } | Op::TableJoin { left, right, .. } => vec![*left, *right],
    }
}

fn sinks(compiled: &Compiled) -> Vec<SinkNote<'_>> {
    let plan = &compiled.plan;
    let relation_of = |node: NodeId| {
        let views = plan.views.iter().map(|(name, view)| (name, *view));
        let mut relations = views.chain(plan.sources.iter().map(|s| (&s.name, s.node)));
        let found = relations.find(|(_, n)| *n == node);
        found.map_or(plan.nodes[node.0].name.as_str(), |(name, _)| name.as_str())
    };
    plan.sinks
        .iter()
        .map(|sink| {
            let (connector, target) = sink_target(&sink.config);
            SinkNote {
                name: &sink.name,
                from: match sink.input {
                    SinkInput::Node(node) => relation_of(node),
                    SinkInput::DeadLetters => "dead letters",
                    SinkInput::Late => "late rows",
                },
                connector,
                target,
                delivery: compiled.job.delivery_of(&sink.name),
            }
        })
        .collect()
}
