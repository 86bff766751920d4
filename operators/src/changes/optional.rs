//! Encoded rows of a join's side, which may be missing.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, new_null_array};
use arrow::compute::nullif;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use crate::codec::{CodecError, RowCodec};

/// Encodes rows of one side of a join, and decodes them with nulls in place of missing ones.
#[derive(Clone, Debug)]
pub(crate) struct OptionalRows {
    codec: RowCodec,
    missing: Box<[u8]>,
    /// By column, the other side's column that holds the same wherever the sides match.
    twins: Vec<Option<usize>>,
}

impl OptionalRows {
    pub(crate) fn new(schema: &Schema) -> Result<Self, CodecError> {
        let fields = schema.fields().iter();
        let nullable: Vec<Field> = fields
            .map(|field| field.as_ref().clone().with_nullable(true))
            .collect();
        let schema = Arc::new(Schema::new(nullable));
        let codec = RowCodec::new(schema.clone())?;
        let nulls = schema
            .fields()
            .iter()
            .map(|field| new_null_array(field.data_type(), 1));
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        let row = RecordBatch::try_new_with_options(schema.clone(), nulls.collect(), &options)?;
        let mut missing = Vec::new();
        codec.encoder(&row)?.encode(0, &mut missing);
        Ok(Self {
            codec,
            missing: missing.into(),
            twins: vec![None; schema.fields().len()],
        })
    }

    /// Of a side whose columns `key` are compared with the columns `other` of the other side.
    pub(crate) fn matched_by(mut self, key: &[usize], other: &[usize]) -> Self {
        for (column, twin) in key.iter().zip(other) {
            // 0.0 equals -0.0, so a number may differ from its twin.
            if self.codec.schema().field(*column).data_type() != &DataType::Float64 {
                self.twins[*column] = Some(*twin);
            }
        }
        self
    }

    pub(crate) fn codec(&self) -> &RowCodec {
        &self.codec
    }

    /// The columns of these rows, which stand beside those of the other side: what is the same in both is not decoded.
    pub(crate) fn decode_beside<'a>(
        &'a self,
        other: &[ArrayRef],
        rows: impl IntoIterator<Item = Option<&'a [u8]>>,
    ) -> Result<Vec<ArrayRef>, CodecError> {
        let rows: Vec<_> = rows.into_iter().collect();
        let present = rows.iter().map(|row| row.unwrap_or(&self.missing));
        let own = |column: usize| self.twins[column].is_none();
        let mut decoded = self.codec.decode_where(own, present)?.into_iter();
        let missing = rows.iter().any(Option::is_none).then(|| {
            let missing = rows.iter().map(|row| Some(row.is_none()));
            missing.collect::<BooleanArray>()
        });
        let column = |twin: &Option<usize>| match (twin, &missing) {
            (None, _) => Ok(decoded.next()),
            (Some(twin), None) => Ok(Some(Arc::clone(&other[*twin]))),
            (Some(twin), Some(missing)) => nullif(&other[*twin], missing).map(Some),
        };
        let columns = self.twins.iter().map(column);
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        Ok(columns.into_iter().flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Float64Array, StringViewArray};
    use arrow::datatypes::Float64Type;

    use super::*;

    #[test]
    fn what_the_other_side_has_is_taken_from_there_unless_it_may_differ() {
        let names = ["word", "number", "own"];
        let fields = names.map(|name| match name {
            "number" => Field::new(name, DataType::Float64, false),
            _ => Field::new(name, DataType::Utf8View, false),
        });
        let text =
            |values: [&str; 2]| -> ArrayRef { Arc::new(StringViewArray::from_iter_values(values)) };
        let numbers =
            |values: [f64; 2]| -> ArrayRef { Arc::new(Float64Array::from_iter_values(values)) };
        let rows = RecordBatch::try_new(
            Arc::new(Schema::new(fields.to_vec())),
            vec![
                text(["a", "b"]),
                numbers([0.0, 2.0]),
                text(["x", "a text too long to be inline"]),
            ],
        );
        let rows = rows.unwrap();
        let side = OptionalRows::new(&rows.schema())
            .unwrap()
            .matched_by(&[0, 1], &[1, 0]);
        let encoder = side.codec().encoder(&rows).unwrap();
        let encoded = [0, 1].map(|row| {
            let mut bytes = Vec::new();
            encoder.encode(row, &mut bytes);
            bytes
        });
        let other = [numbers([-0.0, 2.0]), text(["a", "b"])];
        let both = encoded.each_ref().map(|row| Some(&row[..]));
        let decoded = side.decode_beside(&other, both).unwrap();
        assert_eq!(decoded, rows.columns());
        let zero = decoded[1].as_primitive::<Float64Type>().value(0);
        assert!(zero.is_sign_positive());
        let first = side.decode_beside(&other, [both[0], None]).unwrap();
        for (column, whole) in first.iter().zip(rows.columns()) {
            assert_eq!(column.slice(0, 1).as_ref(), whole.slice(0, 1).as_ref());
            assert!(column.is_null(1));
        }
    }
}
