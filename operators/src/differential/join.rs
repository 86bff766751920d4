//! Joins of tables on any columns.

use arrow::array::ArrayRef;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use differential_dataflow::VecCollection;
use differential_dataflow::operators::ThresholdTotal;
use timely::dataflow::StreamVec;

use super::collect::collect;
use super::failures::Failures;
use super::input::{Updates, updates};
use super::row::{EncodedRow, RowEncoding, types_at};
use crate::changes::{change_batch, change_schema, diffs, null_rows};
use crate::key_join::JoinKind;
use crate::operator::OperatorError;
use crate::routed::RoutedBatch;

/// A join of two changing relations, which may be bags. Positions are among visible columns.
#[derive(Clone, Debug)]
pub struct TableJoinSpec {
    /// A name for people, such as `customer/join`.
    pub name: String,
    /// The left side's visible columns.
    pub left: SchemaRef,
    /// Its join columns; with none on both sides every row matches every row.
    pub left_on: Vec<usize>,
    /// The right side's visible columns.
    pub right: SchemaRef,
    /// Its join columns, of the same types.
    pub right_on: Vec<usize>,
    /// Inner or left.
    pub kind: JoinKind,
    /// The result's visible columns: the left's, then the right's.
    pub schema: SchemaRef,
}

type Keyed<'scope> = VecCollection<'scope, u64, (EncodedRow, EncodedRow), isize>;
/// A row of the result: the left row, and the right one or that there is none.
type Joined<'scope> = VecCollection<'scope, u64, (EncodedRow, Option<EncodedRow>), isize>;

/// Changes of the join of two relations, from their changes. Null in a join column matches nothing.
///
/// Per epoch, rows that come and go cancel: of a left row that only changes its match, the old result is
/// lost and the new one gained. A cross join lives on one worker.
///
/// # Errors
/// If the sides' join columns differ in number or type, or a type cannot be joined.
pub fn table_join<'scope>(
    left: StreamVec<'scope, u64, RoutedBatch>,
    right: StreamVec<'scope, u64, RoutedBatch>,
    spec: &TableJoinSpec,
    failures: &Failures,
) -> Result<StreamVec<'scope, u64, RoutedBatch>, OperatorError> {
    let name = &spec.name;
    let failed = |source| OperatorError::Arrow {
        operator: name.clone(),
        source,
    };
    check_types(spec).map_err(failed)?;
    let left_side = Side::new(
        name,
        &spec.left,
        &spec.left_on,
        spec.kind == JoinKind::Inner,
    )?;
    let right_side = Side::new(name, &spec.right, &spec.right_on, true)?;
    let result = ResultRows::new(spec).map_err(failed)?;

    let left_name = format!("{name}: left");
    let right_name = format!("{name}: right");
    let left = updates(left, &left_name, failures.clone(), move |rows| {
        left_side.read(rows)
    });
    let right = updates(right, &right_name, failures.clone(), move |rows| {
        right_side.read(rows)
    });
    let joined = join(left, right, spec.kind, name);
    let (operator, failures) = (name.clone(), failures.clone());
    Ok(collect(joined, name, failures, move |rows, losses| {
        let build = result.build(rows, losses);
        build.map_err(|source| OperatorError::Arrow {
            operator: operator.clone(),
            source,
        })
    }))
}

fn join<'scope>(
    left: Keyed<'scope>,
    right: Keyed<'scope>,
    kind: JoinKind,
    name: &str,
) -> Joined<'scope> {
    let left = left.arrange_by_key_named(&format!("{name}: left"));
    let right = right.arrange_by_key_named(&format!("{name}: right"));
    let matched = left.clone().join_core(right.clone(), |_, left, right| {
        [(left.clone(), Some(right.clone()))]
    });
    match kind {
        JoinKind::Inner => matched,
        // Every left row alone, minus those that have a match.
        JoinKind::Left => {
            let present = right.as_collection(|key, _| key.clone()).distinct_total();
            let present = present.arrange_by_self_named(&format!("{name}: present"));
            let alone = left.clone().as_collection(|_, left| (left.clone(), None));
            let accompanied = left.join_core(present, |_, left, ()| [(left.clone(), None)]);
            matched.concat(alone).concat(accompanied.negate())
        }
    }
}

