//! The processes of a job, found before anything of it is touched.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::prepare::Ahead;
use super::rebuild::Rebuilt;
use super::{RunError, RunOptions};
use crate::cluster::Cluster;

/// The other processes, all of them connected.
pub struct Joined {
    /// They; nothing if there are none.
    pub cluster: Option<Cluster>,
    /// Set when one of them asks the job to stop; they are told when this process sets it.
    pub stop: Arc<AtomicBool>,
}

impl Joined {
    /// Connects to all others.
    ///
    /// # Errors
    /// If some are missing at the limit or run something else, or this process cannot listen.
    pub fn connect(options: &RunOptions) -> Result<Self, RunError> {
        let stop = Arc::new(AtomicBool::new(false));
        let cluster = options.cluster.as_ref();
        let cluster = cluster.map(|cluster| Cluster::connect(cluster, &stop));
        let cluster = cluster.transpose().map_err(RunError::connecting)?;
        Ok(Self { cluster, stop })
    }

    /// With views that have been made again since, to go on with.
    pub fn ahead(self, rebuilt: Option<Rebuilt>) -> Ahead {
        Ahead {
            joined: Some(self),
            rebuilt,
        }
    }
}
