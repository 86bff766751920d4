//! Finding all peers: dialing those with smaller indexes, listening for the others, until all are there or time is up.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::AtomicBool,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    Cluster, ClusterOptions, hello,
    link::{Deliveries, LAST_WORDS_LIMIT, Link, Peer},
    seek::{Event, RETRY_EVERY, Seeking},
};
use crate::runtime::epoch::wall_clock_ms;
use crate::runtime::failure;

/// Why the processes of the job don't come together.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Some processes did not come in time.
    #[error(
        "waited {waited_seconds} s for the other processes of the job, in vain: {missing}. Start all of them, or wait longer with --connect-timeout"
    )]
    Missing {
        /// How long was waited.
        waited_seconds: u64,
        /// Who is missing, where, and what is known about it.
        missing: String,
    },
    /// A peer runs something else, or the certificates don't fit.
    #[error("{0}")]
    Refused(String),
    /// This process cannot listen or start threads.
    #[error("{0}")]
    Local(String),
}

/// How often somebody who waits says for whom.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Connects to all other processes.
pub fn connect(options: &ClusterOptions, stop: &Arc<AtomicBool>) -> Result<Cluster, ConnectError> {
    let (seeking, happened) = Seeking::start(options).map_err(|error| {
        ConnectError::Local(format!("cannot start the threads that connect: {error}"))
    })?;
    let result = gather(options, &happened, stop);
    seeking.end();
    let cluster = result?;
    cluster.await_all_ready();
    Ok(cluster)
}

/// Collects peers until all are there.
fn gather(
    options: &ClusterOptions,
    happened: &Receiver<Event>,
    stop: &Arc<AtomicBool>,
) -> Result<Cluster, ConnectError> {
    let (messages, inbox) = channel();
    let (mail, mailbox) = channel();
    let deliveries = Deliveries {
        inbox: messages,
        stop: stop.clone(),
        reports: Arc::default(),
        mail: mail.clone(),
    };
    let mut cluster = Cluster {
        index: options.index,
        links: BTreeMap::new(),
        data: BTreeMap::new(),
        inbox: Mutex::new(inbox),
        reports: deliveries.reports.clone(),
        mail: Some((mail, mailbox)),
    };
    let mut missing: BTreeMap<usize, String> = options
        .others()
        .map(|peer| (peer.index, "it has not come yet".to_owned()))
        .collect();
    let joined: Arc<Mutex<Vec<Arc<Link>>>> = Arc::default();
    let to_tell = joined.clone();
    failure::tell_before_exit(Box::new(move |code, reason| {
        tell_last(&to_tell, code, reason);
    }));
    let since = Instant::now();
    let mut reported = since;
    while !missing.is_empty() {
        if since.elapsed() >= options.connect_timeout {
            return Err(ConnectError::Missing {
                waited_seconds: options.connect_timeout.as_secs(),
                missing: list(options, &missing),
            });
        }
        if reported.elapsed() >= REPORT_EVERY {
            reported = Instant::now();
            eprintln!(
                "waiting for {} ({} s of {} s)",
                list(options, &missing),
                since.elapsed().as_secs(),
                options.connect_timeout.as_secs()
            );
        }
        match happened.recv_timeout(RETRY_EVERY) {
            Ok(Event::Joined(index, transport, theirs)) if missing.contains_key(&index) => {
                let Some(peer) = options.peer(index) else {
                    continue;
                };
                if let Some(warning) = hello::skew(&peer, theirs.wall_ms, wall_clock_ms()) {
                    eprintln!("warning: {warning}");
                }
                let started = Link::start(peer, *transport, deliveries.clone());
                let (link, data) = started.map_err(|error| {
                    ConnectError::Local(format!(
                        "cannot start the threads of a connection: {error}"
                    ))
                })?;
                joined
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(link.clone());
                cluster.links.insert(index, link);
                cluster.data.insert(index, data);
                missing.remove(&index);
            }
            // Somebody has come twice: the first one, if it is gone, is missed by its link.
            Ok(Event::Joined(..)) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Event::NotYet(index, why)) => {
                if let Some(known) = missing.get_mut(&index) {
                    *known = why;
                }
            }
            Ok(Event::Refused(why)) => return Err(ConnectError::Refused(why)),
            Ok(Event::Local(why)) => return Err(ConnectError::Local(why)),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(ConnectError::Local(
                    "the threads that connect have ended".to_owned(),
                ));
            }
        }
    }
    Ok(cluster)
}

/// Tells all peers at once, and waits only a moment.
fn tell_last(links: &Mutex<Vec<Arc<Link>>>, code: i32, reason: &str) {
    let links = match links.try_lock() {
        Ok(links) => links.clone(),
        Err(_) => return,
    };
    let tell = |link: Arc<Link>| {
        let reason = reason.to_owned();
        thread::Builder::new().spawn(move || link.tell_last(code, &reason))
    };
    // A thread that cannot be started leaves its peer to find out by itself.
    let telling: Vec<_> = links
        .into_iter()
        .filter_map(|link| tell(link).ok())
        .collect();
    let deadline = Instant::now() + LAST_WORDS_LIMIT;
    while Instant::now() < deadline && telling.iter().any(|thread| !thread.is_finished()) {
        thread::sleep(Duration::from_millis(2));
    }
}

impl ClusterOptions {
    /// The other processes.
    pub(super) fn others(&self) -> impl Iterator<Item = Peer> {
        let all = self.hosts.iter();
        all.filter(|(index, _)| *index != self.index)
            .map(|(index, host)| Peer {
                index,
                host: host.clone(),
            })
    }

    /// The other process with this index, if there is one.
    pub(super) fn peer(&self, index: usize) -> Option<Peer> {
        self.others().find(|peer| peer.index == index)
    }
}

fn list(options: &ClusterOptions, missing: &BTreeMap<usize, String>) -> String {
    let all: Vec<_> = options
        .others()
        .filter_map(|peer| Some(format!("{peer}: {}", missing.get(&peer.index)?)))
        .collect();
    all.join("; ")
}
