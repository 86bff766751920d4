//! Which sinks are sent what they may have already: their whole table, with the keys that it no longer has.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use arrow::array::RecordBatch;
use tidewright_jobs::plan::{Plan, SinkPlan};

use super::RunError;
use crate::dataflow;
use crate::runtime::upgrade::Upgrade;
use crate::sink::{EmbeddedStores, SinkError};

/// How often a store that does not answer is asked before the start is given up, a second apart.
const ATTEMPTS_MAX: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);

/// Sinks that are sent more than what is new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resent {
    /// They are sent their whole table from restored state.
    pub resync: BTreeSet<String>,
    /// Their stores lose every key that their relation does not bring again.
    pub replaced: BTreeSet<String>,
}

impl Resent {
    /// What follows from the user's wish, from changes of the job file, and from a start that is `behind` what has been
    /// delivered.
    pub fn decide(
        plan: &Plan,
        asked: BTreeSet<String>,
        upgrade: &Upgrade,
        behind: bool,
        restored: bool,
    ) -> Self {
        let named = |outboxes: &BTreeSet<String>| -> BTreeSet<String> {
            let is_named = |sink: &&SinkPlan| outboxes.contains(&dataflow::outbox_name(&sink.name));
            let sinks = plan.sinks.iter().filter(is_named);
            sinks.map(|sink| sink.name.clone()).collect()
        };
        let whole = match behind {
            true => dataflow::made_whole(plan, restored),
            false => BTreeSet::new(),
        };
        let mut resent = Self {
            resync: asked.clone(),
            replaced: asked,
        };
        resent.resync.extend(named(&upgrade.new_outboxes));
        if restored {
            resent.resync.extend(whole.iter().cloned());
        }
        // A store that only appends cannot be asked for its keys, and what it holds stays.
        let appends = dataflow::append_sinks(plan);
        let replaced = named(&upgrade.replaced).into_iter();
        resent
            .replaced
            .extend(replaced.filter(|sink| !appends.contains(sink)));
        resent.replaced.extend(whole);
        resent
    }

    /// Every keyed sink loses what it holds: of a shadow that begins anew where one of its name was before.
    pub fn all_replaced(plan: &Plan) -> Self {
        let keyed = |sink: &&SinkPlan| dataflow::is_keyed(&sink.config);
        let sinks = plan.sinks.iter().filter(keyed);
        Self {
            resync: BTreeSet::new(),
            replaced: sinks.map(|sink| sink.name.clone()).collect(),
        }
    }

    /// What the stores of replaced sinks hold, as losses, by sink.
    ///
    /// # Errors
    /// If a store cannot be read.
    pub fn presumed_gone(
        &self,
        plan: &Plan,
        stores: &EmbeddedStores,
    ) -> Result<BTreeMap<String, Vec<RecordBatch>>, RunError> {
        let mut gone = BTreeMap::new();
        for sink in &plan.sinks {
            if self.replaced.contains(&sink.name) {
                gone.insert(sink.name.clone(), held(plan, sink, stores)?);
            }
        }
        Ok(gone)
    }
}

/// What one store holds; one that is away for a moment is asked again.
fn held(
    plan: &Plan,
    sink: &SinkPlan,
    stores: &EmbeddedStores,
) -> Result<Vec<RecordBatch>, RunError> {
    let mut attempt = 1;
    loop {
        match dataflow::presumed_gone(plan, sink, stores) {
            Ok(losses) => return Ok(losses),
            Err(SinkError::Transient(why)) if attempt < ATTEMPTS_MAX => {
                tracing::warn!(why, "a store cannot be read now and is asked again");
                thread::sleep(PAUSE);
                attempt += 1;
            }
            Err(error) => {
                return Err(RunError::of(format!(
                    "what the store holds must be known before the job starts, because keys that its table no longer has are \
                     to be deleted: {error}"
                )));
            }
        }
    }
}

/// Only what is in the restored state can be sent again.
pub fn check_resync(sinks: &BTreeSet<String>, restored: bool) -> Result<(), RunError> {
    if !sinks.is_empty() && !restored {
        return Err(RunError::of(
            "--resync sends again what the restored state holds, but this run starts from nothing: every row goes out anyway"
                .to_owned(),
        ));
    }
    Ok(())
}
