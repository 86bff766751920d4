//! The processes of one job: connected in pairs, alive together or not at all.
//!
//! ```text
//!  process 0 <───────────── process 1        The one with the greater index dials. Both say who they are and what they
//!      ^  ^                     ^            run; a peer that runs something else is refused with the reason.
//!      │  └──────────────┐      │
//!      └───────────── process 2 ┘
//!
//!  timely's send thread ──> Channel ──┐                        ┌──> Channel ──> timely's receive thread
//!  heartbeat thread ──────────────────┼──> [TLS] ──> socket ──>│ reader thread ──> silence? end? a peer's reason?
//!  control messages ──────────────────┘     frames             └──> inbox ──> the job (start point, status, taps, totals, goodbye)
//! ```
//! Timely's own network has no authentication, no timeout and no word for "I failed": here it gets a byte stream whose
//! frames are carried between heartbeats and control messages. From a connection's first moment on, fate is shared: a peer
//! from which nothing has arrived for a while, or whose connection ends before it has said goodbye, ends this process with
//! the peer's name; and a process that fails tells its peers why before it ends.

mod channel;
mod connect;
pub mod frame;
mod hello;
mod hosts;
mod link;
mod listen;
mod mail;
pub mod ports;
mod reports;
mod seek;
mod tls;
mod transport;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::AtomicBool,
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant},
};

use serde_json::Value;
use timely::communication::{
    Hooks,
    allocator::{
        AllocatorBuilder, ProcessBuilder,
        zero_copy::initialize::{CommsGuard, initialize_networking_from_sockets},
    },
};

use self::{channel::Channel, frame::Message, link::Link};
pub use self::{
    connect::ConnectError,
    hosts::{Host, Hosts},
    mail::{Mail, Peers},
    reports::Reports,
    tls::{Tls, TlsFiles},
};

/// How this process takes part in a job of several processes.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// This process.
    pub index: usize,
    /// Where all of them are.
    pub hosts: Hosts,
    /// Certificates; without them only loopback addresses are allowed.
    pub tls: Option<Tls>,
    /// How long to wait for the others at the start.
    pub connect_timeout: Duration,
    /// What must be the same in all processes, by name for people: the job, its file, the options that decide about results.
    pub agreed: BTreeMap<String, String>,
}

impl ClusterOptions {
    /// How many processes there are.
    #[must_use]
    pub fn processes(&self) -> usize {
        self.hosts.count()
    }
}

/// The other processes of the job, all of them connected.
pub struct Cluster {
    index: usize,
    links: BTreeMap<usize, Arc<Link>>,
    data: BTreeMap<usize, Receiver<Vec<u8>>>,
    inbox: Mutex<Receiver<(usize, Message)>>,
    reports: Arc<Reports>,
    mail: Option<(Sender<Mail>, Receiver<Mail>)>,
}

/// Tells process 0 something. Ends the process if it is lost.
pub type TellLeader = Box<dyn Fn(Value) + Send>;

/// How often somebody who waits for a message looks at the clock.
const WAIT_STEP: Duration = Duration::from_millis(200);
/// How long the other processes may take to say goodbye after the last byte of the job's data has been exchanged.
const GOODBYE_LIMIT: Duration = Duration::from_secs(30);

impl Cluster {
    /// Connects to all other processes. `stop` is set when one of them asks the job to stop; and they are told when this
    /// process sets it.
    ///
    /// # Errors
    /// If some are missing at the limit or run something else, or this process cannot listen.
    pub fn connect(options: &ClusterOptions, stop: &Arc<AtomicBool>) -> Result<Self, ConnectError> {
        connect::connect(options, stop)
    }

    /// This process.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// How many processes there are.
    #[must_use]
    pub fn processes(&self) -> usize {
        self.links.len() + 1
    }

