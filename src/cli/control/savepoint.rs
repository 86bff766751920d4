//! `tidewright savepoint`.

use std::process::ExitCode;

use clap::Args;

use super::{Asking, failed, other};
use crate::cli::remote::{self, ServerArguments};
use crate::control::client;
use crate::control::protocol::{Answer, Request, SavepointTaken};
use crate::place;

/// Arguments of `tidewright savepoint`.
#[derive(Debug, Args)]
pub struct SavepointArguments {
    /// A job of a server. Without it, the job that listens at the socket.
    #[arg(conflicts_with = "socket")]
    job: Option<String>,
    #[command(flatten)]
    server: ServerArguments,
    /// Where it goes: a folder of its own, as a path or as file:///path or s3://bucket/prefix. Below the job's checkpoint
    /// store if absent.
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    #[command(flatten)]
    asking: Asking,
}

/// Takes a savepoint of a job and shows where it is.
pub fn savepoint(arguments: &SavepointArguments) -> ExitCode {
    let SavepointArguments {
        job,
        server,
        to,
        asking,
    } = arguments;
    let to = match to.as_deref().map(place::url).transpose() {
        Ok(to) => to,
        Err(message) => return failed(message, super::super::EXIT_USAGE),
    };
    if let Some(job) = job {
        return remote::savepoint(server, job, to.as_deref(), asking.output);
    }
    let request = Request::Savepoint { to };
    // As long as it takes: state may be large, and stores slow.
    match client::ask(&asking.socket, &request).and_then(|mut asked| asked.answer(None)) {
        Ok(Answer::Savepoint(taken)) => asking.output.print(&taken, &text(&taken)),
        Ok(answer) => other(answer),
        Err(error) => failed(error, 1),
    }
}

/// A savepoint for people.
pub fn text(taken: &SavepointTaken) -> String {
    format!(
        "savepoint of epoch {}, {} KiB: {}",
        taken.epoch,
        taken.bytes.div_ceil(1024),
        taken.location
    )
}
