//! Where a topic that is partitioned by a column must hold a row.

use crate::decode::{DecodeError, Decoder};

/// Kafka's default partitioner, as the check that rows are where it puts their key. What is partition-local relies on it.
pub(crate) struct Partitioner {
    /// The column that holds the record's key.
    column: usize,
    partitions: u32,
}

impl Partitioner {
    pub(crate) fn new(column: usize, partitions: u32) -> Self {
        Self { column, partitions }
    }

    /// Whether the row that was decoded last is in the partition that its key belongs to.
    #[inline]
    pub(crate) fn check(&self, decoder: &Decoder, partition: u32) -> Result<(), DecodeError> {
        let wanted = decoder.with_last_text(self.column, |key| self.partition(key.as_bytes()));
        if wanted == Some(partition) {
            return Ok(());
        }
        Err(self.explain(decoder, partition, wanted))
    }

    fn partition(&self, key: &[u8]) -> u32 {
        (murmur2(key) & 0x7fff_ffff) % self.partitions.max(1)
    }

    #[cold]
    fn explain(&self, decoder: &Decoder, partition: u32, wanted: Option<u32>) -> DecodeError {
        let name = decoder.name(self.column);
        let Some(wanted) = wanted else {
            return DecodeError::new(&format!(
                "field `{name}`: is null, but the topic is partitioned by it (`partitioned_by`)"
            ));
        };
        let key = decoder.with_last_text(self.column, |key| key.chars().take(64).collect());
        let key: String = key.unwrap_or_default();
        DecodeError::new(&format!(
            "field `{name}`: the key \"{key}\" belongs to partition {wanted} of {}, but the record is in partition \
             {partition}: it was not written by Kafka's default partitioner, which `partitioned_by` relies on",
            self.partitions
        ))
    }
}

/// MurmurHash2 by Austin Appleby, with the seed that Kafka's Java client uses (`Utils.murmur2`).
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ bytes.len() as u32;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(M);
        mixed = (mixed ^ (mixed >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ mixed;
    }
    if !rest.is_empty() {
        let tail = rest
            .iter()
            .rev()
            .fold(0, |word, byte| (word << 8) | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    #[test]
    fn hashes_are_those_of_the_java_client() {
        // From UtilsTest.testMurmur2 of Apache Kafka.
        let cases: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ];
        for (key, expected) in cases {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), expected, "{key}");
        }
    }

    /// What the check says of a record in partition 3 of 8.
    fn checked(json: &str) -> Option<String> {
        let fields = ["key", "n"].map(|name| Field::new(name, DataType::Utf8View, true));
        let mut decoder = Decoder::new(&Arc::new(Schema::new(fields.to_vec())), 16).unwrap();
        decoder
            .push(br#"{"key": "another row with a long text"}"#)
            .unwrap();
        decoder.push(json.as_bytes()).unwrap();
        let checked = Partitioner::new(0, 8).check(&decoder, 3);
        checked.err().map(|error| error.to_string())
    }

    #[test]
    fn a_key_is_accepted_in_its_partition_only() {
        let key = |partition: u32| {
            let keys = (0..).map(|number| format!("a key of more than twelve bytes, {number}"));
            let mut keys =
                keys.filter(|key| Partitioner::new(0, 8).partition(key.as_bytes()) == partition);
            keys.next().unwrap()
        };
        assert_eq!(checked(&format!(r#"{{"key": "{}"}}"#, key(3))), None);
        let error = checked(&format!(r#"{{"key": "{}"}}"#, key(5))).unwrap();
        for part in [&key(5), "`key`", "partition 5 of 8", "in partition 3"] {
            assert!(error.contains(part), "{error}");
        }
        // -973932308 & 0x7fffffff is 1173551340, and 4 modulo 8.
        assert!(
            checked(r#"{"key": "21"}"#)
                .unwrap()
                .contains("partition 4 of 8")
        );
    }

    #[test]
    fn a_row_without_key_belongs_nowhere() {
        assert!(checked(r#"{"n": "x"}"#).unwrap().contains("is null"));
    }
}
