//! Keyed sinks whose content is replaced: whatever their store holds is presumed gone until the relation brings it again.
//!
//! Before the dataflow is built, the keys in the store are read, and enter the sink's outbox as losses in the first new
//! epoch, which is kept free for rows from state. What state holds of the relation comes in the same epoch, and a gain wins
//! over a loss; what comes later wins anyway. So the deletes that are left are those of keys that the relation no longer
//! has, and they go out together with its rows, at versions of this run: nothing newer is undone.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use arrow::array::{ArrayRef, Int8Array, RecordBatch, StringArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use tidewright_jobs::job::{KafkaSourceConfig, SourceConfig, StartPosition};
use tidewright_jobs::plan::{NodeId, Plan, RelationKind, SinkInput, SinkPlan};
use tidewright_operators::DIFF;
use tidewright_operators::routed::RoutedBatch;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::vec::ToStream;

use super::nodes::Batches;
use super::{Building, resync, rows_if_any, sinks, stateless};
use crate::sink::rows::{Row, StoredRows};
use crate::sink::{EmbeddedStores, SinkError};

/// Which keyed sinks a run brings to exactly the content of their table although it does not start from the latest
/// checkpoint: those whose table restored state holds or, where nothing is restored, whose sources are read from their
/// first record. Keys that came and went between two epochs of such a run would stay in their stores otherwise.
#[must_use]
pub fn made_whole(plan: &Plan, restored: bool) -> BTreeSet<String> {
    let behind = super::derives_from(plan);
    let is_whole = |sink: &&SinkPlan| match (sink.input, restored) {
        _ if !sinks::is_keyed(&sink.config) => false,
        (SinkInput::Node(_), true) => resync::is_resendable(plan, sink),
        (SinkInput::Node(NodeId(node)), false) => {
            let from_start = |name: &String| {
                let source = plan.sources.iter().find(|source| source.name == *name);
                source.is_none_or(|source| is_read_whole(&source.config))
            };
            matches!(plan.nodes[node].kind, RelationKind::Table { .. })
                && behind[node].iter().all(from_start)
        }
        _ => false,
    };
    let whole = plan.sinks.iter().filter(is_whole);
    whole.map(|sink| sink.name.clone()).collect()
}

fn is_read_whole(config: &SourceConfig) -> bool {
    match config {
        SourceConfig::Kafka(KafkaSourceConfig { start, .. }) => *start == StartPosition::Earliest,
        SourceConfig::Files(_) | SourceConfig::Datagen(_) => true,
    }
}

/// Every row that a sink's store holds of the job, as losses with nothing but their key.
///
/// # Errors
/// If the store cannot be read.
pub fn every_row(
    plan: &Plan,
    sink: &SinkPlan,
    stores: &EmbeddedStores,
) -> Result<Vec<RecordBatch>, SinkError> {
    let SinkInput::Node(NodeId(node)) = sink.input else {
        return Ok(Vec::new());
    };
    ReadBack::of(plan, NodeId(node), Reading::Losses).all(plan, sink, stores)
}

/// Every row of a sink of another plan, such as a shadow's, as gains of this relation. It has to have the same columns.
///
/// # Errors
/// If the store cannot be read.
pub fn brought_over(
    plan: &Plan,
    sink: &SinkPlan,
    stores: &EmbeddedStores,
) -> Result<Vec<RecordBatch>, SinkError> {
    match sink.input {
        SinkInput::Node(node) => ReadBack::of(plan, node, Reading::Gains).all(plan, sink, stores),
        SinkInput::DeadLetters | SinkInput::Late => Ok(Vec::new()),
    }
}

/// What becomes of the rows of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// They go, for all that is known: only their key counts.
    Losses,
    /// They come, with all their columns.
    Gains,
}

/// From a store's text back to columns.
struct ReadBack {
    schema: SchemaRef,
    key: Vec<usize>,
    reading: Reading,
}

