//! What is done with bytes that nobody vouches for. Everything here must return, whatever the bytes are: an error is a fine
//! answer, a panic is not, nor is memory without measure.
//!
//! `cargo fuzz` calls these functions (`fuzz/`), and so do property tests of the gate (`tests/system/arbitrary.rs`), because
//! cargo-fuzz needs a nightly compiler.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use tidewright::cluster::frame::{Frame, FrameReader};
use tidewright::decode::Decoder;
use tidewright_checkpoints::codec::{put_bytes, put_u16, put_u32, put_u64, put_varint};
use tidewright_checkpoints::{Epoch, FileEntry, Head, Manifest, ShardRange, StateFile, sealed};
use tidewright_jobs::{MissingEnv, Surroundings, compile_in, explain};
use tidewright_operators::codec::RowCodec;
use tidewright_operators::routed::Parcels;
use tidewright_operators::routed::wire::WireSchema;
use timely::bytes::arc::BytesMut;
use timely::container::DrainContainer;
use timely::dataflow::channels::ContainerBytes;

/// Columns of every type that a job can have.
pub fn every_type() -> SchemaRef {
    let column = |name: &str, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        column("user_id", DataType::Utf8View),
        column("ts", DataType::Timestamp(TimeUnit::Millisecond, None)),
        column("price", DataType::Decimal128(12, 2)),
        column("quantity", DataType::Int64),
        column("age", DataType::Int32),
        column("score", DataType::Float64),
        column("consent", DataType::Boolean),
        column("born", DataType::Date32),
    ]))
}

/// The checksum of every format here.
fn checksum(bytes: &[u8]) -> u32 {
    FileEntry::fresh(String::new(), bytes, Epoch(0)).crc32c
}

/// Records of a source: lines of bytes, each a record.
pub fn json_records(bytes: &[u8]) {
    let schema = every_type();
    let Ok(mut decoder) = Decoder::new(&schema, 16) else {
        return;
    };
    let mut rows = 0;
    for record in bytes.split(|byte| *byte == b'\n') {
        rows += usize::from(decoder.push(record).is_ok());
        assert_eq!(decoder.rows(), rows, "a refused record leaves no trace");
    }
    let columns = decoder.finish();
    assert!(columns.iter().all(|column| column.len() == rows));
}

/// A job file, and whatever the plan is that comes of it.
pub fn job_file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let surroundings = Surroundings {
        env: &|_| None,
        withheld: &|_| false,
        // What it names is not for a fuzzer to read.
        file: &|_| Err(std::io::ErrorKind::NotFound.into()),
    };
    if let Ok(compiled) = compile_in("job.yaml", &text, &[], surroundings, MissingEnv::Warn) {
        assert!(!explain(&compiled).is_empty());
    }
}

/// A state file: as it is, and as the content and as the footer of one whose checksums are right.
pub fn state_file(bytes: &[u8]) {
    read_state_file(bytes.to_vec());
    let mut footer = Vec::new();
    put_varint(&mut footer, 1);
    put_bytes(&mut footer, b"view/operator");
    put_varint(&mut footer, 1);
    put_varint(&mut footer, 0);
    put_varint(&mut footer, 17);
    put_varint(&mut footer, bytes.len() as u64);
    put_u32(&mut footer, checksum(bytes));
    read_state_file(sealed_state_file(bytes, &footer));
    read_state_file(sealed_state_file(&[], bytes));
}

/// As `checkpoints/src/state_file.rs` describes it.
fn sealed_state_file(sections: &[u8], footer: &[u8]) -> Vec<u8> {
    let mut file = b"TWSTATE\0".to_vec();
    put_u16(&mut file, 1);
    put_bytes(&mut file, b"job");
    for number in [1, 2, 0, 1] {
        put_varint(&mut file, number);
    }
    let header = checksum(&file);
    put_u32(&mut file, header);
    file.extend_from_slice(sections);
    let covered_from = file.len();
    file.extend_from_slice(footer);
    put_u64(&mut file, footer.len() as u64);
    let length = file.len() + 8 + 4 + 8;
    put_u64(&mut file, length as u64);
    let end = checksum(&file[covered_from..]);
    put_u32(&mut file, end);
    file.extend_from_slice(b"TWEND\0\0\0");
    file
}

fn read_state_file(bytes: Vec<u8>) {
    let Ok(file) = StateFile::open("state", bytes) else {
        return;
    };
    for operator in file.operators() {
        file.deltas(operator, ShardRange::ALL).for_each(drop);
    }
}

/// A manifest or HEAD: as it is, and with a right checksum.
pub fn manifest(bytes: &[u8]) {
    let _ = Manifest::from_bytes(bytes);
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(bytes) else {
        return;
    };
    let document = sealed::seal(&json).unwrap_or_default();
    let _ = sealed::unseal::<Head>(&document);
    if let Ok(manifest) = Manifest::from_bytes(&document) {
        let again = manifest
            .to_bytes()
            .and_then(|bytes| Manifest::from_bytes(&bytes));
        assert_eq!(again.ok(), Some(manifest), "it is read as it was written");
    }
}

/// Rows in checkpoints and outboxes: the bytes of one row, and of a batch between processes.
pub fn rows(bytes: &[u8]) {
    let schema = every_type();
    if let Ok(codec) = RowCodec::new(schema.clone())
        && let Ok(batch) = codec.decode([bytes])
    {
        assert_eq!(batch.num_rows(), 1);
    }
    parcels(&schema, bytes);
    // One parcel of these bytes whose checksum is right.
    let mut parcel = 1_u32.to_le_bytes().to_vec();
    put_u64(&mut parcel, bytes.len() as u64);
    put_u64(&mut parcel, 3);
    parcel.extend_from_slice(bytes);
    let mut sealed = checksum(&parcel).to_le_bytes().to_vec();
    sealed.append(&mut parcel);
    parcels(&schema, &sealed);
}

fn parcels(schema: &SchemaRef, bytes: &[u8]) {
    let Ok(mut wire) = WireSchema::new(schema) else {
        return;
    };
    let mut parcels = Parcels::from_bytes(BytesMut::from(bytes.to_vec()).freeze());
    for parcel in parcels.drain() {
        let _ = parcel.open(&mut wire);
    }
}

/// What another process sends.
pub fn cluster_frames(bytes: &[u8]) {
    let mut reader = FrameReader::new(bytes, Duration::from_secs(1));
    let mut data = 0;
    while let Ok(frame) = reader.next() {
        if let Frame::Data(content) = frame {
            data += content.len();
        }
    }
    assert!(data <= bytes.len());
}
