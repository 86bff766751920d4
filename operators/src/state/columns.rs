//! What an entry's row is made of.

use crate::codec::CodecError;

/// Typed columns that hold the values of a [`KeyedState`](super::KeyedState)'s entries, one row per entry.
pub trait Columns {
    /// Makes sure that there are at least so many rows; new ones hold the value that [`reset`](Self::reset) gives.
    fn grow(&mut self, rows: usize);

    /// Gives rows back the value of a new entry, and frees what they held.
    fn reset(&mut self, rows: &[u32]);

    /// Appends the durable form of a row.
    fn encode(&self, row: u32, into: &mut Vec<u8>);

    /// Reads what [`encode`](Self::encode) wrote into a row that was reset.
    ///
    /// # Errors
    /// If the bytes are not in that form. The row may then hold anything.
    fn decode(&mut self, row: u32, bytes: &[u8]) -> Result<(), CodecError>;

    /// Bytes in memory, about; in constant time.
    fn bytes(&self) -> usize;

    /// Bytes of one row, without what it has an allocation of its own for.
    fn row_bytes(&self) -> usize;

    /// Bytes of all rows' own allocations, about; in constant time.
    fn heap_bytes(&self) -> usize;

    /// Columns of the same kind without rows.
    ///
    /// # Errors
    /// If they cannot be made again.
    fn fresh(&self) -> Result<Self, CodecError>
    where
        Self: Sized;
}

/// One column of byte strings, such as encoded rows. A new entry's is empty.
#[derive(Debug, Default)]
pub struct BytesColumn {
    values: Vec<Box<[u8]>>,
    heap: usize,
}

impl BytesColumn {
    /// The value of a row.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn get(&self, row: u32) -> &[u8] {
        &self.values[row as usize]
    }

    /// Replaces the value of a row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn set(&mut self, row: u32, value: &[u8]) {
        let old = &mut self.values[row as usize];
        self.heap = self.heap + value.len() - old.len();
        if old.len() == value.len() {
            old.copy_from_slice(value);
        } else {
            *old = value.into();
        }
    }
}

impl Columns for BytesColumn {
    fn grow(&mut self, rows: usize) {
        if self.values.len() < rows {
            self.values.resize_with(rows, Box::default);
        }
    }

    fn reset(&mut self, rows: &[u32]) {
        for row in rows {
            self.set(*row, &[]);
        }
    }

    fn encode(&self, row: u32, into: &mut Vec<u8>) {
        into.extend_from_slice(self.get(row));
    }

    fn decode(&mut self, row: u32, bytes: &[u8]) -> Result<(), CodecError> {
        self.set(row, bytes);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.values.capacity() * size_of::<Box<[u8]>>() + self.heap
    }

    fn row_bytes(&self) -> usize {
        size_of::<Box<[u8]>>()
    }

    fn heap_bytes(&self) -> usize {
        self.heap
    }

    fn fresh(&self) -> Result<Self, CodecError> {
        Ok(Self::default())
    }
}
