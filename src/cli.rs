//! The command line.

mod cluster;
mod completions;
mod control;
mod demo;
mod diff;
mod get;
mod job_file;
mod launch;
mod metrics_arguments;
mod progress;
mod remote;
mod restore_argument;
mod run;
mod serve;
mod shadow;
mod start_arguments;
mod state;
mod supervised;
mod tap;
mod top;
mod upgrade_arguments;
mod validate;

use std::{
    panic,
    process::{self, ExitCode},
};

use clap::{Parser, Subcommand};

use crate::runtime::failure;
use crate::telemetry;

/// A stream processor that keeps customer profiles current, each effect exactly once.
#[derive(Debug, Parser)]
#[command(name = "tidewright", version, about, max_term_width = 100, after_help = EXIT_CODES)]
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
    /// Runs the control plane: a REST API, and processes for the jobs submitted to it.
    Serve(serve::ServeArguments),
    /// Submits a job to a server.
    Submit(remote::SubmitArguments),
    /// Shows a server's jobs.
    List(remote::ListArguments),
    /// Shows the log of a server's job.
    Logs(remote::LogsArguments),
    /// Ends a server's job.
    Cancel(remote::CancelArguments),
    /// Removes a job that has ended from a server's list; its checkpoints stay.
    Remove(remote::RemoveArguments),
    /// Gives a server's running job other workers or processes.
    Rescale(remote::RescaleArguments),
    /// Gives a server's running job another job file.
    Upgrade(remote::UpgradeJobArguments),
    /// Has a server's job, or a shadow of it, read its input again.
    Replay(remote::ReplayArguments),
    /// Shows the versions of a server's job.
    Versions(remote::VersionsArguments),
    /// Shows the checkpoints of a server's job.
    Checkpoints(remote::CheckpointsArguments),
    /// Makes, shows and revokes a server's tokens.
    #[command(subcommand)]
    Token(remote::TokenCommand),
    /// Shows how a job is doing: a server's by its name, or one of this machine by its socket.
    Status(control::StatusArguments),
    /// Shows how far a job is behind, partition by partition: a server's by its name, or one of this machine by its socket.
    Lag(control::StatusArguments),
    /// Takes a savepoint of a job: a server's by its name, or one of this machine by its socket.
    Savepoint(control::SavepointArguments),
    /// Stops a job with a final checkpoint: a server's by its name, or one of this machine by its socket.
    Stop(control::StopArguments),
    /// Shows rows of a view or source as they pass: of a server's job, or of one of this machine by its socket.
    Tap(tap::TapArguments),
    /// Shows what jobs do, as it changes: all of a server, one of them, or the one of this machine by its socket.
    Top(top::TopArguments),
    /// Prints a completion script for a shell.
    Completions(completions::CompletionsArguments),
    /// Removes what a shadow has left.
    #[command(subcommand)]
    Shadow(shadow::ShadowCommand),
    /// Looks into a checkpoint or savepoint.
    State(state::StateArguments),
}

pub use crate::runtime::failure::EXIT_USAGE;

/// Exit code if there is no such row, job, operation or token.
pub const EXIT_NOT_FOUND: u8 = 4;
/// Exit code if the server wants another token.
pub const EXIT_DENIED: u8 = 8;
/// Exit code if no server answers.
pub const EXIT_UNREACHABLE: u8 = 6;
/// Exit code if what was waited for won't happen: the job failed, or what was asked of it did.
pub const EXIT_JOB_FAILED: u8 = 7;

/// What the exit codes mean, for `--help`.
const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed
  2  wrong arguments or job file, or refused by the server
  3  the job was claimed by another process
  4  no such row, job, operation or token
  5  another process of the job is lost or never came
  6  no server answers
  7  what was waited for won't happen: the job failed
  8  the server wants another token
  9  the job stopped because too much of its input could not be processed
  10  a worker of the job hung
  101  a defect of Tidewright
  141  nobody reads what is printed";

