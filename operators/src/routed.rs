//! Rows on their way to the worker that owns them.
//!
//! Timely moves [`Parcels`] typed between the threads of a process. Between processes they are bytes, made once by the
//! sender and opened by the operator that takes the rows, which knows their columns: see [`wire`] for the form.

pub mod wire;

use std::cell::OnceCell;
use std::io::Write;

use arrow::record_batch::RecordBatch;
use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::container::{DrainContainer, PushInto, SizableContainer};
use timely::dataflow::channels::ContainerBytes;

use crate::codec::CodecError;
use wire::WireSchema;

/// Rows with the number that decides which worker gets them: `target % workers`.
#[derive(Clone, Debug)]
pub struct RoutedBatch {
    /// What an exchange sends it by.
    pub target: u64,
    /// The rows, with their hidden columns.
    pub rows: RecordBatch,
}

/// A [`RoutedBatch`] inside an exchange: rows, or the bytes that came from another process.
#[derive(Clone)]
pub struct Parcel {
    target: u64,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Rows(RecordBatch),
    Bytes(Bytes),
    /// What came is not what was sent; told by [`Parcel::open`], because receiving cannot fail.
    Damaged(&'static str),
}

impl Parcel {
    /// What an exchange sends it by.
    #[must_use]
    pub fn target(&self) -> u64 {
        self.target
    }

    /// The rows.
    ///
    /// # Errors
    /// If bytes from another process are damaged, or hold other columns than were agreed.
    pub fn open(self, schema: &mut WireSchema) -> Result<RecordBatch, CodecError> {
        match self.content {
            Content::Rows(rows) => Ok(rows),
            Content::Bytes(bytes) => schema.decode(&bytes),
            Content::Damaged(how) => Err(CodecError::Malformed(how)),
        }
    }
}

impl From<RoutedBatch> for Parcel {
    fn from(batch: RoutedBatch) -> Self {
        Self {
            target: batch.target,
            content: Content::Rows(batch.rows),
        }
    }
}

/// The container of parcels.
#[derive(Clone, Default)]
pub struct Parcels {
    parcels: Vec<Parcel>,
    /// The parcels as bytes: timely asks for their length first, then for themselves.
    encoded: OnceCell<Vec<u8>>,
}

impl Accountable for Parcels {
    fn record_count(&self) -> i64 {
        self.parcels.record_count()
    }
}

impl DrainContainer for Parcels {
    type Item<'a> = Parcel;
    type DrainIter<'a> = std::vec::Drain<'a, Parcel>;

    fn drain(&mut self) -> Self::DrainIter<'_> {
        self.encoded.take();
        self.parcels.drain(..)
    }
}

impl SizableContainer for Parcels {
    fn at_capacity(&self) -> bool {
        self.parcels.at_capacity()
    }

    fn ensure_capacity(&mut self, stash: &mut Option<Self>) {
        let mut spare = None;
        if self.parcels.capacity() == 0 {
            spare = stash.take().map(|stash| stash.parcels);
        }
        self.parcels.ensure_capacity(&mut spare);
    }
}

impl<P: Into<Parcel>> PushInto<P> for Parcels {
    fn push_into(&mut self, parcel: P) {
        self.encoded.take();
        self.parcels.push(parcel.into());
    }
}

/// Bytes of checksum and count in front of the parcels.
const HEADER: usize = 8;

/// Checksum and number of parcels, 4 bytes each, then for each parcel the length of its bytes and its target, 8 bytes
/// each, and its bytes; zeros up to a multiple of 8. Integers are little endian. The checksum is CRC-32C of all that
/// follows it.
impl ContainerBytes for Parcels {
    fn from_bytes(bytes: Bytes) -> Self {
        let parcels = split(bytes).unwrap_or_else(|how| {
            vec![Parcel {
                target: 0,
                content: Content::Damaged(how),
            }]
        });
        Self {
            parcels,
            encoded: OnceCell::new(),
        }
    }

    fn length_in_bytes(&self) -> usize {
        self.encoded().len()
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        // Timely writes into a buffer of the length that it was told. If a write failed nonetheless, the receiver
        // would see the checksum fail.
        let _ = writer.write_all(self.encoded());
    }
}

impl Parcels {
    fn encoded(&self) -> &[u8] {
        self.encoded.get_or_init(|| join(&self.parcels))
    }
}

fn join(parcels: &[Parcel]) -> Vec<u8> {
    let mut into = vec![0; HEADER];
    for parcel in parcels {
        let start = into.len();
        into.extend_from_slice(&[0; 8]);
        into.extend_from_slice(&parcel.target.to_le_bytes());
        let body = into.len();
        match &parcel.content {
            Content::Rows(rows) => wire::encode(rows, &mut into),
            Content::Bytes(bytes) => into.extend_from_slice(bytes),
            // Nothing is no rows' bytes, so it is as damaged for the next one.
            Content::Damaged(_) => {}
        }
        let length = (into.len() - body) as u64;
        into[start..start + 8].copy_from_slice(&length.to_le_bytes());
    }
    into.resize(into.len().next_multiple_of(8), 0);
    into[4..HEADER].copy_from_slice(&(parcels.len() as u32).to_le_bytes());
    let checksum = crc32c::crc32c(&into[4..]);
    into[..4].copy_from_slice(&checksum.to_le_bytes());
    into
}

fn split(mut bytes: Bytes) -> Result<Vec<Parcel>, &'static str> {
    const CUT: &str = "parcels from another process end too early";
    let (checksum, rest) = bytes.split_first_chunk::<4>().ok_or(CUT)?;
    if crc32c::crc32c(rest) != u32::from_le_bytes(*checksum) {
        return Err("the checksum of parcels from another process does not match");
    }
    let (count, _) = rest.split_first_chunk::<4>().ok_or(CUT)?;
    let count = u32::from_le_bytes(*count);
    let _ = bytes.extract_to(HEADER);
    let mut parcels = Vec::new();
    for _ in 0..count {
        let (length, rest) = bytes.split_first_chunk::<8>().ok_or(CUT)?;
        let (target, rest) = rest.split_first_chunk::<8>().ok_or(CUT)?;
        let target = u64::from_le_bytes(*target);
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| CUT)?;
        if length > rest.len() {
            return Err(CUT);
        }
        let _ = bytes.extract_to(16);
        let content = Content::Bytes(bytes.extract_to(length));
        parcels.push(Parcel { target, content });
    }
    Ok(parcels)
}

#[cfg(test)]
mod tests;
