//! Exact sums of doubles: the result depends neither on the order of additions nor on what was taken back
//! again.
//!
//! A double is an integer multiple of 2^-1074. The sum is kept as that integer in digits of 64 bits, one
//! slot of a [`Tally`] each (a "superaccumulator": Kulisch, "Computer Arithmetic and Validity", 2008, ch.
//! 8), so adding and retracting are integer arithmetic, and only the result is rounded, once, to nearest
//! and ties to even.

use super::tally::Tally;

/// Slots of one sum: non-numbers, both infinities, the digits.
pub(super) const SLOTS: u16 = FIRST_DIGIT + DIGITS;

const NOT_A_NUMBER: u16 = 0;
const INFINITY: u16 = 1;
const NEGATIVE_INFINITY: u16 = 2;
const FIRST_DIGIT: u16 = 3;
/// A double's lowest bit is at most bit 2045 and it has 53 of them: bits 0 to 2097.
const DIGITS: u16 = 33;
/// Sums of up to 2^63 rows carry into these as well.
const CARRIED_DIGITS: usize = DIGITS as usize + 2;
const MANTISSA_BITS: usize = 52;
const INFINITE_EXPONENT: u64 = 0x7ff;

/// Adds `value` to the sum at slot `base`, `times` times (negative: takes it back).
pub(super) fn add(tally: &mut Tally, base: u16, value: f64, times: i64) {
    let times = i128::from(times);
    if value.is_nan() {
        return tally.add(base + NOT_A_NUMBER, times);
    }
    if value.is_infinite() {
        let slot = if value > 0.0 {
            INFINITY
        } else {
            NEGATIVE_INFINITY
        };
        return tally.add(base + slot, times);
    }
    let bits = value.to_bits();
    let exponent = bits >> MANTISSA_BITS & INFINITE_EXPONENT;
    let fraction = bits & ((1 << MANTISSA_BITS) - 1);
    // Subnormal numbers have no hidden bit and the exponent of the smallest normal ones.
    let hidden = u64::from(exponent != 0) << MANTISSA_BITS;
    let lowest_bit = exponent.saturating_sub(1);
    let shifted = u128::from(fraction | hidden) << (lowest_bit % 64);
    let times = if value.is_sign_negative() {
        -times
    } else {
        times
    };
    // At most 2045 / 64 = 31, so it and its successor are digits.
    let digit = base + FIRST_DIGIT + (lowest_bit / 64) as u16;
    tally.add(digit, i128::from(shifted as u64) * times);
    tally.add(digit + 1, i128::from((shifted >> 64) as u64) * times);
}

/// The sum at slot `base`, rounded once.
pub(super) fn finish(tally: &Tally, base: u16) -> f64 {
    let present = |slot| tally.get(base + slot) != 0;
    match (
        present(NOT_A_NUMBER),
        present(INFINITY),
        present(NEGATIVE_INFINITY),
    ) {
        (true, _, _) | (_, true, true) => f64::NAN,
        (_, true, _) => f64::INFINITY,
        (_, _, true) => f64::NEG_INFINITY,
        _ => rounded(|digit| tally.get(base + FIRST_DIGIT + digit)),
    }
}

fn rounded(digit: impl Fn(u16) -> i128) -> f64 {
    let (digits, negative) = carried(&digit, 1);
    if !negative {
        return magnitude(&digits);
    }
    let (digits, _) = carried(&digit, -1);
    -magnitude(&digits)
}

/// Digits from 0 to 2^64 - 1, and whether there is a debt left that makes the number negative.
fn carried(digit: impl Fn(u16) -> i128, sign: i128) -> ([u64; CARRIED_DIGITS], bool) {
    let mut digits = [0; CARRIED_DIGITS];
    let mut carry = 0_i128;
    for (position, place) in (0_u16..).zip(&mut digits) {
        let total = carry
            + if position < DIGITS {
                sign * digit(position)
            } else {
                0
            };
        *place = total as u64;
        carry = total >> 64;
    }
    (digits, carry < 0)
}

/// The double nearest to the integer in `digits`, times 2^-1074.
fn magnitude(digits: &[u64; CARRIED_DIGITS]) -> f64 {
    let Some(top) = digits.iter().rposition(|&digit| digit != 0) else {
        return 0.0;
    };
    let highest_bit = top * 64 + 63 - digits[top].leading_zeros() as usize;
    let shift = highest_bit.saturating_sub(MANTISSA_BITS);
    let mut mantissa = bits_from(digits, shift);
    if shift > 0 && bit(digits, shift - 1) {
        let over_half = any_below(digits, shift - 1);
        mantissa += u64::from(over_half || mantissa & 1 == 1);
    }
    // The exponent field counts from `shift`, and the hidden bit or a carry out of the mantissa raises it
    // by one.
    if shift as u64 >= INFINITE_EXPONENT - 1 {
        return f64::INFINITY;
    }
    f64::from_bits(((shift as u64) << MANTISSA_BITS) + mantissa)
}

