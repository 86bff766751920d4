//! The side of a job's process that faces its supervisor: it waits until it is let go, writes its log into a folder of
//! bounded size, and says at the end how it ended, because a server that was started later can't learn its exit code.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use clap::Args;

use crate::control::logs;
use crate::control::supervisor::{OUTCOME_FINISHED, OUTCOME_GAVE_UP, OUTCOME_STOPPED};
use crate::job::Done;

/// Arguments of a process that somebody looks after.
#[derive(Debug, Default, Args)]
pub struct SupervisedArguments {
    /// Writes everything that would go to standard output and error into numbered files of this folder: a new one every
    /// 16 MiB, of which four are kept.
    #[arg(long, value_name = "DIR")]
    log_folder: Option<PathBuf>,
    /// Waits on standard input for what to run with, and writes into this file how the run ended.
    #[arg(long, value_name = "FILE", hide = true)]
    supervised: Option<PathBuf>,
}

/// How often the log's size is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl SupervisedArguments {
    /// Somebody looks after this process.
    pub fn is_supervised(&self) -> bool {
        self.supervised.is_some()
    }

    /// Before anything else: turns output into the log folder, and waits to be let go. Returns more changes of the job
    /// file's values, which must not stand in a command line that others can see.
    ///
    /// # Errors
    /// If the log cannot be written, or nobody is left who could look after this process.
    pub fn begin(&self) -> Result<Vec<(String, String)>, String> {
        if let Some(folder) = &self.log_folder {
            log_into(folder)
                .map_err(|error| format!("cannot log into {}: {error}", folder.display()))?;
        }
        if self.supervised.is_none() {
            return Ok(Vec::new());
        }
        let mut line = String::new();
        match io::stdin().read_line(&mut line) {
            Ok(0) => Err("the server ended before it had noted this process".to_owned()),
            Ok(_) => serde_json::from_str(&line)
                .map_err(|error| format!("what the server says is not understood: {error}")),
            Err(error) => Err(format!("what the server says cannot be read: {error}")),
        }
    }

    /// What came of an attempt to export telemetry. A server has followed the same settings as its jobs, so what fails here was well
    /// when it started, such as a file that is being exchanged: the log says so, and the job runs.
    ///
    /// # Errors
    /// Those of a process that nobody looks after.
    pub fn without_export<T: Default>(&self, outcome: Result<T, String>) -> Result<T, String> {
        match outcome {
            Err(message) if self.is_supervised() => {
                tracing::warn!(
                    "telemetry is not exported, or not all of it, until this process is started again: {message}"
                );
                Ok(T::default())
            }
            outcome => outcome,
        }
    }

    /// After a run that ended in good order.
    ///
    /// # Errors
    /// If it cannot be written down: the supervisor would take it for a failure and start the job again.
    pub fn end(&self, done: &Done) -> Result<(), String> {
        let Some(path) = &self.supervised else {
            return Ok(());
        };
        let outcome = match done {
            Done {
                gave_up: Some(_), ..
            } => OUTCOME_GAVE_UP,
            Done { stopped: true, .. } => OUTCOME_STOPPED,
            _ => OUTCOME_FINISHED,
        };
        fs::write(path, outcome)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))
    }
}

/// From now on all output goes to the last file of a folder, and to the next one whenever that is full.
fn log_into(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut number = logs::last(folder)?;
    let open = OpenOptions::new()
        .create(true)
        .append(true)
        .open(logs::path(folder, number))?;
    replace_output(&open)?;
    let folder = folder.to_owned();
    let mut file = open;
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || {
            loop {
                thread::sleep(LOOK_EVERY);
                let full = file
                    .metadata()
                    .is_ok_and(|file| file.len() >= logs::FILE_BYTES_MAX);
                if full {
                    // Without a next file, or room for it, the log goes on in this one.
                    let next = logs::next_file(&folder, number);
                    if let Ok(next) = next.and_then(|next| replace_output(&next).map(|()| next)) {
                        file = next;
                        number += 1;
                    }
                }
            }
        })?;
    Ok(())
}

/// Standard output and error become this file. Each line goes to the old or to the new one: none is lost.
fn replace_output(file: &File) -> io::Result<()> {
    for output in [1, 2] {
        // SAFETY: both are open file descriptors, and nothing in this process owns 1 and 2 as a Rust value that closes them.
        if unsafe { libc::dup2(file.as_raw_fd(), output) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
