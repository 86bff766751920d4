use arrow::array::Array;
use arrow::array::{Decimal128Array, Int8Array, Int32Array, Int64Array, StringViewArray};
use arrow::compute::concat_batches;
use arrow::datatypes::Field;
use datafusion_common::ScalarValue;
use datafusion_expr::Operator;
use datafusion_physical_expr::expressions::{BinaryExpr, CastExpr, NegativeExpr, col, lit};
use proptest::prelude::*;

use super::*;

type Expr = Arc<dyn PhysicalExpr>;

fn binary(left: Expr, op: Operator, right: Expr) -> Expr {
    Arc::new(BinaryExpr::new(left, op, right))
}

fn schema() -> Schema {
    let field = |name, data_type| Field::new(name, data_type, true);
    Schema::new(vec![
        field("a", DataType::Int64),
        field("b", DataType::Int64),
        field("name", DataType::Utf8View),
        field("small", DataType::Int32),
        field("money", DataType::Decimal128(38, 0)),
    ])
}

/// Rows of (a, b) with other columns derived from them, and a hidden `_diff`.
fn batch(rows: &[(Option<i64>, Option<i64>)]) -> RecordBatch {
    let a: Int64Array = rows.iter().map(|(a, _)| *a).collect();
    let b: Int64Array = rows.iter().map(|(_, b)| *b).collect();
    let names: StringViewArray = rows.iter().map(|(a, _)| a.map(|a| a.to_string())).collect();
    let small: Int32Array = rows.iter().map(|(a, _)| a.map(|a| a as i32)).collect();
    let money: Decimal128Array = rows.iter().map(|(a, _)| a.map(i128::from)).collect();
    let money = money.with_precision_and_scale(38, 0).unwrap();
    let diffs: Int8Array = rows.iter().map(|_| 1).collect();
    let mut fields: Vec<_> = schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(
        crate::batch::DIFF,
        DataType::Int8,
        false,
    )));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(a),
        Arc::new(b),
        Arc::new(names),
        Arc::new(small),
        Arc::new(money),
        Arc::new(diffs),
    ];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn column(name: &str) -> Expr {
    col(name, &schema()).unwrap()
}

fn project(expr: Expr, rows: RecordBatch) -> Evaluated {
    let field = Field::new("result", expr.data_type(&schema()).unwrap(), true);
    let output = Arc::new(Schema::new(vec![field]));
    Projection::new(&[expr], &schema(), output)
        .unwrap()
        .apply(rows)
        .unwrap()
}

fn rejected_values(evaluated: &Evaluated) -> Vec<Option<i64>> {
    let value = |row: &RejectedRow| {
        let a = row
            .row
            .column(0)
            .as_primitive::<arrow::datatypes::Int64Type>();
        a.is_valid(0).then(|| a.value(0))
    };
    evaluated.rejected.iter().map(value).collect()
}

#[test]
fn a_filter_keeps_true_and_drops_false_and_null() {
    let rows = batch(&[
        (Some(1), None),
        (Some(5), None),
        (None, None),
        (Some(9), None),
    ]);
    let filter = Filter::new(&binary(column("a"), Operator::Gt, lit(3_i64)), &schema()).unwrap();
    let out = filter.apply(rows.clone()).unwrap();
    assert_eq!(
        out.rows,
        concat_batches(rows.schema_ref(), &[rows.slice(1, 1), rows.slice(3, 1)]).unwrap()
    );
    assert!(out.rejected.is_empty());
}

#[test]
fn a_batch_that_passes_whole_is_not_copied() {
    let rows = batch(&[(Some(5), None), (Some(9), None)]);
    let filter = Filter::new(&binary(column("a"), Operator::Gt, lit(3_i64)), &schema()).unwrap();
    let out = filter.apply(rows.clone()).unwrap();
    assert!(Arc::ptr_eq(out.rows.column(0), rows.column(0)));
}

#[test]
fn constant_predicates_keep_all_or_nothing() {
    let rows = batch(&[(Some(5), None), (None, None)]);
    for (value, kept) in [(Some(true), 2), (Some(false), 0), (None, 0)] {
        let filter = Filter::new(&lit(ScalarValue::Boolean(value)), &schema()).unwrap();
        assert_eq!(filter.apply(rows.clone()).unwrap().rows.num_rows(), kept);
    }
}

#[test]
fn a_filter_rejects_only_the_rows_that_divide_by_zero() {
    let rows = batch(&[
        (Some(8), Some(2)),
        (Some(7), Some(0)),
        (Some(9), None),
        (Some(6), Some(1)),
    ]);
    let quotient = binary(column("a"), Operator::Divide, column("b"));
    let filter = Filter::new(&binary(quotient, Operator::Gt, lit(3_i64)), &schema()).unwrap();
    let out = filter.apply(rows.clone()).unwrap();
    assert_eq!(out.rows.num_rows(), 2);
    assert_eq!(rejected_values(&out), [Some(7)]);
    assert_eq!(out.rejected[0].row, rows.slice(1, 1));
    assert_eq!(out.rejected[0].expression, "a@0 / b@1 > 3");
    assert!(
        out.rejected[0].reason.contains("Divide by zero"),
        "{}",
        out.rejected[0].reason
    );
}

#[test]
fn integer_arithmetic_is_checked() {
    let (max, min) = (i64::MAX, i64::MIN);
    let rows = batch(&[
        (Some(1), Some(2)),
        (Some(max), Some(2)),
        (Some(min), Some(2)),
        (None, None),
    ]);
    for (op, bad) in [
        (Operator::Plus, vec![Some(max)]),
        (Operator::Minus, vec![Some(min)]),
        (Operator::Multiply, vec![Some(max), Some(min)]),
    ] {
        let out = project(binary(column("a"), op, column("b")), rows.clone());
        assert_eq!(rejected_values(&out), bad, "{op}");
        assert_eq!(out.rows.num_rows(), 4 - bad.len());
    }
    let out = project(Arc::new(NegativeExpr::new(column("a"))), rows);
    assert_eq!(rejected_values(&out), [Some(min)]);
}

