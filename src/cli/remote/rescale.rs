//! `tidewright rescale`.

use std::process::ExitCode;

use clap::Args;

use super::{OutputArguments, ServerArguments, operation, tell};
use crate::control::submission::next::RescaleRequest;

/// Arguments of `tidewright rescale`.
#[derive(Debug, Args)]
pub struct RescaleArguments {
    /// The job.
    job: String,
    /// Worker threads of each process. As many as now if absent.
    #[arg(long, required_unless_present = "processes", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// Processes. As many as now if absent.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    processes: Option<u16>,
    /// Waits until the job runs so, or is known not to.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// Gives a running job other workers or processes.
pub fn rescale(arguments: &RescaleArguments) -> ExitCode {
    let request = RescaleRequest {
        workers: arguments.workers,
        processes: arguments.processes,
    };
    tell(operation::ask(
        &arguments.server,
        &arguments.job,
        "rescale",
        &request,
        arguments.wait,
        arguments.output.output,
    ))
}
