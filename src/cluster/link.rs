//! The connection to one peer, once both sides have agreed: its threads, and what its end means.

use std::{
    fmt, io,
    sync::{
        Arc, Mutex, PoisonError, TryLockError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    frame::{self, Frame, FrameReader, Message, kind},
    hosts::Host,
    mail::Mail,
    reports::Reports,
    transport::{Incoming, Outgoing, Transport},
};
use crate::runtime::failure;

/// How often a heartbeat is sent.
const HEARTBEAT_EVERY: Duration = Duration::from_millis(500);
/// A peer from which nothing has arrived for this long is lost. A process has to end within 5 s of the loss: what is left of
/// them is for the steps in which a reader looks at the clock, for last words, for giving back the memory of large state, and
/// for machines that are busy.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// How often a waiting reader looks at the clock.
const READ_STEP: Duration = Duration::from_millis(250);
/// How long a failing process tries to tell its peers why.
pub const LAST_WORDS_LIMIT: Duration = Duration::from_millis(300);
/// After a failed write: how long the reader, who sees the peer's last words, may take to judge.
const JUDGEMENT_LIMIT: Duration = Duration::from_secs(1);

/// One of the other processes, for people.
#[derive(Clone, Debug)]
pub struct Peer {
    pub index: usize,
    pub host: Host,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.index, self.host)
    }
}

/// The connection to one peer.
pub struct Link {
    peer: Peer,
    /// One writer at a time: the order of frames is the order of the lock.
    outgoing: Mutex<Outgoing>,
    /// The peer has said goodbye: its connection may end.
    departed: AtomicBool,
}

/// What the readers of all links hand on, beside timely's bytes.
#[derive(Clone)]
pub struct Deliveries {
    /// Messages for the job.
    pub inbox: Sender<(usize, Message)>,
    /// Set when the peer asks the job to stop.
    pub stop: Arc<AtomicBool>,
    /// How peers are doing.
    pub reports: Arc<Reports>,
    /// What peers say about taps.
    pub mail: Sender<Mail>,
}

impl Link {
    /// Starts reading and sending heartbeats; returns timely's incoming bytes as well.
    pub fn start(
        peer: Peer,
        transport: Transport,
        deliveries: Deliveries,
    ) -> io::Result<(Arc<Self>, Receiver<Vec<u8>>)> {
        transport.set_timeouts(READ_STEP, SILENCE_MAX)?;
        let (incoming, outgoing) = transport.split()?;
        let link = Arc::new(Self {
            peer,
            outgoing: Mutex::new(outgoing),
            departed: AtomicBool::new(false),
        });
        let (data, received) = channel();
        let stop = deliveries.stop.clone();
        let name = |what: &str| format!("{what}-{}", link.peer.index);
        let reading = link.clone();
        thread::Builder::new()
            .name(name("peer-read"))
            .spawn(move || reading.read(incoming, data, &deliveries))?;
        let beating = link.clone();
        thread::Builder::new()
            .name(name("peer-heartbeat"))
            .spawn(move || beating.beat(&stop))?;
        Ok((link, received))
    }

    /// Sends a piece of timely's stream.
    pub fn send_data(&self, bytes: &[u8]) {
        self.send(kind::DATA, bytes);
    }

    /// Ends timely's stream.
    pub fn end_data(&self) {
        self.send(kind::END, &[]);
    }

    /// Sends a message.
    pub fn tell(&self, message: &Message) {
        self.send(kind::MESSAGE, &encode(message));
    }

    /// Says goodbye: from now on the connection may end.
    pub fn say_goodbye(&self) {
        self.tell(&Message::Goodbye);
    }

