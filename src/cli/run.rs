//! `tidewright run`: a job in this process, or this process's part of it.

use std::{collections::BTreeMap, io::Write, path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};
use tidewright_jobs::{Compiled, MissingEnv, Warning};

use super::cluster::{self, ClusterArguments};
use super::launch;
use super::metrics_arguments::MetricsArguments;
use super::progress::Progress;
use super::restore_argument::RestoreArgument;
use super::start_arguments::StartArguments;
use super::supervised::SupervisedArguments;
use super::upgrade_arguments::UpgradeArguments;
use super::validate::parse_override;
use super::{EXIT_USAGE, failed, job_file};
use crate::control::socket::DEFAULT_SOCKET;
use crate::job::logged::LOG_TARGET;
use crate::job::{self, Differences, Restore, RunOptions};
use crate::resident;
use crate::runtime::failure;
use crate::runtime::summary::Summary;
use crate::telemetry::{self, Origin, Settings};

/// Arguments of `tidewright run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// The job file.
    job: PathBuf,
    /// Worker threads of each process.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: u16,
    /// Where checkpoints go: file:///path or s3://bucket/prefix. The job file's store if absent.
    #[arg(long, value_name = "URL")]
    checkpoint_store: Option<String>,
    /// What to start from: the latest checkpoint (as without this flag), a savepoint (a path or URL), a named manifest of the store
    /// (manifests/..), or nothing. A shadow that has no checkpoint yet begins with `latest` from that of the live job, and without
    /// this flag from nothing; with `live` it begins with that of the live job although it has some of its own.
    #[arg(long, value_name = "latest|SAVEPOINT|MANIFEST|none|live")]
    restore: Option<RestoreArgument>,
    #[command(flatten)]
    start: StartArguments,
    /// Runs it as a shadow: with checkpoints, consumer groups and a namespace in every sink of its own. See `validate --shadow`.
    #[arg(long, value_name = "NAME")]
    shadow: Option<String>,
    /// Sends the whole table of this sink again, from restored state: for a store that lost data. May be repeated.
    #[arg(long, value_name = "SINK")]
    resync: Vec<String>,
    #[command(flatten)]
    upgrade: UpgradeArguments,
    /// Read to the ends seen at the start, close all windows, deliver everything, take a final checkpoint and exit.
    #[arg(long)]
    bounded: bool,
    /// Lets append sinks receive rows again that they already have, after a restore from an older checkpoint or none.
    #[arg(long)]
    allow_duplicates: bool,
    /// Takes the job over from the process that answers at this socket, to go on with other workers: that process is stopped
    /// when this one is ready, so that the pause is short.
    #[arg(long, value_name = "SOCKET", conflicts_with = "restore")]
    take_over: Option<PathBuf>,
    /// Replaces a value of the job file, such as `checkpoint.interval=20ms`. May be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = parse_override)]
    overrides: Vec<(String, String)>,
    /// Prints what the run has come to, on standard output at the end.
    #[arg(long, value_enum)]
    summary: Option<SummaryFormat>,
    /// Shows no progress.
    #[arg(long)]
    quiet: bool,
    /// Where this job answers `tidewright status`, `savepoint`, `stop` and `get`. Without it tidewright-data/control.sock, if no
    /// other job listens there.
    #[arg(long)]
    socket: Option<PathBuf>,
    #[command(flatten)]
    metrics: MetricsArguments,
    #[command(flatten)]
    cluster: ClusterArguments,
    #[command(flatten)]
    supervised: SupervisedArguments,
}

/// Form of a summary.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum SummaryFormat {
    /// One JSON object.
    Json,
}