fn bit(digits: &[u64; CARRIED_DIGITS], position: usize) -> bool {
    digits[position / 64] >> (position % 64) & 1 == 1
}

fn any_below(digits: &[u64; CARRIED_DIGITS], position: usize) -> bool {
    let (digit, offset) = (position / 64, position % 64);
    digits[digit] & ((1 << offset) - 1) != 0 || digits[..digit].iter().any(|&digit| digit != 0)
}

/// 64 bits from `position` upwards.
fn bits_from(digits: &[u64; CARRIED_DIGITS], position: usize) -> u64 {
    let (digit, offset) = (position / 64, position % 64);
    let low = u128::from(digits[digit]);
    let high = u128::from(digits.get(digit + 1).copied().unwrap_or(0));
    ((high << 64 | low) >> offset) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(values: &[f64]) -> f64 {
        let mut tally = Tally::default();
        values
            .iter()
            .for_each(|&value| add(&mut tally, 5, value, 1));
        finish(&tally, 5)
    }

    #[test]
    fn what_cancels_leaves_the_rest_exactly() {
        assert_eq!(sum(&[1e100, 1.0, -1e100]), 1.0);
        assert_eq!(sum(&[f64::MAX, f64::MAX, -f64::MAX]), f64::MAX);
        assert_eq!(sum(&[f64::MAX, f64::MAX]), f64::INFINITY);
        assert_eq!(sum(&[-f64::MAX, -f64::MAX]), f64::NEG_INFINITY);
        assert_eq!(sum(&[0.1; 10]), 1.0);
        assert_eq!(sum(&[]), 0.0);
    }

    #[test]
    fn ties_go_to_the_even_neighbour() {
        let half_unit = f64::EPSILON / 2.0;
        assert_eq!(sum(&[1.0, half_unit]), 1.0);
        assert_eq!(
            sum(&[1.0 + f64::EPSILON, half_unit]),
            1.0 + 2.0 * f64::EPSILON
        );
        assert_eq!(
            sum(&[1.0, half_unit, f64::MIN_POSITIVE]),
            1.0 + f64::EPSILON
        );
    }

    #[test]
    fn infinities_and_non_numbers_come_and_go() {
        let mut tally = Tally::default();
        add(&mut tally, 0, 2.5, 1);
        for (value, expected) in [
            (f64::INFINITY, f64::INFINITY),
            (f64::NEG_INFINITY, f64::NEG_INFINITY),
        ] {
            add(&mut tally, 0, value, 1);
            assert_eq!(finish(&tally, 0), expected);
            add(&mut tally, 0, f64::NAN, 1);
            assert!(finish(&tally, 0).is_nan());
            add(&mut tally, 0, f64::NAN, -1);
            add(&mut tally, 0, value, -1);
            assert_eq!(finish(&tally, 0), 2.5);
        }
    }

    fn finite() -> impl Strategy<Value = f64> {
        any::<u64>()
            .prop_map(f64::from_bits)
            .prop_filter("finite", |value| value.is_finite())
    }

    proptest! {
        #[test]
        fn one_value_and_two_are_as_the_machine_adds_them(a in finite(), b in finite()) {
            prop_assert_eq!(sum(&[a]), a);
            // The machine rounds the exact sum of two once, too.
            prop_assert_eq!(sum(&[a, b]), a + b);
        }

        #[test]
        fn near_values_add_as_the_machine_adds_them(a in -1e3..1e3_f64, b in -1e3..1e3_f64) {
            prop_assert_eq!(sum(&[a, b]), a + b);
        }

        #[test]
        fn many_integers_add_exactly(values in prop::collection::vec(-1_i64 << 53..1 << 53, 0..50)) {
            let doubles: Vec<_> = values.iter().map(|&value| value as f64).collect();
            let exact: i128 = values.iter().map(|&value| i128::from(value)).sum();
            prop_assert_eq!(sum(&doubles), exact as f64);
        }

        #[test]
        fn order_does_not_matter_and_what_is_taken_back_leaves_no_trace(
            values in prop::collection::vec(finite(), 1..20),
            others in prop::collection::vec(finite(), 1..20),
        ) {
            let mut tally = Tally::default();
            others.iter().for_each(|&other| add(&mut tally, 0, other, 1));
            values.iter().rev().for_each(|&value| add(&mut tally, 0, value, 1));
            others.iter().for_each(|&other| add(&mut tally, 0, other, -1));
            prop_assert_eq!(finish(&tally, 0).to_bits(), sum(&values).to_bits());
        }
    }
}
