//! A response's body that is sent while it is being made.
//!
//! ```text
//! Lines ── chunks ──> a local socket ──> an HTTP client's answer ──> the response
//! ```
//! The framework takes as a body what others have implemented as one. That of an answer that a client is receiving is one: it comes
//! piece by piece, waits while nobody reads on, and breaks off where its sender does. So the lines are sent to a client of our own.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use axum::body::Body;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

/// How long connecting to ourselves may take.
const OPEN_LIMIT: Duration = Duration::from_secs(5);
/// A reader that takes nothing for so long is given up: sooner than a job gives up the server, which would look like its end.
const TAKING_LIMIT: Duration = Duration::from_secs(30);
/// What the client is answered. In chunks, so that it can tell the end from a breach.
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

/// Where the body is written. The body breaks off if this is dropped before [`Lines::end`].
pub struct Lines {
    reading: OwnedReadHalf,
    writing: OwnedWriteHalf,
}

/// A name that goes away when it is no longer needed.
struct Name(PathBuf);

impl Drop for Name {
    fn drop(&mut self) {
        // Whoever takes the name next removes what is left.
        let _ = fs::remove_file(&self.0);
    }
}

/// A body, and where it is written. `name`: a path for a socket that nobody else uses meanwhile.
///
/// # Errors
/// If sockets cannot be had.
pub async fn open(name: &Path) -> io::Result<(Lines, Body)> {
    // Of a server that was killed at this moment.
    let _ = fs::remove_file(name);
    let listener = UnixListener::bind(name)?;
    let name = Name(name.to_owned());
    let both = async { tokio::try_join!(accept(&listener), receive(&name.0)) };
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let (stream, body) = timeout(OPEN_LIMIT, both).await.map_err(late)??;
    let (reading, writing) = stream.into_split();
    Ok((Lines { reading, writing }, body))
}

async fn accept(listener: &UnixListener) -> io::Result<UnixStream> {
    let (mut stream, _) = listener.accept().await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    stream.write_all(HEAD).await?;
    Ok(stream)
}

async fn receive(name: &Path) -> io::Result<Body> {
    let client = reqwest::Client::builder()
        .unix_socket(name)
        .tls_built_in_root_certs(false)
        .build()
        .map_err(io::Error::other)?;
    let answer = client.get("http://localhost/").send().await;
    let answer = answer.map_err(io::Error::other)?;
    Ok(Body::new(reqwest::Body::from(answer)))
}

impl Lines {
    /// Sends a piece; false once nobody reads any more.
    pub async fn send(&mut self, piece: &str) -> bool {
        if piece.is_empty() {
            // As a chunk it would be the end.
            return true;
        }
        let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
        let sent = timeout(TAKING_LIMIT, self.writing.write_all(chunk.as_bytes())).await;
        matches!(sent, Ok(Ok(())))
    }

    /// Waits until nobody reads any more.
    pub async fn left(&mut self) {
        let mut nothing = [0];
        // The client has said all that it has to say: this is its end.
        let _ = self.reading.read(&mut nothing).await;
    }

    /// That was all.
    pub async fn end(mut self) {
        // Whoever has gone misses nothing.
        let _ = timeout(TAKING_LIMIT, self.writing.write_all(b"0\r\n\r\n")).await;
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    async fn opened(folder: &Path) -> (Lines, Body) {
        let opened = open(&folder.join("socket")).await;
        let left = fs::read_dir(folder).unwrap().count();
        assert_eq!(left, 0, "the name is free again");
        opened.unwrap()
    }

    #[tokio::test]
    async fn a_body_comes_while_it_is_made_and_tells_its_end_from_a_breach() {
        let folder = tempfile::tempdir().unwrap();
        let (mut lines, body) = opened(folder.path()).await;
        let read = tokio::spawn(to_bytes(body, 100));
        assert!(lines.send("one\n").await && lines.send("").await && lines.send("two\n").await);
        lines.end().await;
        assert_eq!(read.await.unwrap().unwrap(), "one\ntwo\n");
        let (mut lines, body) = opened(folder.path()).await;
        assert!(lines.send("one\n").await);
        drop(lines);
        assert!(to_bytes(body, 100).await.is_err());
    }

    #[tokio::test]
    async fn who_writes_notices_that_the_reader_has_left() {
        let folder = tempfile::tempdir().unwrap();
        let (mut lines, body) = opened(folder.path()).await;
        assert!(lines.send("one\n").await);
        let waiting = timeout(Duration::from_millis(50), lines.left()).await;
        assert!(waiting.is_err(), "it is still there");
        drop(body);
        timeout(OPEN_LIMIT, lines.left()).await.unwrap();
    }
}
