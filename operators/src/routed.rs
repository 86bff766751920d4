//! The unit that travels between workers.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use serde::de::Visitor;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Rows with the number that decides which worker gets them: `target % workers`.
///
/// Timely moves it typed between the threads of a process; between processes it is one Arrow IPC stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RoutedBatch {
    /// What an exchange sends it by.
    pub target: u64,
    /// The rows, with their hidden columns.
    #[serde(with = "ipc")]
    pub rows: RecordBatch,
}

mod ipc {
    use super::*;

    pub fn serialize<S: Serializer>(rows: &RecordBatch, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = encode(rows).map_err(S::Error::custom)?;
        serializer.serialize_bytes(&bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<RecordBatch, D::Error> {
        deserializer.deserialize_bytes(IpcVisitor)
    }
}

struct IpcVisitor;

impl Visitor<'_> for IpcVisitor {
    type Value = RecordBatch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an Arrow IPC stream of one record batch")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<RecordBatch, E> {
        decode(bytes).map_err(E::custom)
    }
}

fn encode(rows: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let rows = compacted(rows)?;
    let mut writer = StreamWriter::try_new(Vec::new(), &rows.schema())?;
    writer.write(&rows)?;
    writer.into_inner()
}

fn decode(bytes: &[u8]) -> Result<RecordBatch, ArrowError> {
    StreamReader::try_new(bytes, None)?
        .next()
        .unwrap_or_else(|| Err(ArrowError::IpcError("a stream without a batch".to_owned())))
}

/// View columns keep the whole buffers that they were cut from: what goes over the wire must not.
fn compacted(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = rows
        .columns()
        .iter()
        .map(|column| match column.data_type() {
            DataType::Utf8View => Arc::new(column.as_string_view().gc()) as ArrayRef,
            _ => column.clone(),
        });
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(rows.schema(), columns.collect(), &options)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, Int8Array, Int64Array, StringViewArray};
    use arrow::datatypes::Schema;
    use timely::bytes::arc::BytesMut;
    use timely::dataflow::channels::ContainerBytes;

    use super::*;

    fn sample(rows: i64) -> RecordBatch {
        let names =
            (0..rows).map(|i| (i % 3 != 0).then(|| format!("a name longer than twelve bytes {i}")));
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("name", Arc::new(names.collect::<StringViewArray>())),
            ("count", Arc::new((0..rows).collect::<Int64Array>())),
            (
                "money",
                Arc::new(
                    (0..rows)
                        .map(i128::from)
                        .collect::<Decimal128Array>()
                        .with_precision_and_scale(12, 2)
                        .unwrap(),
                ),
            ),
            (
                "_diff",
                Arc::new((0..rows).map(|_| 1).collect::<Int8Array>()),
            ),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn over_the_wire(batches: &Vec<RoutedBatch>) -> Vec<RoutedBatch> {
        let mut bytes = Vec::new();
        batches.into_bytes(&mut bytes);
        assert_eq!(bytes.len(), batches.length_in_bytes());
        Vec::from_bytes(BytesMut::from(bytes).freeze())
    }

    #[test]
    fn batches_arrive_as_they_were_sent() {
        let sent: Vec<_> = [0, 1, 200]
            .map(|n| RoutedBatch {
                target: n as u64,
                rows: sample(n),
            })
            .into();
        let received = over_the_wire(&sent);
        for (sent, received) in sent.iter().zip(&received) {
            assert_eq!((sent.target, &sent.rows), (received.target, &received.rows));
        }
        assert_eq!(sent.len(), received.len());
    }

    #[test]
    fn a_batch_without_columns_keeps_its_row_count() {
        let options = RecordBatchOptions::new().with_row_count(Some(7));
        let rows =
            RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
        let received = over_the_wire(&vec![RoutedBatch { target: 1, rows }]);
        assert_eq!(received[0].rows.num_rows(), 7);
    }

    #[test]
    fn a_slice_does_not_carry_the_batch_it_was_cut_from() {
        let slice = RoutedBatch {
            target: 0,
            rows: sample(10_000).slice(5_000, 2),
        };
        assert!(vec![slice].length_in_bytes() < 2_000);
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        let bytes = encode(&sample(3)).unwrap();
        assert!(decode(&bytes[..bytes.len() / 2]).is_err());
        assert!(decode(&[]).is_err());
    }
}
