//! What a byte costs on its way through TCP on this machine: the least that compression has to save.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use tidewright_benches::Result;
use tidewright_benches::usage::usage;

const BYTES: usize = 1 << 30;
/// As much as one write of timely's hands over at a time, about.
const CHUNK: usize = 64 << 10;

/// Nanoseconds of CPU for each byte, sender and receiver together.
pub fn cpu_per_byte() -> Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let before = usage()?.cpu_seconds;
    let receiver = thread::spawn(move || -> std::io::Result<usize> {
        let (mut stream, _) = listener.accept()?;
        let mut buffer = vec![0; CHUNK];
        let mut received = 0;
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok(received),
                bytes => received += bytes,
            }
        }
    });
    let mut stream = TcpStream::connect(address)?;
    let chunk = vec![7; CHUNK];
    for _ in 0..BYTES / CHUNK {
        stream.write_all(&chunk)?;
    }
    drop(stream);
    let received = receiver.join().map_err(|_| "the receiver failed")??;
    if received != BYTES {
        return Err("bytes were lost".into());
    }
    Ok((usage()?.cpu_seconds - before) * 1e9 / BYTES as f64)
}
