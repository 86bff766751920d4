use proptest::prelude::*;

use super::*;
use crate::section::{Entry, SubKeyRange};

fn header() -> StateFileHeader {
    StateFileHeader {
        job: "personalization".to_owned(),
        generation: Generation(1_763_900_000_000),
        epoch: Epoch(1_763_900_012_345),
        worker: 1,
        workers: 2,
    }
}

fn operator(number: u8) -> OperatorId {
    OperatorId(format!("view_{number}/window"))
}

fn build(sections: &[(u8, ShardDelta)]) -> Vec<u8> {
    let mut builder = StateFileBuilder::new(&header());
    for (number, delta) in sections {
        builder.push(&operator(*number), delta);
    }
    assert_eq!(builder.is_empty(), sections.is_empty());
    builder.finish()
}

fn entry(key: &[u8], sub_key: i64, value: Option<&[u8]>) -> Entry {
    Entry {
        key: key.into(),
        sub_key,
        value: value.map(Into::into),
    }
}

fn sample() -> Vec<(u8, ShardDelta)> {
    let delta = |shard, drops, entries| ShardDelta {
        shard: Shard(shard),
        drops,
        entries,
    };
    let old_panes = vec![SubKeyRange {
        start: i64::MIN,
        end: 1_763_900_000_000,
    }];
    vec![
        (
            0,
            delta(
                7,
                vec![],
                vec![entry(b"u0000042", 60_000, Some(b"\x05value"))],
            ),
        ),
        (
            1,
            delta(
                1023,
                old_panes,
                vec![entry(b"", i64::MAX, Some(b"")), entry(b"k", i64::MIN, None)],
            ),
        ),
        (
            0,
            delta(
                7,
                vec![],
                vec![
                    entry(b"u0000042", 60_000, None),
                    entry(b"u0000043", 0, Some(b"x")),
                ],
            ),
        ),
    ]
}

fn arbitrary_delta() -> impl Strategy<Value = ShardDelta> {
    // Some keys and values are too long to lie in their entry.
    let key = prop::collection::vec(any::<u8>(), 0..30);
    let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..30));
    let entry = (key, any::<i64>(), value).prop_map(|(key, sub_key, value)| Entry {
        key: key.into(),
        sub_key,
        value: value.map(Into::into),
    });
    let drop = (any::<i64>(), any::<i64>()).prop_map(|(start, end)| SubKeyRange { start, end });
    (
        0u16..6,
        prop::collection::vec(drop, 0..3),
        prop::collection::vec(entry, 0..6),
    )
        .prop_map(|(shard, drops, entries)| ShardDelta {
            shard: Shard(shard),
            drops,
            entries,
        })
}

fn deltas(file: &StateFile, number: u8, shards: ShardRange) -> Vec<ShardDelta> {
    file.deltas(&operator(number), shards)
        .collect::<Result<_, _>>()
        .unwrap()
}

#[test]
fn later_layers_come_after_earlier_ones() {
    let file = StateFile::open("f", build(&sample())).unwrap();
    assert_eq!(file.header(), &header());
    let expected: Vec<_> = sample()
        .into_iter()
        .filter(|s| s.0 == 0)
        .map(|s| s.1)
        .collect();
    assert_eq!(deltas(&file, 0, ShardRange::ALL), expected);
    assert_eq!(deltas(&file, 1, ShardRange::from(0..1023)), []);
    assert_eq!(deltas(&file, 9, ShardRange::ALL), []);
}

#[test]
fn every_flipped_bit_is_found_and_the_file_is_named() {
    let bytes = build(&sample());
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let error =
            StateFile::open("state/1-2-w3.state", damaged).expect_err(&format!("bit {bit}"));
        assert!(error.to_string().contains("state/1-2-w3.state"), "{error}");
    }
}

#[test]
fn every_truncation_and_every_addition_is_found() {
    let bytes = build(&sample());
    for length in 0..bytes.len() {
        assert!(
            StateFile::open("f", bytes[..length].to_vec()).is_err(),
            "{length}"
        );
        assert!(
            StateFile::open("f", bytes[length + 1..].to_vec()).is_err(),
            "{length}"
        );
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(StateFile::open("f", longer).is_err());
}

#[test]
fn a_file_of_a_later_release_is_refused_by_its_version() {
    let mut bytes = build(&sample());
    bytes[8] = 2;
    let error = StateFile::open("f", bytes).unwrap_err();
    assert_eq!(error.problem, StateFileProblem::UnknownVersion(2));
}

#[test]
fn the_format_never_changes() {
    let golden = include_bytes!("../../tests/fixtures/state_file_v1.state");
    let built = build(&sample());
    assert_eq!(
        built.escape_ascii().to_string(),
        golden.escape_ascii().to_string()
    );
    let file = StateFile::open("golden", golden.to_vec()).unwrap();
    assert_eq!(deltas(&file, 1, ShardRange::ALL), [sample()[1].1.clone()]);
}

/// A file of which parts can be read.
struct Stored<'b>(&'b [u8]);

