//! Taps over all processes of a job: process 0 answers whoever taps, and the others send it rows that pass there.
//!
//! ```text
//!  process 0                                                    process 1, 2, ..
//!  client <── queue of the tap <── "taps" <────── shares ────── "taps" <── queue of the tap <── workers
//!       └───────────────────────────── open, more, close ─────────>
//! ```
//! Of each process at most one share is under way or waits for the client, per tap: the next one is sent only after `more`. A client
//! that is slow so fills queues and then misses rows, which are counted where they pass. While nobody taps, the threads sleep.

mod follower;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, Sender},
    },
    thread::{self, JoinHandle},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use self::follower::Follower;
use super::RunError;
use crate::cluster::{Cluster, Mail, Peers};
use crate::runtime::context::JobContext;
use crate::runtime::tap::{Feed, Listening, Sampling, Share};

/// What process 0 wants of the others.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    /// Rows of a relation, from now on.
    Open {
        tap: u64,
        relation: String,
        sampling: Sampling,
    },
    /// Another share: the last one has been taken.
    More { tap: u64 },
    /// No more.
    Close { tap: u64 },
}

/// What another process sends to it.
#[derive(Debug, Serialize, Deserialize)]
struct Rows {
    tap: u64,
    share: Share,
}

/// It is made of numbers and text: always JSON.
fn encode(what: &impl Serialize) -> Value {
    serde_json::to_value(what).unwrap_or_default()
}

/// Both sides are the same release, so what is not understood is a defect; a tap is no reason to end a job.
fn decode<T: DeserializeOwned>(what: Value) -> Option<T> {
    let read = serde_json::from_value(what);
    read.inspect_err(|error| tracing::warn!(%error, "a message about a tap is not understood"))
        .ok()
}

/// This process takes part in the taps of the job's others until this is dropped.
#[derive(Default)]
pub(super) struct Tapping {
    elsewhere: Option<Arc<Elsewhere>>,
    _following: Option<Following>,
}

impl Tapping {
    /// Begins; there is nothing to do where nobody else is.
    ///
    /// # Errors
    /// If no thread can be had.
    pub(super) fn begin(
        context: &Arc<JobContext>,
        cluster: Option<&mut Cluster>,
    ) -> Result<Self, RunError> {
        let Some(cluster) = cluster else {
            return Ok(Self::default());
        };
        let peers = cluster.peers();
        let Some((end, mail)) = cluster.take_mail() else {
            return Ok(Self::default());
        };
        match context.place.leads() {
            true => Self::lead(peers, mail),
            false => Self::follow(context, peers, mail, end),
        }
    }

    fn lead(peers: Peers, mail: Receiver<Mail>) -> Result<Self, RunError> {
        let elsewhere = Arc::new(Elsewhere {
            peers,
            feeds: Mutex::default(),
            next: AtomicU64::new(0),
        });
        let feeding = elsewhere.clone();
        // It ends when all other processes have said goodbye.
        spawn(move || feeding.feed(&mail))?;
        Ok(Self {
            elsewhere: Some(elsewhere),
            _following: None,
        })
    }

    fn follow(
        context: &Arc<JobContext>,
        leader: Peers,
        mail: Receiver<Mail>,
        end: Sender<Mail>,
    ) -> Result<Self, RunError> {
        let follower = Follower::new(context, leader);
        let thread = spawn(move || follower.run(&mail))?;
        Ok(Self {
            elsewhere: None,
            _following: Some(Following {
                end,
                thread: Some(thread),
            }),
        })
    }

    /// The job's other processes, where this one answers for them.
    pub(super) fn elsewhere(&self) -> Option<Arc<Elsewhere>> {
        self.elsewhere.clone()
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, RunError> {
    let named = thread::Builder::new().name("taps".to_owned());
    named.spawn(work).map_err(RunError::of)
}

/// Process 0's view of the other processes.
pub(super) struct Elsewhere {
    peers: Peers,
    feeds: Mutex<BTreeMap<u64, Feed>>,
    next: AtomicU64,
}

impl Elsewhere {
    /// Has rows of a relation sent to somebody who listens to it here.
    pub(super) fn open(
        self: Arc<Self>,
        relation: &str,
        sampling: Sampling,
        listening: &Listening,
    ) -> OpenElsewhere {
        let tap = self.next.fetch_add(1, Ordering::Relaxed);
        let feed = listening.feed(self.peers.indexes());
        self.feeds().insert(tap, feed);
        self.tell_all(&Order::Open {
            tap,
            relation: relation.to_owned(),
            sampling,
        });
        OpenElsewhere {
            tap,
            elsewhere: self,
        }
    }

    fn tell_all(&self, order: &Order) {
        for process in self.peers.indexes() {
            self.peers.tell(process, encode(order));
        }
    }

    fn feeds(&self) -> MutexGuard<'_, BTreeMap<u64, Feed>> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands on what the others send.
    fn feed(&self, mail: &Receiver<Mail>) {
        while let Ok(Mail::From(process, rows)) = mail.recv() {
            // Who has closed a tap gets what was under way no more.
            if let Some(Rows { tap, share }) = decode(rows)
                && let Some(feed) = self.feeds().get(&tap)
            {
                feed.add(process, share);
            }
        }
    }
}

/// A tap that is open in the other processes; it closes when it is dropped.
pub(super) struct OpenElsewhere {
    tap: u64,
    elsewhere: Arc<Elsewhere>,
}

impl OpenElsewhere {
    /// These processes may send more.
    pub(super) fn more(&self, processes: &[usize]) {
        for process in processes {
            let more = Order::More { tap: self.tap };
            self.elsewhere.peers.tell(*process, encode(&more));
        }
    }
}

impl Drop for OpenElsewhere {
    fn drop(&mut self) {
        self.elsewhere.feeds().remove(&self.tap);
        self.elsewhere.tell_all(&Order::Close { tap: self.tap });
    }
}

/// Rows are sent to process 0 until this is dropped.
pub(super) struct Following {
    end: Sender<Mail>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Following {
    fn drop(&mut self) {
        // Nothing may follow the goodbye to process 0; the last rows go before it.
        let _ = self.end.send(Mail::End);
        if let Some(thread) = self.thread.take() {
            // If it panicked, the process has ended.
            let _ = thread.join();
        }
    }
}
