use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, StringViewArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::*;
use crate::accumulate::{Aggregate, AggregateFunction};
use crate::differential::{TableAggregateSpec, table_aggregate};

/// A group that may be null, a value that may be null, and whether the filter passes, which may be unknown.
type Row = (Option<i64>, Option<i64>, Option<bool>);

const WIDE: i128 = 1_000_000_000_000_000_000_000_000_000_000;

fn input() -> SchemaRef {
    let field = |name, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        field("g", DataType::Int64),
        field("i", DataType::Int64),
        field("d", DataType::Decimal128(12, 2)),
        field("w", DataType::Decimal128(38, 0)),
        field("f", DataType::Float64),
        field("s", DataType::Utf8View),
        field("p", DataType::Boolean),
    ]))
}

fn batch(rows: &[(Row, i8)]) -> RecordBatch {
    let values = || rows.iter().map(|((_, value, _), _)| *value);
    let decimals = |factor: i128, digits, scale| -> ArrayRef {
        let values =
            values().map(|value| value.and_then(|value| i128::from(value).checked_mul(factor)));
        Arc::new(
            values
                .collect::<Decimal128Array>()
                .with_precision_and_scale(digits, scale)
                .unwrap(),
        )
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(
            rows.iter()
                .map(|((group, _, _), _)| *group)
                .collect::<Int64Array>(),
        ),
        Arc::new(values().collect::<Int64Array>()),
        decimals(1, 12, 2),
        decimals(WIDE, 38, 0),
        Arc::new(
            values()
                .map(|value| value.map(|value| value as f64 / 4.0))
                .collect::<Float64Array>(),
        ),
        Arc::new(
            values()
                .map(|value| value.map(|value| format!("s{value:03}")))
                .collect::<StringViewArray>(),
        ),
        Arc::new(
            rows.iter()
                .map(|((_, _, passes), _)| *passes)
                .collect::<BooleanArray>(),
        ),
    ];
    let losses = rows.iter().filter(|(_, diff)| *diff < 0).count();
    change_batch(
        &change_schema(&input()),
        columns,
        losses,
        rows.len() - losses,
    )
    .unwrap()
}

/// The changes cut into batches of two rows, losses first in each.
fn batches(changes: &[(u8, Row, i8)]) -> Vec<RecordBatch> {
    let cut = changes.chunks(2).map(|rows| {
        let mut rows: Vec<_> = rows.iter().map(|(_, row, diff)| (*row, *diff)).collect();
        rows.sort_by_key(|(_, diff)| *diff);
        batch(&rows)
    });
    cut.collect()
}

fn aggregates() -> Vec<Aggregate> {
    use AggregateFunction::{Avg, Count, Max, Min, Sum};
    let of = |function, argument, filter, data_type| Aggregate {
        function,
        argument,
        filter,
        data_type,
    };
    vec![
        of(Count, None, None, DataType::Int64),
        of(Count, Some(1), Some(6), DataType::Int64),
        of(Sum, Some(1), None, DataType::Int64),
        of(Sum, Some(2), Some(6), DataType::Decimal128(22, 2)),
        of(Sum, Some(3), None, DataType::Decimal128(38, 0)),
        of(Sum, Some(4), None, DataType::Float64),
        of(Avg, Some(1), None, DataType::Float64),
        of(Avg, Some(2), None, DataType::Decimal128(16, 6)),
        of(Avg, Some(4), Some(6), DataType::Float64),
        of(Min, Some(5), None, DataType::Utf8View),
        of(Max, Some(5), Some(6), DataType::Utf8View),
        of(Min, Some(4), None, DataType::Float64),
        of(Max, Some(2), None, DataType::Decimal128(12, 2)),
    ]
}

fn spec(keys: &[usize], aggregates: Vec<Aggregate>) -> TableAggregateSpec {
    let keys_fields = keys.iter().map(|&key| input().field(key).clone());
    let fields = aggregates.iter().enumerate();
    let fields = fields.map(|(i, a)| Field::new(format!("a{i}"), a.data_type.clone(), true));
    let schema = Schema::new(keys_fields.chain(fields).collect::<Vec<_>>());
    TableAggregateSpec {
        name: "totals".to_owned(),
        input: input(),
        keys: keys.to_vec(),
        aggregates,
        schema: Arc::new(schema),
    }
}

/// One row over the rows of a group, as text.
fn naive_row(rows: &[Row]) -> String {
    let some = |text: Option<String>| text.unwrap_or("-".to_owned());
    let values: Vec<i64> = rows.iter().filter_map(|row| row.1).collect();
    let passed: Vec<i64> = rows
        .iter()
        .filter(|row| row.2 == Some(true))
        .filter_map(|row| row.1)
        .collect();
    let sum = |values: &[i64]| (!values.is_empty()).then(|| values.iter().sum::<i64>());
    let mean = |values: &[i64], unit: f64| {
        sum(values).map(|sum| float(sum as f64 * unit / values.len() as f64))
    };
    let decimal = |value: i128, scale: u32| {
        let unit = 10_i128.pow(scale);
        let sign = if value < 0 { "-" } else { "" };
        let (whole, part) = (value.abs() / unit, value.abs() % unit);
        format!("{sign}{whole}.{part:0width$}", width = scale as usize)
    };
    [
        rows.len().to_string(),
        passed.len().to_string(),
        some(sum(&values).map(|sum| sum.to_string())),
        some(sum(&passed).map(|sum| decimal(sum.into(), 2))),
        some(sum(&values).map(|sum| (i128::from(sum) * WIDE).to_string())),
        some(sum(&values).map(|sum| float(sum as f64 / 4.0))),
        some(mean(&values, 1.0)),
        some(sum(&values).map(|sum| decimal(i128::from(sum) * 10_000 / values.len() as i128, 6))),
        some(mean(&passed, 0.25)),
        some(values.iter().map(|value| format!("s{value:03}")).min()),
        some(passed.iter().map(|value| format!("s{value:03}")).max()),
        some(values.iter().min().map(|value| float(*value as f64 / 4.0))),
        some(values.iter().max().map(|value| decimal((*value).into(), 2))),
    ]
    .join(" ")
}

