//! Writing state files.

use std::collections::BTreeMap;

use super::{END_MAGIC, FORMAT_VERSION, MAGIC, StateFileHeader, section_codec};
use crate::{
    codec::{put_bytes, put_u16, put_u32, put_u64, put_varint},
    ids::OperatorId,
    section::ShardDelta,
};

/// Builds a state file in memory, layer by layer.
#[derive(Clone, Debug)]
pub struct StateFileBuilder {
    bytes: Vec<u8>,
    operators: BTreeMap<OperatorId, u64>,
    /// The ids by number, since the footer lists them in the order of their first section.
    operator_ids: Vec<OperatorId>,
    index: Vec<u8>,
    sections: u64,
}

impl StateFileBuilder {
    /// Starts a file without sections.
    #[must_use]
    pub fn new(header: &StateFileHeader) -> Self {
        Self::with_capacity(header, 0)
    }

    /// Starts a file for sections of about so many bytes.
    #[must_use]
    pub fn with_capacity(header: &StateFileHeader, sections_bytes: usize) -> Self {
        let mut bytes = Vec::with_capacity(4096 + sections_bytes);
        bytes.extend_from_slice(MAGIC);
        put_u16(&mut bytes, FORMAT_VERSION);
        put_bytes(&mut bytes, header.job.as_bytes());
        put_varint(&mut bytes, header.generation.0);
        put_varint(&mut bytes, header.epoch.0);
        put_varint(&mut bytes, header.worker.into());
        put_varint(&mut bytes, header.workers.into());
        let checksum = crc32c::crc32c(&bytes);
        put_u32(&mut bytes, checksum);
        Self {
            bytes,
            operators: BTreeMap::new(),
            operator_ids: Vec::new(),
            index: Vec::new(),
            sections: 0,
        }
    }

    /// Appends one section: it applies after everything pushed before.
    pub fn push(&mut self, operator: &OperatorId, delta: &ShardDelta) {
        let number = self.number_of(operator);
        let start = self.bytes.len();
        section_codec::encode(delta, &mut self.bytes);
        let section = &self.bytes[start..];
        put_varint(&mut self.index, number);
        put_varint(&mut self.index, delta.shard.0.into());
        put_varint(&mut self.index, section.len() as u64);
        put_u32(&mut self.index, crc32c::crc32c(section));
        self.sections += 1;
    }

    fn number_of(&mut self, operator: &OperatorId) -> u64 {
        if let Some(number) = self.operators.get(operator) {
            return *number;
        }
        let number = self.operator_ids.len() as u64;
        self.operators.insert(operator.clone(), number);
        self.operator_ids.push(operator.clone());
        number
    }

    /// Whether no section has been pushed: such a file need not be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sections == 0
    }

    /// The size so far, in bytes, without the footer.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.bytes.len() + self.index.len()
    }

    /// The finished file.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let footer_start = self.bytes.len();
        put_varint(&mut self.bytes, self.operator_ids.len() as u64);
        for id in &self.operator_ids {
            put_bytes(&mut self.bytes, id.0.as_bytes());
        }
        put_varint(&mut self.bytes, self.sections);
        self.bytes.extend_from_slice(&self.index);
        let footer_bytes = self.bytes.len() - footer_start;
        let total_bytes = self.bytes.len() + super::TRAILER_BYTES;
        put_u64(&mut self.bytes, footer_bytes as u64);
        put_u64(&mut self.bytes, total_bytes as u64);
        let checksum = crc32c::crc32c(&self.bytes[footer_start..]);
        put_u32(&mut self.bytes, checksum);
        self.bytes.extend_from_slice(END_MAGIC);
        self.bytes
    }
}
