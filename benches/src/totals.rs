//! What a run's result is compared by.

use std::ops::AddAssign;

use serde::Serialize;

/// The sums over all rows of a result. Money is in whole cents, so that equal means equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Rows.
    pub rows: u64,
    /// Events in them.
    pub events: u64,
    /// Purchases in them.
    pub purchases: u64,
    /// What was paid, in cents.
    pub revenue_cents: u64,
}

impl Totals {
    /// Adds one row.
    pub fn add_row(&mut self, events: u64, purchases: u64, revenue_cents: u64) {
        *self += Self {
            rows: 1,
            events,
            purchases,
            revenue_cents,
        };
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.events += other.events;
        self.purchases += other.purchases;
        self.revenue_cents += other.revenue_cents;
    }
}

/// A sum of doubles in the unit, as cents. The sum of a window is far from half a cent off.
#[must_use]
pub fn cents(amount: f64) -> u64 {
    (amount * 100.0).round() as u64
}
