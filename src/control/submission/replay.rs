//! A version that reads its input again, or a shadow that begins with the state of its job.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tidewright_jobs::Compiled;
use utoipa::ToSchema;

use super::Refused;
use super::next::{check_files, compiled, same};
use crate::control::checkpoints::absolute;
use crate::control::files::AllowedFiles;
use crate::control::folders::Folders;
use crate::control::registry::NewVersion;
use crate::control::registry::records::{Job, Once, Origin, Replay, ReplayFrom, Version};
use crate::job::{self, Allowed, StartFrom, StartOverride};

/// What stands for the latest checkpoint of a shadow's job.
const LATEST: &str = "latest";

/// What of its input a job reads again, and the state that a shadow begins with. One of both is there.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayRequest {
    /// From where on; from where the state stands if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<ReplayFrom>,
    /// The state that a shadow begins with: `latest`, which is the latest checkpoint of its job, or the URL of a savepoint,
    /// `file:///..` or `s3://..`. A local one must be below the folder of a job of the server, or below a folder that the server
    /// lets jobs use. Nothing if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1)]
    pub restore: Option<String>,
    /// Only these Kafka sources begin there; all that the position makes sense for if empty.
    #[serde(default)]
    pub sources: BTreeSet<String>,
    /// Replays a copy of the job, JOB.shadow.NAME, with sinks of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 40, pattern = "^[A-Za-z0-9_-]+$")]
    pub shadow: Option<String>,
    /// Sinks that only append may receive rows again.
    #[serde(default)]
    pub allow_duplicates: bool,
}

/// The same, or a shadow of it, reading its input again.
///
/// # Errors
/// If no source can be read from there, a sink would get rows twice, or the state is not there or does not fit.
pub fn replayed(
    job: &Job,
    version: &Version,
    request: ReplayRequest,
    folders: &Folders,
    allowed: &AllowedFiles,
) -> Result<NewVersion, Refused> {
    let mut new = same(job, version, Origin::Replayed);
    if let Some(shadow) = &request.shadow {
        if version.shadow.is_some() {
            let detail = format!("{} is a shadow itself", job.name);
            return Err(Refused::Request(detail));
        }
        new.name = format!("{}.shadow.{shadow}", job.name);
        new.shadow = Some(shadow.clone());
    }
    check_words(&request, &new)?;
    let compiled = compiled(&new, allowed)?;
    check_files(&new, &compiled, folders, allowed)?;
    let start = request.from.as_ref().map(|from| StartOverride {
        from: from.start(),
        only: request.sources.clone(),
    });
    let appends = new.shadow.is_none() && !request.allow_duplicates;
    if let Some(start) = &start {
        job::check_replay(&compiled, start, appends)
            .map_err(|error| Refused::Request(error.to_string()))?;
    }
    if let Some(place) = &request.restore {
        check_state(&new, &compiled, place, folders, allowed)?;
    }
    let sources = request.sources;
    let (live, savepoint) = match request.restore {
        Some(place) if place == LATEST => (true, None),
        place => (false, place),
    };
    new.once = Once {
        replay: request.from.map(|from| Replay { from, sources }),
        restore: savepoint,
        restore_live: live,
        allow_duplicates: request.allow_duplicates,
        ..Once::default()
    };
    Ok(new)
}

/// What a request says that makes no sense together.
fn check_words(request: &ReplayRequest, new: &NewVersion) -> Result<(), Refused> {
    let refused = match (&request.from, &request.restore) {
        (None, None) => {
            "where does it begin? `from` says a position, and `restore` the state that a shadow begins with"
        }
        (_, Some(_)) if new.shadow.is_none() => {
            "`restore` is for a shadow: name one with `shadow`. The job itself goes back to a savepoint when it is stopped and \
             submitted again with that (`submit --restore`)"
        }
        (Some(ReplayFrom::Earliest), Some(_)) => {
            "the first records are in the restored state already and would count twice: leave `from` out, which reads on from \
             where the state stands, or leave `restore` out, which begins with nothing"
        }
        (None, Some(_)) if !request.sources.is_empty() => {
            "`sources` says which sources begin at the position that `from` says, and there is none: leave `sources` out"
        }
        _ => return Ok(()),
    };
    Err(Refused::Request(refused.to_owned()))
}

/// Whether a shadow can begin with the state that is there.
fn check_state(
    new: &NewVersion,
    compiled: &Compiled,
    place: &str,
    folders: &Folders,
    allowed: &AllowedFiles,
) -> Result<(), Refused> {
    let fits = if place == LATEST {
        let shadow = new.shadow.as_deref().unwrap_or_default();
        let job = new.name.strip_suffix(&format!(".shadow.{shadow}"));
        let folder = folders.working(&new.name, new.shadow.as_deref());
        let store = absolute(&compiled.job.checkpoint.store, &folder);
        let job = job.unwrap_or(&new.name);
        job::check_latest_of(job, &compiled.plan, &store, &Allowed::default())
    } else {
        allowed
            .check_savepoint(&folders.jobs(), place)
            .map_err(|reason| Refused::Files(vec![format!("restore: {reason}")]))?;
        job::check_savepoint(compiled, place, true)
    };
    // What there is to know besides, its process tells in its log.
    fits.map(drop)
        .map_err(|error| Refused::Fit(format!("restore: {error}")))
}

impl ReplayFrom {
    fn start(&self) -> StartFrom {
        match self {
            Self::Earliest => StartFrom::Earliest,
            Self::Latest => StartFrom::Latest,
            Self::Timestamp(ms) => StartFrom::Timestamp(*ms),
            Self::Offsets(offsets) => StartFrom::Offsets(offsets.clone()),
        }
    }
}
