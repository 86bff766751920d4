//! State files: the sections of all operators of one worker (or of merged files), with checksums.
//!
//! ```text
//! header    "TWSTATE\0"  u16 format version
//!           text job, varint generation, epoch, worker, workers
//!           u32 crc32c of the header so far
//! sections  one after the other without gaps, oldest layer first; each one encoded shard delta (section_codec.rs)
//! footer    varint number of operators, each: text id
//!           varint number of sections, each: varint operator, varint shard, varint length, u32 crc32c of the section
//! trailer   u64 length of the footer, u64 length of the file, u32 crc32c of footer and both lengths, "TWEND\0\0\0"
//! ```
//!
//! Integers are little-endian; varint and text as in [`crate::codec`]. Every byte is under a checksum or compared with
//! a constant, and the sections have to fill exactly the space between header and footer: any flipped bit and any
//! missing byte is found by [`StateFile::open`]. A section's offset is the sum of the lengths before it.
//!
//! A (operator, shard) may occur more than once: when checkpoints merged while another file was being written, each
//! brings a layer, and later sections apply after earlier ones.

mod builder;
mod section_codec;

use std::{
    borrow::Cow, collections::BTreeMap, fs::File, io, io::Write, ops::Range, os::unix::fs::FileExt,
    sync::Arc,
};

pub use builder::StateFileBuilder;

use crate::{
    codec::{CodecError, Decoder},
    ids::{Epoch, Generation, OperatorId, Shard},
    section::ShardDelta,
    shard_range::ShardRange,
};

const MAGIC: &[u8; 8] = b"TWSTATE\0";
const END_MAGIC: &[u8; 8] = b"TWEND\0\0\0";
/// The version of state files that this release writes and reads.
pub const FORMAT_VERSION: u16 = 1;
const TRAILER_BYTES: usize = 8 + 8 + 4 + 8;

/// Who wrote a state file, and when on the job's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateFileHeader {
    /// The job's name.
    pub job: String,
    /// The claim of the process that wrote it.
    pub generation: Generation,
    /// The checkpoint's epoch; of merged files the last one.
    pub epoch: Epoch,
    /// The worker that wrote it, from 0.
    pub worker: u32,
    /// How many workers there were.
    pub workers: u32,
}

/// A state file that cannot be used, with its name.
#[derive(Debug, thiserror::Error)]
#[error("state file {name}: {problem}")]
pub struct StateFileError {
    /// The file's name in the store.
    pub name: String,
    /// What is wrong with it.
    pub problem: StateFileProblem,
}

/// What is wrong with a state file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateFileProblem {
    /// It does not begin as a state file does.
    #[error("it is not a state file")]
    NotAStateFile,
    /// It was written by a later release.
    #[error("its format version {0} is not known to this release")]
    UnknownVersion(u16),
    /// Bytes are missing or were added.
    #[error("it is incomplete: {expected} bytes expected, {found} found")]
    Length {
        /// The length that the file announces, in bytes.
        expected: u64,
        /// The length found, in bytes.
        found: u64,
    },
    /// A checksum differs from the bytes that it covers.
    #[error("the checksum of its {part} does not match")]
    Checksum {
        /// The part of the file.
        part: String,
    },
    /// What was verified can no longer be read.
    #[error("it cannot be read again: {0}")]
    Unreadable(String),
    /// The checksums match, but the content is not understood.
    #[error("its {part} is malformed: {error}")]
    Malformed {
        /// The part of the file.
        part: &'static str,
        /// What went wrong.
        error: CodecError,
    },
}

impl StateFileProblem {
    fn malformed(part: &'static str) -> impl Fn(CodecError) -> Self {
        move |error| Self::Malformed { part, error }
    }
}

#[derive(Clone, Debug)]
struct SectionPlace {
    shard: Shard,
    bytes: Range<usize>,
}

/// Where the bytes of a verified file are.
#[derive(Clone, Debug)]
enum Content {
    Memory(Vec<u8>),
    Scratch(Arc<File>),
}

/// A verified state file, in memory or in a scratch file; sections are decoded when asked for.
#[derive(Clone, Debug)]
pub struct StateFile {
    name: String,
    content: Content,
    header: StateFileHeader,
    /// Per operator ordered by shard; of one shard in the order of the file, so in the order of application.
    sections: BTreeMap<OperatorId, Vec<SectionPlace>>,
}

