//! `tidewright get`: asks the running job over its local socket.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::control::Output;
use super::{EXIT_NOT_FOUND, EXIT_USAGE, failed};
use crate::control::client;
use crate::control::protocol::{Answer, Request};
use crate::control::socket::DEFAULT_SOCKET;

/// Arguments of `tidewright get`.
#[derive(Debug, Args)]
pub struct GetArguments {
    /// The sink, or the view that it is fed from.
    relation: String,
    /// The row's key; several columns are joined by `|`.
    key: String,
    /// The running job's socket.
    #[arg(long, default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// How the row is shown: as JSON in any case, and with `json` on one line.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Shows one row as JSON.
pub fn get(arguments: &GetArguments) -> ExitCode {
    let request = Request::Get {
        relation: arguments.relation.clone(),
        key: arguments.key.clone(),
    };
    match client::ask_once(&arguments.socket, &request) {
        Ok(Answer::Row(row)) => arguments.output.print(&row, &format!("{row:#}")),
        Ok(Answer::NotFound(message)) => failed(message, EXIT_NOT_FOUND),
        Ok(Answer::Refused(message)) => failed(message, EXIT_USAGE),
        Ok(other) => failed(client::unexpected(&other), 1),
        Err(error) => failed(error, 1),
    }
}
