//! Restoring a job whose file has changed: which operators keep their state, which begin anew, and what is refused.
//!
//! Operators are told apart by name: `VIEW/node/role`, `SOURCE/upsert`, `sink/SINK`. A checkpoint keeps with each name a
//! fingerprint of its form and, for people, the form itself. An operator that begins anew gets another *incarnation*, a suffix
//! of its name, so that what older files hold under the name is never read again.

mod form;
mod kept;
mod names;

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::SchemaRef;
use tidewright_checkpoints::OperatorId;
use tidewright_checkpoints::manifest::Manifest;

pub use self::form::{Columns, FormLogic, LogicChange, OperatorForm};
use self::kept::{Kept, State, UPGRADE, Was};
use self::names::{id, owner, told};

/// What the user says about state that does not fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Views and sources that begin anew, with everything that derives from them; sinks that forget what they have not sent.
    pub reset: BTreeSet<String>,
    /// Views whose state is made elsewhere, with that of everything that derives from them.
    pub rebuilt: BTreeSet<String>,
    /// Views, sources and sinks whose state may go because the job file no longer has them.
    pub dropped: BTreeSet<String>,
    /// Any state may go that the job file no longer has.
    pub non_restored_state: bool,
    /// Nothing of what the checkpoint has sent is in the stores of this run: it begins with their whole tables.
    pub outboxes_anew: bool,
}

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
    /// Decides what becomes of the state in a checkpoint; of a fresh start if there is none. `now` holds the job's operators by
    /// name.
    ///
    /// # Errors
    /// If state does not fit, or would be lost without anybody having said so.
    pub fn decide(
        now: &BTreeMap<String, Operator>,
        restored: Option<&Manifest>,
        allowed: &Allowed,
    ) -> Result<Self, String> {
        let was = Was::of(restored)?;
        let mut upgrade = Self::default();
        check_names(now, &was, allowed)?;
        upgrade.kept.gone = was.kept.gone.clone();
        for (name, operator) in inputs_first(now) {
            upgrade.take(name, operator, &was, restored.is_some(), allowed)?;
            upgrade
                .kept
                .forms
                .insert(name.clone(), operator.form.clone());
            upgrade.kept.gone.remove(name);
        }
        upgrade.rebuild_behind(now, &was);
        for (name, state) in &was.operators {
            if !now.contains_key(name) {
                let owner = owner(name);
                let may_go = allowed.dropped.contains(owner) || allowed.rebuilt.contains(owner);
                if !allowed.non_restored_state && !may_go {
                    return Err(format!(
                        "the checkpoint holds state of {}, which the job file no longer has. Put it back, or drop its state with \
                         --drop-view {owner} (--allow-non-restored-state drops all such state)",
                        told(name)
                    ));
                }
                upgrade
                    .notes
                    .push(format!("the state of {} is dropped", told(name)));
                upgrade.kept.gone.insert(name.clone(), state.incarnation);
            }
        }
        Ok(upgrade)
    }

    fn take(
        &mut self,
        name: &str,
        operator: &Operator,
        was: &Was,
        restored: bool,
        allowed: &Allowed,
    ) -> Result<(), String> {
        if restored && !operator.derives_from.is_disjoint(&allowed.rebuilt) {
            self.rebuild(name, operator, was);
            return Ok(());
        }
        let Some(state) = was.operators.get(name) else {
            self.begin(name, operator, was, restored);
            return Ok(());
        };
        if !operator.derives_from.is_disjoint(&allowed.reset) {
            self.begin(name, operator, was, restored);
            if operator.is_outbox() {
                self.replaced.insert(name.to_owned());
            }
            return Ok(());
        }
        if operator.is_outbox() && allowed.outboxes_anew {
            self.begin(name, operator, was, restored);
            self.replaced.insert(name.to_owned());
            if operator.kind == StateKind::Log && !operator.derives_from.is_empty() {
                self.notes.push(format!(
                    "{} begins with rows that are made from now on: those before are not in state",
                    told(name)
                ));
            }
            return Ok(());
        }
        let form = was.kept.forms.get(name);
        let logic = form.map_or(LogicChange::Same, |form| form.logic_change(&operator.form));
        let same_form = state.fingerprint == operator.fingerprint;
        if same_form && logic == LogicChange::Same {
            self.keep(name, state);
            return Ok(());
        }
        let change = match form {
            Some(form) => form.change(&operator.form),
            None => "its keys, aggregates or columns were changed".to_owned(),
        };
        match operator.kind {
            StateKind::Derived | StateKind::Outbox => {
                self.begin(name, operator, was, restored);
                self.notes.push(format!("{}: {change}", told(name)));
                if operator.kind == StateKind::Outbox && logic == LogicChange::Rows {
                    self.replaced.insert(name.to_owned());
                }
                Ok(())
            }
            StateKind::Log if same_form => {
                self.keep(name, state);
                self.notes.push(format!(
                    "{}: {change}. What it has been sent before stays as it is",
                    told(name)
                ));
                Ok(())
            }
            StateKind::Log if allowed.reset.contains(owner(name)) => {
                self.begin(name, operator, was, restored);
                Ok(())
            }
            StateKind::Log => Err(format!(
                "{}: {change}, so rows that it has not sent yet do not fit any more. Stop the job with the job file that wrote the \
                 checkpoint, which sends them; then start this one with --reset-view {}",
                told(name),
                owner(name)
            )),
            StateKind::Rows
                if was
                    .kept
                    .forms
                    .get(name)
                    .is_some_and(|form| form.is_evolved_by(&operator.form)) =>
            {
                let new = id(name, was.next_incarnation(name));
                let migration = Migration {
                    from: id(name, state.incarnation),
                    columns: was.kept.forms[name].columns.clone(),
                };
                self.migrated.insert(new.clone(), migration);
                self.ids.insert(name.to_owned(), new);
                self.notes.push(format!(
                    "{}: {change}. New columns are null in the rows that it holds, until those change; to read them again: \
                     --reset-view {} with --from-earliest --from-sources {}",
                    told(name),
                    owner(name),
                    owner(name)
                ));
                Ok(())
            }
            StateKind::Rows | StateKind::Fixed => Err(format!(
                "{} does not fit the state in the checkpoint: {change}. Restore the job file that wrote it, or let it begin \
                 anew, with everything that derives from it: {}",
                told(name),
                ways_out(operator.kind, owner(name))
            )),
        }
    }

    /// The operator goes on with its state.
    fn keep(&mut self, name: &str, state: &State) {
        self.ids
            .insert(name.to_owned(), id(name, state.incarnation));
    }

    /// The operator derives from a view that has been rebuilt: its state has been too, or is made from such.
    fn rebuild(&mut self, name: &str, operator: &Operator, was: &Was) {
        if operator.is_outbox() {
            self.replaced.insert(name.to_owned());
        }
        if operator.kind == StateKind::Fixed {
            self.ids
                .insert(name.to_owned(), id(name, was.next_incarnation(name)));
            self.grafted.insert(name.to_owned());
        } else {
            self.begin(name, operator, was, true);
        }
    }

    /// The operator begins anew.
    fn begin(&mut self, name: &str, operator: &Operator, was: &Was, restored: bool) {
        self.ids
            .insert(name.to_owned(), id(name, was.next_incarnation(name)));
        if !restored {
            return;
        }
        match operator.kind {
            StateKind::Derived => {
                self.rebuilt.insert(name.to_owned());
            }
            StateKind::Outbox => {
                self.new_outboxes.insert(name.to_owned());
            }
            StateKind::Log => {}
            StateKind::Rows | StateKind::Fixed => self.notes.push(format!(
                "{} begins empty: it sees only what comes after the checkpoint's offsets",
                told(name)
            )),
        }
    }

    /// What is made of a relation whose operator begins anew holds rows that the relation no longer has: it is made again.
    fn rebuild_behind(&mut self, now: &BTreeMap<String, Operator>, was: &Was) {
        let states = now.iter().filter(|(_, operator)| !operator.is_outbox());
        let changed: BTreeSet<String> = states
            .map(|(name, _)| name)
            .filter(|name| was.operators.contains_key(*name))
            .filter(|name| self.ids[*name] != id(name, was.operators[*name].incarnation))
            .filter(|name| !self.migrated.contains_key(&self.ids[*name]))
            .map(|name| owner(name).to_owned())
            .collect();
        for (name, operator) in now {
            let behind = operator
                .derives_from
                .iter()
                .any(|view| changed.contains(view));
            if operator.kind == StateKind::Derived && behind && !self.rebuilt.contains(name) {
                self.begin(name, operator, was, true);
            }
        }
    }

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

