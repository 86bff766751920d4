//! The process under test, and how to hurt it.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

const TIDEWRIGHT: &str = env!("CARGO_BIN_EXE_tidewright");

/// A program with its arguments. Output goes into files of a folder, so that no pipe ever fills up.
pub struct Command {
    command: std::process::Command,
    name: String,
    folder: PathBuf,
}

impl Command {
    /// The built `tidewright`, with credentials that local servers take. Not affected by the caller's `TIDEWRIGHT_*`,
    /// `OTEL_*` and `RUST_LOG` variables.
    pub fn tidewright(folder: &Path) -> Self {
        Self::of_tidewright(OsStr::new(TIDEWRIGHT), folder)
    }

    /// As [`Self::tidewright`], in a network namespace.
    pub fn tidewright_in(namespace: &str, folder: &Path) -> Self {
        let made = Self::of_tidewright(OsStr::new("ip"), folder);
        made.args(["netns", "exec", namespace, TIDEWRIGHT])
    }

    fn of_tidewright(program: &OsStr, folder: &Path) -> Self {
        let mut made = Self::new(program, "tidewright", folder);
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("TIDEWRIGHT_") || text.starts_with("OTEL_") || text == "RUST_LOG" {
                made.command.env_remove(&name);
            }
        }
        made.env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("RUST_BACKTRACE", "1")
    }

    /// Any other program.
    pub fn program(program: &str, folder: &Path) -> Self {
        let name = Path::new(program).file_name().unwrap_or_default();
        Self::new(OsStr::new(program), &name.to_string_lossy(), folder)
    }

    fn new(program: &OsStr, name: &str, folder: &Path) -> Self {
        let mut command = std::process::Command::new(program);
        // A group of its own, so that a kill takes its children along; relative paths lead into the folder.
        command
            .stdin(Stdio::null())
            .process_group(0)
            .current_dir(folder);
        Self {
            command,
            name: name.to_owned(),
            folder: folder.to_owned(),
        }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    /// Where it runs: for programs that leave files where they are.
    pub fn current_folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.command.env(name, value.into());
        self
    }

    /// Starts it.
    pub fn start(mut self) -> Process {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        fs::create_dir_all(&self.folder).unwrap();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let output = |kind: &str| self.folder.join(format!("{}-{number}.{kind}", self.name));
        let (stdout, stderr) = (output("stdout"), output("stderr"));
        let child = self
            .command
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("starting {}: {error}", self.name));
        Process {
            child,
            status: None,
            name: self.name,
            stdout,
            stderr,
        }
    }

    /// Starts it and waits for its end.
    ///
    /// # Panics
    /// If it has not ended within `limit`.
    pub fn run(self, limit: Duration) -> Process {
        let mut process = self.start();
        process.wait(limit);
        process
    }
}

/// A started process; killed when dropped, and its last words shown if the test is failing.
pub struct Process {
    child: Child,
    status: Option<ExitStatus>,
    name: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// How it ended, if it has.
    pub fn status(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().unwrap();
        }
        self.status
    }

    pub fn is_running(&mut self) -> bool {
        self.status().is_none()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it has not ended within `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.status() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "{} has not ended within {limit:?}",
                self.name
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end, which must be a success.
    pub fn wait_for_success(&mut self, limit: Duration) {
        let status = self.wait(limit);
        assert!(
            status.success(),
            "{}: {status}\n{}",
            self.name,
            self.stderr()
        );
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.status = Some(self.child.wait().unwrap());
    }

    /// SIGTERM: asks for a clean end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGINT: Ctrl-C.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// SIGSTOP: a process that sleeps while the world goes on.
    pub fn suspend(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// The operating system's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in bytes; `None` once it has ended, or where there is no `/proc`.
    pub fn resident_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kilobytes * 1024)
    }

    /// What it has printed so far.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stdout).unwrap()).into_owned()
    }

    /// What it has logged so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stderr).unwrap()).into_owned()
    }

    /// The JSON object that `--summary json` prints last.
    pub fn summary(&self) -> Value {
        let stdout = self.stdout();
        let last = stdout.lines().next_back().unwrap_or_default();
        serde_json::from_str(last)
            .unwrap_or_else(|error| panic!("no summary: {error}\n{stdout}\n{}", self.stderr()))
    }

    /// Whether it was ended by a signal, as by [`Self::kill`].
    pub fn was_killed(&mut self) -> bool {
        self.status()
            .is_some_and(|status| status.signal().is_some())
    }

    /// Signals the whole group. Only while the leader has not been waited for: afterwards its id may be another's.
    fn signal(&self, signal: Signal) {
        if self.status.is_some() {
            return;
        }
        if let Some(group) = Pid::from_raw(self.child.id() as i32) {
            // An error means that it has ended, which every caller finds out by itself.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
        if thread::panicking() {
            // Its folder may be gone already.
            let log = fs::read(&self.stderr).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<_> = log.lines().rev().take(40).collect();
            eprintln!(
                "--- the end of the log of {} ({:?}):",
                self.name, self.status
            );
            for line in lines.iter().rev() {
                eprintln!("{line}");
            }
        }
    }
}

/// Where a program is, going by `PATH`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}
