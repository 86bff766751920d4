//! What the user says about state that does not fit.

use std::collections::{BTreeMap, BTreeSet};

use super::kept::Was;
use super::names::owner;
use super::{Operator, StateKind};

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

impl Allowed {
    /// Every name that the user gives must be one that there is.
    pub(super) fn check(&self, now: &BTreeMap<String, Operator>, was: &Was) -> Result<(), String> {
        self.check_reset(now)?;
        self.check_dropped(now, was)
    }

    fn check_reset(&self, now: &BTreeMap<String, Operator>) -> Result<(), String> {
        let logs = now
            .iter()
            .filter(|(_, operator)| operator.kind == StateKind::Log);
        let views: BTreeSet<&str> = now
            .values()
            .flat_map(|operator| operator.derives_from.iter().map(String::as_str))
            .chain(logs.map(|(name, _)| owner(name)))
            .collect();
        if let Some(name) = self
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
        Ok(())
    }

    fn check_dropped(&self, now: &BTreeMap<String, Operator>, was: &Was) -> Result<(), String> {
        let gone = was.operators.keys().filter(|name| !now.contains_key(*name));
        let gone: BTreeSet<&str> = gone.map(|name| owner(name)).collect();
        if let Some(name) = self
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
}