/// Runs a job file. `log_json`: what it says of itself is in the log.
pub fn run(arguments: &RunArguments, log_json: bool) -> ExitCode {
    let supervised = &arguments.supervised;
    let changes = match supervised.begin() {
        Ok(changes) => changes,
        Err(message) => return failed(message, 1),
    };
    let exported = match supervised.without_export(Settings::from_environment()) {
        Ok(exported) => exported,
        Err(message) => return failed(message, EXIT_USAGE),
    };
    let overrides = [&arguments.overrides[..], &changes].concat();
    let name = arguments.job.display().to_string();
    let text = match std::fs::read_to_string(&arguments.job) {
        Ok(text) => text,
        Err(error) => return failed(format!("cannot read {name}: {error}"), EXIT_USAGE),
    };
    let compiled = match job_file::compile(&name, &text, &overrides, MissingEnv::Error) {
        Ok(compiled) => compiled,
        Err(diagnostics) => {
            eprintln!("{diagnostics}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let restore = match arguments.restored(&compiled.plan.name) {
        Ok(restore) => restore,
        Err(message) => return failed(message, EXIT_USAGE),
    };
    let compiled = match &arguments.shadow {
        None => compiled,
        Some(name) => match compiled.shadow(name) {
            Ok(shadow) => shadow,
            Err(message) => return failed(message, EXIT_USAGE),
        },
    };
    // A launching process has nothing to tell: those that it starts do.
    if arguments.cluster.launch.is_none() {
        let started = telemetry::start(exported, arguments.origin(&compiled.plan.name));
        if let Err(message) = supervised.without_export(started) {
            return failed(message, 1);
        }
    }
    if !arguments.cluster.follows() && arguments.cluster.launched_by.is_none() {
        for warning in &compiled.warnings {
            match log_json {
                true => tracing::warn!("{}", Warning(warning)),
                false => eprintln!("{}", Warning(warning)),
            }
        }
    }
    if let Some(processes) = arguments.cluster.launch {
        return launch::launch(processes);
    }
    if let Some(launcher) = arguments.cluster.launched_by
        && let Err(error) = launch::end_with_launcher(launcher)
    {
        return failed(error, 1);
    }
    let start_override = match arguments.start.start() {
        Ok(start) => start,
        Err(message) => return failed(message, EXIT_USAGE),
    };
    let agreed = arguments.agreed(&compiled.plan.name, &text, &restore);
    let cluster = match arguments.cluster.options(agreed) {
        Ok(cluster) => cluster,
        Err(error) => return failed(error, EXIT_USAGE),
    };
    let metrics = match arguments.metrics.address(&arguments.cluster) {
        Ok(metrics) => metrics,
        Err(error) => return failed(error, EXIT_USAGE),
    };
    let socket = arguments.socket.clone();
    let socket = socket.unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET));
    let options = RunOptions {
        workers: usize::from(arguments.workers),
        cluster,
        checkpoint_store: arguments.checkpoint_store.clone(),
        restore,
        shadow: arguments.shadow.is_some(),
        start: start_override,
        allowed: arguments.upgrade.allowed(),
        resync: arguments.resync.iter().cloned().collect(),
        bounded: arguments.bounded,
        until: None,
        allow_duplicates: arguments.allow_duplicates,
        take_over: arguments.take_over.clone(),
        metrics,
        socket: Some(socket),
        socket_required: arguments.socket.is_some(),
    };
    // One process speaks for the job.
    let speaks = !arguments.cluster.follows();
    let launched = arguments.cluster.launched_by.is_some();
    start(
        compiled,
        options,
        &Shown {
            quiet: arguments.quiet || (launched && !speaks),
            hint: None,
            summary: arguments.summary.is_some() && speaks,
            log_json,
        },
        supervised,
    )
}

/// What a run shows.
pub struct Shown {
    /// No progress.
    pub quiet: bool,
    /// What the user could try meanwhile.
    pub hint: Option<String>,
    /// The summary, on standard output.
    pub summary: bool,
    /// What it says of itself is in the log, and not beside it.
    pub log_json: bool,
}

impl Shown {
    fn say(&self, text: &str) {
        match self.log_json {
            true => tracing::info!(target: LOG_TARGET, "{text}"),
            false => eprintln!("{text}"),
        }
    }
}

impl RunArguments {
    /// What the job of this name, or the shadow of it, starts from.
    fn restored(&self, job: &str) -> Result<Restore, String> {
        RestoreArgument::of(self.restore.as_ref(), job, self.shadow.is_some())
    }

