//! A connection in its two lives: one thread reads and writes during the handshake, then reading and writing part ways.
//!
//! With TLS both halves share the session under a lock that nobody holds while waiting for the socket. The reader takes
//! bytes from the socket first and only then the lock; it never writes. The writer, of whom there is one at a time, turns
//! plain bytes into records under the lock and sends them after giving it back. What TLS itself wants to say goes along with
//! the next write, a heartbeat at the latest.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::{ClientConnection, Connection, ServerConnection, pki_types::ServerName};

use super::tls::{Tls, check_name};

/// A connection whose handshake is under way.
pub enum Transport {
    Plain(TcpStream),
    Tls(Box<Connection>, TcpStream),
}

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The TLS error inside an I/O error.
pub fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

impl Transport {
    /// The side that has dialed: checks that the other one's certificate is for `host`.
    pub fn dialed(socket: TcpStream, tls: Option<&Tls>, host: &str) -> io::Result<Self> {
        let Some(tls) = tls else {
            return Ok(Self::Plain(socket));
        };
        let name = ServerName::try_from(host.to_owned()).map_err(invalid)?;
        let session = ClientConnection::new(tls.client.clone(), name).map_err(invalid)?;
        Self::secured(session.into(), socket)
    }

    /// The side that was dialed.
    pub fn accepted(socket: TcpStream, tls: Option<&Tls>) -> io::Result<Self> {
        let Some(tls) = tls else {
            return Ok(Self::Plain(socket));
        };
        let session = ServerConnection::new(tls.server.clone()).map_err(invalid)?;
        Self::secured(session.into(), socket)
    }

    fn secured(mut session: Connection, mut socket: TcpStream) -> io::Result<Self> {
        session.set_buffer_limit(None);
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        while session.wants_write() {
            session.write_tls(&mut socket)?;
        }
        Ok(Self::Tls(Box::new(session), socket))
    }

    /// Checks that the other side's certificate is for `host`; without TLS there is nothing to check.
    pub fn check_name(&self, host: &str) -> Result<(), String> {
        let Self::Tls(session, _) = self else {
            return Ok(());
        };
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        check_name(certificate.ok_or("it has shown no certificate")?, host)
    }

    /// The limits of every read and write from now on.
    pub fn set_timeouts(&self, read: Duration, write: Duration) -> io::Result<()> {
        let (Self::Plain(socket) | Self::Tls(_, socket)) = self;
        socket.set_read_timeout(Some(read))?;
        socket.set_write_timeout(Some(write))
    }

    /// From now on one thread reads and others write.
    pub fn split(self) -> io::Result<(Incoming, Outgoing)> {
        let (session, socket) = match self {
            Self::Plain(socket) => (None, socket),
            Self::Tls(session, socket) => (Some(Arc::new(Mutex::new(*session))), socket),
        };
        let mut incoming = Incoming {
            socket: socket.try_clone()?,
            session: session.clone(),
            raw: vec![0; READ_BYTES],
            plain: Vec::new(),
            at: 0,
        };
        incoming.take_plain()?;
        let outgoing = Outgoing {
            socket,
            session,
            plain: Vec::new(),
            records: Vec::new(),
        };
        Ok((incoming, outgoing))
    }
}

impl Read for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(session, socket) => loop {
                match session.reader().read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    result => return result,
                }
                // Also sends what TLS has to say, such as why a certificate is refused.
                if session.complete_io(socket)? == (0, 0) {
                    return Ok(0);
                }
            },
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(session, _) => session.writer().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(session, socket) => {
                while session.wants_write() {
                    session.write_tls(socket)?;
                }
                socket.flush()
            }
        }
    }
}

type Session = Arc<Mutex<Connection>>;

fn locked(session: &Mutex<Connection>) -> std::sync::MutexGuard<'_, Connection> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The half that reads.
pub struct Incoming {
    socket: TcpStream,
    session: Option<Session>,
    raw: Vec<u8>,
    plain: Vec<u8>,
    at: usize,
}

impl Incoming {
    /// Takes what the session has deciphered already.
    fn take_plain(&mut self) -> io::Result<()> {
        if let Some(session) = &self.session {
            let mut session = locked(session);
            let state = session.process_new_packets().map_err(invalid)?;
            append_plain(
                &mut session,
                state.plaintext_bytes_to_read(),
                &mut self.plain,
            )?;
        }
        Ok(())
    }

    /// Waits for the socket and deciphers what has come; false at its end.
    fn fill(&mut self) -> io::Result<bool> {
        let count = self.socket.read(&mut self.raw)?;
        self.plain.clear();
        self.at = 0;
        let Some(session) = &self.session else {
            self.plain.extend_from_slice(&self.raw[..count]);
            return Ok(count > 0);
        };
        let mut session = locked(session);
        let mut rest = &self.raw[..count];
        while !rest.is_empty() {
            // Plain bytes are taken out after every step: the session holds only so many.
            session.read_tls(&mut rest)?;
            let state = session.process_new_packets().map_err(invalid)?;
            append_plain(
                &mut session,
                state.plaintext_bytes_to_read(),
                &mut self.plain,
            )?;
        }
        Ok(count > 0)
    }
}

fn append_plain(session: &mut Connection, count: usize, plain: &mut Vec<u8>) -> io::Result<()> {
    let from = plain.len();
    plain.resize(from + count, 0);
    session.reader().read_exact(&mut plain[from..])
}

impl Read for Incoming {
    /// As for a socket, with its timeout.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.plain.len() {
            // Bytes that complete no record are progress all the same, so the timeout begins anew.
            if !self.fill()? {
                return Ok(0);
            }
        }
        let count = buffer.len().min(self.plain.len() - self.at);
        buffer[..count].copy_from_slice(&self.plain[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// The half that writes.
pub struct Outgoing {
    socket: TcpStream,
    session: Option<Session>,
    plain: Vec<u8>,
    records: Vec<u8>,
}

impl Outgoing {
    /// Sends both parts as one.
    pub fn send(&mut self, head: &[u8], body: &[u8]) -> io::Result<()> {
        self.plain.clear();
        self.plain.extend_from_slice(head);
        self.plain.extend_from_slice(body);
        let Some(session) = &self.session else {
            return self.socket.write_all(&self.plain);
        };
        self.records.clear();
        let mut session = locked(session);
        session.writer().write_all(&self.plain)?;
        while session.wants_write() {
            session.write_tls(&mut self.records)?;
        }
        drop(session);
        self.socket.write_all(&self.records)
    }

    /// The limit of every write from now on.
    pub fn set_timeout(&self, limit: Duration) {
        // Without it, a write may only take longer.
        let _ = self.socket.set_write_timeout(Some(limit));
    }
}

#[cfg(test)]
mod tests;
