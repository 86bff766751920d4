//! The rows that a sink is fed with.

use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray};
use arrow::datatypes::SchemaRef;
use tidewright_jobs::plan::{RelationKind, SinkInput, SinkPlan};
use tidewright_operators::routed::RoutedBatch;
use timely::dataflow::StreamVec;
use timely::dataflow::operators::{Concatenate, Inspect};

use super::key;
use crate::dataflow::nodes::Relation;
use crate::dataflow::replayed::from_state;
use crate::dataflow::{Building, presumed};

/// What a sink is fed with.
pub(super) struct Input<'scope> {
    pub(super) rows: StreamVec<'scope, u64, RoutedBatch>,
    pub(super) schema: SchemaRef,
    pub(super) table_key: Option<Vec<usize>>,
    pub(super) key: Vec<usize>,
    pub(super) clock_node: usize,
}

/// Finds them: those of a relation, or of the dead letters or late rows of all.
pub(super) fn input<'scope>(
    building: &Building<'scope, '_>,
    relations: &[Relation<'scope>],
    sink: &SinkPlan,
) -> Input<'scope> {
    let special = |streams: &[StreamVec<'scope, u64, RoutedBatch>]| Input {
        rows: building.scope.concatenate(streams.to_vec()),
        schema: crate::dead_letter::schema(),
        table_key: None,
        key: Vec::new(),
        clock_node: 0,
    };
    match sink.input {
        SinkInput::DeadLetters => special(&building.dead_letters),
        SinkInput::Late => special(&building.late),
        SinkInput::Node(node) => {
            let plan = &building.context.plan.nodes[node.0];
            let key = key(&plan.kind);
            let is_table = matches!(plan.kind, RelationKind::Table { .. });
            let table_key = is_table.then(|| key.clone());
            let relation = &relations[node.0];
            let rows = if building.context.resync.contains(&sink.name) {
                from_state(building, relation)
            } else {
                relation.live.clone()
            };
            let rows = presumed::with_losses(building, &sink.name, rows);
            Input {
                rows,
                schema: plan.schema.clone(),
                table_key,
                key,
                clock_node: node.0,
            }
        }
    }
}

/// How often a record that cannot be processed is logged where there is no sink for dead letters.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Without a sink for dead letters they are counted, and an example is logged now and then.
pub(super) fn log_dead_letters(building: &Building<'_, '_>) {
    let letters = building.scope.concatenate(building.dead_letters.clone());
    let mut last: Option<Instant> = None;
    letters.inspect(move |batch: &RoutedBatch| {
        if last.is_some_and(|last| last.elapsed() < LOG_EVERY) {
            return;
        }
        last = Some(Instant::now());
        let text = |column: usize| {
            let column = batch.rows.column(column).as_string_view_opt();
            column.filter(|column| !column.is_empty()).map_or("", |column| column.value(0))
        };
        tracing::warn!(
            relation = text(0),
            origin = text(1),
            "a record or row cannot be processed and is dropped, because the job file has no dead_letter: {}",
            text(2)
        );
    });
}
