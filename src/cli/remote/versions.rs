//! `tidewright versions`.

use std::process::ExitCode;

use clap::Args;

use super::{OutputArguments, ServerArguments, ago, table, tell, told};
use crate::control::api::views::{VersionList, VersionView};
use crate::control::registry::records::Origin;
use crate::control::remote::path_part;

/// Arguments of `tidewright versions`.
#[derive(Debug, Args)]
pub struct VersionsArguments {
    /// The job.
    job: String,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// Shows the versions of a job.
pub fn versions(arguments: &VersionsArguments) -> ExitCode {
    tell(arguments.server.connect().and_then(|server| {
        let path = format!("/v1/jobs/{}/versions", path_part(&arguments.job));
        let list: VersionList = server.get(&path).map_err(told)?;
        let rows: Vec<_> = list.versions.iter().map(row).collect();
        let headings = [
            "VERSION",
            "ORIGIN",
            "AGE",
            "BY",
            "WORKERS",
            "PROCESSES",
            "FILE",
            "",
        ];
        let text = table(&headings, &rows);
        Ok(arguments.output.output.print(&list, &text))
    }))
}

fn row(version: &VersionView) -> Vec<String> {
    let origin = match version.origin {
        Origin::Submitted => "submitted",
        Origin::Rescaled => "rescaled",
        Origin::Upgraded => "upgraded",
        Origin::Replayed => "replayed",
    };
    vec![
        version.version.to_string(),
        origin.to_owned(),
        ago(version.submitted_ms),
        version.submitted_by.clone(),
        version.workers.to_string(),
        version.processes.to_string(),
        version.file_name.clone(),
        if version.current { "current" } else { "" }.to_owned(),
    ]
}
