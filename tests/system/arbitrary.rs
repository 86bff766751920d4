//! The bodies of the fuzz targets, with arbitrary bytes and with damaged copies of what is right: the gate needs no nightly
//! compiler for that.

use arrow::record_batch::RecordBatch;
use proptest::{collection::vec, prelude::*};
use tidewright::decode::Decoder;
use tidewright_operators::codec::RowCodec;
use tidewright_operators::routed::{Parcels, RoutedBatch};
use timely::container::PushInto;
use timely::dataflow::channels::ContainerBytes;

#[path = "../../fuzz/bodies.rs"]
mod bodies;

/// Something right, with a few of its bytes changed and perhaps its end cut off.
fn damaged(right: &[u8]) -> impl Strategy<Value = Vec<u8>> + use<> {
    let right = right.to_vec();
    let length = right.len();
    let changes = vec((0..length, any::<u8>()), 0..6);
    let insertions = vec((0..length, vec(any::<u8>(), 0..9)), 0..3);
    (changes, insertions, length / 2..=length).prop_map(move |(changes, insertions, length)| {
        let mut bytes = right.clone();
        for (place, byte) in changes {
            bytes[place] = byte;
        }
        for (place, inserted) in insertions {
            bytes.splice(place..place, inserted);
        }
        bytes.truncate(length);
        bytes
    })
}

/// Arbitrary bytes, or damaged ones.
fn any_or(right: &[u8]) -> BoxedStrategy<Vec<u8>> {
    prop_oneof![
        1 => vec(any::<u8>(), 0..600),
        3 => damaged(right),
    ]
    .boxed()
}

const RECORDS: &[u8] = br#"{"user_id":"u1","ts":1767225600000,"price":"12.50","quantity":3,"age":41,"score":0.5,"consent":true,"born":"1980-02-29"}
{"user_id":{"nested":["\u00e9"]},"ts":"2026-01-01T00:00:00Z","price":1e2,"quantity":null,"score":-1.5E-3}
{"quantity":9223372036854775807,"age":-2147483648}"#;

const MANIFEST: &str = include_str!("../../checkpoints/tests/fixtures/manifest_v1.json");

const FRAMES: &[u8] =
    b"\x00\x03\x00\x00\x00abc\x02\x00\x00\x00\x00\x03\x06\x00\x00\x00\"stop\"\x01\x00\x00\x00\x00";

fn right_rows() -> RecordBatch {
    let schema = bodies::every_type();
    let mut decoder = Decoder::new(&schema, 16).unwrap();
    for record in RECORDS.split(|byte| *byte == b'\n') {
        decoder.push(record).unwrap();
    }
    RecordBatch::try_new(schema, decoder.finish()).unwrap()
}

fn row() -> Vec<u8> {
    let mut bytes = Vec::new();
    let codec = RowCodec::new(bodies::every_type()).unwrap();
    let rows = right_rows();
    codec.encoder(&rows).unwrap().encode(0, &mut bytes);
    bytes
}

/// Without checksum, count, length and target, which are made anew for the damaged bytes.
fn batch() -> Vec<u8> {
    let mut parcels = Parcels::default();
    parcels.push_into(RoutedBatch {
        target: 3,
        rows: right_rows(),
    });
    let mut bytes = Vec::new();
    parcels.into_bytes(&mut bytes);
    bytes.split_off(24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn json_records_never_panic(bytes in any_or(RECORDS)) {
        bodies::json_records(&bytes);
    }

    #[test]
    fn state_files_never_panic(
        bytes in any_or(include_bytes!("../../checkpoints/tests/fixtures/state_file_v1.state"))
    ) {
        bodies::state_file(&bytes);
    }

    #[test]
    fn manifests_never_panic(
        bytes in any_or(MANIFEST.lines().next().unwrap().as_bytes())
    ) {
        bodies::manifest(&bytes);
    }

    #[test]
    fn rows_never_panic(bytes in prop_oneof![any_or(&row()), any_or(&batch())]) {
        bodies::rows(&bytes);
    }

    #[test]
    fn cluster_frames_never_panic(bytes in any_or(FRAMES)) {
        bodies::cluster_frames(&bytes);
    }
}

proptest! {
    // Planning takes its time.
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn job_files_never_panic(bytes in any_or(include_bytes!("../../jobs/demo.yaml"))) {
        bodies::job_file(&bytes);
    }
}
