//! `tidewright stop`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{Asking, failed, other, savepoint};
use crate::cli::remote::{self, ServerArguments};
use crate::control::client;
use crate::control::protocol::{Answer, Request, StopSavepoint};
use crate::place;

/// Arguments of `tidewright stop`.
#[derive(Debug, Args)]
pub struct StopArguments {
    /// A job of a server. Without it, the job that listens at the socket.
    #[arg(conflicts_with = "socket")]
    job: Option<String>,
    /// Waits until the server's job has ended.
    #[arg(long, requires = "job")]
    wait: bool,
    #[command(flatten)]
    server: ServerArguments,
    /// Leaves a savepoint of the job's last state: below its checkpoint store, or at this path or URL.
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    savepoint: Option<String>,
    /// Ends the input first: all windows close and are delivered. Not for jobs that are to go on later, whose open windows
    /// would be incomplete.
    #[arg(long)]
    drain: bool,
    #[command(flatten)]
    asking: Asking,
}

/// Stops a job with a final checkpoint.
pub fn stop(arguments: &StopArguments) -> ExitCode {
    let savepoint = match arguments.savepoint.as_deref() {
        None => StopSavepoint::Wanted(false),
        Some("") => StopSavepoint::Wanted(true),
        Some(to) => match place::url(to) {
            Ok(url) => StopSavepoint::To(url),
            Err(message) => return failed(message, super::super::EXIT_USAGE),
        },
    };
    if let Some(job) = &arguments.job {
        let StopArguments {
            server,
            drain,
            wait,
            asking,
            ..
        } = arguments;
        return remote::stop(server, job, &savepoint, *drain, *wait, asking.output);
    }
    let wanted = savepoint != StopSavepoint::Wanted(false);
    let request = Request::Stop {
        savepoint,
        drain: arguments.drain,
    };
    let asking = &arguments.asking;
    let mut asked = match client::ask(&asking.socket, &request) {
        Ok(asked) => asked,
        Err(error) => return failed(error, 1),
    };
    match asked.answer(Some(client::TIMEOUT)) {
        Ok(Answer::Stopping(_)) if wanted => {}
        Ok(Answer::Stopping(stopping)) => {
            let text = "the job stops with a final checkpoint";
            return asking.output.print(&json!({ "stopping": stopping }), text);
        }
        Ok(answer) => return other(answer),
        Err(error) => return failed(error, 1),
    }
    // As long as it takes: a drained job delivers everything first.
    match asked.answer(None) {
        Ok(Answer::Savepoint(taken)) => asking.output.print(&taken, &savepoint::text(&taken)),
        Ok(answer) => other(answer),
        Err(error) => failed(error, 1),
    }
}
