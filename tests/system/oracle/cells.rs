//! Rows of both sides in one form, which compares doubles as doubles and everything else as text.

use std::{fmt, fs, path::Path};

use datafusion::arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Decimal128Type, Float64Type, TimeUnit, TimestampMillisecondType},
    temporal_conversions::timestamp_ms_to_datetime,
};
use sonic_rs::{JsonValueTrait, LazyValue};

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Null,
    Double(f64),
    /// Anything else: exact decimals, ISO 8601 times, `true` and `false`.
    Text(String),
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Double(value) => write!(f, "{value:?}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Rows with their columns' names.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Cell>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub is_double: bool,
}

impl Rows {
    /// The rows of a batch, without columns that begin with an underscore.
    pub fn of_batch(batch: &RecordBatch) -> Self {
        let schema = batch.schema();
        let visible = |at: &usize| !schema.field(*at).name().starts_with('_');
        let kept: Vec<_> = (0..batch.num_columns()).filter(visible).collect();
        let columns = kept.iter().map(|at| Column {
            name: schema.field(*at).name().clone(),
            is_double: schema.field(*at).data_type().is_floating(),
        });
        let columns = columns.collect();
        let arrays: Vec<_> = kept.iter().map(|at| plain(batch.column(*at))).collect();
        let row = |at| arrays.iter().map(|array| cell(array, at)).collect();
        let rows = (0..batch.num_rows()).map(row).collect();
        Self { columns, rows }
    }

    /// The rows of a file of JSON lines, for these columns; an error if a line has others.
    pub fn of_file(path: &Path, columns: &[Column]) -> Result<Self, String> {
        // A sink that never got a row has made no file.
        let content = fs::read_to_string(path).unwrap_or_default();
        let rows: Result<_, _> = content.lines().map(|line| of_line(line, columns)).collect();
        Ok(Self {
            columns: columns.to_vec(),
            rows: rows.map_err(|error| format!("{}: {error}", path.display()))?,
        })
    }

    /// The positions of these columns.
    pub fn positions(&self, names: &[String]) -> Vec<usize> {
        let position = |name| self.columns.iter().position(|column| &column.name == name);
        let found = names.iter().map(position);
        found
            .map(|at| at.expect("a key column of the result"))
            .collect()
    }
}

fn of_line(line: &str, columns: &[Column]) -> Result<Vec<Cell>, String> {
    let mut fields = Vec::new();
    for field in sonic_rs::to_object_iter(line) {
        fields.push(field.map_err(|error| format!("{error} in {line}"))?);
    }
    let names = fields.iter().map(|(name, _)| name.as_ref());
    if !names.eq(columns.iter().map(|column| column.name.as_str())) {
        let names: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
        return Err(format!("columns {names:?} expected in {line}"));
    }
    let fields = fields.iter().zip(columns);
    Ok(fields
        .map(|((_, value), column)| of_json(value, column))
        .collect())
}

fn of_json(value: &LazyValue<'_>, column: &Column) -> Cell {
    let raw = value.as_raw_str();
    match (value.as_str(), raw) {
        (Some(text), _) => Cell::Text(text.to_owned()),
        (None, "null") => Cell::Null,
        (None, raw) => match raw.parse() {
            Ok(double) if column.is_double => Cell::Double(double),
            _ => Cell::Text(raw.to_owned()),
        },
    }
}

/// The array in one of the types that [`cell`] knows.
fn plain(array: &ArrayRef) -> ArrayRef {
    let to = match array.data_type() {
        data_type if data_type.is_floating() => DataType::Float64,
        DataType::Timestamp(..) => DataType::Timestamp(TimeUnit::Millisecond, None),
        DataType::Decimal128(..) => return array.clone(),
        _ => DataType::Utf8,
    };
    cast(array, &to).unwrap()
}

fn cell(array: &ArrayRef, at: usize) -> Cell {
    if array.is_null(at) {
        return Cell::Null;
    }
    match array.data_type() {
        DataType::Float64 => Cell::Double(array.as_primitive::<Float64Type>().value(at)),
        DataType::Timestamp(..) => {
            let ms = array.as_primitive::<TimestampMillisecondType>().value(at);
            Cell::Text(iso8601(ms))
        }
        DataType::Decimal128(..) => {
            Cell::Text(array.as_primitive::<Decimal128Type>().value_as_string(at))
        }
        _ => Cell::Text(array.as_string::<i32>().value(at).to_owned()),
    }
}

fn iso8601(ms: i64) -> String {
    let time = timestamp_ms_to_datetime(ms).unwrap();
    time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}
