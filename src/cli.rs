//! The command line.

mod cluster;
mod control;
mod demo;
mod diff;
mod get;
mod launch;
mod progress;
mod run;
mod start_arguments;
mod state;
mod upgrade_arguments;
mod validate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A stream processor that keeps customer profiles current, each effect exactly once.
#[derive(Debug, Parser)]
#[command(name = "tidewright", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Log lines as JSON.
    #[arg(long, global = true)]
    log_json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a job, in this process or as one of several.
    Run(Box<run::RunArguments>),
    /// Checks a job file without connecting to anything and shows its plan.
    Validate(validate::ValidateArguments),
    /// Prints the job file's JSON Schema, for editors.
    Schema,
    /// Runs the personalization job on generated data into a local store, with nothing else installed.
    Demo(demo::DemoArguments),
    /// Compares what two jobs, or a job and a shadow of it, have in a keyed sink.
    Diff(diff::DiffArguments),
    /// Shows a row of an embedded store of the running job.
    Get(get::GetArguments),
    /// Shows how the running job is doing.
    Status(control::StatusArguments),
    /// Takes a savepoint of the running job.
    Savepoint(control::SavepointArguments),
    /// Stops the running job with a final checkpoint.
    Stop(control::StopArguments),
    /// Looks into a checkpoint or savepoint.
    State(state::StateArguments),
}

/// Exit code for job files and arguments that are wrong.
pub const EXIT_USAGE: u8 = 2;
/// Exit code if there is no such row.
pub const EXIT_NOT_FOUND: u8 = 4;

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_logging(arguments.log_json);
    match arguments.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Validate(arguments) => validate::validate(&arguments),
        Command::Schema => validate::schema(),
        Command::Demo(arguments) => demo::demo(&arguments),
        Command::Diff(arguments) => diff::diff(&arguments),
        Command::Get(arguments) => get::get(&arguments),
        Command::Status(arguments) => control::status(&arguments),
        Command::Savepoint(arguments) => control::savepoint(&arguments),
        Command::Stop(arguments) => control::stop(&arguments),
        Command::State(arguments) => state::state(&arguments),
    }
}

/// Logs go to standard error; `RUST_LOG` chooses what, warnings by default.
fn start_logging(json: bool) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if json {
        logs.json().init()
    } else {
        logs.init()
    }
}

/// A failure, told on standard error.
fn failed(message: impl std::fmt::Display, code: u8) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::from(code)
}