/// A double as Arrow prints it.
fn float(value: f64) -> String {
    array_value_to_string(&Float64Array::from(vec![value]), 0).unwrap()
}

fn naive(table: &BTreeMap<u8, Row>, global: bool, seen: bool) -> Bag {
    let mut groups = BTreeMap::<Option<i64>, Vec<Row>>::new();
    for row in table.values() {
        groups
            .entry(if global { None } else { row.0 })
            .or_default()
            .push(*row);
    }
    if global && seen {
        groups.entry(None).or_default();
    }
    let row = |(group, rows): (&Option<i64>, &Vec<Row>)| match global {
        true => naive_row(rows),
        false => format!(
            "{} {}",
            group.map_or("-".to_owned(), |g| g.to_string()),
            naive_row(rows)
        ),
    };
    groups.iter().map(|group| (row(group), 1)).collect()
}

fn check_aggregate(run: Run, puts: &Puts<Row>, global: bool) {
    let history = history(puts);
    let epochs = history
        .iter()
        .map(|(_, changes)| [batches(changes)])
        .collect();
    let spec = spec(if global { &[] } else { &[0] }, aggregates());
    let told = tell(run, epochs, move |[input], failures| {
        table_aggregate(input, &spec, failures)
    });
    let mut seen = false;
    let expected = history.iter().map(|(table, changes)| {
        seen |= !changes.is_empty();
        naive(table, global, seen)
    });
    check(&told, &expected.collect::<Vec<_>>());
}

fn rows() -> impl Strategy<Value = Row> {
    let value = prop::option::weighted(0.8, -9..20_i64);
    (
        prop::option::weighted(0.8, 0..3_i64),
        value,
        prop::option::weighted(0.8, any::<bool>()),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn aggregates_follow_the_table_epoch_by_epoch(
        run in runs(),
        puts in puts(rows(), 8),
        global in prop::bool::weighted(0.2),
    ) {
        check_aggregate(run, &puts, global);
    }
}

fn totals(epochs: Vec<Vec<(Row, i8)>>, aggregate: Aggregate) -> Told {
    let run = Run {
        workers: 1,
        in_step: true,
        gate_after: 0,
    };
    let epochs = epochs.iter().map(|rows| [vec![batch(rows)]]).collect();
    let spec = spec(&[], vec![aggregate]);
    tell(run, epochs, move |[input], failures| {
        table_aggregate(input, &spec, failures)
    })
}

fn sum_of(argument: usize, data_type: DataType) -> Aggregate {
    Aggregate {
        function: AggregateFunction::Sum,
        argument: Some(argument),
        filter: None,
        data_type,
    }
}

#[test]
fn a_sum_beyond_its_type_is_reported_and_its_epoch_stays_open() {
    let row = |value| ((None, Some(value), None), 1);
    let told = totals(
        vec![vec![row(1)], vec![row(i64::MAX)]],
        sum_of(1, DataType::Int64),
    );
    assert_eq!(told.failures, ["totals: a0 overflows Int64"]);
    assert_eq!(told.changes.keys().collect::<Vec<_>>(), [&1]);
    assert!(!told.completed);

    let most = row(99_999_999);
    let told = totals(vec![vec![most; 2]], sum_of(3, DataType::Decimal128(38, 0)));
    assert_eq!(told.failures, ["totals: a0 overflows Decimal128(38, 0)"]);
}

#[test]
fn a_sum_may_pass_its_type_within_an_epoch() {
    let row = |value, diff| ((None, Some(value), None), diff);
    let rows = vec![
        row(i64::MAX, -1),
        row(i64::MAX, 1),
        row(i64::MAX, 1),
        row(i64::MIN, 1),
    ];
    let told = totals(vec![rows], sum_of(1, DataType::Int64));
    assert_eq!(told.failures, [""; 0]);
    assert_eq!(
        told.changes,
        BTreeMap::from([(1, vec![("-1".to_owned(), 1)])])
    );
}

#[test]
fn a_change_that_leaves_the_result_alone_is_not_told() {
    let row = |value, diff| ((None, Some(value), None), diff);
    let epochs = vec![vec![row(4, 1)], vec![row(0, 1)], vec![row(0, -1)]];
    let told = totals(epochs, sum_of(1, DataType::Int64));
    assert_eq!(
        told.changes,
        BTreeMap::from([(1, vec![("4".to_owned(), 1)])])
    );
}

#[test]
fn functions_refuse_types_that_they_cannot_take_or_give() {
    for (argument, result) in [
        (5, DataType::Utf8View),
        (1, DataType::Float64),
        (2, DataType::Int64),
    ] {
        let spec = spec(&[], vec![sum_of(argument, result.clone())]);
        timely::execute_directly(move |worker| {
            worker.dataflow::<u64, _, _>(|scope| {
                let mut input =
                    InputHandle::<u64, CapacityContainerBuilder<Vec<RoutedBatch>>>::new();
                let input = input.to_stream(scope);
                assert!(
                    table_aggregate(input, &spec, &Failures::new(|_| ())).is_err(),
                    "{result}"
                );
            });
        });
    }
}
