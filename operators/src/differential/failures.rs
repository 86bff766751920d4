//! How an operator of a differential region says that the job cannot go on.

use std::fmt;
use std::rc::Rc;

use crate::operator::OperatorError;

/// Where an operator reports what stops the job.
///
/// The operator that reported gives nothing more to its output and keeps the capability of the epoch that
/// failed: that epoch never completes, so no checkpoint and no effect of it can follow, however slowly the
/// process ends.
#[derive(Clone)]
pub struct Failures(Rc<dyn Fn(OperatorError)>);

impl Failures {
    /// Failures go to `report`, which is called on the worker's thread.
    pub fn new(report: impl Fn(OperatorError) + 'static) -> Self {
        Self(Rc::new(report))
    }

    pub(super) fn report(&self, error: OperatorError) {
        (self.0)(error);
    }
}

impl fmt::Debug for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Failures")
    }
}
