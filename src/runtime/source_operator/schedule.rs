//! When the source comes back by itself.

use std::time::{Duration, Instant};

use super::Source;
use super::closing::{IDLE_EPOCH, UNPUBLISHED_MAX};

/// How soon a waiting source looks again whether it may go on.
const BLOCKED_RETRY: Duration = Duration::from_millis(1);
/// How soon a source whose input has ended looks again whether everything is delivered.
const SETTLE_RETRY: Duration = Duration::from_millis(5);

impl Source {
    /// Comes back when something will be due; readers and the clock wake it up for everything else.
    pub(super) fn schedule(&mut self, now: Instant, blocked: bool, more: bool) {
        let mut wait = (self.open.since + IDLE_EPOCH).saturating_duration_since(now);
        if self.splits.have_news() || self.has_news() {
            wait = wait.min((self.open.since + self.epoch_length()).saturating_duration_since(now));
        }
        if let Some(until_marker) = self.until_marker(now) {
            wait = wait.min(until_marker);
        }
        if self.local.finished_at.get().is_some() {
            wait = wait.min(SETTLE_RETRY);
        }
        if blocked || self.told_full {
            wait = wait.min(BLOCKED_RETRY);
        } else if more {
            wait = Duration::ZERO;
        }
        self.wake_in(wait, now);
    }

    /// The time until a marker is due, on worker 0, if anything asks for one.
    fn until_marker(&self, now: Instant) -> Option<Duration> {
        let asked = self.settings.savepoints.is_due();
        let changed = self.local.changed.get() || self.open.records > 0;
        if self.settings.worker != 0 || !(asked || changed) || !self.local.ready.get() {
            return None;
        }
        // Whoever publishes one of them wakes the source.
        if self.unpublished.len() >= UNPUBLISHED_MAX {
            return None;
        }
        let due = match asked {
            true => now,
            false => self.last_marker + self.settings.checkpoint_interval,
        };
        Some(due.saturating_duration_since(now))
    }

    /// Asks for an activation, unless one comes as soon.
    fn wake_in(&mut self, wait: Duration, now: Instant) {
        if wait.is_zero() {
            self.activator.activate();
            return;
        }
        // Every activation would ask for another one otherwise, and they would pile up.
        self.wake_at = self.wake_at.filter(|at| *at > now);
        let at = now + wait;
        if self.wake_at.is_none_or(|asked| at < asked) {
            self.wake_at = Some(at);
            self.activator.activate_after(wait);
        }
    }
}
