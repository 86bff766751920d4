use std::sync::Arc;

use arrow::array::{Array, AsArray, Decimal128Array, Int64Array, TimestampMillisecondArray};
use arrow::datatypes::{Decimal128Type, Field, Int64Type, Schema, TimeUnit};
use arrow::record_batch::RecordBatch;
use proptest::prelude::*;

use super::*;
use crate::source_model::{self, Row};
use crate::state::Columns;

fn row(number: Option<i64>, flag: Option<bool>, time: i64, offset: i64) -> Row {
    Row {
        key: None,
        time,
        number,
        flag,
        watermark: i64::MIN,
        split: 0,
        offset,
    }
}

fn accumulated(rows: &[Row]) -> Accumulators {
    let mut accumulators = make();
    accumulators.grow(1);
    add(&mut accumulators, 0, rows);
    accumulators
}

fn make() -> Accumulators {
    Accumulators::new(&source_model::schema(), &source_model::aggregates()).unwrap()
}

fn add(accumulators: &mut Accumulators, into: u32, rows: &[Row]) {
    let batch = source_model::batch(rows);
    let visible = source_model::schema().fields().len();
    let input = Input::new(&batch, visible, source_model::TIME).unwrap();
    accumulators
        .update(&vec![into; rows.len()], &input)
        .unwrap();
}

fn results(accumulators: &Accumulators, row: u32) -> Vec<String> {
    let fields = source_model::aggregate_fields();
    let columns = accumulators.finish(&[row]).unwrap();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    source_model::cells(&batch, 0)
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let number = prop::option::of(-9i64..9);
    let row = (number, prop::option::of(any::<bool>()), 0i64..4);
    prop::collection::vec(row, 0..12).prop_map(|rows| {
        let rows = rows.into_iter().zip(0..);
        rows.map(|((number, flag, time), offset)| super::tests::row(number, flag, time, offset))
            .collect()
    })
}

proptest! {
    #[test]
    fn every_aggregate_is_what_sql_says(rows in rows()) {
        prop_assert_eq!(results(&accumulated(&rows), 0), source_model::naive(&[rows]));
    }

    #[test]
    fn merged_parts_are_the_whole_and_survive_encoding(a in rows(), b in rows()) {
        let b: Vec<Row> = b.into_iter().map(|row| Row { split: 1, ..row }).collect();
        let mut parts = make();
        parts.grow(3);
        add(&mut parts, 0, &a);
        add(&mut parts, 1, &b);
        let mut whole = make();
        whole.grow(2);
        whole.replace(0, &parts, [0, 1].into_iter()).unwrap();
        let expected = source_model::naive(&[a, b]);
        prop_assert_eq!(results(&whole, 0), expected.clone());
        let mut bytes = vec![];
        whole.encode(0, &mut bytes);
        whole.decode(1, &bytes).unwrap();
        prop_assert_eq!(results(&whole, 1), expected);
        let mut again = vec![];
        whole.encode(1, &mut again);
        prop_assert_eq!(bytes, again);
    }

    #[test]
    fn a_part_that_is_taken_away_leaves_the_other(a in rows(), b in rows()) {
        let mut parts = make();
        parts.grow(2);
        add(&mut parts, 0, &a);
        add(&mut parts, 1, &b);
        let mut total = make();
        total.grow(1);
        total.replace(0, &parts, [0, 1].into_iter()).unwrap();
        total.subtract(0, &parts, 0);
        total.remerge(0, &parts, std::iter::once(1), true).unwrap();
        prop_assert_eq!(results(&total, 0), source_model::naive(&[b]));
    }

    #[test]
    fn decoding_arbitrary_bytes_never_panics(
        mut bytes in prop::collection::vec(any::<u8>(), 0..60),
        small in any::<bool>(),
    ) {
        if small {
            bytes.iter_mut().for_each(|byte| *byte %= 3);
        }
        if let Some(version) = bytes.first_mut() {
            *version = ACCUMULATOR_FORMAT;
        }
        let mut accumulators = make();
        accumulators.grow(1);
        let _ = accumulators.decode(0, &bytes);
    }
}

#[test]
fn the_form_of_an_entry_is_pinned() {
    let accumulators = accumulated(&[row(Some(5), Some(true), 7, 3), row(None, None, 8, 4)]);
    let mut bytes = vec![];
    accumulators.encode(0, &mut bytes);
    let mut expected = vec![1];
    expected.extend([4, 2, 1, 10]); // count(*), count and sum filtered
    expected.push(1);
    expected.extend(0.5f64.to_le_bytes());
    expected.push(1);
    expected.extend(0.5f64.to_le_bytes());
    expected.extend([1, 10, 1, 10]); // sum and mean of decimals
    expected.extend([1, 10]); // min
    expected.extend(b"\x01\x0dtext number 5"); // max
    expected.extend([1, 14, 0, 6, 1, 10]); // first: time 7, split 0, offset 3
    expected.extend(b"\x01\x0e\x00\x06\x01\x0dtext number 5"); // last
    assert_eq!(bytes, expected);
}

