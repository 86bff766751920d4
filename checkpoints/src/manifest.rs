//! Manifests: everything that a checkpoint consists of, in one small document.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    ids::{Epoch, Generation, OperatorId},
    sealed::{self, SealError},
    shard_range::ShardRange,
};

/// The version of the manifest's form that this release writes.
pub const MANIFEST_VERSION: u32 = 1;

/// A complete, consistent cut of a job: which files, which offsets, which watermarks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`].
    pub format_version: u32,
    /// The job's name.
    pub job: String,
    /// The claim of the process that published it.
    pub generation: Generation,
    /// The epoch of the cut: everything up to and including it is inside.
    pub epoch: Epoch,
    /// Why it was taken.
    pub kind: CheckpointKind,
    /// When it was made: wall clock, milliseconds since 1970. For people only.
    pub created_ms: u64,
    /// How many workers the job had.
    pub workers: u32,
    /// The state files, in the order in which they apply.
    pub files: Vec<FileEntry>,
    /// Per source and split (by the split's name) how far it has been read.
    pub sources: BTreeMap<String, BTreeMap<String, SplitState>>,
    /// W of each relation, in milliseconds of event time.
    pub watermarks: BTreeMap<String, i64>,
    /// The stateful operators with the fingerprint of their schema.
    pub operators: BTreeMap<OperatorId, u64>,
    /// Per sink the epoch up to which everything has been acknowledged.
    pub delivered: BTreeMap<String, Epoch>,
    /// Whatever else a layer above wants to find again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, serde_json::Value>,
}

/// Why a checkpoint was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointKind {
    /// The interval was over.
    Periodic,
    /// Somebody asked for it: it is kept until somebody deletes it.
    Savepoint,
    /// The job stopped in good order.
    Final,
}

/// How far one split has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitState {
    /// The split's number.
    pub split: u32,
    /// The offset of the next record.
    pub offset: i64,
    /// The split's watermark, in milliseconds of event time; `i64::MIN` before its first row.
    pub watermark: i64,
    /// Whether it was idle.
    pub idle: bool,
    /// Whether it had ended.
    pub finished: bool,
}

/// One state file, or the part of it that still counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// The file's name in the store.
    pub name: String,
    /// The file's size, in bytes.
    pub bytes: u64,
    /// crc32c of the whole file.
    pub crc32c: u32,
    /// How often its content has been merged; [`OLDEST_LEVEL`] if nothing older exists for its shards.
    pub level: u8,
    /// The first epoch whose changes it holds.
    pub first_epoch: Epoch,
    /// The last epoch whose changes it holds.
    pub last_epoch: Epoch,
    /// The shards that are read from it. Compaction of a part of its shards makes this narrower.
    pub shards: ShardRange,
    /// The share of `bytes` that falls to `shards`, estimated; guides compaction.
    pub live_bytes: u64,
}

/// The level of files that are the oldest for their shards: they need no tombstones.
pub const OLDEST_LEVEL: u8 = u8::MAX;

impl FileEntry {
    /// The entry of a file that a worker has just written for a checkpoint.
    #[must_use]
    pub fn fresh(name: String, content: &[u8], epoch: Epoch) -> Self {
        Self {
            name,
            bytes: content.len() as u64,
            crc32c: crc32c::crc32c(content),
            level: 0,
            first_epoch: epoch,
            last_epoch: epoch,
            shards: ShardRange::ALL,
            live_bytes: content.len() as u64,
        }
    }

    /// Whether these are the bytes that were written under this entry's name.
    #[must_use]
    pub fn matches(&self, content: &[u8]) -> bool {
        self.bytes == content.len() as u64 && self.crc32c == crc32c::crc32c(content)
    }

    /// The part of this entry within `shards`, with its share of the bytes; `None` if nothing is inside.
    #[must_use]
    pub fn narrowed(&self, shards: ShardRange) -> Option<Self> {
        let shards = self.shards.intersect(shards);
        if shards.is_empty() {
            return None;
        }
        let share = self.live_bytes * shards.hashed_width() / self.shards.hashed_width();
        Some(Self {
            shards,
            live_bytes: share,
            ..self.clone()
        })
    }
}

impl Manifest {
    /// The document with its checksum line.
    ///
    /// # Errors
    /// [`SealError::Content`] if `extra` holds something without a JSON form.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SealError> {
        sealed::seal(self)
    }

    /// The document, once its checksum has been verified.
    ///
    /// # Errors
    /// [`SealError`] if it is damaged or was written by a later release.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SealError> {
        sealed::unseal(bytes)
    }

    /// Brings the files into the order in which they apply.
    ///
    /// Files that share a shard never overlap in their epochs, so the last epoch orders them; the rest makes it one order.
    pub(crate) fn sort_files(&mut self) {
        self.files.sort_by(|a, b| {
            let key = |file: &FileEntry| (file.last_epoch, file.first_epoch, file.shards);
            key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
        });
    }

    /// The bytes of all state files that count, estimated where files are used in part.
    #[must_use]
    pub fn state_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.live_bytes).sum()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> Manifest {
        let split = SplitState {
            split: 3,
            offset: 1_000_000,
            watermark: i64::MIN,
            idle: false,
            finished: true,
        };
        Manifest {
            format_version: MANIFEST_VERSION,
            job: "personalization".to_owned(),
            generation: Generation(u64::MAX),
            epoch: Epoch(1_763_900_012_345),
            kind: CheckpointKind::Savepoint,
            created_ms: 1_763_900_012_346,
            workers: 2,
            files: vec![FileEntry::fresh(
                "state/1-2-w0.state".to_owned(),
                b"content",
                Epoch(2),
            )],
            sources: BTreeMap::from([(
                "events".to_owned(),
                BTreeMap::from([("3".to_owned(), split)]),
            )]),
            watermarks: BTreeMap::from([("activity_1m".to_owned(), -1)]),
            operators: BTreeMap::from([(OperatorId("activity_1m/window".to_owned()), u64::MAX)]),
            delivered: BTreeMap::from([("hot".to_owned(), Epoch(17))]),
            extra: BTreeMap::from([("writers".to_owned(), serde_json::json!({"history": [0, 1]}))]),
        }
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let bytes = sample().to_bytes().unwrap();
        assert_eq!(Manifest::from_bytes(&bytes).unwrap(), sample());
    }

    #[test]
    fn the_format_never_changes() {
        let golden = include_str!("../tests/fixtures/manifest_v1.json");
        assert_eq!(
            String::from_utf8(sample().to_bytes().unwrap()).unwrap(),
            golden
        );
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_found() {
        let bytes = sample().to_bytes().unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::from_bytes(&damaged).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(Manifest::from_bytes(&bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_part_of_a_file_has_its_share_of_the_bytes() {
        let mut file = FileEntry::fresh("f".to_owned(), &[0; 1024], Epoch(1));
        file = file.narrowed(ShardRange::from(0..512)).unwrap();
        assert_eq!(file.live_bytes, 512);
        assert_eq!(
            file.narrowed(ShardRange::from(0..128)).unwrap().live_bytes,
            128
        );
        assert_eq!(file.narrowed(ShardRange::from(512..600)), None);
    }
}
