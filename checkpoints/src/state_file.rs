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
mod content;
mod index;
mod partial;
mod section_codec;

use std::{borrow::Cow, collections::BTreeMap, fs::File, io, ops::Range, sync::Arc};

pub use builder::StateFileBuilder;
use content::Content;
use index::{Index, SectionPlace};
pub use partial::ReadRange;

use crate::{
    codec::CodecError,
    ids::{Epoch, Generation, OperatorId, Shard},
    section::ShardDelta,
    shard_merge::ShardMerge,
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
    /// The section was left out when the file was read.
    #[error("the section of shard {} was not read, because this process does not own it", .shard.0)]
    NotRead {
        /// The section's shard.
        shard: Shard,
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

/// A verified state file, in memory or in a scratch file; sections are decoded when asked for.
#[derive(Clone, Debug)]
pub struct StateFile {
    name: String,
    content: Content,
    header: StateFileHeader,
    /// Per operator ordered by shard; of one shard in the order of the file, so in the order of application.
    sections: Arc<BTreeMap<OperatorId, Vec<SectionPlace>>>,
}

impl StateFile {
    /// Verifies every checksum and the structure of a file.
    ///
    /// # Errors
    /// [`StateFileError`], which names the file, if anything differs from what was written.
    pub fn open(name: impl Into<String>, bytes: Vec<u8>) -> Result<Self, StateFileError> {
        let name = name.into();
        match Self::verified(&bytes) {
            Ok(index) => Ok(Self::of(name, Content::whole(bytes), index)),
            Err(problem) => Err(StateFileError { name, problem }),
        }
    }

    fn verified(bytes: &[u8]) -> Result<Index, StateFileProblem> {
        let index = Index::read(bytes.len(), bytes, bytes)?;
        for (operator, section) in index.sections() {
            section.check(operator, &bytes[section.bytes.clone()])?;
        }
        Ok(index)
    }

    fn of(name: String, content: Content, index: Index) -> Self {
        let mut sections: BTreeMap<OperatorId, Vec<SectionPlace>> = BTreeMap::new();
        for (operator, section) in index.sections() {
            match sections.get_mut(operator) {
                Some(sections) => sections.push(section.clone()),
                None => _ = sections.insert(operator.clone(), vec![section.clone()]),
            }
        }
        for sections in sections.values_mut() {
            // Stable: the layers of a shard stay in order.
            sections.sort_by_key(|section| section.shard);
        }
        Self {
            name,
            content,
            header: index.header,
            sections: Arc::new(sections),
        }
    }

    /// Moves the bytes out of memory, into a file that nobody else writes to.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(crate) fn keep_in(mut self, scratch: File) -> io::Result<Self> {
        self.content.keep_in(scratch)?;
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
    /// [`StateFileError`] if only a part of it was, or it is not in memory and cannot be read again.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>, StateFileError> {
        self.read(0..self.content.length(), Shard::default())
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
        for (operator, sections) in &*self.sections {
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
        self.sizes().map(|(shard, _)| shard)
    }

    /// The shards of all sections with the sections' sizes in bytes; a shard may come more than once.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = (Shard, u64)> {
        self.places()
            .map(|(_, section)| (section.shard, section.bytes.len() as u64))
    }

    fn places(&self) -> impl Iterator<Item = (&OperatorId, &SectionPlace)> {
        self.sections.iter().flat_map(|(operator, sections)| {
            sections.iter().map(move |section| (operator, section))
        })
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
        self.layers(operator, shards.into())
            .iter()
            .map(|section| self.decode(section))
    }

    /// Takes the operator's deltas of a shard, from the newest to the oldest, into a merge of newer files.
    pub(crate) fn merge_into(
        &self,
        merge: &mut ShardMerge,
        operator: &OperatorId,
        shard: Shard,
    ) -> Result<(), StateFileError> {
        self.merge_sections(merge, self.layers(operator, shard.into()))
    }

    /// A walk over the operator's sections.
    pub(crate) fn walk(&self, operator: &OperatorId) -> Walk<'_> {
        Walk {
            file: self,
            rest: self.layers(operator, ShardRange::ALL),
        }
    }

    fn merge_sections(
        &self,
        merge: &mut ShardMerge,
        sections: &[SectionPlace],
    ) -> Result<(), StateFileError> {
        for section in sections.iter().rev() {
            let encoded = self.read(section.bytes.clone(), section.shard)?;
            merge
                .take_older(|gone, entries| {
                    section_codec::decode_into(entries, &encoded, |sub_key| !gone(sub_key))
                })
                .map_err(|error| self.failed(StateFileProblem::malformed("section")(error)))?;
        }
        Ok(())
    }

    /// The sections of these shards, in order.
    fn layers(&self, operator: &OperatorId, shards: ShardRange) -> &[SectionPlace] {
        let sections = self.sections.get(operator).map_or(&[][..], Vec::as_slice);
        let before =
            |limit: u32| sections.partition_point(|place| u32::from(place.shard.0) < limit);
        let (start, end) = (before(shards.start), before(shards.end));
        &sections[start..end.max(start)]
    }

    fn decode(&self, section: &SectionPlace) -> Result<ShardDelta, StateFileError> {
        let encoded = self.read(section.bytes.clone(), section.shard)?;
        section_codec::decode(section.shard, &encoded)
            .map_err(|error| self.failed(StateFileProblem::malformed("section")(error)))
    }

    fn failed(&self, problem: StateFileProblem) -> StateFileError {
        StateFileError {
            name: self.name.clone(),
            problem,
        }
    }

    fn read(&self, range: Range<usize>, shard: Shard) -> Result<Cow<'_, [u8]>, StateFileError> {
        match self.content.read(range) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(self.failed(StateFileProblem::NotRead { shard })),
            Err(error) => Err(self.failed(StateFileProblem::Unreadable(error.to_string()))),
        }
    }
}

/// The sections of one operator in a file, shard by shard: to look each of them up takes longer than to read it, where a file
/// holds a few changes of many shards.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    file: &'a StateFile,
    rest: &'a [SectionPlace],
}

impl Walk<'_> {
    /// As [`StateFile::merge_into`], for a shard that comes after all those asked for before.
    pub(crate) fn merge_into(
        &mut self,
        merge: &mut ShardMerge,
        shard: Shard,
    ) -> Result<(), StateFileError> {
        let sections = self.rest.iter();
        let passed = sections.take_while(|place| place.shard < shard).count();
        let sections = self.rest[passed..].iter();
        let count = sections.take_while(|place| place.shard == shard).count();
        let (layers, rest) = self.rest[passed..].split_at(count);
        self.rest = rest;
        self.file.merge_sections(merge, layers)
    }
}

#[cfg(test)]
mod tests;
