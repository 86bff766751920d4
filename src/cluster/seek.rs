//! The threads that dial peers, and what they report. Those that listen are in [`super::listen`].

use std::{
    io,
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

use super::{
    ClusterOptions,
    hello::{self, Hello, Reply},
    link::Peer,
    transport::{Transport, tls_error},
};
use crate::runtime::epoch::wall_clock_ms;

/// Between two attempts to dial or to listen.
pub const RETRY_EVERY: Duration = Duration::from_millis(100);
/// How long one attempt to dial may take.
const DIAL_LIMIT: Duration = Duration::from_secs(2);
/// How long a peer may take for each step of the handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// What happens while peers are being sought.
pub enum Event {
    /// A peer is there.
    Joined(usize, Box<Transport>, Hello),
    /// A peer cannot be reached yet, or was turned away.
    NotYet(usize, String),
    /// A peer turns this process away for good.
    Refused(String),
    /// This process cannot go on.
    Local(String),
}

/// Shared by the threads that seek.
pub struct Seeking {
    pub options: ClusterOptions,
    events: Sender<Event>,
    over: AtomicBool,
}

/// A failed attempt to dial.
enum DialError {
    Again(String),
    Refused(String),
}

impl Seeking {
    /// Starts seeking; what happens comes out of the receiver.
    pub fn start(options: &ClusterOptions) -> io::Result<(Arc<Self>, Receiver<Event>)> {
        let (events, happened) = channel();
        let seeking = Arc::new(Self {
            options: options.clone(),
            events,
            over: AtomicBool::new(false),
        });
        seeking.start_threads()?;
        Ok((seeking, happened))
    }

    /// From now on nobody is sought.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    fn start_threads(self: &Arc<Self>) -> io::Result<()> {
        for peer in self
            .options
            .others()
            .filter(|peer| peer.index < self.options.index)
        {
            let seeking = self.clone();
            thread::Builder::new()
                .name(format!("dial-{}", peer.index))
                .spawn(move || seeking.dial_until_joined(&peer))?;
        }
        if self.options.index + 1 < self.options.hosts.count() {
            let seeking = self.clone();
            thread::Builder::new()
                .name("listen".to_owned())
                .spawn(move || seeking.listen())?;
        }
        Ok(())
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Nobody hears it only when the seeking is over.
    pub fn report(&self, event: Event) {
        let _ = self.events.send(event);
    }

    pub fn hello(&self) -> Hello {
        Hello {
            index: self.options.index,
            wall_ms: wall_clock_ms(),
            agreed: self.options.agreed.clone(),
        }
    }

    fn dial_until_joined(&self, peer: &Peer) {
        while !self.is_over() {
            match self.dial(peer) {
                Ok((transport, theirs)) => {
                    return self.report(Event::Joined(peer.index, Box::new(transport), theirs));
                }
                Err(DialError::Refused(why)) => {
                    return self.report(Event::Refused(format!("{peer} {why}")));
                }
                Err(DialError::Again(why)) => self.report(Event::NotYet(peer.index, why)),
            }
            thread::sleep(RETRY_EVERY);
        }
    }

    fn dial(&self, peer: &Peer) -> Result<(Transport, Hello), DialError> {
        let again = |error: io::Error| DialError::Again(error.to_string());
        let socket = self.reach(peer).map_err(again)?;
        let shaken = self.shake_hands(socket, peer).map_err(|error| {
            // A certificate that is refused today is refused tomorrow.
            match tls_error(&error) {
                Some(tls @ rustls::Error::InvalidCertificate(_)) => DialError::Refused(format!(
                    "shows a certificate that cannot be trusted: {tls}. Both must be of the same authority (--tls-ca), for \
                     the names in the hosts file"
                )),
                Some(tls @ rustls::Error::AlertReceived(_)) => DialError::Refused(format!(
                    "does not trust this process's certificate (--tls-cert): {tls}. Both must be of the same authority \
                     (--tls-ca)"
                )),
                _ => again(error),
            }
        })?;
        match shaken {
            (transport, Reply::Welcome(theirs)) => {
                if theirs.index != peer.index {
                    return Err(DialError::Again(format!(
                        "process {} answers there",
                        theirs.index
                    )));
                }
                match hello::difference(&self.hello(), &theirs) {
                    None => Ok((transport, theirs)),
                    Some(difference) => Err(DialError::Refused(format!(
                        "does not run the same job: {difference}"
                    ))),
                }
            }
            (_, Reply::Refused(why)) => Err(DialError::Refused(format!(
                "has turned this process away: {why}"
            ))),
        }
    }

    fn reach(&self, peer: &Peer) -> io::Result<TcpStream> {
        let mut last = io::Error::other("its name has no address");
        for address in peer.host.addresses()? {
            if self.options.tls.is_none() && !address.ip().is_loopback() {
                last = io::Error::other("without TLS only loopback addresses are allowed");
                continue;
            }
            match TcpStream::connect_timeout(&address, DIAL_LIMIT) {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn shake_hands(&self, socket: TcpStream, peer: &Peer) -> io::Result<(Transport, Reply)> {
        prepare(&socket)?;
        let tls = self.options.tls.as_ref();
        let mut transport = Transport::dialed(socket, tls, &peer.host.name)?;
        let sent = hello::send(&mut transport, &self.hello());
        match hello::receive(&mut transport) {
            Ok(reply) => Ok((transport, reply)),
            // The reason may be readable although nothing can be written any more.
            Err(error) if tls_error(&error).is_some() => Err(error),
            Err(error) => Err(sent.err().unwrap_or(error)),
        }
    }
}

/// No step of a handshake takes for ever.
pub fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(HANDSHAKE_LIMIT))?;
    socket.set_write_timeout(Some(HANDSHAKE_LIMIT))
}
