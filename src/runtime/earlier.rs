//! Rows that an append store has of earlier runs of a job, of which the checkpoint that a run begins with knows nothing.

use tidewright_checkpoints::Epoch;

use super::failure::fail;

/// What becomes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// They may be there.
    Expected,
    /// They may be there, of earlier runs of a shadow that begins anew; whoever looks must know.
    Told,
    /// They must not be there: nothing was restored, so they would be appended again.
    Refused,
}

impl Earlier {
    /// Does what is to be done with what a store has up to this marker. Ends the process if that must not be there.
    pub fn found(self, sink: &str, marker: Epoch) {
        match self {
            Self::Expected => {}
            Self::Told => tracing::warn!(
                "sink {sink}: the store holds rows that an earlier run of this shadow has appended, up to epoch {marker}: they stay, \
                 and the rows of this run follow them"
            ),
            Self::Refused => fail(&format!(
                "sink {sink}: the store holds rows of this job up to epoch {marker}, but there is no checkpoint that covers them, so \
                 they would be appended again. Bring the checkpoint back, give the job another name, or accept duplicates \
                 with --allow-duplicates"
            )),
        }
    }
}
