//! Aggregates computed the naive way.

use arrow::datatypes::{DataType, Field};

use super::Row;
use super::input::{DOUBLE, FLAG, MONEY, NUMBER, TEXT};
use crate::accumulate::{Aggregate, AggregateFunction};

/// One aggregate of every kind, some filtered.
pub(crate) fn aggregates() -> Vec<Aggregate> {
    use AggregateFunction::{Avg, Count, First, Last, Max, Min, Sum};
    let decimal = DataType::Decimal128;
    let all = [
        (Count, None, None, DataType::Int64),
        (Count, Some(NUMBER), Some(FLAG), DataType::Int64),
        (Sum, Some(NUMBER), Some(FLAG), DataType::Int64),
        (Sum, Some(DOUBLE), None, DataType::Float64),
        (Avg, Some(DOUBLE), Some(FLAG), DataType::Float64),
        (Sum, Some(MONEY), None, decimal(22, 2)),
        (Avg, Some(MONEY), None, decimal(16, 6)),
        (Min, Some(NUMBER), None, DataType::Int64),
        (Max, Some(TEXT), Some(FLAG), DataType::Utf8View),
        (First, Some(NUMBER), None, DataType::Int64),
        (Last, Some(TEXT), Some(FLAG), DataType::Utf8View),
    ];
    let all = all
        .into_iter()
        .map(|(function, argument, filter, data_type)| Aggregate {
            function,
            argument,
            filter,
            data_type,
        });
    all.collect()
}

pub(crate) fn aggregate_fields() -> Vec<Field> {
    let fields = aggregates().into_iter().enumerate();
    let fields =
        fields.map(|(n, aggregate)| Field::new(format!("a{n}"), aggregate.data_type, true));
    fields.collect()
}

/// The results of [`aggregates`], computed naively. Doubles are added group by group, in order.
pub(crate) fn naive(groups: &[Vec<Row>]) -> Vec<String> {
    let rows: Vec<&Row> = groups.iter().flatten().collect();
    let flagged: Vec<&Row> = rows
        .iter()
        .copied()
        .filter(|row| row.flag == Some(true))
        .collect();
    let double = |flagged: bool| {
        let mut count = 0;
        let mut sum = 0.0;
        for group in groups {
            let mut part = 0.0;
            for row in group
                .iter()
                .filter(|row| !flagged || row.flag == Some(true))
            {
                if let Some(value) = row.double() {
                    part += value;
                    count += 1;
                }
            }
            sum += part;
        }
        (count > 0).then_some((sum, count))
    };
    let numbers = || rows.iter().filter_map(|row| row.number);
    let flagged_numbers = || flagged.iter().filter_map(|row| row.number);
    let sum = |any: bool, sum: i64| any.then_some(sum);
    let total = sum(numbers().count() > 0, numbers().sum());
    let place = |row: &&&Row| (row.time, row.split, row.offset);
    let first = rows.iter().min_by_key(place).and_then(|row| row.number);
    let last = flagged.iter().max_by_key(place).and_then(|row| row.text());
    let text = |value: Option<String>| value.unwrap_or("null".into());
    let show = |value: Option<i64>| text(value.map(|value| value.to_string()));
    let float = |value: Option<f64>| text(value.map(|value| format!("{value:?}")));
    vec![
        rows.len().to_string(),
        flagged_numbers().count().to_string(),
        show(sum(flagged_numbers().count() > 0, flagged_numbers().sum())),
        float(double(false).map(|(sum, _)| sum)),
        float(double(true).map(|(sum, count)| sum / f64::from(count))),
        show(total),
        show(total.map(|total| total * 10_000 / numbers().count() as i64)),
        show(numbers().min()),
        text(flagged.iter().filter_map(|row| row.text()).max()),
        show(first),
        text(last),
    ]
}
