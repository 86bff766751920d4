//! How a sink fares, readable from any thread.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::SystemTime,
};

use super::BreakerState;
use crate::sink::WriteReport;

/// How a sink fares: written by its delivery thread, read by metrics and people.
#[derive(Debug, Default)]
pub struct SinkStatus {
    breaker: AtomicU8,
    batches_delivered: AtomicU64,
    rows_applied: AtomicU64,
    rows_already_there: AtomicU64,
    rows_refused: AtomicU64,
    failed_attempts: AtomicU64,
    failing: Mutex<Option<Failing>>,
}

/// Attempts fail.
#[derive(Clone, Debug)]
pub struct Failing {
    /// Since when.
    pub since: SystemTime,
    /// The error of the last one.
    pub error: String,
}

impl SinkStatus {
    /// What is known about the store.
    #[must_use]
    pub fn breaker(&self) -> BreakerState {
        match self.breaker.load(Ordering::Relaxed) {
            0 => BreakerState::Closed,
            1 => BreakerState::Open,
            _ => BreakerState::HalfOpen,
        }
    }

    /// Batches acknowledged by the store.
    #[must_use]
    pub fn batches_delivered(&self) -> u64 {
        self.batches_delivered.load(Ordering::Relaxed)
    }

    /// Rows made visible.
    #[must_use]
    pub fn rows_applied(&self) -> u64 {
        self.rows_applied.load(Ordering::Relaxed)
    }

    /// Rows that were there already, from an earlier attempt.
    #[must_use]
    pub fn rows_already_there(&self) -> u64 {
        self.rows_already_there.load(Ordering::Relaxed)
    }

    /// Rows that the store refused for good.
    #[must_use]
    pub fn rows_refused(&self) -> u64 {
        self.rows_refused.load(Ordering::Relaxed)
    }

    /// Attempts that failed and were made again.
    #[must_use]
    pub fn failed_attempts(&self) -> u64 {
        self.failed_attempts.load(Ordering::Relaxed)
    }

    /// Since when attempts fail, and why; `None` once one has worked.
    #[must_use]
    pub fn failing(&self) -> Option<Failing> {
        self.lock().clone()
    }

    pub(super) fn set_breaker(&self, state: BreakerState) {
        self.breaker.store(state as u8, Ordering::Relaxed);
    }

    /// An attempt has failed.
    pub(super) fn failed(&self, error: String) {
        let mut failing = self.lock();
        let since = failing.as_ref().map(|failing| failing.since);
        *failing = Some(Failing {
            since: since.unwrap_or_else(SystemTime::now),
            error,
        });
    }

    /// An attempt has worked.
    pub(super) fn worked(&self) {
        *self.lock() = None;
    }

    pub(super) fn count_failed_attempt(&self) {
        self.failed_attempts.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_delivered(&self, report: &WriteReport) {
        self.batches_delivered.fetch_add(1, Ordering::Relaxed);
        self.rows_applied
            .fetch_add(report.applied, Ordering::Relaxed);
        self.rows_already_there
            .fetch_add(report.already_there, Ordering::Relaxed);
        self.rows_refused
            .fetch_add(report.refused.len() as u64, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
