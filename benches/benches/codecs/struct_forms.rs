//! Codecs of row structs. They begin with a vector of [`Row`]s and end with something that rows can be read from.

use std::hint::black_box;

use arrow::record_batch::RecordBatch;
use columnar::{Borrow, Columnar, Index, Len, Push};
use tidewright_benches::Result;

use super::Codec;
use super::rows::{Row, to_batch, to_structs};

/// What it costs to turn columns into structs and structs into columns; nothing is sent.
pub fn transposed(batch: &RecordBatch) -> Result<Box<dyn Codec>> {
    Ok(Box::new(Transposed {
        batch: batch.clone(),
        rows: to_structs(batch),
        decoded: None,
    }))
}

struct Transposed {
    batch: RecordBatch,
    rows: Vec<Row>,
    decoded: Option<RecordBatch>,
}

impl Codec for Transposed {
    fn encode(&mut self, _into: &mut Vec<u8>) -> Result<()> {
        black_box(to_structs(&self.batch));
        Ok(())
    }

    fn receive(&mut self, _bytes: &[u8]) {}

    fn decode(&mut self) -> Result<()> {
        self.decoded = Some(to_batch(&self.rows)?);
        Ok(())
    }

    fn decoded(&self) -> Result<RecordBatch> {
        self.decoded.clone().ok_or("nothing was decoded".into())
    }
}

/// What timely does with containers of plain vectors.
pub fn bincode(batch: &RecordBatch) -> Result<Box<dyn Codec>> {
    Ok(Box::new(Bincode {
        rows: to_structs(batch),
        received: Vec::new(),
        decoded: Vec::new(),
    }))
}

struct Bincode {
    rows: Vec<Row>,
    received: Vec<u8>,
    decoded: Vec<Row>,
}

impl Codec for Bincode {
    fn encode(&mut self, into: &mut Vec<u8>) -> Result<()> {
        // As timely does it: the length first, then the bytes.
        into.reserve(usize::try_from(::bincode::serialized_size(&self.rows)?)?);
        Ok(::bincode::serialize_into(into, &self.rows)?)
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.received = bytes.to_vec();
    }

    fn decode(&mut self) -> Result<()> {
        self.decoded = ::bincode::deserialize(&self.received)?;
        Ok(())
    }

    fn decoded(&self) -> Result<RecordBatch> {
        to_batch(&self.decoded)
    }
}

type RowColumns = <Row as Columnar>::Container;
type Stash = ::columnar::bytes::stash::Stash<RowColumns, Words>;

/// Received bytes, aligned as the words that they are.
#[derive(Clone, Default)]
struct Words(std::sync::Arc<[u64]>);

impl Words {
    fn of(bytes: &[u8]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        Self(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }
}

impl std::ops::Deref for Words {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: any words are initialized bytes, of alignment one, and as many.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * 8) }
    }
}

/// Frank McSherry's successor of abomonation: a column for each field, read in place.
pub fn columnar(batch: &RecordBatch) -> Result<Box<dyn Codec>> {
    Ok(Box::new(InColumns {
        rows: to_structs(batch),
        received: Words::default(),
        decoded: None,
    }))
}

struct InColumns {
    rows: Vec<Row>,
    received: Words,
    decoded: Option<Stash>,
}

impl Codec for InColumns {
    fn encode(&mut self, into: &mut Vec<u8>) -> Result<()> {
        let mut columns = RowColumns::default();
        for row in &self.rows {
            columns.push(row);
        }
        Ok(::columnar::bytes::indexed::write(into, &columns.borrow())?)
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.received = Words::of(bytes);
    }

    fn decode(&mut self) -> Result<()> {
        self.decoded = Some(Stash::try_from_bytes(self.received.clone())?);
        Ok(())
    }

    fn decoded(&self) -> Result<RecordBatch> {
        let stash = self.decoded.as_ref().ok_or("nothing was decoded")?;
        let columns = stash.borrow();
        let rows = (0..columns.len()).map(|row| Row::into_owned(columns.get(row)));
        to_batch(&rows.collect::<Vec<_>>())
    }
}

/// Memory as it is, with pointers put right in place. Unsound: RUSTSEC-2021-0120. Here bytes are aligned and are those
/// that this process encoded, which is what it takes at least; a receiver could promise neither.
pub fn abomonation(batch: &RecordBatch) -> Result<Box<dyn Codec>> {
    Ok(Box::new(Abomonated {
        rows: to_structs(batch),
        received: Vec::new(),
    }))
}

struct Abomonated {
    rows: Vec<Row>,
    /// Words, so that they are aligned.
    received: Vec<u64>,
}

/// Bytes of these words.
fn bytes_mut(words: &mut [u64]) -> &mut [u8] {
    // SAFETY: any words are initialized bytes and any bytes are words; alignment one, and as many.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), words.len() * 8) }
}

impl Codec for Abomonated {
    fn encode(&mut self, into: &mut Vec<u8>) -> Result<()> {
        // SAFETY: as safe as it gets: `Row` holds strings and integers only. That its padding bytes are read is
        // undefined all the same, which is one of the reasons why this codec is only here.
        Ok(unsafe { ::abomonation::encode(&self.rows, into) }?)
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.received = vec![0; bytes.len().div_ceil(8)];
        bytes_mut(&mut self.received)[..bytes.len()].copy_from_slice(bytes);
    }

    fn decode(&mut self) -> Result<()> {
        black_box(self.rows()?);
        Ok(())
    }

    fn decoded(&self) -> Result<RecordBatch> {
        let mut copy = Self {
            rows: Vec::new(),
            received: self.received.clone(),
        };
        to_batch(copy.rows()?)
    }
}

impl Abomonated {
    fn rows(&mut self) -> Result<&[Row]> {
        // SAFETY: the bytes are those of `encode` for the same type, aligned to 8, and nobody else sees them.
        let decoded = unsafe { ::abomonation::decode::<Vec<Row>>(bytes_mut(&mut self.received)) };
        Ok(decoded.ok_or("too few bytes")?.0)
    }
}
