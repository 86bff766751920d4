//! What a job's checkpoint store tells of its progress.

use std::sync::Arc;

use tidewright_checkpoints::{
    manifest::Manifest,
    restore,
    store::{self, CheckpointStore},
};

/// The store of one job.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    job: String,
    store: Arc<dyn CheckpointStore>,
}

impl Checkpoints {
    /// The store of a job below a URL.
    pub fn of(url: &str, job: &str) -> Self {
        Self {
            job: job.to_owned(),
            store: store::open(&store::job_url(url, job)).unwrap(),
        }
    }

    /// The manifest that HEAD names; `None` as well if it was cleaned up between the two readings.
    pub fn latest(&self) -> Option<Manifest> {
        let (head, _) = self.store.head().unwrap()?;
        restore::load_manifest(&*self.store, &self.job, &head.manifest?).ok()
    }

    /// The manifest's name.
    pub fn latest_name(&self) -> Option<String> {
        self.store.head().unwrap()?.0.manifest
    }

    /// How many records the last checkpoint has read, of all sources.
    pub fn read(&self) -> i64 {
        self.latest().as_ref().map_or(0, read_by)
    }

    /// Nobody has a checkpoint here, nor has claimed it.
    pub fn is_empty(&self) -> bool {
        let folders = ["manifests/", "state/"].map(|folder| self.store.list(folder).unwrap());
        self.store.head().unwrap().is_none() && folders.iter().all(Vec::is_empty)
    }

    /// The generation and the holder of HEAD.
    pub fn claim(&self) -> (u64, String) {
        let (head, _) = self.store.head().unwrap().unwrap();
        (head.generation.0, head.holder)
    }

    /// All manifests in the store, oldest first, with the records that each has read.
    pub fn all(&self) -> Vec<(String, i64)> {
        let listed = self.store.list("manifests/").unwrap();
        let mut found: Vec<_> = listed
            .into_iter()
            .map(|listed| {
                let manifest = self.load(&listed.name);
                (manifest.epoch, listed.name, read_by(&manifest))
            })
            .collect();
        found.sort();
        let found = found.into_iter();
        found.map(|(_, name, read)| (name, read)).collect()
    }

    fn load(&self, name: &str) -> Manifest {
        restore::load_manifest(&*self.store, &self.job, name).unwrap()
    }
}

fn read_by(manifest: &Manifest) -> i64 {
    let splits = manifest.sources.values().flat_map(|splits| splits.values());
    splits.map(|split| split.offset).sum()
}
