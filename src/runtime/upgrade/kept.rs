//! What checkpoints keep of the job's operators beside their state.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidewright_checkpoints::manifest::Manifest;

use super::form::OperatorForm;
use super::names;

/// The key of it in [`Manifest::extra`].
pub(super) const UPGRADE: &str = "operators";

/// What is kept of the operators in manifests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The forms of the operators, by name without incarnation.
    pub(super) forms: BTreeMap<String, OperatorForm>,
    /// The last incarnation of operators that the job no longer has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) gone: BTreeMap<String, u32>,
}

/// An operator's state in the checkpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) fingerprint: u64,
    pub(super) incarnation: u32,
}

/// What the checkpoint holds.
#[derive(Debug, Default)]
pub(super) struct Was {
    pub(super) operators: BTreeMap<String, State>,
    pub(super) kept: Kept,
}

impl Was {
    pub(super) fn of(restored: Option<&Manifest>) -> Result<Self, String> {
        let Some(manifest) = restored else {
            return Ok(Self::default());
        };
        let operators = manifest.operators.iter().map(|(id, fingerprint)| {
            let (name, incarnation) = names::split(&id.0);
            let fingerprint = *fingerprint;
            let state = State {
                fingerprint,
                incarnation,
            };
            (name.to_owned(), state)
        });
        // A checkpoint of a release before this one has no forms.
        let kept = match manifest.extra.get(UPGRADE) {
            None => Kept::default(),
            Some(kept) => serde_json::from_value(kept.clone()).map_err(|error| {
                format!(
                    "the checkpoint of epoch {} does not tell the form of its operators: {error}",
                    manifest.epoch
                )
            })?,
        };
        Ok(Self {
            operators: operators.collect(),
            kept,
        })
    }

    /// Above every incarnation that a file may hold.
    pub(super) fn next_incarnation(&self, name: &str) -> u32 {
        let there = self.operators.get(name).map(|state| state.incarnation);
        let gone = self.kept.gone.get(name).copied();
        there.or(gone).map_or(0, |last| last + 1)
    }
}
