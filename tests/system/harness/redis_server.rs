//! A Redis server of a test's own: for tests that stop it, suspend it or take its data away.

use std::{path::Path, time::Duration};

use tempfile::TempDir;

use super::{
    eventually::eventually,
    process::{Command, Process, find_program},
    redis::Redis,
    services::skip,
};

/// A server that keeps its data over a stop and a new start, always at the same address.
pub struct RedisServer {
    folder: TempDir,
    port: u16,
    /// Further arguments.
    options: Vec<String>,
    process: Option<Process>,
}

impl RedisServer {
    /// Starts a server on a free port; `None` if `redis-server` isn't installed and need not be.
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// Starts a server with further options of its own.
    pub fn start_with(options: &[String]) -> Option<Self> {
        if find_program("redis-server").is_none() {
            return skip("redis-server is not installed");
        }
        let mut server = Self {
            folder: TempDir::new().unwrap(),
            port: free_port(),
            options: options.to_vec(),
            process: None,
        };
        server.start_again();
        Some(server)
    }

    /// The server's address and contents.
    pub fn redis(&self) -> Redis {
        Redis::at(&format!("127.0.0.1:{}", self.port))
    }

    /// Starts the stopped server, with its data.
    pub fn start_again(&mut self) {
        self.process = Some(launch(self.folder.path(), self.port, &self.options));
        let redis = self.redis();
        eventually(Duration::from_secs(10), "Redis answers", || {
            redis.is_up().then_some(())
        });
    }

    /// Stops the server in order: its data stays.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.terminate();
            process.wait(Duration::from_secs(10));
        }
    }

    /// Suspends the server: connections stay open, nothing answers.
    pub fn suspend(&self) {
        if let Some(process) = &self.process {
            process.suspend();
        }
    }

    /// Lets a suspended server go on.
    pub fn resume(&self) {
        if let Some(process) = &self.process {
            process.resume();
        }
    }
}

fn launch(folder: &Path, port: u16, options: &[String]) -> Process {
    let port = port.to_string();
    let data = folder.display().to_string();
    Command::program("redis-server", folder)
        .args(["--port", &port, "--bind", "127.0.0.1", "--dir", &data])
        .args(["--save", "", "--appendonly", "yes"])
        .args(["--appendfsync", "everysec"])
        .args(options)
        .start()
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// The first of so many ports in a row that were free a moment ago.
pub fn free_ports(count: u16) -> u16 {
    let are_free = |first: &u16| {
        (*first..=first.saturating_add(count - 1))
            .map(|port| std::net::TcpListener::bind(("127.0.0.1", port)))
            .all(|bound| bound.is_ok())
    };
    std::iter::repeat_with(free_port).find(are_free).unwrap()
}