#[test]
fn decimals_beyond_their_digits_are_rejected() {
    let digits_37 = ScalarValue::Decimal128(Some(10_i128.pow(37)), 38, 0);
    let sum = binary(column("money"), Operator::Plus, lit(digits_37.clone()));
    let eleven = binary(lit(digits_37), Operator::Multiply, column("money"));
    let rows = batch(&[(Some(1), None), (Some(11), None), (Some(-11), None)]);
    assert!(project(sum, rows.clone()).rejected.is_empty());
    assert_eq!(
        rejected_values(&project(eleven, rows)),
        [Some(11), Some(-11)]
    );
}

#[test]
fn a_cast_that_fails_is_rejected() {
    let rows = batch(&[(Some(12), None), (Some(3_000_000_000), None)]);
    let cast: Expr = Arc::new(CastExpr::new(column("name"), DataType::Int32, None));
    let out = project(cast, rows);
    assert_eq!(rejected_values(&out), [Some(3_000_000_000)]);
    assert_eq!(
        out.rows
            .column(0)
            .as_primitive::<arrow::datatypes::Int32Type>()
            .value(0),
        12
    );
}

#[test]
fn a_projection_passes_hidden_columns_on_and_drops_visible_ones() {
    let rows = batch(&[(Some(1), Some(2))]);
    let out = project(column("b"), rows.clone());
    let names: Vec<_> = out
        .rows
        .schema()
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect();
    assert_eq!(names, ["result", "_diff"]);
    assert_eq!(out.rows.column(0), rows.column(1));
}

#[test]
fn columns_are_found_by_position_where_names_repeat() {
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("id", DataType::Int64, true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1])),
        Arc::new(Int64Array::from(vec![2])),
    ];
    let rows = RecordBatch::try_new(Arc::new(schema.clone()), columns).unwrap();
    let difference = binary(
        Arc::new(Column::new("id", 1)),
        Operator::Minus,
        Arc::new(Column::new("id", 0)),
    );
    let output = Arc::new(Schema::new(vec![Field::new("d", DataType::Int64, true)]));
    let out = Projection::new(&[difference], &schema, output)
        .unwrap()
        .apply(rows)
        .unwrap();
    assert_eq!(
        out.rows
            .column(0)
            .as_primitive::<arrow::datatypes::Int64Type>()
            .value(0),
        1
    );
}

#[test]
fn expressions_that_do_not_fit_the_plan_are_refused() {
    assert!(matches!(
        Filter::new(&column("a"), &schema()),
        Err(ExpressionError::Type { .. })
    ));
    let output = Arc::new(Schema::new(vec![Field::new("x", DataType::Utf8View, true)]));
    let wrong = Projection::new(&[column("a")], &schema(), output.clone());
    assert!(matches!(wrong, Err(ExpressionError::Type { .. })));
    assert!(matches!(
        Projection::new(&[], &schema(), output),
        Err(ExpressionError::Width { .. })
    ));
}

/// Values that overflow, divide by zero and pass, in any order.
fn values() -> impl Strategy<Value = Vec<(Option<i64>, Option<i64>)>> {
    let value = || {
        prop_oneof![
            Just(None),
            Just(Some(0)),
            (-5..9_i64).prop_map(Some),
            Just(Some(i64::MAX))
        ]
    };
    prop::collection::vec((value(), value()), 0..80)
}

proptest! {
    /// The contract of the module: what happens to a row is a function of the row.
    #[test]
    fn a_rows_fate_does_not_depend_on_its_batch(values in values(), cut in 0..80_usize) {
        let guarded = binary(
            binary(column("b"), Operator::NotEq, lit(0_i64)),
            Operator::And,
            binary(binary(column("a"), Operator::Divide, column("b")), Operator::GtEq, lit(0_i64)),
        );
        let computed = binary(binary(column("a"), Operator::Plus, column("b")), Operator::Multiply, column("a"));
        let rows = batch(&values);
        let cut = cut.min(values.len());
        let whole = outcome(&guarded, &computed, &rows);
        let mut parts = outcome(&guarded, &computed, &rows.slice(0, cut));
        parts.extend(outcome(&guarded, &computed, &rows.slice(cut, values.len() - cut)));
        parts.sort();
        prop_assert_eq!(&whole, &parts);
        let mut alone: Vec<_> = (0..values.len()).flat_map(|row| outcome(&guarded, &computed, &rows.slice(row, 1))).collect();
        alone.sort();
        prop_assert_eq!(&whole, &alone);
    }
}

/// Every row's fate, sorted.
fn outcome(guarded: &Expr, computed: &Expr, rows: &RecordBatch) -> Vec<String> {
    let filtered = Filter::new(guarded, &schema())
        .unwrap()
        .apply(rows.clone())
        .unwrap();
    let projected = project(computed.clone(), filtered.rows);
    let accepted = (0..projected.rows.num_rows())
        .map(|row| format!("{:?}", projected.rows.slice(row, 1).columns()));
    let rejected = filtered.rejected.iter().chain(&projected.rejected);
    let rejected = rejected.map(|rejected| {
        format!(
            "{:?} {} {}",
            rejected.row.columns(),
            rejected.expression,
            rejected.reason
        )
    });
    let mut all: Vec<_> = accepted.chain(rejected).collect();
    all.sort();
    all
}
