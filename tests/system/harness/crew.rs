//! All processes of one job.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::process::{Command, Process};

/// Processes that run one job together, in the order of their indexes.
pub struct Crew(pub Vec<Process>);

impl Crew {
    /// Starts so many processes of a command, on loopback ports of their own.
    pub fn start(folder: &Path, processes: usize, command: impl Fn() -> Command) -> Self {
        let hosts = write_hosts(folder, &addresses(processes));
        let all = 0..processes;
        Self(
            all.map(|index| as_process(command(), index, processes, &hosts).start())
                .collect(),
        )
    }

    /// Waits until all have said that they begin.
    pub fn await_begin(mut self, limit: Duration) -> Self {
        let deadline = Instant::now() + limit;
        for process in &mut self.0 {
            while !process.stderr().contains("checkpoints in") {
                assert!(process.is_running(), "ended early:\n{}", process.stderr());
                assert!(
                    Instant::now() < deadline,
                    "does not begin:\n{}",
                    process.stderr()
                );
                thread::sleep(Duration::from_millis(10));
            }
        }
        self
    }

    /// Waits for the end of all, which must be a success.
    pub fn wait_for_success(&mut self, limit: Duration) {
        for process in &mut self.0 {
            process.wait_for_success(limit);
        }
    }

    /// Fails if one has ended.
    pub fn assert_running(&mut self) {
        for process in &mut self.0 {
            assert!(
                process.is_running(),
                "ended by itself:\n{}",
                process.stderr()
            );
        }
    }
}

/// A command as one process of several.
pub fn as_process(command: Command, index: usize, processes: usize, hosts: &Path) -> Command {
    command
        .args(["--processes", &processes.to_string()])
        .args(["--process", &index.to_string()])
        .arg("--hosts")
        .arg(hosts)
}

/// Loopback addresses that nobody listens at: below the ports that systems give to outgoing connections.
pub fn addresses(count: usize) -> Vec<String> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let from = 12_000 + (std::process::id() % 700) as u16 * 10;
    let free = std::iter::repeat_with(|| from + NEXT.fetch_add(1, Ordering::Relaxed) % 1_000)
        .filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.take(count)
        .map(|port| format!("127.0.0.1:{port}"))
        .collect()
}

/// Writes a hosts file that no other one replaces.
pub fn write_hosts(folder: &Path, addresses: &[String]) -> PathBuf {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!("hosts-{number}"));
    fs::write(&path, addresses.join("\n")).unwrap();
    path
}
