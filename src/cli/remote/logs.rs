//! `tidewright logs`.

use std::{
    io::{self, Write},
    process::ExitCode,
    thread,
    time::Duration,
};

use clap::Args;

use super::{OutputArguments, ServerArguments, tell, told};
use crate::cli::control::Output;
use crate::control::api::views::LogPage;
use crate::control::remote::path_part;

/// Arguments of `tidewright logs`.
#[derive(Debug, Args)]
pub struct LogsArguments {
    /// The job.
    job: String,
    /// Goes on showing lines as they come.
    #[arg(short, long)]
    follow: bool,
    /// How many of the last lines to begin with.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(0..=10_000))]
    tail: u16,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// How often new lines are asked for.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Shows a job's log.
pub fn logs(arguments: &LogsArguments) -> ExitCode {
    tell(try_logs(arguments))
}

fn try_logs(arguments: &LogsArguments) -> Result<ExitCode, ExitCode> {
    let server = arguments.server.connect()?;
    let path = format!("/v1/jobs/{}/logs", path_part(&arguments.job));
    let mut page: LogPage = server
        .get(&format!("{path}?tail={}", arguments.tail))
        .map_err(told)?;
    loop {
        if show(&page.text, arguments.output.output).is_err() {
            // Nobody reads any more.
            return Ok(ExitCode::SUCCESS);
        }
        if page.text.is_empty() {
            if !arguments.follow {
                return Ok(ExitCode::SUCCESS);
            }
            thread::sleep(ASK_EVERY);
        }
        page = server
            .get(&format!("{path}?cursor={}", page.next))
            .map_err(told)?;
    }
}

fn show(text: &str, output: Output) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match output {
        Output::Text => stdout.write_all(text.as_bytes())?,
        Output::Json => {
            for line in text.lines() {
                writeln!(stdout, "{}", serde_json::json!({ "line": line }))?;
            }
        }
    }
    stdout.flush()
}
