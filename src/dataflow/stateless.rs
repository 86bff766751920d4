//! Filters and projections in the dataflow, and where rows go that they fail on.

use std::rc::Rc;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion_physical_expr::PhysicalExpr;
use tidewright_operators::expression::{Evaluated, Filter, Projection};
use tidewright_operators::routed::RoutedBatch;
use tidewright_operators::{OFFSET, SPLIT, WATERMARK};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::operator::Operator as _;

use super::specs::made;
use crate::dead_letter::{self, Cause, DeadLetter};
use crate::runtime::failure::fail;
use crate::runtime::stats::Stats;
use crate::runtime::tolerance::Judge;
use crate::sink::cell::Cells;
use crate::sink::json;

type Batches<'scope> = StreamVec<'scope, u64, RoutedBatch>;

/// A filter or projection, to be put into the dataflow once for new rows and once for replayed ones.
#[derive(Clone)]
pub struct Stage {
    name: Rc<str>,
    input: SchemaRef,
    what: What,
}

#[derive(Clone)]
enum What {
    Filter(Arc<dyn PhysicalExpr>),
    Project(Vec<Arc<dyn PhysicalExpr>>, SchemaRef),
}

/// A stage that is being run.
enum Running {
    Filter(Filter),
    Project(Projection),
}

impl Stage {
    /// Keeps the rows for which the predicate is true.
    pub fn filter(name: &str, predicate: &Arc<dyn PhysicalExpr>, input: &SchemaRef) -> Self {
        Self {
            name: name.into(),
            input: input.clone(),
            what: What::Filter(predicate.clone()),
        }
    }

    /// Computes columns.
    pub fn project(
        name: &str,
        exprs: &[Arc<dyn PhysicalExpr>],
        input: &SchemaRef,
        output: &SchemaRef,
    ) -> Self {
        let what = What::Project(exprs.to_vec(), output.clone());
        Self {
            name: name.into(),
            input: input.clone(),
            what,
        }
    }

    fn start(&self) -> Running {
        match &self.what {
            What::Filter(predicate) => {
                Running::Filter(made(&self.name, Filter::new(predicate, &self.input)))
            }
            What::Project(exprs, output) => Running::Project(made(
                &self.name,
                Projection::new(exprs, &self.input, output.clone()),
            )),
        }
    }

    /// What becomes of some rows. Those that an expression fails on are left out.
    pub fn evaluate(&self, rows: RecordBatch) -> Result<RecordBatch, arrow::error::ArrowError> {
        Ok(self.start().apply(rows)?.rows)
    }

    /// Puts the stage into the dataflow: the rows that go on, and dead letters of the rows that an expression fails on.
    pub fn build<'scope>(
        self,
        rows: Batches<'scope>,
        stats: &Arc<Stats>,
        judge: Option<Judge>,
    ) -> (Batches<'scope>, Batches<'scope>) {
        let mut builder = OperatorBuilder::new(self.name.to_string(), rows.scope());
        let mut input = builder.new_input(rows, Pipeline);
        let (output, good) = builder.new_output();
        let (letters, bad) = builder.new_output();
        let mut output =
            OutputBuilder::<_, CapacityContainerBuilder<Vec<RoutedBatch>>>::from(output);
        let mut letters =
            OutputBuilder::<_, CapacityContainerBuilder<Vec<RoutedBatch>>>::from(letters);
        let mut running = self.start();
        let stats = stats.clone();
        builder.build(move |_| {
            move |_| {
                input.for_each(|capability, batches| {
                    let mut evaluated = Vec::new();
                    let mut rejected = Vec::new();
                    let mut judged = 0;
                    for batch in batches.drain(..) {
                        judged += batch.rows.num_rows() as u64;
                        let result = running.apply(batch.rows);
                        let Evaluated {
                            rows,
                            rejected: failed,
                        } = result.unwrap_or_else(|error| {
                            fail(&format!("{} cannot go on: {error}", self.name))
                        });
                        if rows.num_rows() > 0 {
                            evaluated.push(RoutedBatch {
                                target: batch.target,
                                rows,
                            });
                        }
                        rejected.extend(failed.into_iter().map(|row| {
                            let reason = format!("{}: {}", row.expression, row.reason);
                            let visible = self.input.fields().len();
                            letter(&self.name, &row.row, visible, Cause::Expression, reason)
                        }));
                    }
                    output
                        .activate()
                        .session(&capability)
                        .give_iterator(evaluated.into_iter());
                    if let Some(judge) = &judge {
                        judge.note(judged, &rejected);
                    }
                    if !rejected.is_empty() {
                        stats.dead_letters.count(&rejected);
                        let rows = dead_letter::batch(&rejected);
                        letters
                            .activate()
                            .session(&capability)
                            .give(RoutedBatch { target: 0, rows });
                    }
                });
            }
        });
        (good, bad)
    }
}

