//! The product's own codecs: the form between processes, and that of rows in checkpoints.

use std::sync::Arc;

use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use tidewright_benches::Result;
use tidewright_operators::RowCodec;
use tidewright_operators::routed::wire::WireSchema;
use tidewright_operators::routed::{Parcels, RoutedBatch};
use timely::bytes::arc::{Bytes, BytesMut};
use timely::container::{DrainContainer, PushInto};
use timely::dataflow::channels::ContainerBytes;

use super::Codec;
use super::rows::VISIBLE;

/// What exchanges use, checksum and framing included.
pub fn wire(batch: &RecordBatch) -> Result<Box<dyn Codec>> {
    let visible = batch.schema().project(&(0..VISIBLE).collect::<Vec<_>>())?;
    Ok(Box::new(Wire {
        batch: batch.clone(),
        schema: WireSchema::new(&visible)?,
        received: BytesMut::from(Vec::new()).freeze(),
        decoded: None,
    }))
}

struct Wire {
    batch: RecordBatch,
    schema: WireSchema,
    received: Bytes,
    decoded: Option<RecordBatch>,
}

impl Codec for Wire {
    fn encode(&mut self, into: &mut Vec<u8>) -> Result<()> {
        let mut parcels = Parcels::default();
        parcels.push_into(RoutedBatch {
            target: 1,
            rows: self.batch.clone(),
        });
        // As timely does it: the length first, then the bytes.
        into.reserve(parcels.length_in_bytes());
        parcels.into_bytes(into);
        Ok(())
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.received = BytesMut::from(bytes.to_vec()).freeze();
    }

    fn decode(&mut self) -> Result<()> {
        for parcel in Parcels::from_bytes(self.received.clone()).drain() {
            self.decoded = Some(parcel.open(&mut self.schema)?);
        }
        Ok(())
    }

    fn decoded(&self) -> Result<RecordBatch> {
        self.decoded.clone().ok_or("nothing was decoded".into())
    }
}

/// One row behind the other, each with its length in front. The codec has no form for `_split`: here a bigint.
pub fn rows(batch: &RecordBatch) -> Result<Box<dyn Codec>> {
    let mut fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
    let mut columns = batch.columns().to_vec();
    for (column, field) in columns.iter_mut().zip(&mut fields) {
        if *column.data_type() == DataType::UInt32 {
            *column = cast(column, &DataType::Int64)?;
            *field = Arc::new(Field::new(field.name(), DataType::Int64, false));
        }
    }
    let schema = Arc::new(Schema::new(fields));
    Ok(Box::new(Rows {
        batch: RecordBatch::try_new(schema.clone(), columns)?,
        original: batch.clone(),
        codec: RowCodec::new(schema)?,
        received: Vec::new(),
        decoded: None,
    }))
}

struct Rows {
    batch: RecordBatch,
    original: RecordBatch,
    codec: RowCodec,
    received: Vec<u8>,
    decoded: Option<RecordBatch>,
}

impl Codec for Rows {
    fn encode(&mut self, into: &mut Vec<u8>) -> Result<()> {
        let encoder = self.codec.encoder(&self.batch)?;
        for row in 0..self.batch.num_rows() {
            let start = into.len();
            into.extend_from_slice(&[0; 4]);
            encoder.encode(row, into);
            let length = (into.len() - start - 4) as u32;
            into[start..start + 4].copy_from_slice(&length.to_le_bytes());
        }
        Ok(())
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.received = bytes.to_vec();
    }

    fn decode(&mut self) -> Result<()> {
        let mut rest = &self.received[..];
        let rows = std::iter::from_fn(|| {
            let (length, behind) = rest.split_first_chunk::<4>()?;
            let (row, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            rest = behind;
            Some(row)
        });
        self.decoded = Some(self.codec.decode(rows)?);
        Ok(())
    }

    fn decoded(&self) -> Result<RecordBatch> {
        let decoded = self.decoded.as_ref().ok_or("nothing was decoded")?;
        let columns = decoded.columns().iter().zip(self.original.columns());
        let columns = columns.map(|(column, original)| cast(column, original.data_type()));
        let columns = columns.collect::<std::result::Result<_, _>>()?;
        Ok(RecordBatch::try_new(self.original.schema(), columns)?)
    }
}
