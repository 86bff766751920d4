//! `tidewright state`: looks into checkpoints and savepoints. Reads only.

mod export;
mod get;
mod inspect;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Arguments of `tidewright state`.
#[derive(Debug, Args)]
pub struct StateArguments {
    #[command(subcommand)]
    command: StateCommand,
}

#[derive(Debug, Subcommand)]
enum StateCommand {
    /// Shows what a checkpoint or savepoint holds.
    Inspect(inspect::InspectArguments),
    /// Shows the row of a table view by its key, or the open windows of one.
    Get(get::GetArguments),
    /// Writes the rows of a view into a Parquet file.
    Export(export::ExportArguments),
}

/// The checkpoint or savepoint that is looked into.
#[derive(Debug, Args)]
pub struct Place {
    /// A savepoint, the checkpoint store of one job (its latest checkpoint), or a manifest in it: a path or URL.
    #[arg(value_name = "PATH|URL")]
    path: String,
}

/// Looks into a checkpoint or savepoint.
pub fn state(arguments: &StateArguments) -> ExitCode {
    match &arguments.command {
        StateCommand::Inspect(arguments) => inspect::inspect(arguments),
        StateCommand::Get(arguments) => get::get(arguments),
        StateCommand::Export(arguments) => export::export(arguments),
    }
}
