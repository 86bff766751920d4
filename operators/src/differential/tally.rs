//! The difference type of table aggregates: what a change adds to a group.

use differential_dataflow::difference::{Abelian, IsZero, Monoid, Semigroup};
use serde::{Deserialize, Serialize};

/// How many rows a group gains, and what each of its sums gains: an abelian group, kept sparse.
///
/// Arrangements hold one of these per update, and add them up when they compact, so a group's whole state
/// is one tally and a change costs the same however many rows the group has. A slot's amount is below 2^64
/// per row, so sums are exact in 128 bits for up to 2^63 rows; wider values are spread over several slots
/// (see [`Layout`](super::layout::Layout)).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Tally {
    rows: i64,
    /// By ascending slot; no amount is zero.
    slots: Vec<(u16, i128)>,
}

impl Tally {
    /// A gain of rows without sums.
    pub(super) fn of_rows(rows: i64) -> Self {
        Self {
            rows,
            slots: Vec::new(),
        }
    }

    pub(super) fn rows(&self) -> i64 {
        self.rows
    }

    /// The sum of a slot.
    pub(super) fn get(&self, slot: u16) -> i128 {
        match self.slots.binary_search_by_key(&slot, |(slot, _)| *slot) {
            Ok(position) => self.slots[position].1,
            Err(_) => 0,
        }
    }

    /// Adds to the sum of a slot.
    pub(super) fn add(&mut self, slot: u16, amount: i128) {
        match self.slots.binary_search_by_key(&slot, |(slot, _)| *slot) {
            Ok(position) => {
                self.slots[position].1 += amount;
                if self.slots[position].1 == 0 {
                    self.slots.remove(position);
                }
            }
            Err(_) if amount == 0 => {}
            Err(position) => self.slots.insert(position, (slot, amount)),
        }
    }
}

impl IsZero for Tally {
    fn is_zero(&self) -> bool {
        self.rows == 0 && self.slots.is_empty()
    }
}

impl Semigroup for Tally {
    fn plus_equals(&mut self, other: &Self) {
        self.rows += other.rows;
        for &(slot, amount) in &other.slots {
            self.add(slot, amount);
        }
    }
}

impl Monoid for Tally {
    fn zero() -> Self {
        Self::default()
    }
}

impl Abelian for Tally {
    fn negate(&mut self) {
        self.rows = -self.rows;
        for (_, amount) in &mut self.slots {
            *amount = -*amount;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tally() -> impl Strategy<Value = Tally> {
        (
            -3..3_i64,
            prop::collection::vec((0..6_u16, -2..3_i128), 0..6),
        )
            .prop_map(|(rows, adds)| {
                let mut tally = Tally::of_rows(rows);
                adds.into_iter()
                    .for_each(|(slot, amount)| tally.add(slot, amount));
                tally
            })
    }

    fn sum(a: &Tally, b: &Tally) -> Tally {
        let mut sum = a.clone();
        sum.plus_equals(b);
        sum
    }

    proptest! {
        #[test]
        fn tallies_are_an_abelian_group(a in tally(), b in tally(), c in tally()) {
            prop_assert_eq!(sum(&a, &b), sum(&b, &a));
            prop_assert_eq!(sum(&sum(&a, &b), &c), sum(&a, &sum(&b, &c)));
            prop_assert_eq!(sum(&a, &Tally::zero()), a.clone());
            let mut minus_a = a.clone();
            minus_a.negate();
            prop_assert!(sum(&a, &minus_a).is_zero());
        }

        #[test]
        fn every_slot_adds_up(a in tally(), b in tally()) {
            let total = sum(&a, &b);
            prop_assert_eq!(total.rows(), a.rows() + b.rows());
            for slot in 0..6 {
                prop_assert_eq!(total.get(slot), a.get(slot) + b.get(slot));
            }
        }
    }
}
