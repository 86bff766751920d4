//! A TCP proxy that can be cut: any server, down for as long as a test likes, without losing its data. And one that can hold
//! back what clients send, a network that delivers late; or what both sides send, a network that delivers nothing.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

/// A proxy in front of one server; closed when dropped.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    cut: bool,
    closed: bool,
    holding: bool,
    frozen: bool,
    held_bytes: usize,
    streams: Vec<TcpStream>,
}

impl Proxy {
    /// Starts a proxy on a free port. `server` is `host:port`, with or without a scheme before it.
    pub fn start(server: &str) -> Self {
        let server = server.rsplit("://").next().unwrap_or(server);
        let server = server.trim_end_matches('/').to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::default(),
        };
        let state = Arc::clone(&proxy.state);
        thread::spawn(move || accept(&listener, &server, &state));
        proxy
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Ends all connections, and every new one at once, until [`Self::mend`].
    pub fn cut(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.cut = true;
        for stream in state.streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Keeps back what clients send from now on, also when they are gone, until [`Self::release`].
    pub fn hold(&self) {
        self.state.lock().unwrap().holding = true;
    }

    /// Sends what was kept back.
    pub fn release(&self) {
        self.state.lock().unwrap().holding = false;
    }

    /// Keeps back everything in both directions, while all connections stay open: a cable that was pulled.
    pub fn freeze(&self) {
        self.state.lock().unwrap().frozen = true;
    }

    /// How much is kept back.
    pub fn held_bytes(&self) -> usize {
        self.state.lock().unwrap().held_bytes
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.state.lock().unwrap().cut = false;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed = true;
        drop(state);
        // Wakes the listener, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, server: &str, shared: &Arc<Mutex<State>>) {
    for client in listener.incoming() {
        let mut state = shared.lock().unwrap();
        if state.closed {
            return;
        }
        let (Ok(client), false) = (client, state.cut) else {
            continue;
        };
        if let Ok(server) = TcpStream::connect(server) {
            forward(&client, &server, Direction::FromClient, shared);
            forward(&server, &client, Direction::FromServer, shared);
            state.streams.extend([client, server]);
        }
    }
}

/// Who sends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    FromClient,
    FromServer,
}

/// Copies one direction on a thread of its own, which ends with the connection.
fn forward(from: &TcpStream, to: &TcpStream, direction: Direction, gate: &Arc<Mutex<State>>) {
    let gate = gate.clone();
    let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else {
        return;
    };
    let _ = from.set_nodelay(true);
    thread::spawn(move || {
        let _ = pass(&mut from, &mut to, direction, &gate);
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    });
}

fn pass(
    from: &mut TcpStream,
    to: &mut TcpStream,
    direction: Direction,
    gate: &Mutex<State>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        wait_while_held(gate, direction, count);
        to.write_all(&buffer[..count])?;
    }
}

fn wait_while_held(gate: &Mutex<State>, direction: Direction, count: usize) {
    let mut counted = false;
    loop {
        let mut state = gate.lock().unwrap_or_else(PoisonError::into_inner);
        let held = state.frozen || (state.holding && direction == Direction::FromClient);
        if !counted && held {
            state.held_bytes += count;
            counted = true;
        }
        if !held || state.closed {
            state.held_bytes -= if counted { count } else { 0 };
            return;
        }
        drop(state);
        thread::sleep(Duration::from_millis(5));
    }
}
