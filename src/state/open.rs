//! Finding what a path or URL means: a savepoint, the latest checkpoint of a job's store, or a named one.

use std::sync::Arc;

use tidewright_checkpoints::restore::{self, RestoreError, Restored};
use tidewright_checkpoints::store::{self, CheckpointStore, StoreError};
use tidewright_checkpoints::{paths, savepoint};
use tidewright_jobs::Definition;
use tidewright_jobs::plan::Plan;

use super::StateError;
use crate::place;
use crate::runtime::publish::DEFINITION;

/// A verified checkpoint or savepoint.
#[derive(Debug)]
pub struct Opened {
    /// Where it is.
    pub location: String,
    /// What it holds.
    pub restored: Restored,
}

/// How often a job that runs meanwhile may have replaced its checkpoint before its files were read.
const ATTEMPTS: u32 = 10;

/// Opens a savepoint, a job's checkpoint store (its latest checkpoint) or a manifest in one, by path or URL.
///
/// # Errors
/// [`StateError`] if nothing of the kind is there, or it is damaged.
pub fn open(place: &str) -> Result<Opened, StateError> {
    let url = place::url(place).map_err(StateError)?;
    let (base, manifest) = split(&url);
    let store = store::open_existing(base).map_err(StateError::of)?;
    let restored = match manifest {
        Some(name) => restore::load_named(&*store, name).map_err(StateError::of)?,
        None => newest(&store)?,
    };
    Ok(Opened {
        location: url.clone(),
        restored,
    })
}

/// The folder, and the manifest where the URL names one.
fn split(url: &str) -> (&str, Option<&str>) {
    let url = url.trim_end_matches('/');
    if let Some(base) = url.strip_suffix(paths::SAVEPOINT) {
        return (base.trim_end_matches('/'), None);
    }
    match url.rfind(&format!("/{}", paths::MANIFESTS)) {
        Some(at) if url.ends_with(".json") => (&url[..at], Some(&url[at + 1..])),
        _ => (url, None),
    }
}

fn newest(store: &Arc<dyn CheckpointStore>) -> Result<Restored, StateError> {
    match store.get(paths::SAVEPOINT) {
        Ok(_) => return savepoint::load(&**store).map_err(StateError::of),
        Err(StoreError::NotFound { .. }) => {}
        Err(error) => return Err(StateError::of(error)),
    }
    let mut attempt = 0;
    loop {
        attempt += 1;
        let head = store.head().map_err(StateError::of)?;
        let Some(name) = head.and_then(|(head, _)| head.manifest) else {
            // Says what is there instead.
            return savepoint::load(&**store).map_err(StateError::of);
        };
        match restore::load_named(&**store, &name) {
            // A running job has published newer checkpoints and removed this one.
            Err(error) if is_gone(&error) && attempt < ATTEMPTS => {}
            loaded => return loaded.map_err(StateError::of),
        }
    }
}

fn is_gone(error: &RestoreError) -> bool {
    match error {
        RestoreError::Store(StoreError::NotFound { .. }) => true,
        RestoreError::Damaged { source, .. } => is_gone(source),
        _ => false,
    }
}

impl Opened {
    /// The plan that gives the state its meaning, made from what the manifest says of sources and views.
    ///
    /// # Errors
    /// [`StateError`] if the manifest says nothing of them, or this release plans the views no more.
    pub fn plan(&self) -> Result<Plan, StateError> {
        let manifest = &self.restored.manifest;
        let Some(definition) = manifest.extra.get(DEFINITION) else {
            return Err(StateError(format!(
                "{} does not say what its views are: it was written before releases kept that. Start the job from it and \
                 take a savepoint",
                self.location
            )));
        };
        let definition: Definition =
            serde_json::from_value(definition.clone()).map_err(StateError::of)?;
        definition.plan(&manifest.job).map_err(|diagnostics| {
            StateError(format!(
                "the views in {} cannot be planned by this release:\n{diagnostics}",
                self.location
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_place_is_a_folder_and_perhaps_a_manifest_in_it() {
        let check = |url, base, manifest| assert_eq!(split(url), (base, manifest), "{url}");
        check("file:///a/job", "file:///a/job", None);
        check("file:///a/job/", "file:///a/job", None);
        check("s3://b/p/savepoint.json", "s3://b/p", None);
        check(
            "file:///a/manifests/job/manifests/1-2.json",
            "file:///a/manifests/job",
            Some("manifests/1-2.json"),
        );
        check("file:///a/manifests/job", "file:///a/manifests/job", None);
    }
}
