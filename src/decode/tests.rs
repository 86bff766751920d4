use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::{
        DataType, Date32Type, Decimal128Type, Field, Float64Type, Int32Type, Int64Type, Schema,
        SchemaRef, TimeUnit, TimestampMillisecondType,
    },
};
use proptest::prelude::*;

use super::{
    Decoder,
    number::{DecimalError, parse_decimal},
};

const MILLIS: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

fn schema(fields: &[(&str, DataType)]) -> SchemaRef {
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, data_type)| Field::new(*name, data_type.clone(), true))
        .collect();
    Arc::new(Schema::new(fields))
}

fn one(data_type: DataType) -> Decoder {
    Decoder::new(&schema(&[("x", data_type)]), 16).unwrap()
}

/// Decodes `{"x": value}` for each value; the refusals' messages beside the column of what was accepted.
fn decode(data_type: DataType, values: &[&str]) -> (ArrayRef, Vec<String>) {
    let mut decoder = one(data_type);
    let mut errors = Vec::new();
    for value in values {
        if let Err(error) = decoder.push(format!("{{\"x\": {value}}}").as_bytes()) {
            errors.push(error.to_string());
        }
    }
    let column = decoder.finish().remove(0);
    column.to_data().validate_full().unwrap();
    (column, errors)
}

fn error(data_type: DataType, value: &str) -> String {
    let (column, mut errors) = decode(data_type, &[value]);
    assert_eq!(column.len(), 0, "a refused record leaves no row");
    errors
        .pop()
        .unwrap_or_else(|| panic!("{value} was accepted"))
}

#[test]
fn every_type_is_decoded() {
    let (column, errors) = decode(DataType::Boolean, &["true", "false", "null"]);
    assert!(errors.is_empty() && column.is_null(2));
    assert!(column.as_boolean().value(0) && !column.as_boolean().value(1));

    let (column, _) = decode(DataType::Int32, &["-2147483648", "7"]);
    assert_eq!(column.as_primitive::<Int32Type>().values(), &[i32::MIN, 7]);

    let (column, _) = decode(
        DataType::Int64,
        &["9223372036854775807", "-9223372036854775808"],
    );
    assert_eq!(
        column.as_primitive::<Int64Type>().values(),
        &[i64::MAX, i64::MIN]
    );

    let (column, _) = decode(DataType::Float64, &["1.5", "3", "1e300"]);
    assert_eq!(
        column.as_primitive::<Float64Type>().values(),
        &[1.5, 3.0, 1e300]
    );

    let (column, _) = decode(
        DataType::Utf8View,
        &[
            "\"short\"",
            "\"longer than inline\"",
            "\"a\\u00e4\\n\"",
            "\"\"",
        ],
    );
    let texts: Vec<_> = column.as_string_view().iter().flatten().collect();
    assert_eq!(texts, ["short", "longer than inline", "aä\n", ""]);

    let (column, _) = decode(DataType::Date32, &["\"1970-01-11\""]);
    assert_eq!(column.as_primitive::<Date32Type>().values(), &[10]);
}

#[test]
fn timestamps_are_milliseconds_or_rfc_3339() {
    let values = [
        "1500",
        "\"1970-01-01T00:00:01.5Z\"",
        "\"1970-01-01T01:00:01.500+01:00\"",
        "\"1969-12-31T23:59:59.9995Z\"",
    ];
    let (column, errors) = decode(MILLIS, &values);
    assert_eq!(errors, [""; 0]);
    assert_eq!(
        column.as_primitive::<TimestampMillisecondType>().values(),
        &[1500, 1500, 1500, -1]
    );
    assert!(error(MILLIS, "\"yesterday\"").contains("RFC 3339"));
}

