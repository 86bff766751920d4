//! What travels between two processes: `[kind: u8][length: u32, little-endian][content]`.

use std::{
    fmt, io,
    io::Read,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One unit on a connection.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// A piece of timely's byte stream.
    Data(Vec<u8>),
    /// Timely's byte stream has ended.
    End,
    /// The sender is alive.
    Heartbeat,
    /// Something for the process itself.
    Message(Message),
}

/// What processes tell each other beside the job's data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// Somebody asks the job to stop with a final checkpoint.
    Stop,
    /// The sender ends, because the job cannot go on.
    Failure {
        /// Its exit code.
        code: i32,
        /// Why.
        reason: String,
    },
    /// To process 0: the sender is connected to all others.
    Ready,
    /// From process 0: what the job starts from.
    Start(Value),
    /// To process 0, now and then: how the sender is doing.
    Status(Value),
    /// From process 0: which taps are open, and that more rows are wanted; to process 0: rows that have passed.
    Tap(Value),
    /// To process 0, at the end: what the sender has counted.
    Totals(Value),
    /// The sender has done its part; the connection may end.
    Goodbye,
}

/// Bytes of timely's stream in one frame, so that heartbeats get in between.
pub const DATA_BYTES_MAX: usize = 64 << 10;
/// No message is longer: a greater length is damage.
const LENGTH_MAX: usize = 16 << 20;
const HEADER_BYTES: usize = 5;

/// Kinds of frames on the wire.
pub mod kind {
    /// A piece of timely's byte stream.
    pub const DATA: u8 = 0;
    /// The end of timely's byte stream.
    pub const END: u8 = 1;
    /// The sender is alive.
    pub const HEARTBEAT: u8 = 2;
    /// A message, as JSON.
    pub const MESSAGE: u8 = 3;
}

/// The bytes in front of a frame's content.
pub fn header(kind: u8, length: usize) -> [u8; HEADER_BYTES] {
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    [kind, length[0], length[1], length[2], length[3]]
}

/// Why nothing more can be read from a connection.
#[derive(Debug)]
pub enum Loss {
    /// Nothing has arrived for this long.
    Silent(Duration),
    /// It ended.
    Ended,
    /// It failed.
    Broken(io::Error),
    /// What came is no frame.
    Nonsense(String),
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(limit) => write!(
                f,
                "nothing has arrived from it for {} s: it hangs, is suspended or cut off",
                limit.as_secs()
            ),
            Self::Ended => f.write_str("its connection ended without a goodbye"),
            Self::Broken(error) => write!(f, "its connection failed: {error}"),
            Self::Nonsense(what) => write!(f, "it has sent what cannot be understood: {what}"),
        }
    }
}

/// Reads frames from a connection whose reads time out now and then, and tells when it has been silent for too long.
pub struct FrameReader<R> {
    incoming: R,
    silence_max: Duration,
    heard: Instant,
}

impl<R: Read> FrameReader<R> {
    /// A reader that gives up after `silence_max` without a byte. The reads of `incoming` must time out more often.
    pub fn new(incoming: R, silence_max: Duration) -> Self {
        Self {
            incoming,
            silence_max,
            heard: Instant::now(),
        }
    }

