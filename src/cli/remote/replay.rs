//! `tidewright replay`.

use std::process::ExitCode;

use clap::Args;

use super::{OutputArguments, ServerArguments, operation, tell};
use crate::cli::start_arguments::{parse_time, read_offsets};
use crate::cli::{EXIT_USAGE, failed};
use crate::control::registry::records::ReplayFrom;
use crate::control::submission::replay::ReplayRequest;

/// Arguments of `tidewright replay`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("beginning").required(true).multiple(true)))]
pub struct ReplayArguments {
    /// The job.
    job: String,
    /// From the first retained record.
    #[arg(long, groups = ["position", "beginning"])]
    from_earliest: bool,
    /// From the ends at the time of the start. Tables as the job file says, unless --from-sources names them.
    #[arg(long, groups = ["position", "beginning"])]
    from_latest: bool,
    /// From the first record at or after this time: RFC 3339, or milliseconds since 1970. Tables as with --from-latest.
    #[arg(long, groups = ["position", "beginning"], value_name = "TIME", value_parser = parse_time)]
    from_timestamp: Option<i64>,
    /// From the offsets in this file: {"SOURCE": {"PARTITION": OFFSET}}. Others as the job file says.
    #[arg(long, groups = ["position", "beginning"], value_name = "FILE")]
    from_offsets: Option<std::path::PathBuf>,
    /// Only these sources, with commas between them.
    #[arg(
        long,
        value_name = "SOURCES",
        value_delimiter = ',',
        requires = "position"
    )]
    from_sources: Vec<String>,
    /// Replays a copy of the job beside it: JOB.shadow.NAME, with checkpoints and a namespace in every sink of its own.
    #[arg(long, value_name = "NAME")]
    shadow: Option<String>,
    /// The state that a shadow begins with: the job's latest checkpoint, or a savepoint, a path or URL of the server's, as
    /// with submit. Without a position it reads on from where the state stands.
    #[arg(long, group = "beginning", value_name = "latest|SAVEPOINT", value_parser = state)]
    restore: Option<String>,
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
    /// Where sources begin; `None` where only the state says so.
    fn position(&self) -> Result<Option<ReplayFrom>, String> {
        Ok(if let Some(ms) = self.from_timestamp {
            Some(ReplayFrom::Timestamp(ms))
        } else if let Some(path) = &self.from_offsets {
            Some(ReplayFrom::Offsets(read_offsets(path)?))
        } else if self.from_earliest {
            Some(ReplayFrom::Earliest)
        } else {
            self.from_latest.then_some(ReplayFrom::Latest)
        })
    }
}

/// `latest`, or the URL of a place.
fn state(text: &str) -> Result<String, String> {
    match text {
        "latest" => Ok(text.to_owned()),
        place => crate::place::url(place),
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
        restore: arguments.restore.clone(),
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
