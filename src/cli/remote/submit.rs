//! `tidewright submit`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Duration,
};

use clap::Args;
use tidewright_jobs::units::ByteSize;

use super::{OutputArguments, ServerArguments, tell, told};
use crate::cli::validate::parse_override;
use crate::cli::{EXIT_JOB_FAILED, EXIT_USAGE, failed};
use crate::control::api::views::{JobView, SubmittedView};
use crate::control::lifecycle::JobState;
use crate::control::remote::{Remote, path_part};
use crate::control::submission::{Change, Submission};

/// Arguments of `tidewright submit`.
#[derive(Debug, Args)]
pub struct SubmitArguments {
    /// The job file.
    file: PathBuf,
    /// The job's name, instead of the job file's.
    #[arg(long)]
    name: Option<String>,
    /// Worker threads of each process.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: u16,
    /// Processes, which the server starts and ends together.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    processes: u16,
    /// Replaces a value of the job file, such as `checkpoint.interval=20ms`. May be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = parse_override)]
    overrides: Vec<(String, String)>,
    /// Resident memory of all its processes together at which the job is ended and started again, such as 2GiB.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory_limit: Option<ByteSize>,
    /// Begins with this savepoint, a path or URL of the server's, instead of the job's own last checkpoint. A local one must be
    /// below the folder of one of the server's jobs, or below one that `serve --allow-files` names.
    #[arg(long, value_name = "SAVEPOINT", value_parser = crate::place::url)]
    restore: Option<String>,
    /// Lets append sinks receive rows again that they already have, if it goes back to an older savepoint.
    #[arg(long)]
    allow_duplicates: bool,
    /// Waits until the job runs, or has ended.
    #[arg(long)]
    wait: bool,
    /// Two submissions with the same key make one job: for scripts that may try again.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

fn size(text: &str) -> Result<ByteSize, String> {
    ByteSize::parse(text)
        .filter(|size| size.0 > 0)
        .ok_or_else(|| "expected a size with its unit, such as 512MiB or 2GiB".to_owned())
}

/// How often a job is asked for its state.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Submits a job to a server.
pub fn submit(arguments: &SubmitArguments) -> ExitCode {
    tell(try_submit(arguments))
}

fn try_submit(arguments: &SubmitArguments) -> Result<ExitCode, ExitCode> {
    let (file, file_name) = read_file(&arguments.file)?;
    let submission = Submission {
        file,
        file_name,
        name: arguments.name.clone(),
        workers: arguments.workers,
        processes: arguments.processes,
        set: changes(&arguments.overrides),
        memory_limit_bytes: arguments.memory_limit.map(|size| size.0),
        restore: arguments.restore.clone(),
        allow_duplicates: arguments.allow_duplicates,
    };
    let server = arguments.server.connect()?;
    // One of its own otherwise, which makes a submission that the network repeats harmless.
    let key = arguments.idempotency_key.clone();
    let key = key.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let submitted: SubmittedView = server
        .post_json("/v1/jobs", &submission, Some(&key))
        .map_err(told)?;
    for warning in &submitted.warnings {
        eprintln!("{warning}");
    }
    let job = if arguments.wait {
        wait(&server, submitted.job)?
    } else {
        submitted.job
    };
    let text = format!(
        "job {}, version {}: {}",
        job.name,
        job.version,
        job.state.name()
    );
    Ok(arguments.output.output.print(&job, &text))
}

/// A job file and its name.
pub(super) fn read_file(path: &Path) -> Result<(String, String), ExitCode> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(file) => Ok((file, name)),
        Err(error) => Err(failed(format!("cannot read {name}: {error}"), EXIT_USAGE)),
    }
}

/// Changed values, as the server wants them.
pub(super) fn changes(overrides: &[(String, String)]) -> Vec<Change> {
    let change = |(path, value): &(String, String)| Change {
        path: path.clone(),
        value: value.clone(),
    };
    overrides.iter().map(change).collect()
}

/// Waits until a job runs or has ended in good order.
fn wait(server: &Remote, mut job: JobView) -> Result<JobView, ExitCode> {
    loop {
        match job.state {
            JobState::Running | JobState::Finished | JobState::Suspended => return Ok(job),
            JobState::Failed | JobState::Canceled => return Err(not_running(&job)),
            _ if job.crash_looping => return Err(not_running(&job)),
            _ => {}
        }
        thread::sleep(ASK_EVERY);
        let path = format!("/v1/jobs/{}", path_part(&job.name));
        job = server.get(&path).map_err(told)?;
    }
}

fn not_running(job: &JobView) -> ExitCode {
    let error = job.last_error.as_deref().unwrap_or("no error is known");
    let (name, state) = (&job.name, job.state.name());
    let again = if job.crash_looping {
        "; the server goes on trying"
    } else {
        ""
    };
    failed(
        format!("the job {name} is {state}{again}: {error}"),
        EXIT_JOB_FAILED,
    )
}
