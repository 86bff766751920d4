//! A store in memory, which counts what is written to it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use crate::{
    head::{Head, Tag},
    store::{CheckpointStore, Listed, StoreError, SwapError, filesystem::milliseconds},
};

/// Holds objects in memory. Nothing goes wrong in it.
#[derive(Debug, Default)]
pub struct MemoryStore {
    content: Mutex<Content>,
}

#[derive(Debug, Default)]
struct Content {
    objects: BTreeMap<String, (Vec<u8>, u64)>,
    head: Option<(Head, Tag)>,
    swaps: u64,
    bytes_written: u64,
}

impl MemoryStore {
    /// All bytes ever put, HEAD included.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.content().bytes_written
    }

    /// Changes one object behind the store's back: what damage does.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some((bytes, _)) = self.content().objects.get_mut(name) {
            change(bytes);
        }
    }

    /// Removes HEAD, which no call of a store does.
    pub fn lose_head(&self) {
        self.content().head = None;
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CheckpointStore for MemoryStore {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let mut content = self.content();
        content.bytes_written += bytes.len() as u64;
        let object = (bytes.to_owned(), milliseconds(SystemTime::now()));
        content.objects.insert(name.to_owned(), object);
        Ok(())
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        let content = self.content();
        let found = content.objects.get(name).map(|(bytes, _)| bytes.clone());
        found.ok_or_else(|| StoreError::NotFound {
            name: name.to_owned(),
        })
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.content().objects.remove(name);
        Ok(())
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        let content = self.content();
        let inside = content
            .objects
            .iter()
            .filter(|(name, _)| name.starts_with(folder));
        let listed = inside.map(|(name, (bytes, modified_ms))| Listed {
            name: name.clone(),
            bytes: bytes.len() as u64,
            modified_ms: *modified_ms,
        });
        Ok(listed.collect())
    }

    fn head(&self) -> Result<Option<(Head, Tag)>, StoreError> {
        Ok(self.content().head.clone())
    }

    fn swap_head(&self, expected: Option<&Tag>, new: &Head) -> Result<Tag, SwapError> {
        let mut content = self.content();
        if content.head.as_ref().map(|(_, tag)| tag) != expected {
            return Err(SwapError::Lost {
                current: content.head.as_ref().map(|(head, _)| head.clone()),
            });
        }
        content.swaps += 1;
        content.bytes_written += new.to_bytes()?.len() as u64;
        let tag = Tag(content.swaps.to_string());
        content.head = Some((new.clone(), tag.clone()));
        Ok(tag)
    }

    fn location(&self) -> String {
        "memory".to_owned()
    }
}
