//! What a state file says about itself: who wrote it, where its sections are, and the checksums of everything.

use std::ops::Range;

use super::{END_MAGIC, FORMAT_VERSION, MAGIC, StateFileHeader, StateFileProblem, TRAILER_BYTES};
use crate::{
    codec::{CodecError, Decoder},
    ids::{Epoch, Generation, OperatorId, Shard},
};

/// One section of a file.
#[derive(Clone, Debug)]
pub(super) struct SectionPlace {
    pub shard: Shard,
    /// Where it is in the file.
    pub bytes: Range<usize>,
    crc32c: u32,
}

/// A file without the content of its sections.
pub(super) struct Index {
    pub header: StateFileHeader,
    operators: Vec<OperatorId>,
    /// Each with the place of its operator in the list above, in the order of the file.
    sections: Vec<(usize, SectionPlace)>,
    /// Where the sections are.
    space: Range<usize>,
}

impl Index {
    /// Reads and verifies header, footer and trailer of a file of `length` bytes, of which these are the first and the last
    /// ones; both may be all.
    pub fn read(length: usize, head: &[u8], tail: &[u8]) -> Result<Self, StateFileProblem> {
        let (header, header_bytes) = read_header(head)?;
        let footer = footer_range(length, tail, header_bytes)?;
        let before_tail = length - tail.len();
        let encoded = &tail[footer.start - before_tail..footer.end - before_tail];
        let space = header_bytes..footer.start;
        let (operators, sections) = read_footer(encoded, space.clone())?;
        Ok(Self {
            header,
            operators,
            sections,
            space,
        })
    }

    /// The checksum of the whole file of `length` bytes, from those of its sections. Costs far more for each of them than
    /// reading a few thousand bytes does.
    pub fn crc32c(&self, length: usize, head: &[u8], tail: &[u8]) -> u32 {
        let before_tail = length - tail.len();
        let combine = |sum: u32, (_, section): &(usize, SectionPlace)| {
            crc32c::crc32c_combine(sum, section.crc32c, section.bytes.len())
        };
        let header = crc32c::crc32c(&head[..self.space.start]);
        let sum = self.sections.iter().fold(header, combine);
        crc32c::crc32c_append(sum, &tail[self.space.end - before_tail..])
    }

    /// All sections in the order of the file, each with its operator.
    pub fn sections(&self) -> impl Iterator<Item = (&OperatorId, &SectionPlace)> {
        let sections = self.sections.iter();
        sections.map(|(operator, section)| (&self.operators[*operator], section))
    }

    /// How many of a file's last bytes are footer and trailer; `tail` has the trailer at least.
    pub fn tail_bytes(tail: &[u8]) -> Result<usize, StateFileProblem> {
        let trailer = Trailer::read(tail)?;
        let footer = usize::try_from(trailer.footer_bytes).unwrap_or(usize::MAX);
        Ok(footer.saturating_add(TRAILER_BYTES))
    }
}

impl SectionPlace {
    /// Verifies the section's bytes.
    pub fn check(&self, operator: &OperatorId, bytes: &[u8]) -> Result<(), StateFileProblem> {
        check(bytes, self.crc32c, || {
            format!("section of {operator}, shard {}", self.shard.0)
        })
    }
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

/// The last bytes of a file.
struct Trailer {
    footer_bytes: u64,
    file_bytes: u64,
    crc32c: u32,
}

impl Trailer {
    fn read(tail: &[u8]) -> Result<Self, StateFileProblem> {
        let malformed = StateFileProblem::malformed("trailer");
        let too_short = StateFileProblem::Length {
            expected: TRAILER_BYTES as u64,
            found: tail.len() as u64,
        };
        let start = tail.len().checked_sub(TRAILER_BYTES).ok_or(too_short)?;
        let mut decoder = Decoder::new(&tail[start..]);
        let trailer = Self {
            footer_bytes: decoder.u64().map_err(&malformed)?,
            file_bytes: decoder.u64().map_err(&malformed)?,
            crc32c: decoder.u32().map_err(&malformed)?,
        };
        if decoder.take(END_MAGIC.len()) != Ok(END_MAGIC) {
            return Err(StateFileProblem::Checksum {
                part: "end".to_owned(),
            });
        }
        Ok(trailer)
    }
}

/// Where the footer is in the file, once the trailer has been verified.
fn footer_range(
    length: usize,
    tail: &[u8],
    header_bytes: usize,
) -> Result<Range<usize>, StateFileProblem> {
    let found = length as u64;
    let too_short = StateFileProblem::Length {
        expected: (header_bytes + TRAILER_BYTES) as u64,
        found,
    };
    let trailer = Trailer::read(tail)?;
    let before_tail = length - tail.len();
    let trailer_start = length - TRAILER_BYTES;
    let footer_start = usize::try_from(trailer.footer_bytes)
        .ok()
        .and_then(|footer_bytes| trailer_start.checked_sub(footer_bytes))
        .filter(|start| *start >= header_bytes.max(before_tail))
        .ok_or(too_short)?;
    let covered = &tail[footer_start - before_tail..trailer_start - before_tail + 16];
    check(covered, trailer.crc32c, || "footer".to_owned())?;
    if trailer.file_bytes != found {
        return Err(StateFileProblem::Length {
            expected: trailer.file_bytes,
            found,
        });
    }
    Ok(footer_start..trailer_start)
}

type Contents = (Vec<OperatorId>, Vec<(usize, SectionPlace)>);

/// The operators, and the sections, which fill exactly this space.
fn read_footer(footer: &[u8], space: Range<usize>) -> Result<Contents, StateFileProblem> {
    let malformed = StateFileProblem::malformed("footer");
    let mut decoder = Decoder::new(footer);
    let mut operators = Vec::new();
    for _ in 0..decoder.count().map_err(&malformed)? {
        operators.push(OperatorId(decoder.text().map_err(&malformed)?.to_owned()));
    }
    let mut sections = Vec::new();
    let mut offset = space.start;
    for _ in 0..decoder.count().map_err(&malformed)? {
        let at = decoder.position();
        let operator: usize = decoder.number().map_err(&malformed)?;
        let shard = Shard(decoder.number().map_err(&malformed)?);
        let length: usize = decoder.number().map_err(&malformed)?;
        let crc32c = decoder.u32().map_err(&malformed)?;
        let out_of_range = || malformed(CodecError::OutOfRange { at });
        let end = offset.checked_add(length);
        let end = end.filter(|end| *end <= space.end);
        let bytes = offset..end.ok_or_else(out_of_range)?;
        if operator >= operators.len() {
            return Err(out_of_range());
        }
        offset = bytes.end;
        let place = SectionPlace {
            shard,
            bytes,
            crc32c,
        };
        sections.push((operator, place));
    }
    decoder.end().map_err(&malformed)?;
    if offset != space.end {
        return Err(malformed(CodecError::OutOfRange { at: 0 }));
    }
    Ok((operators, sections))
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