    fn origin<'a>(&self, job: &'a str) -> Origin<'a> {
        let process = usize::from(self.cluster.process.unwrap_or(0));
        Origin::Job { job, process }
    }

    /// What must be the same in all processes of the job.
    fn agreed(&self, job: &str, text: &str, restore: &Restore) -> BTreeMap<String, String> {
        let restore = match restore {
            Restore::Latest => "latest".to_owned(),
            Restore::LatestOf { anew: false, .. } => "latest of the live job".to_owned(),
            Restore::LatestOf { anew: true, .. } => "live".to_owned(),
            Restore::Nothing => "none".to_owned(),
            Restore::Manifest(name) | Restore::Savepoint(name) => name.clone(),
        };
        [
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("the job", job.to_owned()),
            (
                "the job file (with --set)",
                cluster::fingerprint(text, &self.overrides),
            ),
            ("--processes", self.cluster.count().to_string()),
            ("--workers", self.workers.to_string()),
            ("--restore", restore),
            ("where sources start", format!("{:?}", self.start)),
            ("what may become of state", format!("{:?}", self.upgrade)),
            ("--resync", self.resync.join(", ")),
            ("--take-over", self.take_over.is_some().to_string()),
            ("--bounded", self.bounded.to_string()),
            ("--allow-duplicates", self.allow_duplicates.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

/// Runs a compiled job with its progress shown.
pub fn start(
    compiled: Compiled,
    options: RunOptions,
    shown: &Shown,
    supervised: &SupervisedArguments,
) -> ExitCode {
    // A supervised run shows no progress, but its log says how it began and ended.
    let told = !shown.quiet || supervised.is_supervised();
    if told && !options.allowed.rebuilt.is_empty() {
        let views: Vec<_> = options.allowed.rebuilt.iter().map(String::as_str).collect();
        let views = views.join(", ");
        shown.say(&format!(
            "making {views} again in a shadow; the job goes on meanwhile"
        ));
    }
    let prepared = match job::prepare(compiled, options) {
        Ok(prepared) => prepared,
        Err(error) => failure::end(&error.to_string(), error.code()),
    };
    if told {
        match shown.log_json {
            true => prepared.log_opening(),
            false => eprintln!("{}", prepared.opening()),
        }
    }
    match prepared.serve_metrics() {
        Ok(Some(address)) if told => shown.say(&format!("metrics at http://{address}/metrics")),
        Ok(_) => {}
        Err(error) => failure::end(&error.to_string(), error.code()),
    }
    let exported = telemetry::export_metrics(prepared.measured());
    if let Err(message) = supervised.without_export(exported) {
        failure::end(&message, failure::EXIT_FAILED);
    }
    let differences = prepared.differences().clone();
    if told && !differences.is_empty() {
        let text = super::diff::text("what the sinks held", "what was made again", &differences);
        shown.say(text.trim_end());
    }
    let place = prepared.place();
    let progress = (!shown.quiet).then(|| {
        let hint = shown.hint.clone();
        Progress::start(prepared.stats(), place, hint, shown.log_json)
    });
    resident::forget_start();
    let outcome = prepared.run();
    drop(progress);
    match outcome {
        Ok(done) => {
            if told {
                match shown.log_json {
                    true => done.log_closing(),
                    false => eprintln!("{}", done.closing()),
                }
            }
            if shown.summary {
                let printed = told_by(&done.summary, &differences)
                    .map_err(std::io::Error::from)
                    .and_then(|json| writeln!(std::io::stdout(), "{json}"));
                if let Err(error) = printed {
                    return failed(format!("the summary cannot be printed: {error}"), 1);
                }
            }
            match (supervised.end(&done), done.gave_up) {
                (Err(message), _) => failed(message, 1),
                (Ok(()), Some(words)) => failure::end(&words, failure::EXIT_GAVE_UP),
                (Ok(()), None) => ExitCode::SUCCESS,
            }
        }
        Err(error) => failure::end(&error.to_string(), error.code()),
    }
}

/// The summary as one JSON object, with what has been rebuilt if anything has.
fn told_by(summary: &Summary, differences: &Differences) -> serde_json::Result<String> {
    let mut told = serde_json::to_value(summary)?;
    if !differences.is_empty() {
        told["rebuilt"] = super::diff::json(differences);
    }
    serde_json::to_string(&told)
}