/// As of a program that the signal of a broken pipe ends: 128 and the signal's number.
const EXIT_UNREAD: i32 = 141;

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let stays = arguments.command.stays();
    if !stays {
        end_with_the_reader();
    }
    // What can be exported comes from what runs for long, and only if the environment says where to.
    let exports = stays && telemetry::settings::is_wanted();
    start_logging(arguments.log_json, default_filter(&arguments), exports);
    failure::say_before_exit(telemetry::last_words);
    let code = command(arguments);
    telemetry::stop();
    code
}

fn command(arguments: Arguments) -> ExitCode {
    match arguments.command {
        Command::Run(run) => run::run(&run, arguments.log_json),
        Command::Validate(arguments) => validate::validate(&arguments),
        Command::Schema => validate::schema(),
        Command::Demo(demo) => demo::demo(&demo, arguments.log_json),
        Command::Diff(arguments) => diff::diff(&arguments),
        Command::Get(arguments) => get::get(&arguments),
        Command::Serve(serving) => serve::serve(serving, arguments.log_json),
        Command::Submit(arguments) => remote::submit(&arguments),
        Command::List(arguments) => remote::list(&arguments),
        Command::Logs(arguments) => remote::logs(&arguments),
        Command::Cancel(arguments) => remote::cancel(&arguments),
        Command::Remove(arguments) => remote::remove(&arguments),
        Command::Rescale(arguments) => remote::rescale(&arguments),
        Command::Upgrade(arguments) => remote::upgrade(&arguments),
        Command::Replay(arguments) => remote::replay(&arguments),
        Command::Versions(arguments) => remote::versions(&arguments),
        Command::Checkpoints(arguments) => remote::checkpoints(&arguments),
        Command::Token(command) => remote::token(&command),
        Command::Completions(arguments) => completions::completions(&arguments),
        Command::Status(arguments) => control::status(&arguments),
        Command::Lag(arguments) => control::lag(&arguments),
        Command::Savepoint(arguments) => control::savepoint(&arguments),
        Command::Stop(arguments) => control::stop(&arguments),
        Command::Tap(arguments) => tap::tap(&arguments),
        Command::Top(arguments) => top::top(&arguments),
        Command::Shadow(command) => shadow::shadow(&command),
        Command::State(arguments) => state::state(&arguments),
    }
}

impl Command {
    /// Runs jobs, which go on whoever reads what they print.
    fn stays(&self) -> bool {
        matches!(self, Self::Run(_) | Self::Demo(_) | Self::Serve(_))
    }
}

/// Ends this process when nobody reads what it prints any more, as other commands do (`tidewright get .. | head -3`): without
/// a word, with the code that a shell shows for them.
fn end_with_the_reader() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        // What `println!` panics with. The signal that ends others would also end a command whose server is gone.
        let text = panic.payload_as_str().unwrap_or_default();
        if text.starts_with("failed printing to stdout") && text.contains("Broken pipe") {
            process::exit(EXIT_UNREAD);
        }
        usual(panic);
    }));
}

/// What is logged without `RUST_LOG`: warnings; what a server does with its jobs; and, where all is JSON, what a run says of itself.
fn default_filter(arguments: &Arguments) -> &'static str {
    match (&arguments.command, arguments.log_json) {
        (Command::Serve(_), _) => "warn,tidewright::control=info",
        (_, true) => "warn,tidewright::run=info",
        (_, false) => "warn",
    }
}

/// Logs go to standard error, and to a collector if they are exported; `RUST_LOG` chooses what.
fn start_logging(json: bool, default: &str, exported: bool) {
    use std::io::IsTerminal;

    use telemetry::logs;
    use tracing_subscriber::{
        EnvFilter, Layer, fmt, layer::SubscriberExt, util::SubscriberInitExt,
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    // Files and pipes get no colours.
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let text = fmt::layer().with_ansi(colours).with_writer(std::io::stderr);
    let text = match json {
        true => text.json().boxed(),
        false => text.boxed(),
    };
    let events = tracing_subscriber::registry().with(filter);
    match exported {
        false => events.with(text).init(),
        true => events
            .with(text.with_filter(logs::told()))
            .with(logs::Exported.with_filter(logs::exported()))
            .init(),
    }
}

/// A failure, told on standard error.
fn failed(message: impl std::fmt::Display, code: u8) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::from(code)
}