#[test]
fn decimals_keep_every_digit_and_are_never_rounded() {
    let decimal = DataType::Decimal128(38, 2);
    let values = [
        "99999999999999999999999999999999999.99",
        "\"-0.10\"",
        "1e3",
        "12.500",
        "null",
    ];
    let (column, errors) = decode(decimal, &values);
    assert_eq!(errors, [""; 0]);
    let values = column.as_primitive::<Decimal128Type>();
    assert_eq!(
        values.value(0),
        9_999_999_999_999_999_999_999_999_999_999_999_999
    );
    assert_eq!(
        (values.value(1), values.value(2), values.value(3)),
        (-10, 100_000, 1_250)
    );
    assert!(values.is_null(4));
    for value in ["1.234", "12345678901.00", "true", "\"abc\"", "{}"] {
        let error = error(DataType::Decimal128(12, 2), value);
        assert!(
            error.contains("field `x`") && error.contains("decimal(12,2)"),
            "{error}"
        );
    }
}

#[test]
fn a_wrong_type_names_field_expectation_and_finding() {
    let error = error(DataType::Int64, "\"seven\"");
    for part in ["field `x`", "bigint", "\"seven\""] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn values_of_other_types_or_out_of_range_are_refused() {
    let cases = [
        (DataType::Boolean, "1"),
        (DataType::Int32, "2147483648"),
        (DataType::Int32, "18446744073709551615"),
        (DataType::Int64, "9223372036854775808"),
        (DataType::Int64, "1.5"),
        (DataType::Int64, "true"),
        (DataType::Int64, "[1]"),
        (DataType::Float64, "\"1.5\""),
        (DataType::Utf8View, "5"),
        (DataType::Utf8View, "false"),
        (DataType::Date32, "20"),
        (DataType::Date32, "\"2026-13-01\""),
        (MILLIS, "1.5"),
        (MILLIS, "{}"),
    ];
    for (data_type, value) in cases {
        assert!(error(data_type, value).starts_with("field `x`: invalid"));
    }
}

#[test]
fn what_is_not_one_json_object_is_refused() {
    let mut decoder = one(DataType::Int64);
    let cases: [&[u8]; 12] = [
        b"",
        b"  ",
        b"{",
        b"[1]",
        b"7",
        b"null",
        b"{\"x\":1} trailing",
        b"{\"x\":1}{\"x\":2}",
        b"{\"x\":1,}",
        b"{\"x\" 1}",
        b"{\"x\":\xff}",
        b"{\"y\":\"\xff\",\"x\":1}",
    ];
    for json in cases {
        assert!(
            decoder.push(json).is_err(),
            "{:?}",
            String::from_utf8_lossy(json)
        );
    }
    decoder.push(b" {\"x\": 1}\r\n").unwrap();
    assert_eq!(
        decoder.finish()[0].as_primitive::<Int64Type>().values(),
        &[1]
    );
}

#[test]
fn a_refused_record_leaves_no_trace_between_good_ones() {
    let schema = schema(&[
        ("a", DataType::Utf8View),
        ("b", DataType::Int64),
        ("c", DataType::Boolean),
    ]);
    let mut decoder = Decoder::new(&schema, 4).unwrap();
    decoder
        .push(br#"{"a":"first, and long enough","b":1,"c":true}"#)
        .unwrap();
    assert!(
        decoder
            .push(br#"{"a":"second, and long enough","c":false,"b":"two"}"#)
            .is_err()
    );
    decoder
        .push(br#"{"b":3,"a":"third, and long enough"}"#)
        .unwrap();
    let batch = RecordBatch::try_new(schema, decoder.finish()).unwrap();
    let texts: Vec<_> = batch.column(0).as_string_view().iter().flatten().collect();
    assert_eq!(texts, ["first, and long enough", "third, and long enough"]);
    assert_eq!(
        batch.column(1).as_primitive::<Int64Type>().values(),
        &[1, 3]
    );
    assert!(batch.column(2).is_null(1));
    batch.column(0).to_data().validate_full().unwrap();
}

#[test]
fn of_a_repeated_field_the_first_counts() {
    let mut decoder = one(DataType::Int64);
    decoder.push(br#"{"x":1,"x":"ignored","x":3}"#).unwrap();
    assert_eq!(
        decoder.finish()[0].as_primitive::<Int64Type>().values(),
        &[1]
    );
}

#[test]
fn an_object_in_a_string_column_is_kept_as_its_text() {
    let values = [
        "\"plain\"",
        "{\"a\": [1, {\"b\":\"}\"}]}",
        "[1,2]",
        "\"after \\\"it\\\"\"",
        "null",
    ];
    let (column, errors) = decode(DataType::Utf8View, &values);
    assert_eq!(errors, [""; 0]);
    let texts = column.as_string_view();
    assert_eq!(texts.value(1), "{\"a\": [1, {\"b\":\"}\"}]}");
    assert_eq!((texts.value(2), texts.value(3)), ("[1,2]", "after \"it\""));
    assert!(texts.is_null(4));
}

#[test]
fn a_required_field_may_not_be_missing() {
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("y", DataType::Int64, true),
    ];
    let mut decoder = Decoder::new(&Arc::new(Schema::new(fields)), 4).unwrap();
    for json in ["{}", "{\"id\":null,\"y\":2}"] {
        let error = decoder.push(json.as_bytes()).unwrap_err().to_string();
        assert!(
            error.contains("field `id`") && error.contains("missing or null"),
            "{error}"
        );
    }
    decoder.push(b"{\"id\":5}").unwrap();
    assert_eq!(decoder.rows(), 1);
    assert_eq!(
        decoder.finish()[0].as_primitive::<Int64Type>().values(),
        &[5]
    );
}

#[test]
fn a_bare_value_fills_one_column() {
    let schema = schema(&[("k", DataType::Utf8View), ("n", DataType::Int64)]);
    let mut decoder = Decoder::new(&schema, 4).unwrap();
    for key in ["u1", "\"u2\"", "17", "{broken"] {
        decoder.push_value(key.as_bytes(), 0).unwrap();
    }
    decoder.push_value(b"42", 1).unwrap();
    assert!(decoder.push_value(b"forty", 1).is_err());
    let columns = decoder.finish();
    let keys: Vec<_> = columns[0].as_string_view().iter().flatten().collect();
    assert_eq!(keys, ["u1", "u2", "17", "{broken"]);
    assert_eq!(columns[1].as_primitive::<Int64Type>().value(4), 42);
    assert_eq!(columns[1].null_count(), 4);
}

#[test]
fn a_deeply_nested_record_is_an_error_and_not_a_crash() {
    for (open, close) in [("[", "]"), ("{\"x\":", "}"), ("[\"]\",", "]"), ("[", "")] {
        for field in ["x", "other"] {
            let deep = format!(
                "{{\"{field}\":{}1{}}}",
                open.repeat(100_000),
                close.repeat(100_000)
            );
            assert!(one(DataType::Int64).push(deep.as_bytes()).is_err());
            assert!(one(DataType::Utf8View).push(deep.as_bytes()).is_err());
            assert!(one(DataType::Int64).push_value(deep.as_bytes(), 0).is_err());
        }
    }
    let wide = format!("{{\"other\":[{}1],\"x\":2}}", "[1],".repeat(10_000));
    one(DataType::Int64).push(wide.as_bytes()).unwrap();
    let quoted = format!("{{\"x\":\"\\\"{}\"}}", "[".repeat(10_000));
    one(DataType::Utf8View).push(quoted.as_bytes()).unwrap();
}

#[test]
fn decimal_texts_are_checked() {
    for text in [
        "", "-", ".5", "5.", "1.2.3", "1e", "e5", "1e+-2", "0x1", "1_0", " 1",
    ] {
        assert_eq!(
            parse_decimal(text, 10, 2),
            Err(DecimalError::Syntax),
            "{text}"
        );
    }
    for text in ["1e999999999999", "123456789", "0.001", "1e-3"] {
        assert_eq!(
            parse_decimal(text, 10, 2),
            Err(DecimalError::Range),
            "{text}"
        );
    }
    assert_eq!(parse_decimal("0e99999999999", 10, 2), Ok(0));
    assert_eq!(parse_decimal("1200e-2", 10, 2), Ok(1_200));
    assert_eq!(parse_decimal("12345678.90", 10, 2), Ok(1_234_567_890));
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        (-1_000i64..1_000).prop_map(Into::into),
        any::<f64>().prop_filter_map("finite", |x| serde_json::Number::from_f64(x)
            .map(serde_json::Value::Number)),
        any::<String>().prop_map(Into::into),
        "[a-z]{0,20}".prop_map(Into::into),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(serde_json::Value::Array),
            prop::collection::btree_map("[a-c]", inner, 0..3)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

/// What a column should hold for a value; `None` if it must be refused.
fn expected(data_type: &DataType, value: &serde_json::Value) -> Option<serde_json::Value> {
    use serde_json::Value::{Array, Null, Object, String};
    match (data_type, value) {
        (_, Null) => Some(Null),
        (DataType::Boolean, value) => value.is_boolean().then(|| value.clone()),
        (DataType::Int64, value) => value.as_i64().map(Into::into),
        (DataType::Int32, value) => i32::try_from(value.as_i64()?).ok().map(Into::into),
        (DataType::Float64, value) => value.as_f64().map(Into::into),
        (DataType::Utf8View, String(_)) => Some(value.clone()),
        (DataType::Utf8View, Array(_) | Object(_)) => Some(value.to_string().into()),
        _ => None,
    }
}

fn found(column: &ArrayRef, row: usize) -> serde_json::Value {
    if column.is_null(row) {
        return serde_json::Value::Null;
    }
    match column.data_type() {
        DataType::Boolean => column.as_boolean().value(row).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).into(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).into(),
        _ => column.as_string_view().value(row).into(),
    }
}

proptest! {
    #[test]
    fn records_decode_as_serde_json_reads_them(
        records in prop::collection::vec(prop::collection::btree_map("[a-g]", value(), 0..7), 1..12),
    ) {
        let fields = [
            ("a", DataType::Boolean), ("b", DataType::Int64), ("c", DataType::Int32),
            ("d", DataType::Float64), ("e", DataType::Utf8View),
        ];
        let mut decoder = Decoder::new(&schema(&fields), 16).unwrap();
        let mut rows = Vec::new();
        for record in &records {
            let row: Option<Vec<_>> = fields
                .iter()
                .map(|(name, data_type)| {
                    expected(data_type, record.get(*name).unwrap_or(&serde_json::Value::Null))
                })
                .collect();
            let json = serde_json::to_string(record).unwrap();
            let pushed = decoder.push(json.as_bytes());
            prop_assert_eq!(pushed.is_ok(), row.is_some(), "{}: {:?}", json, pushed);
            rows.extend(row);
        }
        prop_assert_eq!(decoder.rows(), rows.len());
        let columns = decoder.finish();
        for (row, expected) in rows.iter().enumerate() {
            for (column, expected) in columns.iter().zip(expected) {
                prop_assert_eq!(&found(column, row), expected);
            }
        }
        for column in columns {
            prop_assert!(column.to_data().validate_full().is_ok());
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), at in 0..60usize) {
        let mut decoder = Decoder::new(&schema(&[("a", DataType::Decimal128(9, 2)), ("b", DataType::Utf8View), ("c", MILLIS)]), 4).unwrap();
        let _ = decoder.push(&bytes);
        let mut json = br#"{"a":12.5,"b":"text with \u00e9 in it","c":"2026-11-23T10:00:00Z"}"#.to_vec();
        let end = at.min(json.len());
        json.splice(end.saturating_sub(3)..end, bytes);
        let accepted = decoder.push(&json).is_ok();
        let serde_accepts = serde_json::from_slice::<serde_json::Value>(&json).is_ok();
        prop_assert!(serde_accepts || !accepted, "{:?}", String::from_utf8_lossy(&json));
        let rows = decoder.rows();
        for column in decoder.finish() {
            prop_assert_eq!(column.len(), rows);
            prop_assert!(column.to_data().validate_full().is_ok());
        }
    }

    #[test]
    fn a_decimals_text_comes_back(unscaled in -999_999_999_999i128..=999_999_999_999, scale in 0..6i8) {
        let divisor = 10i128.pow(scale.unsigned_abs().into());
        let sign = if unscaled < 0 { "-" } else { "" };
        let (whole, rest) = (unscaled.abs() / divisor, unscaled.abs() % divisor);
        let text = if scale == 0 {
            format!("{sign}{whole}")
        } else {
            format!("{sign}{whole}.{rest:0width$}", width = scale.unsigned_abs().into())
        };
        prop_assert_eq!(parse_decimal(&text, 12, scale), Ok(unscaled));
    }
}
