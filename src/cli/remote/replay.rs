//! `tidewright replay`.

use std::process::ExitCode;

use clap::Args;

use super::{OutputArguments, ServerArguments, operation, tell};
use crate::cli::start_arguments::{parse_time, read_offsets};
use crate::cli::{EXIT_USAGE, failed};
use crate::control::registry::records::ReplayFrom;
use crate::control::submission::next::ReplayRequest;

/// Arguments of `tidewright replay`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("position").required(true)))]
pub struct ReplayArguments {
    /// The job.
    job: String,
    /// From the first retained record.
    #[arg(long, group = "position")]
    from_earliest: bool,
    /// From the first record at or after this time: RFC 3339, or milliseconds since 1970. Tables as the job file says, unless
    /// --from-sources names them.
    #[arg(long, group = "position", value_name = "TIME", value_parser = parse_time)]
    from_timestamp: Option<i64>,
    /// From the offsets in this file: {"SOURCE": {"PARTITION": OFFSET}}. Others as the job file says.
    #[arg(long, group = "position", value_name = "FILE")]
    from_offsets: Option<std::path::PathBuf>,
    /// Only these sources, with commas between them.
    #[arg(long, value_name = "SOURCES", value_delimiter = ',')]
    from_sources: Vec<String>,
    /// Replays a copy of the job beside it: JOB.shadow.NAME, with checkpoints and a namespace in every sink of its own.
    #[arg(long, value_name = "NAME")]
    shadow: Option<String>,
    /// Lets sinks that only append receive rows again.
    #[arg(long)]
    allow_duplicates: bool,
    /// Waits until the replay runs, or is known not to. It has caught up when its frontiers have.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

impl ReplayArguments {
    fn position(&self) -> Result<ReplayFrom, String> {
        if let Some(ms) = self.from_timestamp {
            Ok(ReplayFrom::Timestamp(ms))
        } else if let Some(path) = &self.from_offsets {
            Ok(ReplayFrom::Offsets(read_offsets(path)?))
        } else if self.from_earliest {
            Ok(ReplayFrom::Earliest)
        } else {
            Err(
                "where does it begin? --from-earliest, --from-timestamp or --from-offsets says so"
                    .to_owned(),
            )
        }
    }
}

/// Has a job read its input again.
pub fn replay(arguments: &ReplayArguments) -> ExitCode {
    let from = match arguments.position() {
        Ok(from) => from,
        Err(message) => return failed(message, EXIT_USAGE),
    };
    let request = ReplayRequest {
        from,
        sources: arguments.from_sources.iter().cloned().collect(),
        shadow: arguments.shadow.clone(),
        allow_duplicates: arguments.allow_duplicates,
    };
    tell(operation::ask(
        &arguments.server,
        &arguments.job,
        "replay",
        &request,
        arguments.wait,
        arguments.output.output,
    ))
}