    /// Tries to tell the peer why this process ends, without waiting long for anything.
    pub fn tell_last(&self, code: i32, reason: &str) {
        let message = encode(&Message::Failure {
            code,
            reason: reason.to_owned(),
        });
        let deadline = Instant::now() + LAST_WORDS_LIMIT;
        loop {
            match self.outgoing.try_lock() {
                Ok(mut outgoing) => {
                    outgoing.set_timeout(LAST_WORDS_LIMIT);
                    // Whoever does not get it sees the connection end.
                    let _ = outgoing.send(&frame::header(kind::MESSAGE, message.len()), &message);
                    return;
                }
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(5));
                }
                Err(_) => return,
            }
        }
    }

    fn send(&self, kind: u8, content: &[u8]) {
        let head = frame::header(kind, content.len());
        let sent = self
            .outgoing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send(&head, content);
        if let Err(error) = sent {
            self.judge_failed_write(&error);
        }
    }

    /// A write fails also when the peer has ended in good order or told why it does not go on: its reader knows.
    fn judge_failed_write(&self, error: &io::Error) {
        let deadline = Instant::now() + JUDGEMENT_LIMIT;
        while Instant::now() < deadline {
            if self.departed.load(Ordering::Acquire) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        use io::ErrorKind::{TimedOut, WouldBlock};
        let why = match error.kind() {
            WouldBlock | TimedOut => format!(
                "it has taken nothing for {} s: it hangs, is suspended or cut off",
                SILENCE_MAX.as_secs()
            ),
            _ => format!("its connection failed: {error}"),
        };
        self.lost(&why)
    }

    fn lost(&self, why: &str) -> ! {
        failure::peer_lost(&format!(
            "{} is lost: {why}. The job goes on from its last checkpoint when all its processes are started again",
            self.peer
        ))
    }

    fn beat(&self, stop: &AtomicBool) {
        let mut told = false;
        while !self.departed.load(Ordering::Acquire) {
            if !told && stop.load(Ordering::Relaxed) {
                told = true;
                self.tell(&Message::Stop);
            }
            // Whoever holds the lock is sending something better.
            if let Ok(mut outgoing) = self.outgoing.try_lock() {
                let sent = outgoing.send(&frame::header(kind::HEARTBEAT, 0), &[]);
                drop(outgoing);
                if let Err(error) = sent {
                    self.judge_failed_write(&error);
                }
            }
            thread::sleep(HEARTBEAT_EVERY);
        }
    }

    /// Reads until the connection ends, which ends the process unless the peer has said goodbye before.
    fn read(&self, incoming: Incoming, data: Sender<Vec<u8>>, deliveries: &Deliveries) {
        let mut frames = FrameReader::new(incoming, SILENCE_MAX);
        let Deliveries {
            inbox,
            stop,
            reports,
            mail,
        } = deliveries;
        // Dropped where timely's stream ends.
        let mut data = Some(data);
        loop {
            match frames.next() {
                Ok(Frame::Heartbeat) => {}
                Ok(Frame::Data(bytes)) => {
                    // Timely's receiver is gone only when this process ends.
                    let _ = data.as_ref().map(|data| data.send(bytes));
                }
                Ok(Frame::End) => data = None,
                Ok(Frame::Message(Message::Stop)) => stop.store(true, Ordering::Relaxed),
                Ok(Frame::Message(Message::Status(status))) => {
                    reports.note(self.peer.index, status);
                }
                Ok(Frame::Message(Message::Tap(said))) => {
                    // Nobody listens once the job has ended.
                    let _ = mail.send(Mail::From(self.peer.index, said));
                }
                Ok(Frame::Message(Message::Failure { code, reason })) => {
                    failure::peer_failed(code, &format!("{} has failed: {reason}", self.peer))
                }
                Ok(Frame::Message(message)) => {
                    if message == Message::Goodbye {
                        self.departed.store(true, Ordering::Release);
                    }
                    // Nobody listens only when this process ends.
                    let _ = inbox.send((self.peer.index, message));
                }
                Err(_) if self.departed.load(Ordering::Acquire) => return,
                Err(loss) => self.lost(&loss.to_string()),
            }
        }
    }
}

fn encode(message: &Message) -> Vec<u8> {
    // Messages are made of strings, numbers and JSON values: always JSON.
    serde_json::to_vec(message).unwrap_or_default()
}
