//! How much state may be in memory, and where the rest goes.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tidewright_jobs::StateSettings;
use tidewright_jobs::plan::Plan;
use tidewright_operators::StateMemory;

use super::RunError;
use crate::{dataflow, resident};

/// The limit of the state in memory, with a folder for what is beyond it.
pub fn memory(
    state: Option<&StateSettings>,
    checkpoints: &str,
    plan: &Plan,
    workers: usize,
) -> Result<Option<Arc<StateMemory>>, RunError> {
    let Some(state) = state else {
        return Ok(None);
    };
    let directory = match (&state.directory, checkpoints.strip_prefix("file://")) {
        (Some(directory), _) => PathBuf::from(directory),
        (None, Some(checkpoints)) => Path::new(checkpoints).join(".spill"),
        (None, None) => std::env::temp_dir().join("tidewright"),
    };
    std::fs::create_dir_all(&directory).map_err(|error| {
        RunError::of(format!(
            "the folder {} for state that doesn't fit into memory cannot be made: {error}. Name another one with \
             state.directory",
            directory.display()
        ))
    })?;
    if is_in_memory(&directory) {
        tracing::warn!(
            directory = %directory.display(),
            "the folder for state that doesn't fit into memory is itself in memory (tmpfs): name one on a disk with state.directory"
        );
    }
    resident::give_freed_memory_back();
    let limit = usize::try_from(state.memory_bytes).unwrap_or(usize::MAX);
    let states = dataflow::keyed_states(plan) * workers;
    Ok(Some(Arc::new(StateMemory::new(limit, states, &directory))))
}

fn is_in_memory(directory: &Path) -> bool {
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    rustix::fs::statfs(directory).is_ok_and(|found| found.f_type == TMPFS_MAGIC)
}
