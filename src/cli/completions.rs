//! `tidewright completions`.

use std::{io, process::ExitCode};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Arguments of `tidewright completions`.
#[derive(Debug, Args)]
pub struct CompletionsArguments {
    /// The shell.
    shell: Shell,
}

/// Prints a script that makes a shell complete this program's commands and options.
pub fn completions(arguments: &CompletionsArguments) -> ExitCode {
    let mut command = super::Arguments::command();
    clap_complete::generate(
        arguments.shell,
        &mut command,
        "tidewright",
        &mut io::stdout(),
    );
    ExitCode::SUCCESS
}
