//! `tidewright shadow`: what becomes of shadows.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use tidewright_jobs::MissingEnv;

use super::validate::parse_override;
use super::{EXIT_USAGE, failed, job_file};
use crate::job;

/// What can be done about a shadow.
#[derive(Debug, Subcommand)]
pub enum ShadowCommand {
    /// Removes a shadow that does not run: its rows in Redis, DynamoDB and embedded stores, and its checkpoints.
    Drop(DropArguments),
}

/// Arguments of `tidewright shadow drop`.
#[derive(Debug, Args)]
pub struct DropArguments {
    /// The job file, as the shadow was run with it.
    file: String,
    /// The shadow's name, as of `run --shadow`; `rebuild` is that of `run --rebuild-view`.
    name: String,
    /// The checkpoint store that the shadow was run with. The job file's if absent.
    #[arg(long, value_name = "URL")]
    checkpoint_store: Option<String>,
    /// Replaces a value of the job file. May be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = parse_override)]
    overrides: Vec<(String, String)>,
}

/// Runs a command about shadows.
pub fn shadow(command: &ShadowCommand) -> ExitCode {
    let ShadowCommand::Drop(arguments) = command;
    let path = &arguments.file;
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return failed(format!("cannot read {path}: {error}"), EXIT_USAGE),
    };
    let compiled = job_file::compile(path, &text, &arguments.overrides, MissingEnv::Error);
    let compiled = match compiled {
        Ok(compiled) => compiled,
        Err(diagnostics) => {
            eprintln!("{diagnostics}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let shadow = match compiled.shadow(&arguments.name) {
        Ok(shadow) => shadow,
        Err(message) => return failed(message, EXIT_USAGE),
    };
    match job::drop_shadow(&shadow, arguments.checkpoint_store.as_deref()) {
        Ok(left) => {
            println!(
                "{} is removed, with its rows and checkpoints",
                shadow.plan.name
            );
            for what in left {
                println!("left: {what}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => failed(error, 1),
    }
}
