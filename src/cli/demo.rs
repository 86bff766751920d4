//! `tidewright demo`: the personalization job on generated data.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use tidewright_jobs::MissingEnv;

use super::run::{Shown, start};
use super::supervised::SupervisedArguments;
use super::{EXIT_USAGE, failed, job_file};
use crate::control::socket::DEFAULT_SOCKET;
use crate::job::{Allowed, Restore, RunOptions};
use crate::telemetry::{self, Origin, Settings};

/// The job file, so that the demo needs nothing but this binary.
const DEMO_JOB: &str = include_str!("../../jobs/demo.yaml");

/// Arguments of `tidewright demo`.
#[derive(Debug, Args)]
pub struct DemoArguments {
    /// Worker threads.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: u16,
    /// Events per second.
    #[arg(long, default_value_t = 20_000)]
    rate: u32,
    /// Forgets what an earlier demo has done.
    #[arg(long)]
    fresh: bool,
}

/// Runs the demo until Ctrl-C. `log_json`: what it says of itself is in the log.
pub fn demo(arguments: &DemoArguments, log_json: bool) -> ExitCode {
    let exported = match Settings::from_environment() {
        Ok(exported) => exported,
        Err(message) => return failed(message, EXIT_USAGE),
    };
    if arguments.fresh
        && let Err(error) = std::fs::remove_dir_all("tidewright-data/demo")
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return failed(format!("cannot remove tidewright-data/demo: {error}"), 1);
    }
    let overrides = [(
        "sources.events.datagen.rate".to_owned(),
        arguments.rate.to_string(),
    )];
    let compiled = job_file::compile("jobs/demo.yaml", DEMO_JOB, &overrides, MissingEnv::Error);
    let compiled = match compiled {
        Ok(compiled) => compiled,
        Err(diagnostics) => return failed(diagnostics, 1),
    };
    let origin = Origin::Job {
        job: &compiled.plan.name,
        process: 0,
    };
    if let Err(message) = telemetry::start(exported, origin) {
        return failed(message, 1);
    }
    let options = RunOptions {
        workers: usize::from(arguments.workers),
        cluster: None,
        checkpoint_store: None,
        restore: Restore::Latest,
        shadow: false,
        start: None,
        allowed: Allowed::default(),
        resync: std::collections::BTreeSet::new(),
        bounded: false,
        until: None,
        allow_duplicates: false,
        take_over: None,
        socket: Some(PathBuf::from(DEFAULT_SOCKET)),
        metrics: None,
        socket_required: true,
    };
    let hint = format!("in a second terminal: {} get customer u0000042", program());
    start(
        compiled,
        options,
        &Shown {
            quiet: false,
            hint: Some(hint),
            summary: false,
            log_json,
        },
        &SupervisedArguments::default(),
    )
}

/// How this program was called, so that the hint can be copied.
fn program() -> String {
    let path = std::env::args()
        .next()
        .unwrap_or_else(|| "tidewright".to_owned());
    if path.contains('/') {
        path
    } else {
        "tidewright".to_owned()
    }
}