impl StateFile {
    /// Verifies every checksum and the structure of a file.
    ///
    /// # Errors
    /// [`StateFileError`], which names the file, if anything differs from what was written.
    pub fn open(name: impl Into<String>, bytes: Vec<u8>) -> Result<Self, StateFileError> {
        let name = name.into();
        match read_structure(&bytes) {
            Ok((header, sections)) => Ok(Self {
                name,
                content: Content::Memory(bytes),
                header,
                sections,
            }),
            Err(problem) => Err(StateFileError { name, problem }),
        }
    }

    /// Moves the bytes out of memory, into a file that nobody else writes to.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(crate) fn keep_in(mut self, mut scratch: File) -> io::Result<Self> {
        if let Content::Memory(bytes) = &self.content {
            scratch.write_all(bytes)?;
            self.content = Content::Scratch(Arc::new(scratch));
        }
        Ok(self)
    }

    /// The file's name in the store.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who wrote it.
    #[must_use]
    pub fn header(&self) -> &StateFileHeader {
        &self.header
    }

    /// The whole file, as it was read.
    ///
    /// # Errors
    /// [`StateFileError`] if it is not in memory and cannot be read again.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>, StateFileError> {
        let length = match &self.content {
            Content::Memory(bytes) => Ok(bytes.len() as u64),
            Content::Scratch(file) => file.metadata().map(|metadata| metadata.len()),
        };
        let bytes = length.and_then(|length| self.read(0..length as usize));
        bytes.map_err(|error| self.failed(StateFileProblem::Unreadable(error.to_string())))
    }

    /// The same state as a file of a job of another name.
    ///
    /// # Errors
    /// [`StateFileError`] for malformed sections.
    pub fn of_job(&self, job: &str) -> Result<Vec<u8>, StateFileError> {
        let mut builder = StateFileBuilder::new(&StateFileHeader {
            job: job.to_owned(),
            ..self.header.clone()
        });
        // Only the order of the layers of one operator's shard matters, and it stays.
        for (operator, sections) in &self.sections {
            for section in sections {
                builder.push(operator, &self.decode(section)?);
            }
        }
        Ok(builder.finish())
    }

    /// The operators that it has sections of.
    pub fn operators(&self) -> impl Iterator<Item = &OperatorId> {
        self.sections.keys()
    }

    /// The shards of all sections; a shard may come more than once.
    pub(crate) fn shards(&self) -> impl Iterator<Item = Shard> {
        self.sections
            .values()
            .flatten()
            .map(|section| section.shard)
    }

    /// The operator's deltas of these shards, shard by shard, in the order in which they apply.
    ///
    /// # Errors
    /// The iterator yields [`StateFileError`] for a section that has the right checksum but is malformed.
    pub fn deltas(
        &self,
        operator: &OperatorId,
        shards: impl Into<ShardRange>,
    ) -> impl Iterator<Item = Result<ShardDelta, StateFileError>> {
        let shards = shards.into();
        let sections = self.sections.get(operator).map_or(&[][..], Vec::as_slice);
        let before =
            |limit: u32| sections.partition_point(|place| u32::from(place.shard.0) < limit);
        let (start, end) = (before(shards.start), before(shards.end));
        sections[start..end.max(start)]
            .iter()
            .map(|section| self.decode(section))
    }

    fn decode(&self, section: &SectionPlace) -> Result<ShardDelta, StateFileError> {
        let encoded = self.read(section.bytes.clone());
        let encoded = encoded
            .map_err(|error| self.failed(StateFileProblem::Unreadable(error.to_string())))?;
        section_codec::decode(section.shard, &encoded)
            .map_err(|error| self.failed(StateFileProblem::malformed("section")(error)))
    }

    fn failed(&self, problem: StateFileProblem) -> StateFileError {
        StateFileError {
            name: self.name.clone(),
            problem,
        }
    }

    fn read(&self, range: Range<usize>) -> io::Result<Cow<'_, [u8]>> {
        match &self.content {
            Content::Memory(bytes) => Ok(Cow::Borrowed(&bytes[range])),
            Content::Scratch(file) => {
                let mut bytes = vec![0; range.len()];
                file.read_exact_at(&mut bytes, range.start as u64)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }
}

type Structure = (StateFileHeader, BTreeMap<OperatorId, Vec<SectionPlace>>);

fn read_structure(bytes: &[u8]) -> Result<Structure, StateFileProblem> {
    let (header, header_bytes) = read_header(bytes)?;
    let footer = footer_range(bytes, header_bytes)?;
    let sections = read_footer(bytes, header_bytes, footer)?;
    Ok((header, sections))
}

