//! `tidewright checkpoints`.

use std::process::ExitCode;

use clap::Args;

use super::{OutputArguments, ServerArguments, ago, table, tell, told};
use crate::control::api::views::{CheckpointList, CheckpointView};
use crate::control::remote::path_part;

/// Arguments of `tidewright checkpoints`.
#[derive(Debug, Args)]
pub struct CheckpointsArguments {
    /// The job.
    job: String,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// Shows the checkpoints that a job could be restored from.
pub fn checkpoints(arguments: &CheckpointsArguments) -> ExitCode {
    tell(arguments.server.connect().and_then(|server| {
        let path = format!("/v1/jobs/{}/checkpoints", path_part(&arguments.job));
        let list: CheckpointList = server.get(&path).map_err(told)?;
        let rows: Vec<_> = list.checkpoints.iter().map(row).collect();
        let headings = ["CHECKPOINT", "EPOCH", "KIND", "AGE", "SIZE", "WORKERS", ""];
        let text = format!("in {}\n{}", list.store, table(&headings, &rows));
        Ok(arguments.output.output.print(&list, &text))
    }))
}

fn row(checkpoint: &CheckpointView) -> Vec<String> {
    vec![
        checkpoint.name.clone(),
        checkpoint.epoch.to_string(),
        checkpoint.kind.clone(),
        ago(checkpoint.created_ms),
        format!("{} KiB", checkpoint.bytes.div_ceil(1024)),
        checkpoint.workers.to_string(),
        if checkpoint.latest { "latest" } else { "" }.to_owned(),
    ]
}
