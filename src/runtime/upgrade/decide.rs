//! Which operators keep their state, and which begin anew.

use std::collections::{BTreeMap, BTreeSet};

use tidewright_checkpoints::manifest::Manifest;

use super::allowed::Allowed;
use super::changed::Changed;
use super::kept::{State, Was};
use super::names::{id, owner, told};
use super::{Operator, StateKind, Upgrade};

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
        allowed.check(now, &was)?;
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
        upgrade.let_go(now, &was, allowed)?;
        Ok(upgrade)
    }

    /// Decides about one operator.
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
            self.begin_with_whole_table(name, operator, was);
            return Ok(());
        }
        match Changed::find(name, operator, state, was.kept.forms.get(name)) {
            None => self.keep(name, state),
            Some(changed) => self.follow(&changed, was, allowed)?,
        }
        Ok(())
    }

    /// The outbox goes to a store that has nothing of what the checkpoint has sent.
    fn begin_with_whole_table(&mut self, name: &str, operator: &Operator, was: &Was) {
        self.begin(name, operator, was, true);
        self.replaced.insert(name.to_owned());
        if operator.kind == StateKind::Log && !operator.derives_from.is_empty() {
            self.notes.push(format!(
                "{} begins with rows that are made from now on: those before are not in state",
                told(name)
            ));
        }
    }

    /// The operator goes on with its state.
    pub(super) fn keep(&mut self, name: &str, state: &State) {
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
    pub(super) fn begin(&mut self, name: &str, operator: &Operator, was: &Was, restored: bool) {
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

    /// State that the job file no longer has goes, if the user has said so.
    fn let_go(
        &mut self,
        now: &BTreeMap<String, Operator>,
        was: &Was,
        allowed: &Allowed,
    ) -> Result<(), String> {
        let gone = was
            .operators
            .iter()
            .filter(|(name, _)| !now.contains_key(*name));
        for (name, state) in gone {
            let owner = owner(name);
            let may_go = allowed.dropped.contains(owner) || allowed.rebuilt.contains(owner);
            if !allowed.non_restored_state && !may_go {
                return Err(format!(
                    "the checkpoint holds state of {}, which the job file no longer has. Put it back, or drop its state with \
                     --drop-view {owner} (--allow-non-restored-state drops all such state)",
                    told(name)
                ));
            }
            self.notes
                .push(format!("the state of {} is dropped", told(name)));
            self.kept.gone.insert(name.clone(), state.incarnation);
        }
        Ok(())
    }
}

/// Operators after those that they derive from, so that of several that do not fit the first is told; outboxes last.
fn inputs_first(now: &BTreeMap<String, Operator>) -> Vec<(&String, &Operator)> {
    let mut operators: Vec<_> = now.iter().collect();
    operators.sort_by_key(|(_, operator)| (operator.is_outbox(), operator.derives_from.len()));
    operators
}
