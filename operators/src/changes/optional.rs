//! Encoded rows that may be missing.

use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use crate::codec::{CodecError, RowCodec};

/// Encodes rows of one side of a join, and decodes them with nulls in place of missing ones.
#[derive(Clone, Debug)]
pub(crate) struct OptionalRows {
    codec: RowCodec,
    missing: Box<[u8]>,
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
        })
    }

    pub(crate) fn codec(&self) -> &RowCodec {
        &self.codec
    }

    /// The columns of these rows.
    pub(crate) fn decode<'a>(
        &'a self,
        rows: impl IntoIterator<Item = Option<&'a [u8]>>,
    ) -> Result<Vec<ArrayRef>, CodecError> {
        let rows = rows.into_iter().map(|row| row.unwrap_or(&self.missing));
        Ok(self.codec.decode(rows)?.columns().to_vec())
    }
}
