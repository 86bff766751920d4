//! Which worker a row belongs to.

use arrow::array::UInt32Array;
use arrow::compute::take_record_batch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use tidewright_checkpoints::Shard;

use crate::codec::CodecError;
use crate::key::{EncodedKeys, KeyCodec};

/// Splits batches by the worker that owns each row's key.
#[derive(Debug)]
pub struct Router {
    codec: KeyCodec,
    workers: usize,
    keys: EncodedKeys,
    rows: Vec<Vec<u32>>,
}

impl Router {
    /// A router by these key columns to so many workers.
    ///
    /// # Errors
    /// If the columns cannot be a key.
    pub fn new(schema: &Schema, key: &[usize], workers: usize) -> Result<Self, CodecError> {
        Ok(Self {
            codec: KeyCodec::new(schema, key)?,
            workers,
            keys: EncodedKeys::default(),
            rows: vec![Vec::new(); workers],
        })
    }

    /// Splits a batch into one part per worker that gets rows, in ascending order of workers; rows keep their order.
    ///
    /// # Errors
    /// If the batch doesn't have the key columns, or Arrow refuses to split it.
    pub fn route(&mut self, batch: RecordBatch) -> Result<Vec<(usize, RecordBatch)>, CodecError> {
        if batch.num_rows() == 0 {
            return Ok(Vec::new());
        }
        if self.workers <= 1 {
            return Ok(vec![(0, batch)]);
        }
        self.codec.encode_batch(&batch, &mut self.keys)?;
        self.rows.iter_mut().for_each(Vec::clear);
        for (row, hash) in (0u32..).zip(self.keys.hashes()) {
            self.rows[Shard::of_hash(*hash).owner(self.workers)].push(row);
        }
        let whole = batch.num_rows();
        if let Some(worker) = self.rows.iter().position(|rows| rows.len() == whole) {
            return Ok(vec![(worker, batch)]);
        }
        let parts = self.rows.iter().enumerate();
        let parts = parts.filter(|(_, rows)| !rows.is_empty());
        let parts = parts.map(|(worker, rows)| Ok((worker, take(&batch, rows)?)));
        parts.collect()
    }
}

fn take(batch: &RecordBatch, rows: &[u32]) -> Result<RecordBatch, ArrowError> {
    take_record_batch(batch, &UInt32Array::from(rows.to_vec()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array, StringViewArray};
    use arrow::datatypes::{DataType, Field, Int64Type};
    use proptest::prelude::*;

    use super::*;

    fn batch(names: &[Option<String>]) -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("name", DataType::Utf8View, true),
            Field::new("row", DataType::Int64, false),
        ]);
        let rows = Int64Array::from_iter_values(0..names.len() as i64);
        let names = StringViewArray::from_iter(names.iter().map(Option::as_deref));
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(names), Arc::new(rows)]).unwrap()
    }

    proptest! {
        #[test]
        fn every_row_goes_once_to_the_owner_of_its_key_and_keeps_its_order(
            names in prop::collection::vec(prop::option::of("[a-z]{0,20}"), 1..50),
            workers in 1usize..6,
        ) {
            let batch = batch(&names);
            let mut router = Router::new(&batch.schema(), &[0], workers).unwrap();
            let mut seen = vec![];
            for (worker, part) in router.route(batch.clone()).unwrap() {
                let rows = part.column(1).as_primitive::<Int64Type>().values().to_vec();
                prop_assert!(rows.is_sorted());
                let codec = KeyCodec::new(&batch.schema(), &[0]).unwrap();
                for row in rows {
                    let mut key = vec![];
                    codec.encoder(&batch).unwrap().encode(row as usize, &mut key);
                    prop_assert_eq!(Shard::of_key(&key).owner(workers), worker);
                    seen.push(row);
                }
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..names.len() as i64).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_single_worker_gets_the_batch_as_it_is() {
        let batch = batch(&[Some("a".into()), None]);
        let mut router = Router::new(&batch.schema(), &[0], 1).unwrap();
        assert_eq!(router.route(batch.clone()).unwrap(), vec![(0, batch)]);
    }

    #[test]
    fn an_empty_batch_goes_nowhere() {
        let batch = batch(&[Some("a".into())]).slice(0, 0);
        let mut router = Router::new(&batch.schema(), &[0], 3).unwrap();
        assert!(router.route(batch).unwrap().is_empty());
    }
}
