//! Aggregates of changing tables.

use std::rc::Rc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use timely::dataflow::StreamVec;

use super::collect::collect;
use super::failures::Failures;
use super::group::{GroupKey, GroupRow, TALLY, group_results};
use super::input::{Updates, updates};
use super::layout::{Allocation, Cell, Column};
use super::row::{EncodedRow, RowEncoding, types_at};
use super::tally::Tally;
use crate::accumulate::Aggregate;
use crate::changes::{change_batch, change_schema, diffs};
use crate::operator::OperatorError;
use crate::routed::RoutedBatch;

/// Aggregates of a changing relation, which may be a bag. Positions are among visible columns.
#[derive(Clone, Debug)]
pub struct TableAggregateSpec {
    /// A name for people, such as `segments/aggregate`.
    pub name: String,
    /// The input's visible columns.
    pub input: SchemaRef,
    /// The grouping columns; none for one group over everything.
    pub keys: Vec<usize>,
    /// The aggregates.
    pub aggregates: Vec<Aggregate>,
    /// The result's visible columns: keys, then aggregates.
    pub schema: SchemaRef,
}

/// Changes of the groups of a relation, from its changes: per group and epoch at most a loss of the old row
/// and a gain of the new one, none where they are equal.
///
/// A change costs the same however large its group is; least and greatest values cost a search. SQL gives
/// an aggregate without grouping columns a row even over nothing: here that row comes with the first input,
/// and stays when the last row goes.
///
/// Sums of doubles are exact and rounded once, so they depend on no order. Of doubles, NaN is the greatest.
/// What is first or last in a table that changes has no meaning: those functions are refused.
///
/// An integer or decimal result that does not fit its type is reported to `failures`, never wrapped or left
/// out.
///
/// # Errors
/// If a function cannot take or give the types that the spec says.
pub fn table_aggregate<'scope>(
    input: StreamVec<'scope, u64, RoutedBatch>,
    spec: &TableAggregateSpec,
    failures: &Failures,
) -> Result<StreamVec<'scope, u64, RoutedBatch>, OperatorError> {
    let name = &spec.name;
    let failed = |source| OperatorError::Arrow {
        operator: name.clone(),
        source,
    };
    let columns = columns(spec).map_err(failed)?;
    let rows = GroupInput::new(spec, columns.clone()).map_err(failed)?;
    let result = GroupOutput::new(spec, columns.clone()).map_err(failed)?;

    let operator = name.clone();
    let tallies = updates(
        input,
        &format!("{name}: tally"),
        failures.clone(),
        move |batch| {
            let updates = rows.read(batch);
            updates.map_err(|source| OperatorError::Arrow {
                operator: operator.clone(),
                source,
            })
        },
    );
    let groups = tallies.arrange_by_key_named(&format!("{name}: groups"));
    let results = group_results(
        groups,
        columns,
        spec.keys.is_empty(),
        &format!("{name}: results"),
    );
    Ok(collect(
        results,
        name,
        failures.clone(),
        move |rows, losses| result.build(rows, losses),
    ))
}

fn columns(spec: &TableAggregateSpec) -> Result<Rc<[Column]>, ArrowError> {
    let mut allocation = Allocation::default();
    let aggregates = spec.aggregates.iter();
    aggregates
        .map(|aggregate| Column::new(aggregate, &spec.input, &mut allocation))
        .collect()
}

/// How input rows become updates of groups.
struct GroupInput {
    visible: usize,
    keys: Vec<usize>,
    key: RowEncoding,
    columns: Rc<[Column]>,
}

impl GroupInput {
    fn new(spec: &TableAggregateSpec, columns: Rc<[Column]>) -> Result<Self, ArrowError> {
        Ok(Self {
            visible: spec.input.fields().len(),
            keys: spec.keys.clone(),
            key: RowEncoding::new(types_at(&spec.input, &spec.keys))?,
            columns,
        })
    }

    fn read(
        &self,
        rows: &RecordBatch,
    ) -> Result<Updates<(GroupKey, EncodedRow), Tally>, ArrowError> {
        let diffs = diffs(rows, self.visible)?.values();
        let keys: Vec<ArrayRef> = self
            .keys
            .iter()
            .map(|&key| rows.column(key).clone())
            .collect();
        let keys = self.key.encode(&keys, rows.num_rows())?;
        let mut tallies: Vec<_> = diffs
            .iter()
            .map(|&diff| Tally::of_rows(diff.into()))
            .collect();
        let mut updates = Vec::with_capacity(rows.num_rows());
        for column in self.columns.iter() {
            column.tally(rows, diffs, &mut tallies)?;
            for (row, section, value) in column.section_values(rows)? {
                let key = GroupKey {
                    group: keys[row].clone(),
                    section,
                };
                updates.push(((key, value), Tally::of_rows(diffs[row].into())));
            }
        }
        let groups = keys.into_iter().map(|group| GroupKey {
            group,
            section: TALLY,
        });
        updates.extend(groups.map(|key| (key, EncodedRow::default())).zip(tallies));
        Ok(updates)
    }
}

/// How groups become result rows.
struct GroupOutput {
    operator: String,
    schema: SchemaRef,
    key: RowEncoding,
    columns: Rc<[Column]>,
}

impl GroupOutput {
    fn new(spec: &TableAggregateSpec, columns: Rc<[Column]>) -> Result<Self, ArrowError> {
        Ok(Self {
            operator: spec.name.clone(),
            schema: change_schema(&spec.schema),
            key: RowEncoding::new(types_at(&spec.input, &spec.keys))?,
            columns,
        })
    }

    fn build(&self, rows: &[GroupRow], losses: usize) -> Result<RecordBatch, OperatorError> {
        self.check_overflow(rows)?;
        let build = || {
            let mut columns = self.key.decode(rows.iter().map(|(key, _)| key))?;
            for (position, column) in self.columns.iter().enumerate() {
                columns.push(column.build(rows.iter().map(|(_, cells)| &cells[position]))?);
            }
            change_batch(&self.schema, columns, losses, rows.len() - losses)
        };
        build().map_err(|source| OperatorError::Arrow {
            operator: self.operator.clone(),
            source,
        })
    }

    fn check_overflow(&self, rows: &[GroupRow]) -> Result<(), OperatorError> {
        let overflows = |position| {
            rows.iter()
                .any(|(_, cells)| cells[position] == Cell::Overflow)
        };
        let Some(position) = (0..self.columns.len()).find(|&position| overflows(position)) else {
            return Ok(());
        };
        let first_aggregate = self.schema.fields().len() - 1 - self.columns.len();
        Err(OperatorError::Overflow {
            operator: self.operator.clone(),
            aggregate: self.schema.field(first_aggregate + position).name().clone(),
            data_type: self.columns[position].data_type.to_string(),
        })
    }
}
