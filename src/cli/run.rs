//! `tidewright run`: a job in this process.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};
use tidewright_jobs::{Compiled, Warning, compile};

use super::progress::Progress;
use super::validate::parse_override;
use super::{EXIT_USAGE, failed};
use crate::control::socket::DEFAULT_SOCKET;
use crate::job::{self, Restore, RunOptions};

/// Arguments of `tidewright run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// The job file.
    job: PathBuf,
    /// Worker threads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: u16,
    /// Where checkpoints go: file:///path or s3://bucket/prefix. The job file's store if absent.
    #[arg(long, value_name = "URL")]
    checkpoint_store: Option<String>,
    /// What to start from: the latest checkpoint, a named manifest of the store, or nothing.
    #[arg(long, value_name = "latest|PATH|none", default_value = "latest")]
    restore: Restore,
    /// Read to the ends seen at the start, close all windows, deliver everything, take a final checkpoint and exit.
    #[arg(long)]
    bounded: bool,
    /// Lets append sinks receive rows again that they already have, after a restore from an older checkpoint or none.
    #[arg(long)]
    allow_duplicates: bool,
    /// Replaces a value of the job file, such as `checkpoint.interval=20ms`. May be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = parse_override)]
    overrides: Vec<(String, String)>,
    /// Prints what the run has come to, on standard output at the end.
    #[arg(long, value_enum)]
    summary: Option<SummaryFormat>,
    /// Shows no progress.
    #[arg(long)]
    quiet: bool,
    /// Where this job answers `tidewright get`, if it has an embedded sink.
    #[arg(long, default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
}

/// Form of a summary.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum SummaryFormat {
    /// One JSON object.
    Json,
}

/// Runs a job file.
pub fn run(arguments: &RunArguments) -> ExitCode {
    let name = arguments.job.display().to_string();
    let text = match std::fs::read_to_string(&arguments.job) {
        Ok(text) => text,
        Err(error) => return failed(format!("cannot read {name}: {error}"), EXIT_USAGE),
    };
    let env = |name: &str| std::env::var(name).ok();
    let compiled = match compile(&name, &text, &arguments.overrides, &env) {
        Ok(compiled) => compiled,
        Err(diagnostics) => {
            eprintln!("{diagnostics}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    for warning in &compiled.warnings {
        eprintln!("{}", Warning(warning));
    }
    let options = RunOptions {
        workers: usize::from(arguments.workers),
        checkpoint_store: arguments.checkpoint_store.clone(),
        restore: arguments.restore.clone(),
        bounded: arguments.bounded,
        allow_duplicates: arguments.allow_duplicates,
        socket: Some(arguments.socket.clone()),
    };
    start(
        compiled,
        options,
        arguments.quiet,
        None,
        arguments.summary.is_some(),
    )
}

/// Runs a compiled job with its progress shown.
pub fn start(
    compiled: Compiled,
    options: RunOptions,
    quiet: bool,
    hint: Option<String>,
    summary: bool,
) -> ExitCode {
    let prepared = match job::prepare(compiled, options) {
        Ok(prepared) => prepared,
        Err(error) => return failed(error, 1),
    };
    if !quiet {
        eprintln!("{}", prepared.opening());
    }
    let progress = (!quiet).then(|| Progress::start(prepared.stats(), hint));
    let outcome = prepared.run();
    drop(progress);
    match outcome {
        Ok(done) => {
            if !quiet {
                eprintln!("{}", done.closing());
            }
            if summary {
                match serde_json::to_string(&done.summary) {
                    Ok(json) => println!("{json}"),
                    Err(error) => return failed(error, 1),
                }
            }
            ExitCode::SUCCESS
        }
        Err(error) => failed(error, 1),
    }
}
