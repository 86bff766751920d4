//! What the operators of one worker tell each other outside the dataflow's edges. Hints about when to act, never data:
//! everything that decides about results travels in control records.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use timely::scheduling::Activator;

use crate::dead_letter::DeadLetter;

/// Shared by the operators of one worker.
#[derive(Default)]
pub struct WorkerLocal {
    /// The greatest epoch that any worker said to have opened.
    pub greatest_opened: Cell<u64>,
    /// A control record said that records were read since the last marker.
    pub changed: Cell<bool>,
    /// An outbox of another process is full.
    pub outbox_full_elsewhere: Cell<bool>,
    /// Every worker has named all of its splits, in a completed epoch.
    pub ready: Cell<bool>,
    /// All table sources have reached the end seen at the start.
    pub tables_caught_up: Cell<bool>,
    /// The completed epoch in which the last source had ended, or stood where the run is to end.
    pub finished_at: Cell<Option<u64>>,
    /// Every worker has said that it is settled.
    pub all_settled: Cell<bool>,
    /// A control record said that all sources end where they are.
    pub draining: Cell<bool>,
    /// The completed epoch of the job's last checkpoint: sources end.
    pub final_epoch: Cell<Option<u64>>,
    /// Rows were refused too late for their dead letters to become durable: they stay in their outbox, and the next run sends
    /// them again.
    pub left_refused: Cell<bool>,
    source: RefCell<Option<Activator>>,
    refused: RefCell<Vec<DeadLetter>>,
    refused_epoch: Cell<u64>,
}

impl WorkerLocal {
    /// Names the source operator as the one to wake.
    pub fn set_source(&self, activator: Activator) {
        *self.source.borrow_mut() = Some(activator);
    }

    /// Wakes the source operator.
    pub fn wake_source(&self) {
        if let Some(activator) = &*self.source.borrow() {
            activator.activate();
        }
    }
}

impl WorkerLocal {
    /// Rows that a sink's store refuses for good: their dead letters go into the next epoch.
    pub fn refuse(&self, letters: Vec<DeadLetter>) {
        if !letters.is_empty() {
            self.refused.borrow_mut().extend(letters);
            self.wake_source();
        }
    }

    /// Takes the dead letters of refused rows into an epoch.
    #[must_use]
    pub fn take_refused(&self, epoch: u64) -> Vec<DeadLetter> {
        let letters = self.refused.take();
        if !letters.is_empty() {
            self.refused_epoch.set(epoch);
            self.changed.set(true);
        }
        letters
    }

    /// All dead letters of refused rows are in epochs below `durable`, the first epoch that is not durable; `None` if the job's
    /// last checkpoint is, after which none will be.
    #[must_use]
    pub fn letters_durable(&self, durable: Option<u64>) -> bool {
        let durable = durable.or_else(|| Some(self.final_epoch.get()? + 1));
        self.refused.borrow().is_empty()
            && durable.is_some_and(|durable| self.refused_epoch.get() < durable)
    }
}

/// Shared handle.
pub type Local = Rc<WorkerLocal>;
