//! An operator whose state has another form than it has now: it follows, begins anew, or is refused.

use super::allowed::Allowed;
use super::form::{LogicChange, OperatorForm};
use super::kept::{State, Was};
use super::names::{id, owner, told};
use super::{Migration, Operator, StateKind, Upgrade};

/// How an operator differs from the one that has left the state.
pub(super) struct Changed<'a> {
    name: &'a str,
    operator: &'a Operator,
    state: &'a State,
    /// What it was, if the checkpoint tells.
    was: Option<&'a OperatorForm>,
    /// The columns and the meaning of its state are the same.
    same_form: bool,
    logic: LogicChange,
    /// The difference, for people.
    change: String,
}

impl<'a> Changed<'a> {
    /// Compares an operator with the state that it has left; `None` if nothing has changed.
    pub(super) fn find(
        name: &'a str,
        operator: &'a Operator,
        state: &'a State,
        was: Option<&'a OperatorForm>,
    ) -> Option<Self> {
        let logic = was.map_or(LogicChange::Same, |form| form.logic_change(&operator.form));
        let same_form = state.fingerprint == operator.fingerprint;
        if same_form && logic == LogicChange::Same {
            return None;
        }
        let change = match was {
            Some(form) => form.change(&operator.form),
            None => "its keys, aggregates or columns were changed".to_owned(),
        };
        Some(Self {
            name,
            operator,
            state,
            was,
            same_form,
            logic,
            change,
        })
    }

    fn unsent_do_not_fit(&self) -> String {
        format!(
            "{}: {}, so rows that it has not sent yet do not fit any more. Stop the job with the job file that wrote the \
             checkpoint, which sends them; then start this one with --reset-view {}",
            told(self.name),
            self.change,
            owner(self.name)
        )
    }

    fn does_not_fit(&self) -> String {
        format!(
            "{} does not fit the state in the checkpoint: {}. Restore the job file that wrote it, or let it begin \
             anew, with everything that derives from it: {}",
            told(self.name),
            self.change,
            ways_out(self.operator.kind, owner(self.name))
        )
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

impl Upgrade {
    /// Decides about an operator that has changed.
    pub(super) fn follow(
        &mut self,
        changed: &Changed<'_>,
        was: &Was,
        allowed: &Allowed,
    ) -> Result<(), String> {
        let Changed { name, operator, .. } = *changed;
        let told = told(name);
        let change = &changed.change;
        let evolved = { changed.was }.filter(|form| form.is_evolved_by(&operator.form));
        match (operator.kind, evolved) {
            (StateKind::Derived | StateKind::Outbox, _) => {
                self.begin(name, operator, was, true);
                self.notes.push(format!("{told}: {change}"));
                if operator.kind == StateKind::Outbox && changed.logic == LogicChange::Rows {
                    self.replaced.insert(name.to_owned());
                }
            }
            (StateKind::Log, _) if changed.same_form => {
                self.keep(name, changed.state);
                self.notes.push(format!(
                    "{told}: {change}. What it has been sent before stays as it is"
                ));
            }
            (StateKind::Log, _) if allowed.reset.contains(owner(name)) => {
                self.begin(name, operator, was, true);
            }
            (StateKind::Log, _) => return Err(changed.unsent_do_not_fit()),
            (StateKind::Rows, Some(form)) => self.migrate(changed, form, was),
            (StateKind::Rows | StateKind::Fixed, _) => return Err(changed.does_not_fit()),
        }
        Ok(())
    }

    /// The operator goes on with its state in another form.
    fn migrate(&mut self, changed: &Changed<'_>, from: &OperatorForm, was: &Was) {
        let Changed { name, state, .. } = *changed;
        let new = id(name, was.next_incarnation(name));
        let migration = Migration {
            from: id(name, state.incarnation),
            columns: from.columns.clone(),
        };
        self.migrated.insert(new.clone(), migration);
        self.ids.insert(name.to_owned(), new);
        let owner = owner(name);
        self.notes.push(format!(
            "{}: {}. New columns are null in the rows that it holds, until those change; to read them again: \
             --reset-view {owner} with --from-earliest --from-sources {owner}",
            told(name),
            changed.change
        ));
    }
}
