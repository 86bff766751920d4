//! A connection as timely wants it: a stream of bytes in both directions.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    sync::{Arc, Mutex, PoisonError, mpsc::Receiver},
};

use timely::communication::allocator::zero_copy::stream::Stream;

use super::{frame::DATA_BYTES_MAX, link::Link};

/// Timely's end of a link. It never fails: a lost peer ends the process before timely would hear of it.
pub struct Channel {
    link: Arc<Link>,
    received: Arc<Mutex<Received>>,
}

struct Received {
    pieces: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Channel {
    /// The stream over a link whose reader hands over `pieces`.
    pub fn new(link: Arc<Link>, pieces: Receiver<Vec<u8>>) -> Self {
        let received = Received {
            pieces,
            piece: Vec::new(),
            at: 0,
        };
        Self {
            link,
            received: Arc::new(Mutex::new(received)),
        }
    }
}

impl Read for Channel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        while received.at == received.piece.len() {
            match received.pieces.recv() {
                Ok(piece) => {
                    received.piece = piece;
                    received.at = 0;
                }
                // The peer has ended its stream.
                Err(_) => return Ok(0),
            }
        }
        let rest = &received.piece[received.at..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        received.at += count;
        Ok(count)
    }
}

impl Write for Channel {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(DATA_BYTES_MAX);
        self.link.send_data(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Channel {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            link: self.link.clone(),
            received: self.received.clone(),
        })
    }

    fn set_nonblocking(&self, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if how != Shutdown::Read {
            self.link.end_data();
        }
        Ok(())
    }
}
