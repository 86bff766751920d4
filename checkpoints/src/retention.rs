//! Retention: which checkpoints are kept, and which files may go.

use std::collections::{BTreeMap, BTreeSet, btree_map};

use crate::{
    head::Head,
    ids::{Epoch, Generation},
    manifest::{CheckpointKind, Manifest},
    paths,
    restore::{self, RestoreError},
    store::{CheckpointStore, StoreError},
};

/// Everything that the decision depends on.
#[derive(Clone, Debug)]
pub struct RetentionFacts<'a> {
    /// HEAD, read before the lists.
    pub head: &'a Head,
    /// All manifests in the store by name.
    pub manifests: &'a BTreeMap<String, Manifest>,
    /// All names in the folder of state files.
    pub files: &'a [String],
    /// Files that no manifest names yet, but one soon will: the outputs of a compaction.
    pub in_flight: &'a BTreeSet<String>,
    /// How many checkpoints to keep besides savepoints; at least the one in HEAD stays.
    pub keep: usize,
}

/// What to delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetentionPlan {
    /// Manifests to delete first.
    pub manifests: Vec<String>,
    /// State files to delete then: so a crash between leaves files without a manifest, never the reverse.
    pub files: Vec<String>,
}

/// Decides what may be deleted. Pure.
///
/// Kept are the manifest in HEAD, the newest `keep` ones up to HEAD, all savepoints, and everything that is not older than HEAD
/// or comes from a later generation. State files go only if no kept manifest names them.
#[must_use]
pub fn plan_retention(facts: &RetentionFacts<'_>) -> RetentionPlan {
    let head = facts.head;
    let old = |name: &str| paths::origin(name).is_some_and(|origin| is_old(origin, head));
    let candidates = facts.manifests.iter().filter(|(name, manifest)| {
        old(name)
            && manifest.kind != CheckpointKind::Savepoint
            && Some(*name) != head.manifest.as_ref()
    });
    let mut candidates: Vec<_> = candidates
        .map(|(name, manifest)| (manifest.epoch, name))
        .collect();
    candidates.sort_unstable_by(|a, b| b.cmp(a));
    let beside_head = facts.keep.saturating_sub(1);
    let manifests: Vec<String> = candidates
        .into_iter()
        .skip(beside_head)
        .map(|(_, name)| name.clone())
        .collect();
    let deleted: BTreeSet<&String> = manifests.iter().collect();
    let named: BTreeSet<&str> = facts
        .manifests
        .iter()
        .filter(|(name, _)| !deleted.contains(name))
        .flat_map(|(_, manifest)| manifest.files.iter().map(|file| &*file.name))
        .collect();
    let files = facts
        .files
        .iter()
        .filter(|name| old(name) && !named.contains(&***name) && !facts.in_flight.contains(*name))
        .cloned()
        .collect();
    RetentionPlan { manifests, files }
}

fn is_old((generation, epoch): (Generation, Epoch), head: &Head) -> bool {
    generation <= head.generation && epoch < head.epoch
}

/// Deletes what is no longer needed. Remembers manifests, so that each is read once.
#[derive(Debug, Default)]
pub struct Cleaner {
    manifests: BTreeMap<String, Manifest>,
}

/// Why nothing, or not everything, was deleted.
#[derive(Debug, thiserror::Error)]
pub enum CleanError {
    /// A manifest that may still be needed cannot be read; its files are unknown, so nothing is deleted.
    #[error("nothing was cleaned up: {0}")]
    Unreadable(#[from] RestoreError),
    /// HEAD belongs to another process, so cleaning up does as well.
    #[error("this process no longer holds the job")]
    Fenced,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Cleaner {
    /// Deletes what [`plan_retention`] says, if HEAD still is of this generation. Says what it deleted.
    ///
    /// # Errors
    /// [`CleanError`]; what is left is deleted next time.
    pub fn clean(
        &mut self,
        store: &dyn CheckpointStore,
        job: &str,
        mine: Generation,
        keep: usize,
        in_flight: &BTreeSet<String>,
    ) -> Result<RetentionPlan, CleanError> {
        let head = match store.head()? {
            Some((head, _)) if head.generation == mine => head,
            _ => return Err(CleanError::Fenced),
        };
        // Until this process has published, it may be about to name files of an older checkpoint that it was restored from.
        let published_by = head.manifest.as_deref().and_then(paths::origin);
        if published_by.is_none_or(|(generation, _)| generation != mine) {
            return Ok(RetentionPlan::default());
        }
        // Files are listed before manifests: a file that is listed is named by a manifest that is listed, if by any.
        let files: Vec<_> = store
            .list(paths::STATE)?
            .into_iter()
            .map(|file| file.name)
            .collect();
        self.read_manifests(store, job)?;
        let plan = plan_retention(&RetentionFacts {
            head: &head,
            manifests: &self.manifests,
            files: &files,
            in_flight,
            keep,
        });
        for name in plan.manifests.iter().chain(&plan.files) {
            store.delete(name)?;
        }
        Ok(plan)
    }

    fn read_manifests(&mut self, store: &dyn CheckpointStore, job: &str) -> Result<(), CleanError> {
        let listed: BTreeSet<String> = store
            .list(paths::MANIFESTS)?
            .into_iter()
            .map(|listed| listed.name)
            .filter(|name| paths::origin(name).is_some())
            .collect();
        self.manifests.retain(|name, _| listed.contains(name));
        for name in listed {
            if let btree_map::Entry::Vacant(unknown) = self.manifests.entry(name) {
                let manifest = restore::load_manifest(store, job, unknown.key())?;
                unknown.insert(manifest);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