    /// Waits for the next frame.
    ///
    /// # Errors
    /// If nothing more can be read, and why.
    #[expect(
        clippy::should_implement_trait,
        reason = "it waits, and its errors are the end"
    )]
    pub fn next(&mut self) -> Result<Frame, Loss> {
        let mut header = [0; HEADER_BYTES];
        self.fill(&mut header)?;
        let [kind, length @ ..] = header;
        let length = u32::from_le_bytes(length) as usize;
        if length > LENGTH_MAX {
            return Err(Loss::Nonsense(format!("a frame of {length} bytes")));
        }
        let mut content = vec![0; length];
        self.fill(&mut content)?;
        match kind {
            kind::DATA => Ok(Frame::Data(content)),
            kind::END => Ok(Frame::End),
            kind::HEARTBEAT => Ok(Frame::Heartbeat),
            kind::MESSAGE => serde_json::from_slice(&content)
                .map(Frame::Message)
                .map_err(|error| Loss::Nonsense(error.to_string())),
            kind => Err(Loss::Nonsense(format!("a frame of kind {kind}"))),
        }
    }

    fn fill(&mut self, mut buffer: &mut [u8]) -> Result<(), Loss> {
        use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
        while !buffer.is_empty() {
            match self.incoming.read(buffer) {
                Ok(0) => return Err(Loss::Ended),
                Ok(count) => {
                    self.heard = Instant::now();
                    buffer = &mut buffer[count..];
                }
                Err(error) if matches!(error.kind(), WouldBlock | TimedOut) => {
                    if self.heard.elapsed() >= self.silence_max {
                        return Err(Loss::Silent(self.silence_max));
                    }
                }
                Err(error) if error.kind() == Interrupted => {}
                Err(error) => return Err(Loss::Broken(error)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame() -> impl Strategy<Value = Frame> {
        let message = prop_oneof![
            Just(Message::Stop),
            Just(Message::Ready),
            Just(Message::Goodbye),
            any::<(i32, String)>().prop_map(|(code, reason)| Message::Failure { code, reason }),
            any::<u64>().prop_map(|number| Message::Start(number.into())),
            any::<i64>().prop_map(|number| Message::Status(number.into())),
            any::<String>().prop_map(|text| Message::Tap(text.into())),
            any::<String>().prop_map(|text| Message::Totals(text.into())),
        ];
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300).prop_map(Frame::Data),
            Just(Frame::End),
            Just(Frame::Heartbeat),
            message.prop_map(Frame::Message),
        ]
    }

    fn encode(frame: &Frame) -> Vec<u8> {
        let (kind, content) = match frame {
            Frame::Data(bytes) => (kind::DATA, bytes.clone()),
            Frame::End => (kind::END, vec![]),
            Frame::Heartbeat => (kind::HEARTBEAT, vec![]),
            Frame::Message(message) => {
                (kind::MESSAGE, serde_json::to_vec(message).expect("is JSON"))
            }
        };
        [&header(kind, content.len())[..], &content].concat()
    }

    /// Bytes in pieces, with timeouts in between.
    struct Pieces {
        bytes: Vec<u8>,
        at: usize,
        pieces: Vec<usize>,
    }

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.pieces.pop() {
                Some(0) => Err(io::ErrorKind::WouldBlock.into()),
                piece => {
                    let left = self.bytes.len() - self.at;
                    let count = piece.unwrap_or(left).min(left).min(buffer.len());
                    buffer[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
                    self.at += count;
                    Ok(count)
                }
            }
        }
    }

    proptest! {
        #[test]
        fn frames_arrive_as_they_were_sent_however_the_bytes_are_cut(
            frames in prop::collection::vec(frame(), 0..20),
            pieces in prop::collection::vec(0usize..50, 0..200),
        ) {
            let bytes = frames.iter().flat_map(encode).collect();
            let pieces = Pieces { bytes, at: 0, pieces };
            let mut reader = FrameReader::new(pieces, Duration::from_secs(60));
            for frame in frames {
                prop_assert_eq!(reader.next().expect("a frame"), frame);
            }
            prop_assert!(matches!(reader.next(), Err(Loss::Ended)));
        }

        #[test]
        fn any_bytes_are_frames_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            let mut reader = FrameReader::new(&*bytes, Duration::from_secs(60));
            while reader.next().is_ok() {}
        }
    }

    #[test]
    fn silence_is_noticed() {
        struct Silence;
        impl Read for Silence {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
        let loss = FrameReader::new(Silence, Duration::from_millis(20)).next();
        assert!(matches!(loss, Err(Loss::Silent(_))), "{loss:?}");
    }

    #[test]
    fn a_length_beyond_all_reason_is_not_waited_for() {
        let bytes = header(kind::DATA, LENGTH_MAX + 1);
        let loss = FrameReader::new(&bytes[..], Duration::from_secs(60)).next();
        assert!(matches!(loss, Err(Loss::Nonsense(_))), "{loss:?}");
    }
}
