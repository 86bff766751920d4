//! Restoring a job whose file has changed: which operators keep their state, which begin anew, and what is refused.
//!
//! Operators are told apart by name: `VIEW/node/role`, `SOURCE/upsert`, `sink/SINK`. A checkpoint keeps with each name a
//! fingerprint of its form and, for people, the form itself. An operator that begins anew gets another *incarnation*, a suffix
//! of its name, so that what older files hold under the name is never read again.

mod allowed;
mod changed;
mod decide;
mod form;
mod kept;
mod names;

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::SchemaRef;
use tidewright_checkpoints::OperatorId;
use tidewright_checkpoints::manifest::Manifest;

pub use self::allowed::Allowed;
pub use self::form::{Columns, FormLogic, LogicChange, OperatorForm};
use self::kept::{Kept, UPGRADE, Was};
use self::names::id;

/// A stateful operator of the job as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// A hash of everything that gives its state its meaning.
    pub fingerprint: u64,
    /// The same for people.
    pub form: OperatorForm,
    /// How it may change without losing its state.
    pub kind: StateKind,
    /// The views and sources that it derives from, its own among them; none for outboxes of sinks that only append.
    pub derives_from: BTreeSet<String>,
}

impl Operator {
    fn is_outbox(&self) -> bool {
        matches!(self.kind, StateKind::Outbox | StateKind::Log)
    }
}

/// How an operator's state can follow a change of its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateKind {
    /// Its state is made of its inputs' rows, so it can be made again from the state of its inputs.
    Derived,
    /// It keeps rows by key: columns may come, with nulls in the rows that are there, and go.
    Rows,
    /// Not at all: a changed form means another state.
    Fixed,
    /// The outbox of a sink whose table is in other state: it can be filled from there.
    Outbox,
    /// An outbox of rows that are nowhere else.
    Log,
}

/// State that is brought into another form when it is restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// The name under which the checkpoint holds it.
    pub from: OperatorId,
    /// The columns of its rows there.
    pub columns: Columns,
}

impl Migration {
    /// The schema of its rows in the checkpoint.
    ///
    /// # Errors
    /// If a type is not known to this release.
    pub fn schema(&self) -> Result<SchemaRef, String> {
        form::schema_of(&self.columns)
    }
}

/// Which operators keep their state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upgrade {
    ids: BTreeMap<String, OperatorId>,
    /// Operators that begin with the content of their inputs, by name.
    pub rebuilt: BTreeSet<String>,
    /// Operators whose state has another form, by name.
    migrated: BTreeMap<OperatorId, Migration>,
    /// Outboxes that begin empty although their relation may hold rows, by name.
    pub new_outboxes: BTreeSet<String>,
    /// Outboxes whose store may hold keys that their relation no longer has, by name.
    pub replaced: BTreeSet<String>,
    /// Operators whose state has been made elsewhere, by name.
    pub grafted: BTreeSet<String>,
    /// What the user should know.
    pub notes: Vec<String>,
    kept: Kept,
}

/// The name under which a checkpoint keeps an operator's state, in the operator's latest incarnation.
///
/// # Errors
/// If the checkpoint does not tell.
pub fn kept_as(manifest: &Manifest, name: &str) -> Result<OperatorId, String> {
    let was = Was::of(Some(manifest))?;
    let state = was.operators.get(name);
    Ok(id(name, state.map_or(0, |state| state.incarnation)))
}

/// The name of the operator whose state this is, in whatever incarnation.
#[must_use]
pub fn name_of(id: &OperatorId) -> &str {
    names::split(&id.0).0
}

impl Upgrade {
    /// The name under which an operator's state is kept.
    #[must_use]
    pub fn id(&self, name: &str) -> OperatorId {
        self.ids.get(name).cloned().unwrap_or_else(|| id(name, 0))
    }

    /// How an operator's state is to be brought into its form; `None` if it has it.
    #[must_use]
    pub fn migration(&self, id: &OperatorId) -> Option<&Migration> {
        self.migrated.get(id)
    }

    /// State is made or brought into another form at the start, before anything is read.
    #[must_use]
    pub fn makes_state(&self) -> bool {
        !self.rebuilt.is_empty() || !self.migrated.is_empty()
    }

    /// Notes in a checkpoint's manifest what a later start needs to know.
    pub fn note(&self, extra: &mut BTreeMap<String, serde_json::Value>) {
        if let Ok(kept) = serde_json::to_value(&self.kept) {
            extra.insert(UPGRADE.to_owned(), kept);
        }
    }
}

#[cfg(test)]
mod tests;
