//! Crash points around what publishing a checkpoint writes.

use std::{fmt, ops::Range, sync::Arc, thread, time::Duration};

use tidewright_checkpoints::{
    head::{Head, Tag},
    paths,
    store::{CheckpointStore, Listed, StoreError, SwapError},
};

use super::crash_point;
use crate::runtime::mutant::Mutant;

/// How much longer a checkpoint takes where rows are sent before it is durable: as on a slow disk.
const SLOW: Duration = Duration::from_millis(100);

/// The store itself, or in debug builds one that passes crash points.
#[must_use]
pub fn with_crash_points(store: Arc<dyn CheckpointStore>) -> Arc<dyn CheckpointStore> {
    if cfg!(debug_assertions) {
        Arc::new(CrashingStore(store))
    } else {
        store
    }
}

struct CrashingStore(Arc<dyn CheckpointStore>);

impl fmt::Debug for CrashingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl CheckpointStore for CrashingStore {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        if name == paths::SAVEPOINT {
            crash_point("before-savepoint");
            self.0.put(name, bytes)?;
            crash_point("savepoint-written");
            return Ok(());
        }
        if !name.starts_with(paths::MANIFESTS) {
            return self.0.put(name, bytes);
        }
        if Mutant::Release.is_asked_for() || Mutant::Capability.is_asked_for() {
            thread::sleep(SLOW);
        }
        crash_point("before-manifest");
        self.0.put(name, bytes)?;
        crash_point("manifest-written");
        Ok(())
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        self.0.get(name)
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.0.get_range(name, range)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.0.delete(name)
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        self.0.list(folder)
    }

    fn head(&self) -> Result<Option<(Head, Tag)>, StoreError> {
        self.0.head()
    }

    fn swap_head(&self, expected: Option<&Tag>, new: &Head) -> Result<Tag, SwapError> {
        crash_point("before-head-swap");
        let tag = self.0.swap_head(expected, new)?;
        crash_point("head-swapped");
        Ok(tag)
    }

    fn location(&self) -> String {
        self.0.location()
    }
}