impl Running {
    fn apply(&mut self, rows: RecordBatch) -> Result<Evaluated, arrow::error::ArrowError> {
        match self {
            Self::Filter(filter) => filter.apply(rows),
            Self::Project(projection) => projection.apply(rows),
        }
    }
}

/// A row as a dead letter: where it came from, as far as its hidden columns tell, and itself as JSON.
fn letter(
    node: &str,
    row: &RecordBatch,
    visible: usize,
    cause: Cause,
    reason: String,
) -> DeadLetter {
    let position = |column: &str| row.column_by_name(column).cloned();
    let origin = match (position(SPLIT), position(OFFSET)) {
        (Some(split), Some(offset)) => {
            let split = split
                .as_primitive::<arrow::datatypes::UInt32Type>()
                .value(0);
            let offset = offset.as_primitive::<Int64Type>().value(0);
            format!("split {split}, offset {offset}")
        }
        _ => String::new(),
    };
    // Computed columns in front of an aggregate are named by their expression: they would tell nobody anything.
    let columns: Vec<usize> = (0..visible)
        .filter(|column| is_name(row.schema_ref().field(*column).name()))
        .collect();
    let mut payload = String::new();
    if let Ok(row) = row.project(&columns)
        && let Ok(cells) = Cells::of(&row)
    {
        json::write_row(&mut payload, &cells, 0);
    }
    DeadLetter {
        relation: view_of(node).into(),
        origin,
        cause,
        reason,
        payload: payload.into_bytes(),
    }
}

/// The view that a node belongs to: nodes are named after their view and their role inside it.
pub fn view_of(node: &str) -> &str {
    node.split_once('/').map_or(node, |(view, _)| view)
}

fn is_name(text: &str) -> bool {
    text.chars()
        .all(|char| char.is_alphanumeric() || char == '_')
}

/// Late rows as letters that say why they came too late.
pub fn late_letters<'scope>(name: &str, late: Batches<'scope>, visible: usize) -> Batches<'scope> {
    let name: Rc<str> = name.into();
    late.unary::<CapacityContainerBuilder<Vec<RoutedBatch>>, _, _, _>(Pipeline, "Late", |_, _| {
        move |input, output| {
            input.for_each(|capability, batches| {
                let letters: Vec<DeadLetter> = batches
                    .drain(..)
                    .flat_map(|batch| {
                        let rows = batch.rows;
                        let name = name.clone();
                        (0..rows.num_rows())
                            .map(move |row| late_letter(&name, &rows.slice(row, 1), visible))
                    })
                    .collect();
                if !letters.is_empty() {
                    let rows = dead_letter::batch(&letters);
                    output
                        .session(&capability)
                        .give(RoutedBatch { target: 0, rows });
                }
            });
        }
    })
}

fn late_letter(name: &str, row: &RecordBatch, visible: usize) -> DeadLetter {
    let watermark = row
        .column_by_name(WATERMARK)
        .and_then(|column| column.as_primitive_opt::<Int64Type>())
        .map_or_else(
            || "the relation's watermark".to_owned(),
            |wm| format!("watermark {}", wm.value(0)),
        );
    letter(
        name,
        row,
        visible,
        Cause::Late,
        format!("late: what it belongs to was final at {watermark}"),
    )
}

/// Drops what is later than `epoch`: the other side of a gate.
pub fn only_through(rows: Batches<'_>, epoch: u64) -> Batches<'_> {
    rows.unary::<CapacityContainerBuilder<Vec<RoutedBatch>>, _, _, _>(
        Pipeline,
        "Replay",
        move |_, _| {
            move |input, output| {
                input.for_each(|capability, batches| {
                    if capability.least().is_some_and(|time| *time <= epoch) {
                        output.session(&capability).give_container(batches);
                    }
                });
            }
        },
    )
}

/// Gives rows of an earlier epoch to a later one.
pub fn at_epoch(rows: Batches<'_>, epoch: u64) -> Batches<'_> {
    rows.unary::<CapacityContainerBuilder<Vec<RoutedBatch>>, _, _, _>(
        Pipeline,
        "Delay",
        move |_, _| {
            move |input, output| {
                input.for_each(|capability, batches| {
                    let capability = capability.delayed(&epoch, 0);
                    output.session(&capability).give_container(batches);
                });
            }
        },
    )
}
