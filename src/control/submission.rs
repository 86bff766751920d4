//! From a request to a registered version: everything is checked first, so a wrong job file changes nothing.

pub mod next;
pub mod replay;

use std::io;

use serde::{Deserialize, Serialize};
use tidewright_jobs::{Compiled, Diagnostics, MissingEnv, Surroundings, Warning, compile_in};
use utoipa::ToSchema;

use super::files::AllowedFiles;
use super::folders::Folders;
use super::registry::NewVersion;
use super::registry::records::{Once, Origin, Version};
use super::remote::TOKEN_VARIABLE;
use crate::job;
use crate::telemetry::settings;

/// A job to be run.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// The job file: YAML. References such as `${env:NAME}` are looked up where the server runs, each time that the job
    /// starts, and stored as they are written.
    pub file: String,
    /// The job file's name, for messages.
    #[serde(default = "default_file_name")]
    #[schema(default = "job.yaml", max_length = 1000)]
    pub file_name: String,
    /// The job's name, instead of the job file's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Worker threads of each process.
    #[serde(default = "one")]
    #[schema(default = 1, minimum = 1, maximum = 1024)]
    pub workers: u16,
    /// Processes, which the server starts and ends together.
    #[serde(default = "one")]
    #[schema(default = 1, minimum = 1, maximum = 256)]
    pub processes: u16,
    /// Changed values of the job file.
    #[serde(default)]
    pub set: Vec<Change>,
    /// Resident memory of all its processes together at which the job is ended and started again, in bytes; unlimited if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub memory_limit_bytes: Option<u64>,
    /// The URL of a savepoint that the job begins with, `file:///..` or `s3://..`, instead of its own last checkpoint. A local
    /// one must be below the folder of a job of the server, or below a folder that the server lets jobs use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<String>,
    /// Sinks that only append may receive rows again that they have, if the job goes back to an older savepoint.
    #[serde(default)]
    pub allow_duplicates: bool,
}

/// A changed value of a job file.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Where, such as `checkpoint.interval`.
    pub path: String,
    /// The value.
    pub value: String,
}

fn default_file_name() -> String {
    "job.yaml".to_owned()
}

fn one() -> u16 {
    1
}

/// Why a submission is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The job file is wrong.
    #[error("{0}")]
    JobFile(Diagnostics),
    /// It names files that it may not use.
    #[error("{}", .0.join("\n"))]
    Files(Vec<String>),
    /// It does not fit the state that the job has.
    #[error("{0}")]
    Fit(String),
    /// A value of the request is out of its range.
    #[error("{0}")]
    Request(String),
}

/// A submission that passed every check, and what looks wrong with it but does no harm.
#[derive(Debug)]
pub struct Checked {
    /// What is registered.
    pub version: NewVersion,
    /// Warnings, for people.
    pub warnings: Vec<String>,
}

/// Worker threads of each process and processes that a job may have.
///
/// # Errors
/// [`Refused::Request`].
pub fn check_shape(workers: u16, processes: u16) -> Result<(), Refused> {
    for (name, value, most) in [("workers", workers, 1024), ("processes", processes, 256)] {
        if !(1..=most).contains(&value) {
            return Err(Refused::Request(format!(
                "`{name}` is {value}, it must be between 1 and {most}"
            )));
        }
    }
    Ok(())
}

/// Checks a submission without connecting to anything but the place of the savepoint that it begins with.
///
/// # Errors
/// [`Refused`], with everything that is wrong.
pub fn check(
    submission: Submission,
    folders: &Folders,
    allowed: &AllowedFiles,
) -> Result<Checked, Refused> {
    check_shape(submission.workers, submission.processes)?;
    if submission.memory_limit_bytes == Some(0) {
        return Err(Refused::Request(
            "`memory_limit_bytes` must be more than 0".to_owned(),
        ));
    }
    let mut overrides: Vec<_> = submission
        .set
        .into_iter()
        .map(|change| (change.path, change.value))
        .collect();
    overrides.extend(submission.name.map(|name| ("name".to_owned(), name)));
    let (file_name, text) = (submission.file_name, submission.file);
    let compiled = compile(&file_name, &text, &overrides, allowed)?;
    let name = compiled.plan.name.clone();
    let refusals = allowed.refusals(&folders.job(&name), &compiled);
    if !refusals.is_empty() {
        return Err(Refused::Files(refusals));
    }
    let mut warnings: Vec<_> = compiled
        .warnings
        .iter()
        .map(|warning| Warning(warning).to_string())
        .collect();
    if let Some(savepoint) = &submission.restore {
        allowed
            .check_savepoint(&folders.jobs(), savepoint)
            .map_err(|reason| Refused::Files(vec![format!("restore: {reason}")]))?;
        let notes = job::check_savepoint(&compiled, savepoint, false)
            .map_err(|error| Refused::Fit(format!("restore: {error}")))?;
        warnings.extend(notes);
    }
    let version = NewVersion {
        name,
        file_name,
        text,
        overrides,
        workers: submission.workers,
        processes: submission.processes,
        memory_limit_bytes: submission.memory_limit_bytes,
        origin: Origin::Submitted,
        shadow: None,
        once: Once {
            restore: submission.restore,
            allow_duplicates: submission.allow_duplicates,
            ..Once::default()
        },
    };
    Ok(Checked { version, warnings })
}

/// A registered version as its process will compile it.
///
/// # Errors
/// If it can't be compiled any more: a variable or file of the server's is gone.
pub fn compile_version(version: &Version, allowed: &AllowedFiles) -> Result<Compiled, Refused> {
    let Version {
        file_name,
        text,
        overrides,
        ..
    } = version;
    let compiled = compile(file_name, text, overrides, allowed)?;
    next::as_shadow(compiled, version.shadow.as_deref())
}

fn compile(
    file_name: &str,
    text: &str,
    overrides: &[(String, String)],
    allowed: &AllowedFiles,
) -> Result<Compiled, Refused> {
    let surroundings = Surroundings {
        env: &|name| std::env::var(name).ok(),
        // Also the server's own secret: jobs don't inherit it either.
        withheld: &|name| name == TOKEN_VARIABLE || settings::is_secret(name),
        file: &|path| {
            let path = allowed.check_shared(path).map_err(io::Error::other)?;
            std::fs::read_to_string(path)
        },
    };
    compile_in(file_name, text, overrides, surroundings, MissingEnv::Error)
        .map_err(Refused::JobFile)
}