#[test]
fn an_entry_that_is_reset_is_as_new() {
    let mut accumulators = accumulated(&[row(Some(5), Some(true), 7, 3)]);
    accumulators.reset(&[0]);
    assert_eq!(results(&accumulators, 0), source_model::naive(&[]));
}

fn single(
    function: AggregateFunction,
    column: ArrayRef,
    result: DataType,
) -> Result<ArrayRef, AggregateError> {
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    let schema = Arc::new(Schema::new(vec![
        Field::new("v", column.data_type().clone(), true),
        Field::new("ts", time, true),
    ]));
    let aggregate = Aggregate {
        function,
        argument: Some(0),
        filter: None,
        data_type: result,
    };
    let mut accumulators = Accumulators::new(&schema, &[aggregate])?;
    let times = TimestampMillisecondArray::from_value(0, column.len());
    let batch = RecordBatch::try_new(schema, vec![column, Arc::new(times)]).unwrap();
    accumulators.grow(1);
    accumulators.update(&vec![0; batch.num_rows()], &Input::new(&batch, 2, 1)?)?;
    Ok(accumulators.finish(&[0])?.remove(0))
}

#[test]
fn an_integer_sum_overflows_by_its_value_and_not_by_its_order() {
    let sum = |values: Vec<i64>| {
        let column = Arc::new(Int64Array::from(values));
        single(AggregateFunction::Sum, column, DataType::Int64)
    };
    let sums = sum(vec![i64::MAX, i64::MAX, i64::MIN, -1]).unwrap();
    assert_eq!(sums.as_primitive::<Int64Type>().value(0), i64::MAX - 2);
    let error = sum(vec![i64::MAX, 1]).unwrap_err();
    assert_eq!(error.to_string(), "sum overflows Int64");
}

#[test]
fn a_decimal_sum_overflows_at_its_precision() {
    let sum = |values: Vec<i128>, precision| {
        let column = Decimal128Array::from(values)
            .with_precision_and_scale(38, 0)
            .unwrap();
        single(
            AggregateFunction::Sum,
            Arc::new(column),
            DataType::Decimal128(precision, 0),
        )
    };
    assert_eq!(
        sum(vec![998, 1], 3)
            .unwrap()
            .as_primitive::<Decimal128Type>()
            .value(0),
        999
    );
    assert!(matches!(
        sum(vec![998, 2], 3),
        Err(AggregateError::Overflow { .. })
    ));
    assert!(matches!(
        sum(vec![i128::MAX, 1], 38),
        Err(AggregateError::Overflow { .. })
    ));
}

#[test]
fn a_decimal_mean_is_cut_towards_zero_as_in_datafusion() {
    let mean = |values: Vec<i128>| {
        let column = Decimal128Array::from(values)
            .with_precision_and_scale(10, 2)
            .unwrap();
        let result = DataType::Decimal128(14, 6);
        let mean = single(AggregateFunction::Avg, Arc::new(column), result).unwrap();
        mean.as_primitive::<Decimal128Type>().value(0)
    };
    assert_eq!(mean(vec![100, 100, 0]), 666_666);
    assert_eq!(mean(vec![-100, -100, 0]), -666_666);
}

#[test]
fn least_and_greatest_exist_for_every_type() {
    let batch = crate::codec::tests::every_type(&[Some(3), None, Some(-7), Some(4)]);
    for column in batch.columns() {
        for function in [AggregateFunction::Min, AggregateFunction::Max] {
            let found = single(function, Arc::clone(column), column.data_type().clone()).unwrap();
            let order = arrow::compute::SortOptions::new(function == AggregateFunction::Max, false);
            let sorted = arrow::compute::sort(column, Some(order)).unwrap();
            assert_eq!(
                &found,
                &sorted.slice(0, 1),
                "{function:?} of {}",
                column.data_type()
            );
        }
    }
}

#[test]
fn first_and_last_take_nulls_as_they_are() {
    let column = || Arc::new(Int64Array::from(vec![None, Some(1)]));
    // Equal places: the values decide, so that arrival doesn't.
    let first = single(AggregateFunction::First, column(), DataType::Int64).unwrap();
    let last = single(AggregateFunction::Last, column(), DataType::Int64).unwrap();
    assert!(first.is_null(0));
    assert_eq!(last.as_primitive::<Int64Type>().value(0), 1);
}

#[test]
fn an_aggregate_that_does_not_exist_for_its_types_is_refused() {
    let column = Arc::new(Int64Array::from(vec![1]));
    let error = single(AggregateFunction::Min, column, DataType::Float64).unwrap_err();
    assert_eq!(error.to_string(), "Min(Int64) as Float64 is not supported");
}