/// The options that go on without an operator's state, and how they differ.
fn ways_out(kind: StateKind, owner: &str) -> String {
    match kind {
        StateKind::Fixed => format!(
            "empty with --reset-view {owner}, or made of the records that its sources still hold with --rebuild-view {owner}"
        ),
        // A source's rows are only in its records.
        _ => format!("--reset-view {owner}"),
    }
}

/// Operators after those that they derive from, so that of several that do not fit the first is told; outboxes last.
fn inputs_first(now: &BTreeMap<String, Operator>) -> Vec<(&String, &Operator)> {
    let mut operators: Vec<_> = now.iter().collect();
    operators.sort_by_key(|(_, operator)| (operator.is_outbox(), operator.derives_from.len()));
    operators
}

/// Every name that the user gives must be one that there is.
fn check_names(
    now: &BTreeMap<String, Operator>,
    was: &Was,
    allowed: &Allowed,
) -> Result<(), String> {
    let logs = now
        .iter()
        .filter(|(_, operator)| operator.kind == StateKind::Log);
    let views: BTreeSet<&str> = now
        .values()
        .flat_map(|operator| operator.derives_from.iter().map(String::as_str))
        .chain(logs.map(|(name, _)| owner(name)))
        .collect();
    if let Some(name) = allowed
        .reset
        .iter()
        .find(|name| !views.contains(name.as_str()))
    {
        let views: Vec<_> = views.into_iter().collect();
        return Err(format!(
            "--reset-view {name}: no view, source or log of that name has state; there are: {}",
            views.join(", ")
        ));
    }
    let gone = was.operators.keys().filter(|name| !now.contains_key(*name));
    let gone: BTreeSet<&str> = gone.map(|name| owner(name)).collect();
    if let Some(name) = allowed
        .dropped
        .iter()
        .find(|name| !gone.contains(name.as_str()))
    {
        let gone: Vec<_> = gone.into_iter().collect();
        let there = match gone.as_slice() {
            [] => "the job file has everything that the checkpoint has".to_owned(),
            gone => format!("state without a place in the job file: {}", gone.join(", ")),
        };
        return Err(format!(
            "--drop-view {name}: the checkpoint has no such state to drop; {there}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
