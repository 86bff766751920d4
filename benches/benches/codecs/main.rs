//! What a batch costs on its way between processes, codec by codec: CPU time per row to encode and to decode, bytes per
//! row, each also with LZ4 behind it. One thread; every figure is the median of several rounds.
//!
//! The rows are those that the workload's `events` become in front of an exchange: user, type, category, event time,
//! price, quantity and the hidden columns. Codecs of row structs begin and end with a vector of structs; what it costs to
//! get there from Arrow columns and back is a line of its own. No figure counts before what was decoded equals what was
//! encoded.

#![expect(
    non_local_definitions,
    reason = "made by abomonation's derive, which is older than the lint"
)]

mod arrow_forms;
mod loopback;
mod own_forms;
mod rows;
mod struct_forms;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use tidewright_benches::{Result, exit};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One codec at work on one batch.
trait Codec {
    /// Appends the batch as bytes.
    fn encode(&mut self, into: &mut Vec<u8>) -> Result<()>;

    /// Takes the bytes as they would lie in a receive buffer. Not measured.
    fn receive(&mut self, bytes: &[u8]);

    /// Makes rows of what was received last.
    fn decode(&mut self) -> Result<()>;

    /// What was decoded last, as a batch. Not measured.
    fn decoded(&self) -> Result<RecordBatch>;
}

/// A codec by name, and how to begin with a batch.
type Entry = (&'static str, fn(&RecordBatch) -> Result<Box<dyn Codec>>);

const CODECS: [Entry; 8] = [
    ("own wire form", own_forms::wire),
    ("own row codec", own_forms::rows),
    ("Arrow IPC stream", arrow_forms::stream),
    ("Arrow IPC, no schema", arrow_forms::message),
    ("structs <-> Arrow", struct_forms::transposed),
    ("serde + bincode", struct_forms::bincode),
    ("columnar", struct_forms::columnar),
    ("abomonation", struct_forms::abomonation),
];

const BATCH_ROWS: [usize; 4] = [8, 64, 1_024, 8_192];
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(15);

fn main() -> ExitCode {
    exit(run())
}

fn run() -> Result<()> {
    println!(
        "{:<22} {:>6} {:>8} {:>8} {:>8}   {:>8} {:>8} {:>8}",
        "ns/row", "rows", "encode", "decode", "bytes", "lz4", "unlz4", "bytes"
    );
    for rows in BATCH_ROWS {
        let batch = rows::batch(rows)?;
        for (name, begin) in CODECS {
            measure(name, &batch, begin(&batch)?.as_mut())?;
        }
        println!();
    }
    println!(
        "TCP over loopback, both ends: {:.2} ns of CPU a byte",
        loopback::cpu_per_byte()?
    );
    Ok(())
}

fn measure(name: &str, batch: &RecordBatch, codec: &mut dyn Codec) -> Result<()> {
    let mut bytes = Vec::new();
    codec.encode(&mut bytes)?;
    codec.receive(&bytes);
    codec.decode()?;
    if codec.decoded()?.columns() != batch.columns() {
        return Err(format!("{name}: what was decoded is not what was encoded").into());
    }
    let rows = batch.num_rows() as f64;
    let encode = median(|| {
        bytes.clear();
        codec.encode(black_box(&mut bytes))
    })?;
    let decode = median(|| codec.decode())?;
    print!(
        "{name:<22} {rows:>6} {:>8.1} {:>8.1}",
        encode / rows,
        decode / rows
    );
    if bytes.is_empty() {
        println!();
        return Ok(());
    }
    let mut small = Vec::new();
    let compress = median(|| {
        small = lz4_flex::block::compress_prepend_size(black_box(&bytes));
        Ok(())
    })?;
    let decompress = median(|| {
        black_box(lz4_flex::block::decompress_size_prepended(black_box(
            &small,
        ))?);
        Ok(())
    })?;
    println!(
        " {:>8.1}   {:>8.1} {:>8.1} {:>8.1}",
        bytes.len() as f64 / rows,
        compress / rows,
        decompress / rows,
        small.len() as f64 / rows
    );
    Ok(())
}

/// CPU nanoseconds of one call: the median of rounds, each of as many calls as fill its time.
fn median(mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let start = thread_time()?;
        let mut calls = 0u32;
        while thread_time()? - start < ROUND {
            for _ in 0..8 {
                call()?;
            }
            calls += 8;
        }
        let spent = thread_time()? - start;
        rounds.push(spent.as_nanos() as f64 / f64::from(calls));
    }
    rounds.sort_unstable_by(f64::total_cmp);
    Ok(rounds[ROUNDS / 2])
}

/// The CPU time of this thread: what else the machine does is not in it.
fn thread_time() -> Result<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a timespec, which the call fills.
    if unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(Duration::new(
        time.tv_sec.try_into()?,
        time.tv_nsec.try_into()?,
    ))
}
