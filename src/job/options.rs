//! What is asked of a run.

use std::{collections::BTreeSet, path::PathBuf, str::FromStr};

use tidewright_checkpoints::paths;

use super::StartOverride;
use crate::cluster::ClusterOptions;
use crate::control::endpoint::MetricsAddress;
use crate::runtime::context::Place;
use crate::runtime::until::Until;
use crate::runtime::upgrade::Allowed;

/// What a run starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restore {
    /// The job's last checkpoint, if there is one.
    Latest,
    /// A manifest of the store.
    Manifest(String),
    /// The savepoint at a URL, of this store or any other.
    Savepoint(String),
    /// The latest checkpoint of the job that this one is a shadow of.
    LatestOf {
        /// That job's name.
        job: String,
        /// Also if the shadow has checkpoints of its own; otherwise it goes on from the last of those.
        anew: bool,
    },
    /// Nothing: sources begin where their configuration says.
    Nothing,
}

impl FromStr for Restore {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "latest" => Self::Latest,
            "none" => Self::Nothing,
            "" => {
                return Err(
                    "expected `latest`, `none`, a savepoint's path or URL, or the name of a manifest"
                        .to_owned(),
                );
            }
            name if name.starts_with(paths::MANIFESTS) => Self::Manifest(name.to_owned()),
            place => Self::Savepoint(crate::place::url(place)?),
        })
    }
}

/// How a job is run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Worker threads of this process.
    pub workers: usize,
    /// The other processes of the job.
    pub cluster: Option<ClusterOptions>,
    /// Where checkpoints go, instead of what the job file says.
    pub checkpoint_store: Option<String>,
    /// What to start from.
    pub restore: Restore,
    /// It is a shadow, with stores of its own.
    pub shadow: bool,
    /// Where Kafka sources begin, instead of what the job file says.
    pub start: Option<StartOverride>,
    /// What the user says about state that does not fit the job file.
    pub allowed: Allowed,
    /// Sinks that are sent their whole table again.
    pub resync: BTreeSet<String>,
    /// Sources end where they end at the start.
    pub bounded: bool,
    /// Sources stand still at these positions, and the run ends when all of them have got there and everything is delivered.
    pub until: Option<Until>,
    /// Append sinks may receive rows again.
    pub allow_duplicates: bool,
    /// The socket of the process that runs the job: it is stopped when this one is ready.
    pub take_over: Option<PathBuf>,
    /// Where this process serves its metrics for Prometheus; nowhere if absent.
    pub metrics: Option<MetricsAddress>,
    /// Where the job answers requests; nowhere if absent.
    pub socket: Option<PathBuf>,
    /// Without that place the job does not run; otherwise it only warns.
    pub socket_required: bool,
}

impl RunOptions {
    /// It is a shadow that goes on from nothing of its own: it begins with nothing at all, or with the state of another job. That of a
    /// savepoint is known once it has been read.
    pub(super) fn begins_anew(&self) -> bool {
        let is_of_others = match self.restore {
            Restore::Nothing | Restore::LatestOf { .. } => true,
            Restore::Savepoint(_) => self.allowed.outboxes_anew,
            Restore::Latest | Restore::Manifest(_) => false,
        };
        self.shadow && is_of_others
    }

    /// Where this process stands among those of the job.
    pub(super) fn place(&self) -> Place {
        let cluster = self.cluster.as_ref();
        Place {
            processes: cluster.map_or(1, ClusterOptions::processes),
            process: cluster.map_or(0, |cluster| cluster.index),
            threads: self.workers,
        }
    }
}
