//! Arrow's inter-process format: as a stream that begins with its schema, and as the bare message of a batch.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::buffer::Buffer;
use arrow::datatypes::DataType;
use arrow::ipc::reader::{StreamReader, read_record_batch};
use arrow::ipc::root_as_message;
use arrow::ipc::writer::{
    DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions, StreamWriter,
};
use arrow::record_batch::RecordBatch;
use tidewright_benches::Result;

use super::Codec;

struct Ipc {
    batch: RecordBatch,
    with_schema: bool,
    options: IpcWriteOptions,
    received: Buffer,
    decoded: Option<RecordBatch>,
}

/// A stream of one batch.
pub fn stream(batch: &RecordBatch) -> Result<Box<dyn Codec>> {
    Ok(Box::new(Ipc::of(batch, true)))
}

/// The message of one batch, whose schema the receiver knows.
pub fn message(batch: &RecordBatch) -> Result<Box<dyn Codec>> {
    Ok(Box::new(Ipc::of(batch, false)))
}

impl Ipc {
    fn of(batch: &RecordBatch, with_schema: bool) -> Self {
        Self {
            batch: batch.clone(),
            with_schema,
            options: IpcWriteOptions::default(),
            received: Buffer::from(Vec::<u8>::new()),
            decoded: None,
        }
    }

    /// View columns keep the whole buffers that they were cut from: those must not be sent.
    fn compacted(&self) -> Result<RecordBatch> {
        let columns = self.batch.columns().iter();
        let columns = columns.map(|column| match column.data_type() {
            DataType::Utf8View => Arc::new(column.as_string_view().gc()) as ArrayRef,
            _ => column.clone(),
        });
        Ok(RecordBatch::try_new(
            self.batch.schema(),
            columns.collect(),
        )?)
    }
}

impl Codec for Ipc {
    fn encode(&mut self, into: &mut Vec<u8>) -> Result<()> {
        let batch = self.compacted()?;
        if self.with_schema {
            let mut writer = StreamWriter::try_new(into, &batch.schema())?;
            writer.write(&batch)?;
            writer.finish()?;
            return Ok(());
        }
        let (_, encoded) = IpcDataGenerator::default().encode(
            &batch,
            &mut DictionaryTracker::new(false),
            &self.options,
            &mut IpcWriteContext::default(),
        )?;
        into.extend_from_slice(&(encoded.ipc_message.len() as u64).to_le_bytes());
        into.extend_from_slice(&encoded.ipc_message);
        into.extend_from_slice(&encoded.arrow_data);
        Ok(())
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.received = Buffer::from(bytes);
    }

    fn decode(&mut self) -> Result<()> {
        let bytes = self.received.as_slice();
        let batch = if self.with_schema {
            StreamReader::try_new(bytes, None)?
                .next()
                .ok_or("no batch")??
        } else {
            let (length, rest) = bytes.split_first_chunk::<8>().ok_or("no length")?;
            let length = usize::try_from(u64::from_le_bytes(*length))?;
            let message = root_as_message(rest.get(..length).ok_or("no message")?)
                .map_err(|error| error.to_string())?;
            read_record_batch(
                &self.received.slice(8 + length),
                message.header_as_record_batch().ok_or("no batch")?,
                self.batch.schema(),
                &HashMap::new(),
                None,
                &message.version(),
            )?
        };
        self.decoded = Some(batch);
        Ok(())
    }

    fn decoded(&self) -> Result<RecordBatch> {
        self.decoded.clone().ok_or("nothing was decoded".into())
    }
}
