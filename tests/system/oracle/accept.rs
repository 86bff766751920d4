//! Which records count: decoding, watermarks and keys, worked out from the design and not from the engine's code.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde_json::{Map, Value};
use tidewright_checkpoints::ids::key_hash;

use super::declared::{Kind, Source};

/// Further ahead of its split than this is no event time but a mistake.
const AHEAD_MS_MAX: i64 = 86_400_000;

/// The records of one split in the order of their offsets.
#[derive(Clone, Debug)]
pub struct Split {
    /// As the engine names it in manifests.
    pub name: String,
    /// Orders splits where event times are equal.
    pub number: u32,
    pub records: Vec<Record>,
}

/// One record; blank lines are none.
#[derive(Clone, Debug)]
pub struct Record {
    pub offset: i64,
    pub bytes: Vec<u8>,
}

/// A row of a stream, or the last one of a table's key.
#[derive(Clone, Debug)]
pub struct Row {
    pub split: u32,
    pub offset: i64,
    /// The event time; 0 for tables.
    pub time: i64,
    /// `_wm`: the watermark of the split just before the row.
    pub watermark: i64,
    /// One per declared column.
    pub values: Vec<Value>,
}

/// What remains of a source's records.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub source: Source,
    pub rows: Vec<Row>,
    pub records: usize,
    /// Records that cannot be decoded.
    pub dead: usize,
    /// The largest accepted event time.
    pub largest_time: i64,
    /// W: the least watermark of the splits that have not been read to their end.
    pub watermark: i64,
}

/// The files of a source's folder, each a split.
pub fn splits_of(source: &Source) -> Vec<Split> {
    let entries = fs::read_dir(&source.folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let splits = paths.into_iter().map(|path| {
        let name = path.to_str().unwrap().to_owned();
        Split {
            number: key_hash(name.as_bytes()) as u32,
            records: records_of(&fs::read(&path).unwrap()),
            name,
        }
    });
    splits.collect()
}

fn records_of(content: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    let mut offset = 0;
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        if !line.trim_ascii().is_empty() {
            let bytes = line.to_vec();
            records.push(Record { offset, bytes });
        }
        offset += line.len() as i64;
    }
    records
}

/// Only the records before these offsets, by the split's name.
pub fn before(splits: &[Split], offsets: &BTreeMap<String, i64>) -> Vec<Split> {
    let prefix = |split: &Split| {
        let end = offsets[&split.name];
        let records = split.records.iter().filter(|record| record.offset < end);
        Split {
            records: records.cloned().collect(),
            ..split.clone()
        }
    };
    splits.iter().map(prefix).collect()
}

/// Decodes and stamps the records of a source. `ended`: the names of the splits that have been read to their end.
pub fn accept(source: &Source, splits: &[Split], ended: &BTreeSet<String>) -> Accepted {
    let mut accepted = Accepted {
        source: source.clone(),
        rows: Vec::new(),
        records: splits.iter().map(|split| split.records.len()).sum(),
        dead: 0,
        largest_time: i64::MIN,
        watermark: i64::MAX,
    };
    match &source.kind {
        Kind::Stream { time, bound_ms } => {
            let time = position(source, time);
            for split in splits {
                let largest = accepted.take_stream(split, time, *bound_ms);
                accepted.largest_time = accepted.largest_time.max(largest);
                if !ended.contains(&split.name) {
                    let watermark = largest.saturating_sub(*bound_ms);
                    accepted.watermark = accepted.watermark.min(watermark);
                }
            }
        }
        Kind::Table { key } => {
            let key: Vec<_> = key.iter().map(|name| position(source, name)).collect();
            accepted.take_table(splits, &key);
        }
    }
    accepted
}

fn position(source: &Source, column: &str) -> usize {
    let mut columns = source.columns.iter();
    columns.position(|(name, _)| name == column).unwrap()
}

impl Accepted {
    /// Stamps the rows of a split; returns its largest event time.
    fn take_stream(&mut self, split: &Split, time: usize, bound_ms: i64) -> i64 {
        let mut largest = i64::MIN;
        for record in &split.records {
            let decoded = decode(&self.source, &record.bytes);
            let judged = decoded.and_then(|(values, _)| {
                let time = values[time].as_i64()?;
                let too_far = largest > i64::MIN && time > largest + AHEAD_MS_MAX;
                (!too_far).then_some((values, time))
            });
            let Some((values, time)) = judged else {
                self.dead += 1;
                continue;
            };
            self.rows.push(Row {
                split: split.number,
                offset: record.offset,
                time,
                watermark: largest.saturating_sub(bound_ms),
                values,
            });
            largest = largest.max(time);
        }
        largest
    }

