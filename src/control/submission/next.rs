//! The next version of a job that runs, checked against what it is to go on from: what does not fit changes nothing.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tidewright_jobs::{Compiled, Warning};
use utoipa::ToSchema;

use super::{Change, Checked, Refused, check_shape, compile, compile_version, default_file_name};
use crate::control::checkpoints::absolute;
use crate::control::files::AllowedFiles;
use crate::control::folders::Folders;
use crate::control::registry::NewVersion;
use crate::control::registry::records::{Job, Once, Origin, Version};
use crate::job::{self, Allowed};

/// What a job is to be rescaled to. What is absent stays.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RescaleRequest {
    /// Worker threads of each process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1024)]
    pub workers: Option<u16>,
    /// Processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 256)]
    pub processes: Option<u16>,
}

/// A new job file for a job that runs.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpgradeRequest {
    /// The job file: YAML, as for a submission.
    pub file: String,
    /// Its name, for messages.
    #[serde(default = "default_file_name")]
    #[schema(default = "job.yaml", max_length = 1000)]
    pub file_name: String,
    /// Changed values of the job file; those of the version before don't count any more.
    #[serde(default)]
    pub set: Vec<Change>,
    /// Views and sources that begin anew, with all that derives from them.
    #[serde(default)]
    pub reset_views: BTreeSet<String>,
    /// Views that are made again, with all that derives from them, from the records that their sources still hold, while the job goes
    /// on; they take the place of what it has then.
    #[serde(default)]
    pub rebuild_views: BTreeSet<String>,
    /// Views, sources and sinks that the file no longer has and whose state may go.
    #[serde(default)]
    pub drop_views: BTreeSet<String>,
    /// All state may go that has no place in the file.
    #[serde(default)]
    pub allow_non_restored_state: bool,
}

/// As a version, to be changed.
pub(super) fn same(job: &Job, version: &Version, origin: Origin) -> NewVersion {
    NewVersion {
        name: job.name.clone(),
        file_name: version.file_name.clone(),
        text: version.text.clone(),
        overrides: version.overrides.clone(),
        workers: version.workers,
        processes: version.processes,
        memory_limit_bytes: version.memory_limit_bytes,
        origin,
        shadow: version.shadow.clone(),
        once: Once::default(),
    }
}

/// The same with other workers and processes.
///
/// # Errors
/// If they are out of range.
pub fn rescaled(
    job: &Job,
    version: &Version,
    request: &RescaleRequest,
) -> Result<NewVersion, Refused> {
    let workers = request.workers.unwrap_or(version.workers);
    let processes = request.processes.unwrap_or(version.processes);
    check_shape(workers, processes)?;
    if (workers, processes) == (version.workers, version.processes) {
        return Err(Refused::Request(format!(
            "the job {} has {workers} worker(s) in each of {processes} process(es) already",
            job.name
        )));
    }
    Ok(NewVersion {
        workers,
        processes,
        // What has not been done yet is still to be done.
        once: version.once.clone(),
        ..same(job, version, Origin::Rescaled)
    })
}

/// The same with another job file.
///
/// # Errors
/// If the file is wrong, is another job's, or does not fit the job's state.
pub fn upgraded(
    job: &Job,
    version: &Version,
    request: UpgradeRequest,
    folders: &Folders,
    allowed: &AllowedFiles,
) -> Result<Checked, Refused> {
    let set = request.set.into_iter();
    let mut overrides: Vec<_> = set.map(|change| (change.path, change.value)).collect();
    // A job that was submitted under another name than its file's keeps it.
    let name = version.overrides.iter().find(|(path, _)| path == "name");
    overrides.extend(name.cloned());
    let once = Once {
        reset_views: request.reset_views,
        rebuild_views: request.rebuild_views,
        drop_views: request.drop_views,
        allow_non_restored_state: request.allow_non_restored_state,
        ..Once::default()
    };
    let new = NewVersion {
        file_name: request.file_name,
        text: request.file,
        overrides,
        once,
        ..same(job, version, Origin::Upgraded)
    };
    let compiled = compiled(&new, allowed)?;
    if compiled.plan.name != job.name {
        return Err(Refused::Request(format!(
            "the file is that of the job {}, not of {}",
            compiled.plan.name, job.name
        )));
    }
    check_rebuild(&new, &compiled)?;
    check_files(&new, &compiled, folders, allowed)?;
    let old = compile_version(version, allowed)?;
    if old.job.checkpoint.store != compiled.job.checkpoint.store {
        return Err(Refused::Fit(format!(
            "the file's checkpoint.store is {}, and the job's state is in {}: an upgrade goes on from there. To move a job, stop \
             it with a savepoint and submit it under another name",
            compiled.job.checkpoint.store, old.job.checkpoint.store
        )));
    }
    let folder = folders.working(&job.name, new.shadow.as_deref());
    let store = absolute(&compiled.job.checkpoint.store, &folder);
    let notes = job::check_upgrade(&compiled, &store, &new.once.allowed())
        .map_err(|error| Refused::Fit(error.to_string()))?;
    let warnings = compiled.warnings.iter();
    let warnings = warnings.map(|warning| Warning(warning).to_string());
    Ok(Checked {
        warnings: warnings.chain(notes).collect(),
        version: new,
    })
}

impl Once {
    fn allowed(&self) -> Allowed {
        Allowed {
            reset: self.reset_views.clone(),
            rebuilt: self.rebuild_views.clone(),
            dropped: self.drop_views.clone(),
            non_restored_state: self.allow_non_restored_state,
            outboxes_anew: false,
        }
    }
}

pub(super) fn compiled(new: &NewVersion, allowed: &AllowedFiles) -> Result<Compiled, Refused> {
    let compiled = compile(&new.file_name, &new.text, &new.overrides, allowed)?;
    as_shadow(compiled, new.shadow.as_deref())
}

/// The shadow of this name, if there is one.
pub fn as_shadow(compiled: Compiled, shadow: Option<&str>) -> Result<Compiled, Refused> {
    match shadow {
        None => Ok(compiled),
        Some(shadow) => compiled.shadow(shadow).map_err(Refused::Request),
    }
}

/// What would only come out when the version starts, as far as it can be known before.
fn check_rebuild(new: &NewVersion, compiled: &Compiled) -> Result<(), Refused> {
    let views = &new.once.rebuild_views;
    let is_view = |view: &&String| compiled.plan.views.iter().any(|(name, _)| name == *view);
    let refused = if views.is_empty() {
        return Ok(());
    } else if new.shadow.is_some() {
        "a shadow has nothing to rebuild: replay it under the same name".to_owned()
    } else if let Some(view) = views.iter().find(|view| !is_view(view)) {
        let names: Vec<_> = compiled
            .plan
            .views
            .iter()
            .map(|(name, _)| &**name)
            .collect();
        format!(
            "there is no view {view} to rebuild; there are: {}",
            names.join(", ")
        )
    } else {
        return Ok(());
    };
    Err(Refused::Request(format!("--rebuild-view: {refused}")))
}

pub(super) fn check_files(
    new: &NewVersion,
    compiled: &Compiled,
    folders: &Folders,
    allowed: &AllowedFiles,
) -> Result<(), Refused> {
    let folder = folders.working(&new.name, new.shadow.as_deref());
    let refusals = allowed.refusals(&folder, compiled);
    if refusals.is_empty() {
        Ok(())
    } else {
        Err(Refused::Files(refusals))
    }
}
