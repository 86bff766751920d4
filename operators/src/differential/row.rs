//! Rows as bytes that compare like the values in them.
//!
//! Made by Arrow's row format, which may change between releases: fit for derived state, never for anything
//! durable.

use std::fmt;

use arrow::array::{ArrayRef, new_null_array};
use arrow::compute::SortOptions;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, RowParser, SortField};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A row, or some columns of one, as bytes that compare like its values, nulls first.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct EncodedRow(pub(super) Box<[u8]>);

impl fmt::Debug for EncodedRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

impl Serialize for EncodedRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for EncodedRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(BytesVisitor)
    }
}

struct BytesVisitor;

impl Visitor<'_> for BytesVisitor {
    type Value = EncodedRow;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes of a row")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<EncodedRow, E> {
        Ok(EncodedRow(bytes.into()))
    }
}

/// Turns columns into [`EncodedRow`]s and back.
pub(super) struct RowEncoding {
    converter: RowConverter,
    parser: RowParser,
    types: Vec<DataType>,
}

impl RowEncoding {
    /// # Errors
    /// If a type has no row form.
    pub(super) fn new(types: Vec<DataType>) -> Result<Self, ArrowError> {
        Self::ordered(
            types,
            SortOptions {
                descending: false,
                nulls_first: true,
            },
        )
    }

    /// # Errors
    /// If a type has no row form.
    pub(super) fn ordered(types: Vec<DataType>, order: SortOptions) -> Result<Self, ArrowError> {
        let fields = types
            .iter()
            .map(|data_type| SortField::new_with_options(data_type.clone(), order));
        let converter = RowConverter::new(fields.collect())?;
        let parser = converter.parser();
        Ok(Self {
            converter,
            parser,
            types,
        })
    }

    /// The rows of `columns`, all of which have `rows` rows.
    pub(super) fn encode(
        &self,
        columns: &[ArrayRef],
        rows: usize,
    ) -> Result<Vec<EncodedRow>, ArrowError> {
        if self.types.is_empty() {
            return Ok(vec![EncodedRow::default(); rows]);
        }
        let encoded = self.converter.convert_columns(columns)?;
        Ok(encoded
            .iter()
            .map(|row| EncodedRow(row.data().into()))
            .collect())
    }

    /// The row whose values are all null.
    pub(super) fn null(&self) -> Result<EncodedRow, ArrowError> {
        let nulls: Vec<_> = self
            .types
            .iter()
            .map(|data_type| new_null_array(data_type, 1))
            .collect();
        Ok(self.encode(&nulls, 1)?.pop().unwrap_or_default())
    }

    /// The columns of rows that [`encode`](Self::encode) made here or on another worker.
    pub(super) fn decode<'a>(
        &'a self,
        rows: impl Iterator<Item = &'a EncodedRow>,
    ) -> Result<Vec<ArrayRef>, ArrowError> {
        if self.types.is_empty() {
            return Ok(Vec::new());
        }
        self.converter
            .convert_rows(rows.map(|row| self.parser.parse(&row.0)))
    }
}

/// The types of the columns at `positions`.
pub(super) fn types_at(schema: &arrow::datatypes::Schema, positions: &[usize]) -> Vec<DataType> {
    positions
        .iter()
        .map(|&position| schema.field(position).data_type().clone())
        .collect()
}