    /// Keeps the last row of each key; a key stays in one split.
    fn take_table(&mut self, splits: &[Split], key: &[usize]) {
        let mut rows = BTreeMap::new();
        for (split, record) in splits
            .iter()
            .flat_map(|s| s.records.iter().map(move |r| (s, r)))
        {
            let decoded = decode(&self.source, &record.bytes);
            let keyed = decoded.filter(|(values, _)| key.iter().all(|k| !values[*k].is_null()));
            let Some((values, delete)) = keyed else {
                self.dead += 1;
                continue;
            };
            let key: Vec<_> = key.iter().map(|k| values[*k].to_string()).collect();
            if delete {
                rows.remove(&key);
                continue;
            }
            let row = Row {
                split: split.number,
                offset: record.offset,
                time: 0,
                watermark: i64::MIN,
                values,
            };
            rows.insert(key, row);
        }
        self.rows = rows.into_values().collect();
    }
}

/// The values of the declared columns, and whether the record deletes; `None` if it doesn't have the declared form.
fn decode(source: &Source, bytes: &[u8]) -> Option<(Vec<Value>, bool)> {
    let object: Map<String, Value> = serde_json::from_slice(bytes).ok()?;
    let mut values = Vec::new();
    for (name, data_type) in &source.columns {
        let mut value = object.get(name).cloned().unwrap_or(Value::Null);
        if !value.is_null() && !fits(&value, data_type) {
            return None;
        }
        if data_type == "double" && !value.is_null() {
            value = exact_double(bytes, name);
        }
        values.push(value);
    }
    let delete = object.get("_delete") == Some(&Value::Bool(true));
    Some((values, delete && matches!(source.kind, Kind::Table { .. })))
}

/// `serde_json` may be off by a bit where it reads a double; the standard library is not.
fn exact_double(bytes: &[u8], name: &str) -> Value {
    let field = sonic_rs::get(bytes, [name]).unwrap();
    Value::from(field.as_raw_str().parse::<f64>().unwrap())
}

fn fits(value: &Value, data_type: &str) -> bool {
    match data_type {
        "boolean" => value.is_boolean(),
        "int" => value.as_i64().is_some_and(|v| i32::try_from(v).is_ok()),
        "bigint" | "timestamp_ms" => value.is_i64(),
        "double" => value.is_number(),
        "string" => value.is_string(),
        decimal => fits_decimal(value, decimal),
    }
}

fn fits_decimal(value: &Value, data_type: &str) -> bool {
    let (precision, scale) = decimal_type(data_type);
    let units = value.is_number().then(|| decimal_units(value, scale));
    let units = units.flatten().map(i128::unsigned_abs);
    units.is_some_and(|units| units < 10_u128.pow(u32::from(precision)))
}

/// Precision and scale of `decimal(12,2)`.
pub fn decimal_type(data_type: &str) -> (u8, usize) {
    let arguments = data_type
        .strip_prefix("decimal(")
        .and_then(|t| t.strip_suffix(')'));
    let (precision, scale) = arguments.unwrap().split_once(',').unwrap();
    (precision.parse().unwrap(), scale.parse().unwrap())
}

/// A number in units of the last digit that the scale has; `None` if it has more digits, or an exponent.
pub fn decimal_units(value: &Value, scale: usize) -> Option<i128> {
    let text = value.to_string();
    let (whole, behind) = text.split_once('.').unwrap_or((&text, ""));
    let behind = behind.trim_end_matches('0');
    if behind.len() > scale {
        return None;
    }
    format!("{whole}{behind:0<scale$}").parse().ok()
}

#[test]
fn doubles_are_read_to_the_last_bit() {
    let record = br#"{"weight": 108.33333333333333}"#;
    assert_eq!(
        exact_double(record, "weight").as_f64(),
        Some(108.333_333_333_333_33)
    );
}

#[test]
fn decimals_are_read_to_the_last_digit() {
    let units = |json: &str, scale| decimal_units(&serde_json::from_str(json).unwrap(), scale);
    assert_eq!(units("12.3", 2), Some(1_230));
    assert_eq!(units("-0.05", 2), Some(-5));
    assert_eq!(units("7", 2), Some(700));
    assert_eq!(units("1.001", 2), None);
}
