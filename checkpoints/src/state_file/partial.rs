//! Reading only those sections of a file that somebody needs.
//!
//! Nothing goes unverified that is used: header, footer and trailer are read, which together give the checksum of the whole
//! file, and that must be the one in the manifest; each section that is read has a checksum of its own. What is not read
//! is verified by whoever reads it.

use std::ops::Range;

use super::{Content, Index, SectionPlace, StateFile, StateFileError};
use crate::ids::{OperatorId, Shard};

/// The first bytes of a file: the header is in them unless the job has a very long name.
const HEAD_BYTES: usize = 4 << 10;
/// The last bytes of a file that are read first: the footer of a few thousand sections is in them.
const TAIL_BYTES: usize = 64 << 10;
/// So much between two sections is read along, because a request costs more.
const GAP_BYTES_MAX: usize = 64 << 10;

/// What a reader of parts may ask of a file.
pub trait ReadRange {
    /// Why it cannot be read.
    type Error: From<StateFileError>;

    /// These bytes of the file.
    ///
    /// # Errors
    /// If they are not there or cannot be read.
    fn read(&self, range: Range<usize>) -> Result<Vec<u8>, Self::Error>;
}

impl StateFile {
    /// Reads and verifies the sections that are `wanted`, of a file of `length` bytes. All others are known but cannot be
    /// decoded. Also gives the checksum of the whole file.
    ///
    /// # Errors
    /// If bytes cannot be read, or anything differs from what was written.
    pub fn open_parts<R: ReadRange>(
        name: &str,
        length: usize,
        file: &R,
        wanted: &dyn Fn(&OperatorId, Shard) -> bool,
    ) -> Result<(Self, u32), R::Error> {
        let ends = Ends::read(name, length, file)?;
        let crc32c = ends.index.crc32c(length, &ends.head, &ends.tail);
        let parts = ends.without_sections(name, length).parts(file, wanted)?;
        Ok((parts, crc32c))
    }

    /// Reads and verifies what a file of `length` bytes says of its sections, and none of these: see [`Self::parts`].
    ///
    /// # Errors
    /// As [`Self::open_parts`].
    pub fn open_index<R: ReadRange>(name: &str, length: usize, file: &R) -> Result<Self, R::Error> {
        Ok(Ends::read(name, length, file)?.without_sections(name, length))
    }

    /// The same file with the sections that are `wanted`, which are read and verified, and no others.
    ///
    /// # Errors
    /// As [`Self::open_parts`].
    pub fn parts<R: ReadRange>(
        &self,
        file: &R,
        wanted: &dyn Fn(&OperatorId, Shard) -> bool,
    ) -> Result<Self, R::Error> {
        let mut places: Vec<(&OperatorId, &SectionPlace)> = self.places().collect();
        places.retain(|(operator, section)| wanted(operator, section.shard));
        places.sort_by_key(|(_, section)| section.bytes.start);
        let ranges = joined(places.iter().map(|(_, section)| section.bytes.clone()));
        let mut bytes = Vec::new();
        for range in &ranges {
            let read = file.read(range.clone())?;
            // Often there is only one, and it may be large.
            match bytes.is_empty() {
                true => bytes = read,
                false => bytes.extend(read),
            }
        }
        let content = Content::parts(self.content.length(), ranges, bytes);
        for (operator, section) in places {
            // All of it is in memory.
            let read = content.read(section.bytes.clone()).ok().flatten();
            section
                .check(operator, &read.unwrap_or_default())
                .map_err(|problem| self.failed(problem))?;
        }
        Ok(Self {
            content,
            ..self.clone()
        })
    }
}

/// The beginning and the end of a file, which say what is between them.
struct Ends {
    head: Vec<u8>,
    tail: Vec<u8>,
    index: Index,
}

impl Ends {
    fn read<R: ReadRange>(name: &str, length: usize, file: &R) -> Result<Self, R::Error> {
        let failed = |problem| StateFileError {
            name: name.to_owned(),
            problem,
        };
        let head = file.read(0..length.min(HEAD_BYTES))?;
        let mut tail = file.read(length.saturating_sub(TAIL_BYTES)..length)?;
        let tail_bytes = Index::tail_bytes(&tail).map_err(failed)?;
        if tail_bytes > tail.len() && tail_bytes <= length {
            tail = file.read(length - tail_bytes..length)?;
        }
        let index = Index::read(length, &head, &tail).map_err(failed)?;
        Ok(Self { head, tail, index })
    }

    fn without_sections(self, name: &str, length: usize) -> StateFile {
        let nothing = Content::parts(length, Vec::new(), Vec::new());
        StateFile::of(name.to_owned(), nothing, self.index)
    }
}

/// The ranges, in order, with those in one that are close to each other.
fn joined(ranges: impl Iterator<Item = Range<usize>>) -> Vec<Range<usize>> {
    let mut joined: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start - last.end <= GAP_BYTES_MAX => last.end = range.end,
            _ => joined.push(range),
        }
    }
    joined
}
