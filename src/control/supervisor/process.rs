//! Processes of jobs: started so that they outlive the server, known by more than their number, and watched through
//! `/proc`, so that those of an earlier server are looked after like one's own.

use std::{
    fs, io,
    io::Write,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

use crate::control::lifecycle::Exit;
use crate::runtime::failure::{EXIT_FENCED, EXIT_PEER_LOST};

/// A process. Numbers are used again, so the time of its start and the machine's boot belong to its identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The number.
    pub pid: i32,
    /// When it began, in clock ticks since the boot.
    start_ticks: u64,
    /// Which boot.
    boot_id: String,
    /// When it began: milliseconds since 1970. For people only.
    pub started_ms: u64,
}

impl ProcessId {
    /// The process that has this number now.
    ///
    /// # Errors
    /// If there is none, or no `/proc`.
    pub fn of(pid: u32, started_ms: u64) -> io::Result<Self> {
        let pid = i32::try_from(pid).map_err(io::Error::other)?;
        let stat = read_stat(pid)?;
        Ok(Self {
            pid,
            start_ticks: stat.start_ticks,
            boot_id: boot_id()?,
            started_ms,
        })
    }

    /// Whether it still runs. A zombie doesn't, whoever fails to collect it.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let same_boot = boot_id().is_ok_and(|boot_id| boot_id == self.boot_id);
        same_boot
            && read_stat(self.pid)
                .is_ok_and(|stat| stat.start_ticks == self.start_ticks && !stat.is_zombie)
    }

    /// Resident memory, in bytes; `None` once it has ended.
    #[must_use]
    pub fn resident_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kibibytes * 1024)
    }

    /// Ends it and whatever it has started, at once, if it still runs.
    pub fn kill(&self) {
        if self.is_alive()
            && let Some(group) = Pid::from_raw(self.pid)
        {
            // An error means that it has just ended, which the next look shows.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

struct Stat {
    start_ticks: u64,
    is_zombie: bool,
}

/// `/proc/PID/stat`: the program's name stands in parentheses and may hold anything, so fields count from the last one.
fn read_stat(pid: i32) -> io::Result<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let malformed = || io::Error::other(format!("/proc/{pid}/stat is not understood"));
    let (_, fields) = text.rsplit_once(')').ok_or_else(malformed)?;
    let fields: Vec<_> = fields.split_whitespace().collect();
    // The state is the third field of all, the start time the 22nd (proc(5)).
    let start_ticks = fields.get(19).and_then(|field| field.parse().ok());
    Ok(Stat {
        start_ticks: start_ticks.ok_or_else(malformed)?,
        is_zombie: matches!(fields.first(), Some(&("Z" | "X"))),
    })
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

/// A process that waits to be let go.
#[derive(Debug)]
pub struct Waiting {
    /// Its handle.
    pub child: Child,
    /// Its identity.
    pub id: ProcessId,
}

/// Starts a process in a session of its own. It waits for [`Waiting::release`] and ends if that never comes, so a server
/// that is killed before it has noted the process leaves nothing behind.
///
/// # Errors
/// If it cannot be started.
pub fn spawn(mut command: Command, log: &Path, now_ms: u64) -> io::Result<Waiting> {
    let output = fs::OpenOptions::new().create(true).append(true).open(log)?;
    command
        .stdin(Stdio::piped())
        .stdout(output.try_clone()?)
        .stderr(output);
    // SAFETY: setsid is async-signal-safe, and nothing else happens between fork and exec.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            Ok(())
        });
    }
    let mut child = command.spawn()?;
    match ProcessId::of(child.id(), now_ms) {
        Ok(id) => Ok(Waiting { child, id }),
        Err(error) => {
            // Without its standard input it ends by itself; being sure costs nothing.
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

impl Waiting {
    /// Lets it go, with what it needs to know and nobody else may see.
    pub fn release(mut self, message: &str) -> Child {
        if let Some(mut stdin) = self.child.stdin.take() {
            // If it has ended meanwhile, the next look shows it.
            let _ = stdin.write_all(format!("{message}\n").as_bytes());
        }
        self.child
    }
}

/// How a process has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// What it means.
    pub exit: Exit,
    /// Only because another process of the job did.
    pub lost_a_peer: bool,
    /// For people: follows "it".
    pub how: String,
}

impl Ending {
    /// Nobody saw how.
    #[must_use]
    pub fn unseen() -> Self {
        Self {
            exit: Exit::Failed,
            lost_a_peer: false,
            how: "ended while no server watched it".to_owned(),
        }
    }
}

/// What the exit of a process means when it has not said so itself.
#[must_use]
pub fn meaning(status: ExitStatus) -> Ending {
    let usage = i32::from(crate::cli::EXIT_USAGE);
    let (exit, how) = match status.code() {
        Some(code) if code == usage || code == EXIT_FENCED => {
            (Exit::Hopeless, format!("ended with exit code {code}"))
        }
        Some(code) => (Exit::Failed, format!("ended with exit code {code}")),
        None => {
            let signal = status.signal().unwrap_or_default();
            (Exit::Failed, format!("was killed by signal {signal}"))
        }
    };
    Ending {
        exit,
        lost_a_peer: status.code() == Some(EXIT_PEER_LOST),
        how,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_more_than_its_number() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let id = ProcessId::of(child.id(), 0).unwrap();
        assert!(id.is_alive() && id.resident_bytes() > Some(0));
        let earlier = ProcessId {
            start_ticks: id.start_ticks - 1,
            ..id.clone()
        };
        assert!(!earlier.is_alive(), "the number was another's before");
        let other_boot = ProcessId {
            boot_id: "other".to_owned(),
            ..id.clone()
        };
        assert!(!other_boot.is_alive());
        child.kill().unwrap();
        while id.is_alive() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        // Not collected yet: a zombie.
        assert!(read_stat(id.pid).unwrap().is_zombie);
        child.wait().unwrap();
    }

    #[test]
    fn what_was_spawned_waits_until_it_is_released() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let shell = || {
            let mut command = Command::new("sh");
            command.args(["-c", "read line && echo got $line; exit 7"]);
            command
        };
        let abandoned = spawn(shell(), &log, 0).unwrap();
        let mut child = abandoned.child;
        drop(child.stdin.take());
        assert_eq!(child.wait().unwrap().code(), Some(7));
        assert_eq!(fs::read_to_string(&log).unwrap(), "");
        let mut child = spawn(shell(), &log, 0).unwrap().release("a message");
        let ending = meaning(child.wait().unwrap());
        assert_eq!(ending.exit, Exit::Failed);
        assert_eq!(ending.how, "ended with exit code 7");
        assert_eq!(fs::read_to_string(&log).unwrap(), "got a message\n");
    }
}
