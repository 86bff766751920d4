//! A response's body that is sent while it is being made.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use futures_core::Stream;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Pieces that wait for the reader at most.
const PIECES_MAX: usize = 1;
/// A reader that takes nothing for so long is given up: sooner than a job gives up the server, which would look like its end.
const TAKING_LIMIT: Duration = Duration::from_secs(30);

/// Where the body is written. The body breaks off if this is dropped before [`Lines::end`].
pub struct Lines(Sender<Option<String>>);

/// What is read of it; nothing is its end.
struct Pieces(Receiver<Option<String>>);

/// A body, and where it is written.
pub fn open() -> (Lines, Body) {
    let (sender, receiver) = channel(PIECES_MAX);
    (Lines(sender), Body::from_stream(Pieces(receiver)))
}

impl Lines {
    /// Sends a piece; false once nobody reads any more.
    pub async fn send(&self, piece: String) -> bool {
        self.hand(Some(piece)).await
    }

    async fn hand(&self, piece: Option<String>) -> bool {
        self.0.send_timeout(piece, TAKING_LIMIT).await.is_ok()
    }

    /// Waits until nobody reads any more.
    pub async fn left(&self) {
        self.0.closed().await;
    }

    /// That was all.
    pub async fn end(self) {
        // Whoever has gone misses nothing.
        let _ = self.hand(None).await;
    }
}

impl Stream for Pieces {
    type Item = io::Result<String>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|received| match received {
            Some(piece) => piece.map(Ok),
            None => Some(Err(io::ErrorKind::UnexpectedEof.into())),
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_body_comes_while_it_is_made_and_tells_its_end_from_a_breach() {
        let (lines, body) = open();
        let read = tokio::spawn(to_bytes(body, 100));
        for piece in ["one\n", "", "two\n"] {
            assert!(lines.send(piece.to_owned()).await);
        }
        lines.end().await;
        assert_eq!(read.await.unwrap().unwrap(), "one\ntwo\n");
        let (lines, body) = open();
        assert!(lines.send("one\n".to_owned()).await);
        drop(lines);
        assert!(to_bytes(body, 100).await.is_err());
    }

    #[tokio::test]
    async fn who_writes_waits_for_the_reader_and_notices_that_it_has_left() {
        const SHORT: Duration = Duration::from_millis(50);
        let (lines, body) = open();
        assert!(lines.send("one\n".to_owned()).await);
        let second = timeout(SHORT, lines.send("two\n".to_owned())).await;
        assert!(second.is_err(), "the first one has not been taken");
        let waiting = timeout(SHORT, lines.left()).await;
        assert!(waiting.is_err(), "it is still there");
        drop(body);
        timeout(TAKING_LIMIT, lines.left()).await.unwrap();
        assert!(!lines.send("two\n".to_owned()).await);
    }
}
