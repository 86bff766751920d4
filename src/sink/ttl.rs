//! Times to live, such as `30d`.

/// The milliseconds of a time to live: a whole number and a unit, one of `ms`, `s`, `m`, `h`, `d`.
///
/// # Errors
/// A message for the user.
pub fn parse_ms(text: &str) -> Result<i64, String> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit.trim() {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => 0,
    };
    number
        .parse::<i64>()
        .ok()
        .and_then(|number| number.checked_mul(unit_ms))
        .filter(|ms| *ms > 0)
        .ok_or_else(|| {
            format!("ttl {text:?} is not a time; write a number and ms, s, m, h or d, such as 30d")
        })
}

#[cfg(test)]
mod tests {
    use super::parse_ms;

    #[test]
    fn times_have_a_number_and_a_unit() {
        for (text, expected) in [
            ("30d", Some(2_592_000_000)),
            ("90s", Some(90_000)),
            ("5 m", Some(300_000)),
            ("1500ms", Some(1500)),
            ("12h", Some(43_200_000)),
            ("0s", None),
            ("30", None),
            ("d", None),
            ("-1d", None),
            ("1.5h", None),
            ("99999999999999999d", None),
        ] {
            assert_eq!(parse_ms(text).ok(), expected, "{text}");
        }
    }
}