fn check_types(spec: &TableJoinSpec) -> Result<(), ArrowError> {
    let (left, right) = (
        types_at(&spec.left, &spec.left_on),
        types_at(&spec.right, &spec.right_on),
    );
    if left == right {
        return Ok(());
    }
    Err(ArrowError::SchemaError(format!(
        "columns of types {left:?} cannot be compared with {right:?}"
    )))
}

/// How the rows of one side are read.
struct Side {
    operator: String,
    on: Vec<usize>,
    visible: usize,
    drops_null_keys: bool,
    key: RowEncoding,
    row: RowEncoding,
}

impl Side {
    fn new(
        operator: &str,
        schema: &Schema,
        on: &[usize],
        drops_null_keys: bool,
    ) -> Result<Self, OperatorError> {
        let visible = schema.fields().len();
        let all: Vec<_> = (0..visible).collect();
        let encoding = |positions: &[usize]| {
            RowEncoding::new(types_at(schema, positions)).map_err(|source| OperatorError::Arrow {
                operator: operator.to_owned(),
                source,
            })
        };
        Ok(Self {
            operator: operator.to_owned(),
            on: on.to_vec(),
            visible,
            drops_null_keys,
            key: encoding(on)?,
            row: encoding(&all)?,
        })
    }

    fn read(
        &self,
        rows: &RecordBatch,
    ) -> Result<Updates<(EncodedRow, EncodedRow), isize>, OperatorError> {
        self.encode(rows).map_err(|source| OperatorError::Arrow {
            operator: self.operator.clone(),
            source,
        })
    }

    fn encode(
        &self,
        rows: &RecordBatch,
    ) -> Result<Updates<(EncodedRow, EncodedRow), isize>, ArrowError> {
        let diffs = diffs(rows, self.visible)?;
        let on: Vec<ArrayRef> = self
            .on
            .iter()
            .map(|&column| rows.column(column).clone())
            .collect();
        let keys = self.key.encode(&on, rows.num_rows())?;
        let values = self
            .row
            .encode(&rows.columns()[..self.visible], rows.num_rows())?;
        let nulls = null_rows(rows, &self.on);
        let null_key = |row| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        let updates = keys.into_iter().zip(values).zip(diffs.values()).enumerate();
        Ok(updates
            .filter(|(row, _)| !(self.drops_null_keys && null_key(*row)))
            .map(|(_, (pair, diff))| (pair, isize::from(*diff)))
            .collect())
    }
}

/// How rows of the result become columns.
struct ResultRows {
    schema: SchemaRef,
    left: RowEncoding,
    right: RowEncoding,
    no_right: EncodedRow,
}

impl ResultRows {
    fn new(spec: &TableJoinSpec) -> Result<Self, ArrowError> {
        let types = |schema: &Schema| {
            schema
                .fields()
                .iter()
                .map(|field| field.data_type().clone())
                .collect()
        };
        let right = RowEncoding::new(types(&spec.right))?;
        Ok(Self {
            schema: change_schema(&spec.schema),
            left: RowEncoding::new(types(&spec.left))?,
            no_right: right.null()?,
            right,
        })
    }

    fn build(
        &self,
        rows: &[(EncodedRow, Option<EncodedRow>)],
        losses: usize,
    ) -> Result<RecordBatch, ArrowError> {
        let mut columns = self.left.decode(rows.iter().map(|(left, _)| left))?;
        let right = rows
            .iter()
            .map(|(_, right)| right.as_ref().unwrap_or(&self.no_right));
        columns.extend(self.right.decode(right)?);
        change_batch(&self.schema, columns, losses, rows.len() - losses)
    }
}
