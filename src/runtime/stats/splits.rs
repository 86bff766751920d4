//! What control records say about the splits of the whole job, and what follows for the watermarks of its relations.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::runtime::control::SplitReport;

/// The last report of every split, and the watermark of every node.
#[derive(Debug, Default)]
pub struct Splits(Mutex<Known>);

/// What is known at a moment.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// By source and number.
    pub splits: BTreeMap<(usize, u32), SplitReport>,
    /// By node, in milliseconds of event time.
    pub watermarks: Vec<i64>,
    /// Every worker has named all of its splits.
    pub ready: bool,
}

impl Splits {
    /// Takes note of splits that have changed.
    pub fn note<'a>(&self, reports: impl Iterator<Item = &'a SplitReport>) {
        let mut known = self.lock();
        for report in reports {
            known
                .splits
                .insert((report.source, report.split), report.clone());
        }
    }

    /// Takes note of the watermarks after an epoch.
    pub fn note_watermarks(&self, watermarks: impl Iterator<Item = i64>, ready: bool) {
        let mut known = self.lock();
        known.watermarks.clear();
        known.watermarks.extend(watermarks);
        known.ready = ready;
    }

    /// What is known now.
    #[must_use]
    pub fn known(&self) -> Known {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
