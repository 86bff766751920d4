use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array};
use arrow::datatypes::Field;
use proptest::prelude::*;
use tidewright_checkpoints::Shard;

use super::*;

fn pair(values: &[(Option<&str>, Option<i64>)]) -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("name", DataType::Utf8View, true),
        Field::new("number", DataType::Int64, true),
    ]);
    let names = StringViewArray::from_iter(values.iter().map(|(name, _)| *name));
    let numbers = Int64Array::from_iter(values.iter().map(|(_, number)| *number));
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(names), Arc::new(numbers)]).unwrap()
}

fn keys_of(batch: &RecordBatch, columns: &[usize]) -> Vec<Vec<u8>> {
    let codec = KeyCodec::new(&batch.schema(), columns).unwrap();
    let mut keys = EncodedKeys::default();
    codec.encode_batch(batch, &mut keys).unwrap();
    let encoder = codec.encoder(batch).unwrap();
    for (row, (key, hash)) in keys.iter().enumerate() {
        let mut single = vec![];
        encoder.encode(row, &mut single);
        assert_eq!(key, single, "a batch and a single row give the same key");
        assert_eq!(key, keys.key(row));
        assert_eq!(hash, key_hash(key));
        assert_eq!(hash, keys.hashes()[row]);
    }
    keys.iter().map(|(key, _)| key.to_vec()).collect()
}

#[test]
fn the_form_of_a_key_is_pinned() {
    let batch = pair(&[
        (Some("u0000042"), Some(-3)),
        (Some(""), None),
        (None, Some(1)),
        (Some("thirteen_char"), None),
    ]);
    let short = keys_of(&batch, &[0]);
    assert_eq!(short[0], b"\x09u0000042");
    assert_eq!(short[1], [1]);
    assert_eq!(short[2], [0]);
    assert_eq!(short[3], b"\x0ethirteen_char");
    let composite = keys_of(&batch, &[1, 0]);
    assert_eq!(composite[0], b"\x01\x05\x09u0000042");
    assert_eq!(composite[1], [0, 1]);
    assert_eq!(composite[2], [1, 2, 0]);
}

#[test]
fn the_shard_of_a_key_is_pinned() {
    assert_eq!(key_hash(b"\x09u0000042"), 0xe632_0cda_7a77_51c5);
    assert_eq!(Shard::of_key(b"\x09u0000042"), Shard(920));
}

#[test]
fn a_key_without_columns_is_the_same_for_every_row() {
    let batch = pair(&[(Some("a"), None), (None, Some(1))]);
    assert_eq!(keys_of(&batch, &[]), vec![Vec::<u8>::new(); 2]);
}

#[test]
fn zeros_of_both_signs_and_all_nans_are_one_key_each() {
    let nan = f64::from_bits(f64::NAN.to_bits() | 1);
    let column = Float64Array::from(vec![0.0, -0.0, f64::NAN, nan, -nan, 1.0]);
    let schema = Schema::new(vec![Field::new("c", DataType::Float64, false)]);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(column)]).unwrap();
    let keys = keys_of(&batch, &[0]);
    assert_eq!(keys[0], keys[1]);
    assert_eq!(keys[2], keys[3]);
    assert_eq!(keys[2], keys[4]);
    assert_ne!(keys[0], keys[2]);
    assert_ne!(keys[0], keys[5]);
}

#[test]
fn a_missing_column_is_refused() {
    let batch = pair(&[]);
    assert!(KeyCodec::new(&batch.schema(), &[2]).is_err());
}

proptest! {
    #[test]
    fn keys_are_equal_exactly_if_their_values_are_and_decode_to_them(
        values in prop::collection::vec(
            (prop::option::of("[ab\u{0}\u{1}]{0,14}"), prop::option::of(-2i64..3)), 0..12),
    ) {
        let borrowed: Vec<_> = values.iter().map(|(name, number)| (name.as_deref(), *number)).collect();
        let batch = pair(&borrowed);
        for columns in [&[0usize][..], &[1], &[0, 1], &[1, 0]] {
            let keys = keys_of(&batch, columns);
            let codec = KeyCodec::new(&batch.schema(), columns).unwrap();
            let decoded = codec.decode(keys.iter().map(Vec::as_slice)).unwrap();
            for (array, column) in decoded.iter().zip(columns) {
                prop_assert_eq!(array, batch.column(*column));
            }
            for a in 0..values.len() {
                for b in 0..values.len() {
                    let same = columns.iter().all(|column| {
                        batch.column(*column).slice(a, 1) == batch.column(*column).slice(b, 1)
                    });
                    prop_assert_eq!(same, keys[a] == keys[b]);
                }
            }
        }
    }

    #[test]
    fn decoding_arbitrary_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let batch = crate::codec::tests::every_type(&[]);
        for column in 0..batch.num_columns() {
            let codec = KeyCodec::new(&batch.schema(), &[column]).unwrap();
            let _ = codec.decode([&bytes[..]]);
        }
        let all: Vec<usize> = (0..batch.num_columns()).collect();
        let _ = KeyCodec::new(&batch.schema(), &all).unwrap().decode([&bytes[..]]);
    }
}

#[test]
fn keys_are_placed_in_the_splits_of_their_rows() {
    let names: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "b", "a"]));
    let with_splits = |splits: Vec<u32>| {
        let splits: ArrayRef = Arc::new(arrow::array::UInt32Array::from(splits));
        RecordBatch::try_from_iter([("name", names.clone()), (SPLIT, splits)]).unwrap()
    };
    let batch = with_splits(vec![7, 1_023, 7]);
    let codec = KeyCodec::new(&batch.schema(), &[0]).unwrap();
    let mut keys = EncodedKeys::default();
    codec.encode_batch(&batch, &mut keys).unwrap();
    keys.place_in_splits(&batch).unwrap();
    let shards: Vec<_> = keys
        .hashes()
        .iter()
        .map(|hash| Shard::of_hash(*hash))
        .collect();
    assert_eq!(shards, [Shard(7), Shard(1_023), Shard(7)]);
    assert_eq!(keys.hashes()[0], keys.hashes()[2]);
    assert!(
        keys.place_in_splits(&with_splits(vec![0, 1_024, 0]))
            .is_err()
    );
    let without = batch.project(&[0]).unwrap();
    assert!(keys.place_in_splits(&without).is_err());
}
