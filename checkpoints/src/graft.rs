//! State that was made by another job takes its place in a checkpoint: under names that no file of the checkpoint holds.

use std::{path::Path, sync::Arc};

use crate::{
    ids::{Epoch, Generation, OperatorId},
    manifest::FileEntry,
    paths,
    restore::{Loader, RestoreError, Restored},
    state_file::{StateFile, StateFileBuilder, StateFileHeader},
    store::CheckpointStore,
};

/// Files of about this size are not made larger, in bytes.
const FILE_BYTES_MAX: usize = 32 << 20;

/// Where grafted state goes.
pub struct Target<'a> {
    /// The checkpoint.
    pub restored: &'a mut Restored,
    /// Its job's store.
    pub store: &'a dyn CheckpointStore,
    /// The claim: no other process writes files of this generation.
    pub generation: Generation,
    /// An epoch behind the checkpoint's, of which no other file of this generation is.
    pub epoch: Epoch,
    /// Where files are kept that are not to be in memory.
    pub scratch: Option<&'a Path>,
}

/// Copies the state of operators of another job, given by their name there and here, into files of the checkpoint. The
/// checkpoint's own state is not touched, and nothing refers to the new files until a manifest is published with them.
///
/// # Errors
/// [`RestoreError`] if a file of either job cannot be read or written.
pub fn graft(
    target: &mut Target<'_>,
    from: &Restored,
    names: &[(OperatorId, OperatorId)],
) -> Result<(), RestoreError> {
    let mut number = 0;
    let mut builder = StateFileBuilder::new(&target.header());
    for (there, here) in names {
        for shard in from.shards() {
            let delta = from.merged(there, shard)?;
            if delta.entries.is_empty() {
                continue;
            }
            builder.push(here, &delta);
            if builder.size_bytes() >= FILE_BYTES_MAX {
                let full = std::mem::replace(&mut builder, StateFileBuilder::new(&target.header()));
                target.add(full, number)?;
                number += 1;
            }
        }
    }
    if !builder.is_empty() {
        target.add(builder, number)?;
    }
    Ok(())
}

impl Target<'_> {
    fn header(&self) -> StateFileHeader {
        StateFileHeader {
            job: self.restored.manifest.job.clone(),
            generation: self.generation,
            epoch: self.epoch,
            worker: 0,
            workers: 0,
        }
    }

    /// Stores a file, as the newest of the checkpoint: its names are of no other, so its place among them says nothing.
    fn add(&mut self, builder: StateFileBuilder, number: u32) -> Result<(), RestoreError> {
        let name = paths::state(self.generation, self.epoch, number);
        let content = builder.finish();
        self.store.put(&name, &content)?;
        let entry = FileEntry::fresh(name.clone(), &content, self.epoch);
        let file = StateFile::open(name, content)?;
        let file = Loader::new(None, self.scratch).kept(file)?;
        self.restored.manifest.files.push(entry.clone());
        self.restored.files.push((entry, Arc::new(file)));
        Ok(())
    }
}