fn read_header(bytes: &[u8]) -> Result<(StateFileHeader, usize), StateFileProblem> {
    let malformed = StateFileProblem::malformed("header");
    let mut decoder = Decoder::new(bytes);
    if decoder.take(MAGIC.len()) != Ok(MAGIC) {
        return Err(StateFileProblem::NotAStateFile);
    }
    let version = decoder.u16().map_err(&malformed)?;
    if version != FORMAT_VERSION {
        return Err(StateFileProblem::UnknownVersion(version));
    }
    let header = decode_header(&mut decoder).map_err(&malformed)?;
    let covered = &bytes[..decoder.position()];
    let checksum = decoder.u32().map_err(&malformed)?;
    check(covered, checksum, || "header".to_owned())?;
    Ok((header, decoder.position()))
}

fn decode_header(decoder: &mut Decoder<'_>) -> Result<StateFileHeader, CodecError> {
    Ok(StateFileHeader {
        job: decoder.text()?.to_owned(),
        generation: Generation(decoder.varint()?),
        epoch: Epoch(decoder.varint()?),
        worker: decoder.number()?,
        workers: decoder.number()?,
    })
}

/// Where the footer is, once the trailer has been verified.
fn footer_range(bytes: &[u8], header_bytes: usize) -> Result<Range<usize>, StateFileProblem> {
    let malformed = StateFileProblem::malformed("trailer");
    let found = bytes.len() as u64;
    let too_short = StateFileProblem::Length {
        expected: (header_bytes + TRAILER_BYTES) as u64,
        found,
    };
    let Some(trailer_start) = bytes.len().checked_sub(TRAILER_BYTES) else {
        return Err(too_short);
    };
    let mut trailer = Decoder::new(&bytes[trailer_start..]);
    let footer_bytes = trailer.u64().map_err(&malformed)?;
    let expected = trailer.u64().map_err(&malformed)?;
    let checksum = trailer.u32().map_err(&malformed)?;
    if trailer.take(END_MAGIC.len()) != Ok(END_MAGIC) {
        return Err(StateFileProblem::Checksum {
            part: "end".to_owned(),
        });
    }
    let footer_start = usize::try_from(footer_bytes)
        .ok()
        .and_then(|footer_bytes| trailer_start.checked_sub(footer_bytes))
        .filter(|start| *start >= header_bytes)
        .ok_or(too_short)?;
    let covered = &bytes[footer_start..trailer_start + 16];
    check(covered, checksum, || "footer".to_owned())?;
    if expected != found {
        return Err(StateFileProblem::Length { expected, found });
    }
    Ok(footer_start..trailer_start)
}

fn read_footer(
    bytes: &[u8],
    mut offset: usize,
    footer: Range<usize>,
) -> Result<BTreeMap<OperatorId, Vec<SectionPlace>>, StateFileProblem> {
    let malformed = StateFileProblem::malformed("footer");
    let mut decoder = Decoder::new(&bytes[footer.clone()]);
    let mut operators = Vec::new();
    for _ in 0..decoder.count().map_err(&malformed)? {
        let id = OperatorId(decoder.text().map_err(&malformed)?.to_owned());
        operators.push((id, Vec::new()));
    }
    for _ in 0..decoder.count().map_err(&malformed)? {
        let at = decoder.position();
        let operator: usize = decoder.number().map_err(&malformed)?;
        let shard = Shard(decoder.number().map_err(&malformed)?);
        let length: usize = decoder.number().map_err(&malformed)?;
        let checksum = decoder.u32().map_err(&malformed)?;
        let out_of_range = || malformed(CodecError::OutOfRange { at });
        let end = offset
            .checked_add(length)
            .filter(|end| *end <= footer.start);
        let section = offset..end.ok_or_else(out_of_range)?;
        let (id, sections) = operators.get_mut(operator).ok_or_else(out_of_range)?;
        check(&bytes[section.clone()], checksum, || {
            format!("section of {id}, shard {}", shard.0)
        })?;
        offset = section.end;
        sections.push(SectionPlace {
            shard,
            bytes: section,
        });
    }
    decoder.end().map_err(&malformed)?;
    if offset != footer.start {
        return Err(malformed(CodecError::OutOfRange { at: 0 }));
    }
    for (_, sections) in &mut operators {
        // Stable: the layers of a shard stay in order.
        sections.sort_by_key(|section: &SectionPlace| section.shard);
    }
    Ok(operators.into_iter().collect())
}

fn check(
    covered: &[u8],
    checksum: u32,
    part: impl FnOnce() -> String,
) -> Result<(), StateFileProblem> {
    if crc32c::crc32c(covered) == checksum {
        Ok(())
    } else {
        Err(StateFileProblem::Checksum { part: part() })
    }
}

#[cfg(test)]
mod tests;
