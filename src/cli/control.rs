//! `tidewright status`, `lag`, `savepoint` and `stop`: ask a running job over its local socket.

mod lag;
mod savepoint;
mod status;
mod stop;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};
use serde::Serialize;

pub use self::lag::{lag, text as lag_text};
pub use self::savepoint::{SavepointArguments, savepoint};
pub use self::status::{StatusArguments, status};
pub use self::stop::{StopArguments, stop};
use super::failed;
use crate::control::client;
use crate::control::protocol::Answer;
use crate::control::socket::DEFAULT_SOCKET;

/// Which job is asked, and how the answer is shown.
#[derive(Debug, Args)]
pub struct Asking {
    /// The running job's socket.
    #[arg(long, default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// How the answer is shown.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// How something is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Output {
    /// Prints one JSON object, or the text.
    pub fn print(self, value: &impl Serialize, text: &str) -> ExitCode {
        match self {
            Self::Text => println!("{text}"),
            Self::Json => match serde_json::to_string(value) {
                Ok(json) => println!("{json}"),
                Err(error) => return failed(error, 1),
            },
        }
        ExitCode::SUCCESS
    }
}

/// An answer that is not the wanted one.
fn other(answer: Answer) -> ExitCode {
    match answer {
        Answer::Refused(message) => failed(message, 1),
        answer => failed(client::unexpected(&answer), 1),
    }
}
