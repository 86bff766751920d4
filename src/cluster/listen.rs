//! The thread that listens for peers, and those that welcome them or turn them away.

use std::{
    io,
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use super::{
    hello::{self, Hello, Reply},
    seek::{Event, RETRY_EVERY, Seeking, prepare},
    transport::Transport,
};

impl Seeking {
    /// Welcomes peers until nobody is sought any more.
    pub fn listen(self: &Arc<Self>) {
        let Some(host) = self.options.hosts.get(self.options.index) else {
            return;
        };
        let listener = loop {
            let bound = host
                .addresses()
                .and_then(|addresses| TcpListener::bind(&*addresses));
            match bound {
                Ok(listener) => break listener,
                // An earlier process may be on its way out.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && !self.is_over() => {
                    for peer in self
                        .options
                        .others()
                        .filter(|peer| peer.index > self.options.index)
                    {
                        let why =
                            format!("cannot be heard, because {host} is in use by another program");
                        self.report(Event::NotYet(peer.index, why));
                    }
                    thread::sleep(RETRY_EVERY);
                }
                Err(error) => {
                    return self.report(Event::Local(format!(
                        "cannot listen at {host}, which is this process's line of the hosts file: {error}"
                    )));
                }
            }
        };
        if let Err(error) = listener.set_nonblocking(true) {
            return self.report(Event::Local(format!("cannot listen at {host}: {error}")));
        }
        while !self.is_over() {
            match listener.accept() {
                Ok((socket, from)) => {
                    let seeking = self.clone();
                    let welcomed =
                        thread::Builder::new()
                            .name("welcome".to_owned())
                            .spawn(move || {
                                if let Err(error) = seeking.welcome(socket) {
                                    tracing::warn!(%from, %error, "a connection came to nothing");
                                }
                            });
                    if let Err(error) = welcomed {
                        tracing::warn!(%error, "cannot start a thread for a connection");
                    }
                }
                // Also when a connection is gone before it was accepted: others will come.
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn welcome(&self, socket: TcpStream) -> io::Result<()> {
        socket.set_nonblocking(false)?;
        prepare(&socket)?;
        let mut transport = Transport::accepted(socket, self.options.tls.as_ref())?;
        let theirs: Hello = hello::receive(&mut transport)?;
        if let Err(why) = self.judge(&transport, &theirs) {
            let told = format!("it was turned away: {why}");
            eprintln!("warning: process {}: {told}", theirs.index);
            self.report(Event::NotYet(theirs.index, told));
            return hello::send(&mut transport, &Reply::Refused(why));
        }
        hello::send(&mut transport, &Reply::Welcome(self.hello()))?;
        self.report(Event::Joined(theirs.index, Box::new(transport), theirs));
        Ok(())
    }

    /// Whether this peer belongs to the job; the reason if not, seen from here.
    fn judge(&self, transport: &Transport, theirs: &Hello) -> Result<(), String> {
        if let Some(difference) = hello::difference(&self.hello(), theirs) {
            return Err(difference);
        }
        let expected = self
            .options
            .peer(theirs.index)
            .filter(|peer| peer.index > self.options.index)
            .ok_or_else(|| {
                format!(
                    "no process {} is expected to call process {}",
                    theirs.index, self.options.index
                )
            })?;
        transport.check_name(&expected.host.name)
    }
}
