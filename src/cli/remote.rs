//! Commands that ask a server.

mod checkpoints;
mod lag;
mod list;
mod logs;
mod operation;
mod remove;
mod replay;
mod rescale;
mod status;
mod submit;
mod token;
mod upgrade;
mod versions;

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

pub use self::checkpoints::{CheckpointsArguments, checkpoints};
pub use self::lag::lag;
pub use self::list::{ListArguments, list};
pub use self::logs::{LogsArguments, logs};
pub use self::operation::{CancelArguments, cancel, savepoint, stop};
pub use self::remove::{RemoveArguments, remove};
pub use self::replay::{ReplayArguments, replay};
pub use self::rescale::{RescaleArguments, rescale};
pub use self::status::status;
pub use self::submit::{SubmitArguments, submit};
pub use self::token::{TokenCommand, token};
pub use self::upgrade::{UpgradeJobArguments, upgrade};
pub use self::versions::{VersionsArguments, versions};
use super::control::Output;
use super::{EXIT_DENIED, EXIT_NOT_FOUND, EXIT_UNREACHABLE, EXIT_USAGE, failed};
use crate::control::remote::{Remote, RemoteError, TOKEN_VARIABLE};

/// The file that a server in this folder writes its first token into.
const LOCAL_TOKEN: &str = "tidewright-data/server/admin.token";

/// Which server is asked, and as whom.
#[derive(Debug, Args)]
pub struct ServerArguments {
    /// The server's URL.
    #[arg(
        long,
        value_name = "URL",
        env = "TIDEWRIGHT_SERVER",
        default_value = "http://127.0.0.1:7433"
    )]
    server: String,
    /// The file that holds the token. Without it the variable TIDEWRIGHT_TOKEN, else tidewright-data/server/admin.token.
    #[arg(long, value_name = "FILE", env = "TIDEWRIGHT_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

/// How an answer is shown.
#[derive(Debug, Args)]
pub struct OutputArguments {
    /// How the answer is shown.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

impl ServerArguments {
    /// The server, with the token.
    pub fn connect(&self) -> Result<Remote, ExitCode> {
        let token = self
            .token()
            .map_err(|message| failed(message, EXIT_USAGE))?;
        Remote::new(&self.server, token).map_err(told)
    }

    fn token(&self) -> Result<Option<String>, String> {
        if let Some(path) = &self.token_file {
            let read = std::fs::read_to_string(path);
            let read = read.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            return Ok(Some(read.trim().to_owned()));
        }
        if let Ok(token) = std::env::var(TOKEN_VARIABLE) {
            return Ok(Some(token.trim().to_owned()));
        }
        let local = std::fs::read_to_string(LOCAL_TOKEN).ok();
        Ok(local.map(|token| token.trim().to_owned()))
    }
}

/// The exit code of a refusal or failure.
pub fn exit_code(error: &RemoteError) -> u8 {
    match error {
        RemoteError::Unreachable { .. } | RemoteError::BrokenOff { .. } => EXIT_UNREACHABLE,
        RemoteError::NotUnderstood(_) => 1,
        RemoteError::Refused(problem) => match problem.status {
            401 | 403 => EXIT_DENIED,
            404 => EXIT_NOT_FOUND,
            400..=499 => EXIT_USAGE,
            _ => 1,
        },
    }
}

/// A refusal or failure, told on standard error, with the exit code that it has.
pub fn told(error: RemoteError) -> ExitCode {
    let code = exit_code(&error);
    if let RemoteError::Refused(problem) = &error
        && !problem.diagnostics.is_empty()
    {
        // As `tidewright validate` tells it.
        eprintln!("{}", problem.detail);
        return ExitCode::from(code);
    }
    if code == EXIT_DENIED {
        let hint = "Name the token's file with --token-file, or put the token into TIDEWRIGHT_TOKEN; a server writes its first \
                    one to admin.token in its data folder";
        return failed(format!("{error}. {hint}"), code);
    }
    failed(error, code)
}

/// Runs a command whose refusals are told.
fn tell(done: Result<ExitCode, ExitCode>) -> ExitCode {
    match done {
        Ok(code) | Err(code) => code,
    }
}

/// How long ago a time in milliseconds since 1970 was, for people.
fn ago(ms: u64) -> String {
    let seconds = crate::control::supervisor::now_ms().saturating_sub(ms) / 1000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Rows under their headings, in columns.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max();
        widest.unwrap_or(0).max(headings[column].len())
    };
    let widths: Vec<_> = (0..headings.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(&mut headings.iter().copied())];
    lines.extend(
        rows.iter()
            .map(|row| line(&mut row.iter().map(String::as_str))),
    );
    lines.join("\n")
}
