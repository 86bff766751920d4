//! Encoded rows of one schema as rows of another: columns are matched by name.

use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use super::{CodecError, RowCodec};

/// From one schema to another.
#[derive(Debug)]
pub(crate) struct RowMapping {
    from: RowCodec,
    to: RowCodec,
    /// Of each column of `to` its place in `from`; columns without one are null.
    places: Vec<Option<usize>>,
}

impl RowMapping {
    /// # Errors
    /// If a column has another type than before, or a type that cannot be kept.
    pub(crate) fn new(from: &SchemaRef, to: &SchemaRef) -> Result<Self, CodecError> {
        let place = |(column, field): (usize, &Arc<arrow::datatypes::Field>)| {
            let Some((place, before)) = from.fields().find(field.name()) else {
                return Ok(None);
            };
            if before.data_type() == field.data_type() {
                return Ok(Some(place));
            }
            Err(CodecError::Batch {
                column,
                expected: field.data_type().clone(),
                found: before.data_type().to_string(),
            })
        };
        let places = to.fields().iter().enumerate().map(place);
        Ok(Self {
            places: places.collect::<Result<_, _>>()?,
            from: RowCodec::new(Arc::clone(from))?,
            to: RowCodec::new(Arc::clone(to))?,
        })
    }

    /// The rows, in their order.
    ///
    /// # Errors
    /// If a row is not one of `from`, or would be null where `to` allows no null.
    pub(crate) fn apply<'a>(
        &self,
        rows: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Vec<Vec<u8>>, CodecError> {
        let old = self.from.decode(rows)?;
        let count = old.num_rows();
        let fields = self.to.schema().fields().iter();
        let columns = fields.zip(&self.places).map(|(field, place)| match place {
            Some(place) => Arc::clone(old.column(*place)),
            None => new_null_array(field.data_type(), count),
        });
        let columns: Vec<ArrayRef> = columns.collect();
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let new =
            RecordBatch::try_new_with_options(Arc::clone(self.to.schema()), columns, &options)?;
        let encoder = self.to.encoder(&new)?;
        let encoded = (0..count).map(|row| {
            let mut bytes = Vec::new();
            encoder.encode(row, &mut bytes);
            bytes
        });
        Ok(encoded.collect())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringViewArray};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn schema(fields: &[(&str, DataType, bool)]) -> SchemaRef {
        let fields = fields.iter();
        let fields = fields.map(|(name, kind, null)| Field::new(*name, kind.clone(), *null));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    #[test]
    fn columns_are_matched_by_name_and_new_ones_are_null() {
        let from = schema(&[
            ("id", DataType::Utf8View, false),
            ("gone", DataType::Int64, true),
            ("n", DataType::Int64, true),
        ]);
        let to = schema(&[
            ("n", DataType::Int64, true),
            ("new", DataType::Utf8View, true),
            ("id", DataType::Utf8View, false),
        ]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringViewArray::from(vec!["a", "b"])),
            Arc::new(Int64Array::from(vec![1, 2])),
            Arc::new(Int64Array::from(vec![Some(7), None])),
        ];
        let batch = RecordBatch::try_new(Arc::clone(&from), columns).unwrap();
        let codec = RowCodec::new(Arc::clone(&from)).unwrap();
        let encoder = codec.encoder(&batch).unwrap();
        let mut rows = [Vec::new(), Vec::new()];
        for (row, bytes) in rows.iter_mut().enumerate() {
            encoder.encode(row, bytes);
        }
        let mapping = RowMapping::new(&from, &to).unwrap();
        let mapped = mapping.apply(rows.iter().map(Vec::as_slice)).unwrap();
        let decoded = RowCodec::new(Arc::clone(&to)).unwrap();
        let decoded = decoded.decode(mapped.iter().map(Vec::as_slice)).unwrap();
        let expected: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![Some(7), None])),
            new_null_array(&DataType::Utf8View, 2),
            Arc::new(StringViewArray::from(vec!["a", "b"])),
        ];
        assert_eq!(decoded, RecordBatch::try_new(to, expected).unwrap());
    }

    #[test]
    fn other_types_and_nulls_where_none_may_be_are_refused() {
        let from = schema(&[("n", DataType::Int64, true)]);
        assert!(RowMapping::new(&from, &schema(&[("n", DataType::Float64, true)])).is_err());
        let mapping = RowMapping::new(&from, &schema(&[("m", DataType::Int64, false)])).unwrap();
        let codec = RowCodec::new(Arc::clone(&from)).unwrap();
        let batch = RecordBatch::try_new(from, vec![Arc::new(Int64Array::from(vec![1]))]).unwrap();
        let mut row = Vec::new();
        codec.encoder(&batch).unwrap().encode(0, &mut row);
        assert!(mapping.apply([row.as_slice()]).is_err());
    }
}
