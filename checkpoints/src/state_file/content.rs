//! The bytes of a state file: all of them, or those that this process needs; in memory, or in a file of its own.

use std::{borrow::Cow, fs::File, io, io::Write, ops::Range, os::unix::fs::FileExt, sync::Arc};

/// Parts of a file.
#[derive(Clone, Debug)]
pub(super) struct Content {
    /// How long the whole file is.
    length: usize,
    /// Where the parts are in the file, in order and apart from each other; with where each is in `bytes`.
    parts: Vec<(Range<usize>, usize)>,
    bytes: Bytes,
}

#[derive(Clone, Debug)]
enum Bytes {
    Memory(Vec<u8>),
    Scratch(Arc<File>),
}

impl Content {
    /// A whole file.
    pub fn whole(bytes: Vec<u8>) -> Self {
        Self {
            length: bytes.len(),
            parts: vec![(0..bytes.len(), 0)],
            bytes: Bytes::Memory(bytes),
        }
    }

    /// These parts of a file, which lie one after the other in `bytes`.
    pub fn parts(length: usize, ranges: Vec<Range<usize>>, bytes: Vec<u8>) -> Self {
        let mut at = 0;
        let place = |range: Range<usize>| {
            let start = at;
            at += range.len();
            (range, start)
        };
        Self {
            length,
            parts: ranges.into_iter().map(place).collect(),
            bytes: Bytes::Memory(bytes),
        }
    }

    /// The length of the whole file, in bytes.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Moves the bytes out of memory, into a file that nobody else writes to.
    pub fn keep_in(&mut self, mut scratch: File) -> io::Result<()> {
        if let Bytes::Memory(bytes) = &self.bytes {
            scratch.write_all(bytes)?;
            self.bytes = Bytes::Scratch(Arc::new(scratch));
        }
        Ok(())
    }

    /// These bytes of the file; `None` if they were not wanted.
    pub fn read(&self, range: Range<usize>) -> io::Result<Option<Cow<'_, [u8]>>> {
        let behind = self
            .parts
            .partition_point(|(part, _)| part.start <= range.start);
        let part = behind.checked_sub(1).map(|part| &self.parts[part]);
        let Some((part, at)) = part.filter(|(part, _)| range.end <= part.end) else {
            return Ok(None);
        };
        let start = at + range.start - part.start;
        Ok(Some(match &self.bytes {
            Bytes::Memory(bytes) => Cow::Borrowed(&bytes[start..start + range.len()]),
            Bytes::Scratch(file) => {
                let mut bytes = vec![0; range.len()];
                file.read_exact_at(&mut bytes, start as u64)?;
                Cow::Owned(bytes)
            }
        }))
    }
}