    /// Process 0 waits until all pairs are connected: so it does not claim a job that cannot begin. A process that misses another
    /// one ends at its own limit, and all others with it.
    fn await_all_ready(&self) {
        if let Some(leader) = self.links.get(&0) {
            return leader.tell(&Message::Ready);
        }
        let mut waiting: BTreeSet<_> = self.links.keys().copied().collect();
        while !waiting.is_empty() {
            if let Some((peer, Message::Ready)) = self.next(Instant::now() + WAIT_STEP) {
                waiting.remove(&peer);
            }
        }
    }

    /// Tells all others what process 0 has decided about the start.
    pub fn announce(&self, start: &Value) {
        for link in self.links.values() {
            link.tell(&Message::Start(start.clone()));
        }
    }

    /// Waits for what process 0 decides about the start. A process 0 that fails meanwhile ends this one too.
    #[must_use]
    pub fn await_start(&self) -> Value {
        loop {
            if let Some((0, Message::Start(start))) = self.next(Instant::now() + WAIT_STEP) {
                return start;
            }
        }
    }

    /// Tells process 0 how this process is doing; `None` if this is process 0.
    #[must_use]
    pub fn tell_status(&self) -> Option<TellLeader> {
        let leader = self.links.get(&0)?.clone();
        Some(Box::new(move |status| {
            leader.tell(&Message::Status(status))
        }))
    }

    /// How the other processes are doing, as they told last.
    #[must_use]
    pub fn reports(&self) -> Arc<Reports> {
        self.reports.clone()
    }

    /// What the other processes say about taps, from the start on, and a way to end whoever waits for it. Only once.
    #[must_use]
    pub fn take_mail(&mut self) -> Option<(Sender<Mail>, Receiver<Mail>)> {
        self.mail.take()
    }

    /// The other processes, to be told something about taps.
    #[must_use]
    pub fn peers(&self) -> Peers {
        Peers::new(self.links.clone())
    }

    /// What timely's workers of this process are built from. `threads` is the number of workers of each process.
    ///
    /// # Errors
    /// If threads cannot be made.
    pub fn allocators(
        &mut self,
        threads: usize,
    ) -> Result<(Vec<AllocatorBuilder>, CommsGuard), String> {
        let hooks = Hooks::default();
        let local =
            ProcessBuilder::new_typed_vector(threads, hooks.refill.clone(), hooks.spill.clone());
        let mut data = std::mem::take(&mut self.data);
        let channels = (0..self.processes())
            .map(|index| {
                let link = self.links.get(&index)?;
                Some(Channel::new(link.clone(), data.remove(&index)?))
            })
            .collect();
        let (builders, guard) =
            initialize_networking_from_sockets(local, channels, self.index, threads, hooks)
                .map_err(|error| format!("cannot start the network threads: {error}"))?;
        Ok((
            builders.into_iter().map(AllocatorBuilder::Tcp).collect(),
            guard,
        ))
    }

    /// Takes leave of the other processes once all data has been exchanged. Process 0 gets what the others have counted;
    /// those whose numbers did not come are missing.
    #[must_use]
    pub fn part(&self, totals: Value) -> Vec<Value> {
        let deadline = Instant::now() + GOODBYE_LIMIT;
        let mut collected = Vec::new();
        let mut gone = BTreeSet::new();
        if let Some(leader) = self.links.get(&0) {
            leader.tell(&Message::Totals(totals));
        }
        while self.index == 0 && collected.len() < self.links.len() && Instant::now() < deadline {
            match self.next(deadline) {
                Some((_, Message::Totals(totals))) => collected.push(totals),
                Some((peer, Message::Goodbye)) => _ = gone.insert(peer),
                _ => {}
            }
        }
        for link in self.links.values() {
            link.say_goodbye();
        }
        while gone.len() < self.links.len() && Instant::now() < deadline {
            if let Some((peer, Message::Goodbye)) = self.next(deadline) {
                gone.insert(peer);
            }
        }
        collected
    }

    /// The next message, or nothing until the deadline.
    fn next(&self, deadline: Instant) -> Option<(usize, Message)> {
        let inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        match inbox.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                // All readers have ended: every peer has said goodbye.
                std::thread::sleep(WAIT_STEP);
                None
            }
        }
    }
}
