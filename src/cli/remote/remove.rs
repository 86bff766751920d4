//! `tidewright remove JOB`.

use std::process::ExitCode;

use clap::Args;

use super::{OutputArguments, ServerArguments, tell, told};
use crate::control::remote::path_part;

/// Arguments of `tidewright remove`.
#[derive(Debug, Args)]
pub struct RemoveArguments {
    /// The job, which must have ended.
    job: String,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// Removes a job that has ended from a server's list.
pub fn remove(arguments: &RemoveArguments) -> ExitCode {
    tell(try_remove(arguments))
}

fn try_remove(arguments: &RemoveArguments) -> Result<ExitCode, ExitCode> {
    let path = format!("/v1/jobs/{}", path_part(&arguments.job));
    arguments.server.connect()?.delete(&path).map_err(told)?;
    let removed = serde_json::json!({ "removed": arguments.job });
    let text = format!(
        "the job {} is removed; its checkpoints and its log stay",
        arguments.job
    );
    Ok(arguments.output.output.print(&removed, &text))
}
