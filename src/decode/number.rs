//! Decimals from their text, exactly.

/// Why a text is no decimal of the wanted type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DecimalError {
    /// It is not a number.
    Syntax,
    /// It has more digits than fit, before or after the point.
    Range,
}

/// Exponents beyond this cannot fit any decimal, and would only make the digit count overflow.
const EXPONENT_MAX: i32 = 1_000;

/// The unscaled value of a decimal number such as `-12.50` or `1e3`.
///
/// The text is taken digit by digit: no detour over a double, no rounding. Zeros behind the last place are accepted,
/// other digits there are not.
///
/// # Errors
/// If it is not a number or does not fit `precision` and `scale`.
pub(super) fn parse_decimal(text: &str, precision: u8, scale: i8) -> Result<i128, DecimalError> {
    let (negative, rest) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    };
    let (mantissa, exponent) = split_exponent(rest)?;
    let point = mantissa.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match point {
        Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
        None => (mantissa, &[][..]),
    };
    if whole.is_empty() || (point.is_some() && fraction.is_empty()) {
        return Err(DecimalError::Syntax);
    }
    let fraction_places = i32::try_from(fraction.len()).map_err(|_| DecimalError::Range)?;
    let digits = Digits {
        // Digits at and beyond this place are behind the scale.
        places: exponent + i32::from(scale) - fraction_places,
        count: whole.len() + fraction.len(),
    };
    let magnitude = digits.accumulate(whole.iter().chain(fraction))?;
    if magnitude.checked_ilog10().unwrap_or(0) >= u32::from(precision) {
        return Err(DecimalError::Range);
    }
    let magnitude = i128::try_from(magnitude).map_err(|_| DecimalError::Range)?;
    Ok(if negative { -magnitude } else { magnitude })
}

fn split_exponent(text: &[u8]) -> Result<(&[u8], i32), DecimalError> {
    let Some(at) = text.iter().position(|byte| matches!(byte, b'e' | b'E')) else {
        return Ok((text, 0));
    };
    let exponent = str::from_utf8(&text[at + 1..]).map_err(|_| DecimalError::Syntax)?;
    let digits = exponent.trim_start_matches(['+', '-']);
    if exponent.len() - digits.len() > 1
        || digits.is_empty()
        || !digits.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(DecimalError::Syntax);
    }
    let size = digits.parse().unwrap_or(EXPONENT_MAX).min(EXPONENT_MAX);
    let exponent = if exponent.starts_with('-') {
        -size
    } else {
        size
    };
    Ok((&text[..at], exponent))
}

/// The digits of a number, and where they stand relative to the wanted scale.
struct Digits {
    /// How many zeros follow the last digit (negative: how many digits are behind the scale).
    places: i32,
    count: usize,
}

impl Digits {
    fn accumulate<'a>(&self, digits: impl Iterator<Item = &'a u8>) -> Result<u128, DecimalError> {
        let behind = usize::try_from(-self.places).unwrap_or(0);
        let kept = self.count.saturating_sub(behind);
        let mut value = 0u128;
        let mut in_range = true;
        for (at, digit) in digits.enumerate() {
            if !digit.is_ascii_digit() {
                return Err(DecimalError::Syntax);
            }
            let digit = u128::from(digit - b'0');
            if at < kept {
                match value.checked_mul(10).and_then(|ten| ten.checked_add(digit)) {
                    Some(next) => value = next,
                    None => in_range = false,
                }
            } else if digit != 0 {
                in_range = false;
            }
        }
        if !in_range {
            return Err(DecimalError::Range);
        }
        let zeros = u32::try_from(self.places).unwrap_or(0);
        if value == 0 {
            return Ok(0);
        }
        10u128
            .checked_pow(zeros)
            .and_then(|power| value.checked_mul(power))
            .ok_or(DecimalError::Range)
    }
}