impl ReadRange for Stored<'_> {
    type Error = StateFileError;

    fn read(&self, range: Range<usize>) -> Result<Vec<u8>, StateFileError> {
        let part = self.0.get(range).map(<[u8]>::to_vec);
        part.ok_or_else(|| StateFileError {
            name: "f".to_owned(),
            problem: StateFileProblem::Unreadable("it is too short".to_owned()),
        })
    }
}

/// All sections of a file that should have this checksum and length, read as parts.
fn open_parts(bytes: &[u8], length: usize, crc32c: u32) -> Option<StateFile> {
    let opened = StateFile::open_parts("f", length, &Stored(bytes), &|_, _| true);
    opened
        .ok()
        .filter(|(_, found)| *found == crc32c)
        .map(|(file, _)| file)
}

proptest! {
    #[test]
    fn a_file_that_is_read_in_parts_is_the_same_and_verified_as_much(
        sections in prop::collection::vec((0u8..3, arbitrary_delta()), 0..8),
        place: prop::sample::Index, bit in 0u8..8, cut: prop::sample::Index,
    ) {
        let bytes = build(&sections);
        let (length, crc32c) = (bytes.len(), crc32c::crc32c(&bytes));
        let file = open_parts(&bytes, length, crc32c).expect("is sound");
        let whole = StateFile::open("f", bytes.clone()).unwrap();
        for number in 0..3 {
            prop_assert_eq!(deltas(&file, number, ShardRange::ALL), deltas(&whole, number, ShardRange::ALL));
        }
        let mut flipped = bytes.clone();
        flipped[place.index(length)] ^= 1 << bit;
        prop_assert!(open_parts(&flipped, length, crc32c).is_none());
        let cut = &bytes[..cut.index(length)];
        prop_assert!(open_parts(cut, length, crc32c).is_none());
        prop_assert!(open_parts(cut, cut.len(), crc32c).is_none());
    }

    #[test]
    fn what_is_pushed_is_read_again(sections in prop::collection::vec((0u8..3, arbitrary_delta()), 0..8), start in 0u16..6, end in 0u16..6) {
        let file = StateFile::open("f", build(&sections)).unwrap();
        for number in 0..3 {
            let shards = ShardRange::from(start..end);
            let mut expected: Vec<_> = sections.iter()
                .filter(|(of, delta)| *of == number && (start..end).contains(&delta.shard.0))
                .map(|(_, delta)| delta.clone()).collect();
            expected.sort_by_key(|delta| delta.shard);
            prop_assert_eq!(deltas(&file, number, shards), expected);
        }
    }

    #[test]
    fn damage_anywhere_is_found(
        sections in prop::collection::vec((0u8..3, arbitrary_delta()), 0..8),
        place: prop::sample::Index, bit in 0u8..8, cut: prop::sample::Index,
    ) {
        let bytes = build(&sections);
        let mut flipped = bytes.clone();
        flipped[place.index(bytes.len())] ^= 1 << bit;
        prop_assert!(StateFile::open("f", flipped).is_err());
        prop_assert!(StateFile::open("f", bytes[..cut.index(bytes.len())].to_vec()).is_err());
    }

    #[test]
    fn no_input_makes_open_panic(bytes: Vec<u8>) {
        let disguised = [&MAGIC[..], &[1, 0], &bytes].concat();
        prop_assert!(StateFile::open("f", bytes).is_err());
        prop_assert!(StateFile::open("f", disguised).is_err());
    }

    #[test]
    fn no_section_makes_the_decoder_panic(bytes: Vec<u8>) {
        let _ = section_codec::decode(Shard(0), &bytes);
    }
}

#[test]
fn a_file_that_was_moved_out_of_memory_reads_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let file = StateFile::open("f", build(&sample())).unwrap();
    let scratch = crate::scratch::nameless_file(folder.path()).unwrap();
    let moved = file.clone().keep_in(scratch).unwrap();
    let mut sections = 0;
    for operator in file.operators() {
        let here: Vec<_> = file
            .deltas(operator, ShardRange::ALL)
            .map(Result::unwrap)
            .collect();
        let there: Vec<_> = moved
            .deltas(operator, ShardRange::ALL)
            .map(Result::unwrap)
            .collect();
        assert_eq!(here, there);
        sections += here.len();
    }
    assert!(sections > 0);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