impl ReadBack {
    fn of(plan: &Plan, NodeId(node): NodeId, reading: Reading) -> Self {
        let node = &plan.nodes[node];
        Self {
            schema: node.schema.clone(),
            key: sinks::key(&node.kind),
            reading,
        }
    }

    fn all(
        &self,
        plan: &Plan,
        sink: &SinkPlan,
        stores: &EmbeddedStores,
    ) -> Result<Vec<RecordBatch>, SinkError> {
        let mut stored = rows_if_any(plan, sink, stores)?;
        let mut batches = Vec::new();
        while let Some(page) = stored.page()? {
            let rows: Vec<Row> = page.into_iter().map(|(_, row)| row).collect();
            let batch = self.rows(rows, &*stored)?;
            if batch.num_rows() > 0 {
                batches.push(batch);
            }
        }
        Ok(batches)
    }

    /// The rows as changes. Rows of another key, which a change of the job file has left behind, cannot be named any more and
    /// stay.
    fn rows(&self, mut rows: Vec<Row>, stored: &dyn StoredRows) -> Result<RecordBatch, SinkError> {
        let name = |column: &usize| self.schema.field(*column).name();
        let count = rows.len();
        rows.retain(|row| self.key.iter().all(|column| row.contains_key(name(column))));
        if rows.len() < count {
            let left = count - rows.len();
            tracing::warn!(rows = left, "{}: rows of another key stay", stored.place());
        }
        self.batch(&rows).map_err(|error| {
            SinkError::Fatal(format!(
                "{}: a row cannot be read back: {error}",
                stored.place()
            ))
        })
    }

    fn batch(&self, rows: &[Row]) -> Result<RecordBatch, ArrowError> {
        let fields = self.schema.fields().iter();
        let columns = fields.clone().enumerate().map(|(at, field)| {
            let kind = field.data_type();
            if self.key.contains(&at) || self.reading == Reading::Gains {
                let texts = rows.iter().map(|row| row.get(field.name()));
                parsed(&texts.collect::<StringArray>(), kind)
            } else if field.is_nullable() {
                Ok(new_null_array(kind, rows.len()))
            } else {
                // Nobody looks at it, but its column has no nulls.
                let texts = rows.iter().map(|_| Some(stand_in(kind)));
                parsed(&texts.collect::<StringArray>(), kind)
            }
        });
        let mut columns = columns.collect::<Result<Vec<ArrayRef>, _>>()?;
        let diff = match self.reading {
            Reading::Losses => -1,
            Reading::Gains => 1,
        };
        columns.push(Arc::new(Int8Array::from(vec![diff; rows.len()])));
        let mut fields: Vec<_> = fields.cloned().collect();
        fields.push(Field::new(DIFF, DataType::Int8, false).into());
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
    }
}

fn parsed(texts: &StringArray, kind: &DataType) -> Result<ArrayRef, ArrowError> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(texts, kind, &options)
}

/// The text of some value of a type.
fn stand_in(kind: &DataType) -> &'static str {
    match kind {
        DataType::Boolean => "false",
        DataType::Utf8View => "",
        DataType::Timestamp(..) | DataType::Date32 => "1970-01-01",
        _ => "0",
    }
}

/// A sink's rows, after the losses that were read from its store if its content is replaced. Every worker has the edge; the
/// first one has the losses.
pub(super) fn with_losses<'scope>(
    building: &Building<'scope, '_>,
    sink: &str,
    rows: Batches<'scope>,
) -> Batches<'scope> {
    let context = building.context;
    if !context.replaced.contains(sink) {
        return rows;
    }
    let mut losses = Vec::new();
    if building.scope.index() == 0 {
        let mut presumed = context
            .presumed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        losses = presumed.remove(sink).unwrap_or_default();
    }
    let losses = losses
        .into_iter()
        .map(|rows| RoutedBatch { target: 0, rows })
        .to_stream(building.scope);
    rows.concat(stateless::at_epoch(losses, context.start))
}

#[cfg(test)]
mod tests;
