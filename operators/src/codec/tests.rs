use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    StringViewArray, TimestampMillisecondArray,
};
use arrow::datatypes::{Field, Schema};
use proptest::prelude::*;

use super::*;

/// One column of every type, each value repeated from a few integers.
pub(crate) fn every_type(values: &[Option<i64>]) -> RecordBatch {
    let text = |value: i64| format!("text {value}").repeat((value.unsigned_abs() % 3) as usize);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(BooleanArray::from_iter(
            values.iter().map(|value| value.map(|value| value % 2 == 0)),
        )),
        Arc::new(Int32Array::from_iter(
            values.iter().map(|value| value.map(|value| value as i32)),
        )),
        Arc::new(Int64Array::from_iter(values.iter().copied())),
        Arc::new(Float64Array::from_iter(
            values
                .iter()
                .map(|value| value.map(|value| value as f64 / 3.0)),
        )),
        Arc::new(StringViewArray::from_iter(
            values.iter().map(|value| value.map(text)),
        )),
        Arc::new(TimestampMillisecondArray::from_iter(values.iter().copied())),
        Arc::new(Date32Array::from_iter(
            values.iter().map(|value| value.map(|value| value as i32)),
        )),
        Arc::new(
            Decimal128Array::from_iter(
                values
                    .iter()
                    .map(|value| value.map(|value| i128::from(value) * 1_000_000_007)),
            )
            .with_precision_and_scale(38, 2)
            .unwrap(),
        ),
    ];
    let fields = columns.iter().enumerate().map(|(position, column)| {
        Field::new(format!("c{position}"), column.data_type().clone(), true)
    });
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns).unwrap()
}

fn encode(batch: &RecordBatch) -> Vec<Vec<u8>> {
    let codec = RowCodec::new(batch.schema()).unwrap();
    let encoder = codec.encoder(batch).unwrap();
    let encode = |row| {
        let mut bytes = vec![];
        encoder.encode(row, &mut bytes);
        bytes
    };
    (0..batch.num_rows()).map(encode).collect()
}

#[test]
fn the_form_of_a_row_is_pinned() {
    let rows = encode(&every_type(&[Some(1_000), None]));
    let mut expected = vec![1, 0, 1];
    expected.extend([0xd0, 0x0f]); // Int32
    expected.extend([0xd0, 0x0f]); // Int64
    expected.extend((1_000.0f64 / 3.0).to_le_bytes());
    expected.push(9);
    expected.extend(b"text 1000");
    expected.extend(1_000i64.to_le_bytes());
    expected.extend([0xd0, 0x0f]); // Date32
    expected.extend([0xb0, 0xad, 0xa9, 0xca, 0x9a, 0x3a]); // zigzag of 1_000_000_007_000
    assert_eq!(rows[0], expected);
    assert_eq!(rows[1], [1, 0xff]);
}

#[test]
fn the_ends_of_every_range_survive() {
    let batch = every_type(&[Some(i64::MIN), Some(i64::MAX), Some(0), Some(-1), None]);
    let codec = RowCodec::new(batch.schema()).unwrap();
    let rows = encode(&batch);
    assert_eq!(codec.decode(rows.iter().map(Vec::as_slice)).unwrap(), batch);
}

#[test]
fn hidden_columns_are_not_encoded() {
    let batch = every_type(&[Some(5)]);
    let visible = Arc::new(batch.schema().project(&[0, 1]).unwrap());
    let codec = RowCodec::new(visible).unwrap();
    let mut bytes = vec![];
    codec.encoder(&batch).unwrap().encode(0, &mut bytes);
    assert_eq!(bytes, [1, 0, 0, 10]);
}

#[test]
fn a_row_of_another_version_is_refused() {
    let batch = every_type(&[Some(5)]);
    let mut row = encode(&batch).remove(0);
    row[0] = 2;
    let error = RowCodec::new(batch.schema()).unwrap().decode([&row[..]]);
    assert!(matches!(error, Err(CodecError::Version(2))));
}

#[test]
fn a_row_cut_short_or_made_longer_is_refused() {
    let batch = every_type(&[Some(5)]);
    let codec = RowCodec::new(batch.schema()).unwrap();
    let row = encode(&batch).remove(0);
    for length in 0..row.len() {
        assert!(codec.decode([&row[..length]]).is_err(), "{length}");
    }
    let longer = [&row[..], &[0]].concat();
    assert!(codec.decode([&longer[..]]).is_err());
}

#[test]
fn a_type_without_a_durable_form_is_refused() {
    let schema = Schema::new(vec![Field::new("c", DataType::Utf8, true)]);
    assert!(matches!(
        RowCodec::new(Arc::new(schema)),
        Err(CodecError::Type(DataType::Utf8))
    ));
}

#[test]
fn a_batch_of_another_type_is_refused() {
    let batch = every_type(&[Some(5)]);
    let schema = Schema::new(vec![Field::new("c", DataType::Int64, true)]);
    let codec = RowCodec::new(Arc::new(schema)).unwrap();
    assert!(matches!(
        codec.encoder(&batch),
        Err(CodecError::Batch { column: 0, .. })
    ));
}

proptest! {
    #[test]
    fn decoding_gives_back_what_was_encoded(
        values in prop::collection::vec(prop::option::of(any::<i64>()), 0..20),
    ) {
        let batch = every_type(&values);
        let codec = RowCodec::new(batch.schema()).unwrap();
        let rows = encode(&batch);
        prop_assert_eq!(codec.decode(rows.iter().map(Vec::as_slice)).unwrap(), batch);
    }

    #[test]
    fn decoding_arbitrary_bytes_never_panics_and_accepts_only_what_encoding_makes(
        mut bytes in prop::collection::vec(any::<u8>(), 0..80),
        version in any::<bool>(),
    ) {
        if version && !bytes.is_empty() {
            bytes[0] = ROW_FORMAT;
        }
        let codec = RowCodec::new(every_type(&[]).schema()).unwrap();
        if let Ok(batch) = codec.decode([&bytes[..]]) {
            prop_assert_eq!(&encode(&batch)[0], &bytes);
        }
    }
}
