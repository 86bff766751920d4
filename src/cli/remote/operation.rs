//! `tidewright stop JOB` and `tidewright cancel JOB`.

use std::{process::ExitCode, thread, time::Duration};

use clap::Args;
use serde::Serialize;

use super::{OutputArguments, ServerArguments, tell, told};
use crate::cli::control::Output;
use crate::cli::{EXIT_JOB_FAILED, failed};
use crate::control::protocol::StopSavepoint;
use crate::control::registry::records::{Operation, OperationState, SavepointView};
use crate::control::remote::{Remote, path_part};

/// Arguments of `tidewright cancel`.
#[derive(Debug, Args)]
pub struct CancelArguments {
    /// The job.
    job: String,
    /// Waits until it has ended.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// How often an operation is asked for its state.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Ends a job on a server.
pub fn cancel(arguments: &CancelArguments) -> ExitCode {
    let CancelArguments {
        job,
        wait,
        server,
        output,
    } = arguments;
    let body = serde_json::json!({});
    tell(ask(server, job, "cancel", &body, *wait, output.output))
}

/// Stops a job on a server with a final checkpoint, and perhaps a savepoint.
pub fn stop(
    server: &ServerArguments,
    job: &str,
    savepoint: &StopSavepoint,
    drain: bool,
    wait: bool,
    output: Output,
) -> ExitCode {
    let body = serde_json::json!({ "savepoint": savepoint, "drain": drain });
    tell(ask(server, job, "stop", &body, wait, output))
}

/// Takes a savepoint of a job on a server.
pub fn savepoint(
    server: &ServerArguments,
    job: &str,
    to: Option<&str>,
    output: Output,
) -> ExitCode {
    let body = serde_json::json!({ "to": to });
    tell(ask(server, job, "savepoint", &body, true, output))
}

/// Asks a job for something that takes a while.
pub(super) fn ask(
    server: &ServerArguments,
    job: &str,
    verb: &str,
    body: &impl Serialize,
    wait: bool,
    output: Output,
) -> Result<ExitCode, ExitCode> {
    let server = server.connect()?;
    let path = format!("/v1/jobs/{}/{verb}", path_part(job));
    let operation: Operation = server.post_json(&path, body, None).map_err(told)?;
    follow(&server, operation, verb, wait, output)
}

/// Shows an operation, after its end if that is waited for.
pub(super) fn follow(
    server: &Remote,
    mut operation: Operation,
    verb: &str,
    wait: bool,
    output: Output,
) -> Result<ExitCode, ExitCode> {
    while wait && operation.state == OperationState::Running {
        thread::sleep(ASK_EVERY);
        let path = format!("/v1/operations/{}", operation.id);
        operation = server.get(&path).map_err(told)?;
    }
    let (job, message) = (operation.job.as_str(), operation.message.as_deref());
    if operation.state == OperationState::Failed {
        let reason = message.unwrap_or("no reason is known");
        return Err(failed(
            format!("{verb} of {job} failed: {reason}"),
            EXIT_JOB_FAILED,
        ));
    }
    let text = match (&operation.savepoint, message) {
        (Some(savepoint), _) => savepoint_text(savepoint),
        (None, Some(message)) => format!("{job}: {message}"),
        (None, None) => format!("{verb} of {job} is under way: operation {}", operation.id),
    };
    Ok(output.print(&operation, &text))
}

fn savepoint_text(savepoint: &SavepointView) -> String {
    format!(
        "savepoint of epoch {}, {} KiB: {}",
        savepoint.epoch,
        savepoint.bytes.div_ceil(1024),
        savepoint.location
    )
}
