//! `tidewright list`.

use std::process::ExitCode;

use clap::Args;

use super::{OutputArguments, ServerArguments, ago, table, tell, told};
use crate::control::api::views::{JobList, JobView};

/// Arguments of `tidewright list`.
#[derive(Debug, Args)]
pub struct ListArguments {
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// Shows a server's jobs.
pub fn list(arguments: &ListArguments) -> ExitCode {
    tell(arguments.server.connect().and_then(|server| {
        let list: JobList = server.get("/v1/jobs").map_err(told)?;
        let rows: Vec<_> = list.jobs.iter().map(row).collect();
        let headings = [
            "JOB",
            "STATE",
            "SINCE",
            "VERSION",
            "WORKERS",
            "PROCESSES",
            "RESTARTS",
            "MEMORY",
        ];
        Ok(arguments
            .output
            .output
            .print(&list, &table(&headings, &rows)))
    }))
}

fn row(job: &JobView) -> Vec<String> {
    let state = if job.crash_looping {
        format!("{} (crash loop)", job.state.name())
    } else {
        job.state.name().to_owned()
    };
    vec![
        job.name.clone(),
        state,
        ago(job.since_ms),
        job.version.to_string(),
        job.workers.to_string(),
        job.process_count.to_string(),
        job.restarts.to_string(),
        super::status::memory(job).unwrap_or_default(),
    ]
}
