//! Accepted rows as Arrow, and the bounds of panes as a function.

use std::{collections::HashMap, sync::Arc};

use datafusion::{
    arrow::{
        array::{
            Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int32Array,
            Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray,
        },
        compute::filter_record_batch,
        datatypes::{DataType, Field, Schema, TimeUnit, TimestampMillisecondType},
    },
    common::Result,
    logical_expr::{
        ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
    },
};
use serde_json::Value;
use tidewright_jobs::batch::EVENT_TIME;

use crate::oracle::{
    accept::{Accepted, Row, decimal_type, decimal_units},
    declared::{Kind, Source},
};

/// A stream with what decides over its rows' lateness.
#[derive(Clone, Debug)]
pub struct Stream {
    rows: RecordBatch,
    /// Per row its event time and `_wm`.
    times: Vec<(i64, i64)>,
    /// The largest event time and W.
    pub clock: (i64, i64),
}

impl Stream {
    /// A source's stream; `None` for tables.
    pub fn of(accepted: &Accepted, rows: RecordBatch) -> Option<Self> {
        let Kind::Stream { .. } = accepted.source.kind else {
            return None;
        };
        let times = accepted.rows.iter().map(|row| (row.time, row.watermark));
        Some(Self {
            rows,
            times: times.collect(),
            clock: (accepted.largest_time, accepted.watermark),
        })
    }

    /// The rows of closed windows: never late, with the clock of what the windows are made of.
    pub fn made_by_window(rows: RecordBatch, clock: (i64, i64)) -> Self {
        let schema = rows.schema();
        let time = schema
            .fields()
            .iter()
            .position(|field| field.metadata().contains_key(EVENT_TIME));
        let times = match time {
            Some(time) => {
                let times = rows.column(time).as_primitive::<TimestampMillisecondType>();
                times
                    .values()
                    .iter()
                    .map(|time| (*time, i64::MIN))
                    .collect()
            }
            None => vec![(i64::MIN, i64::MIN); rows.num_rows()],
        };
        Self { rows, times, clock }
    }

    /// The rows whose event time and `_wm` pass.
    pub fn rows_that(&self, pass: impl Fn(i64, i64) -> bool) -> RecordBatch {
        let passed: BooleanArray = self
            .times
            .iter()
            .map(|(t, wm)| Some(pass(*t, *wm)))
            .collect();
        filter_record_batch(&self.rows, &passed).unwrap()
    }
}

/// Rows as a batch of the declared columns, `_split` and `_offset`.
pub fn stream_batch(source: &Source, rows: &[Row]) -> RecordBatch {
    let mut fields = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for (at, (name, data_type)) in source.columns.iter().enumerate() {
        let values: Vec<&Value> = rows.iter().map(|row| &row.values[at]).collect();
        let array = column(&values, data_type);
        let is_time = matches!(&source.kind, Kind::Stream { time, .. } if time == name);
        let mark = is_time.then(|| (EVENT_TIME.to_owned(), "1".to_owned()));
        let field = Field::new(name, array.data_type().clone(), true);
        fields.push(field.with_metadata(HashMap::from_iter(mark)));
        arrays.push(array);
    }
    for name in ["_split", "_offset"] {
        fields.push(Field::new(name, DataType::Int64, false));
    }
    let splits = rows.iter().map(|row| i64::from(row.split));
    arrays.push(Arc::new(Int64Array::from_iter_values(splits)));
    let offsets = rows.iter().map(|row| row.offset);
    arrays.push(Arc::new(Int64Array::from_iter_values(offsets)));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

fn column(values: &[&Value], data_type: &str) -> ArrayRef {
    let values = values.iter();
    match data_type {
        "boolean" => Arc::new(values.map(|v| v.as_bool()).collect::<BooleanArray>()),
        "int" => Arc::new(
            values
                .map(|v| v.as_i64().map(|v| v as i32))
                .collect::<Int32Array>(),
        ),
        "bigint" => Arc::new(values.map(|v| v.as_i64()).collect::<Int64Array>()),
        "double" => Arc::new(values.map(|v| v.as_f64()).collect::<Float64Array>()),
        "string" => Arc::new(values.map(|v| v.as_str()).collect::<StringViewArray>()),
        "timestamp_ms" => Arc::new(
            values
                .map(|v| v.as_i64())
                .collect::<TimestampMillisecondArray>(),
        ),
        decimal => {
            let (precision, scale) = decimal_type(decimal);
            let units = values.map(|v| decimal_units(v, scale));
            let array = units.collect::<Decimal128Array>();
            Arc::new(
                array
                    .with_precision_and_scale(precision, scale as i8)
                    .unwrap(),
            )
        }
    }
}

/// A function from an event time to a bound of its pane: the pane's start plus so much.
pub fn pane_bound(size_ms: i64, plus_ms: i64) -> ScalarUDF {
    ScalarUDF::from(PaneBound {
        signature: Signature::any(1, Volatility::Immutable),
        size_ms,
        plus_ms,
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PaneBound {
    signature: Signature,
    size_ms: i64,
    plus_ms: i64,
}

impl ScalarUDFImpl for PaneBound {
    fn name(&self) -> &str {
        "pane_bound"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Timestamp(TimeUnit::Millisecond, None))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let times = arguments.args[0].to_array(arguments.number_rows)?;
        let times = times.as_primitive::<TimestampMillisecondType>();
        let bound = |time: i64| time - time.rem_euclid(self.size_ms) + self.plus_ms;
        let bounds: TimestampMillisecondArray = times.unary(bound);
        Ok(ColumnarValue::Array(Arc::new(bounds)))
    }
}
