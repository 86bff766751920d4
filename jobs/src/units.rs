//! Durations and sizes as people write them.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

/// A duration in milliseconds, written `100ms`, `5s`, `1m`, `1h` or `30d`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DurationMs(pub u64);

/// A size in bytes, written `64MiB`, `1GiB`, `512KiB`, `10MB` or `100B`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A part of a whole, written `5%` or `0.1%`; in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Share {
    /// Millionths of the whole, at most all of them.
    pub millionths: u32,
}

const WHOLE_MILLIONTHS: u32 = 1_000_000;
/// Digits behind the point that millionths have room for, in per cent.
const SHARE_DIGITS: usize = 4;

const DURATION_UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

const SIZE_UNITS: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

impl DurationMs {
    /// Reads `100ms`, `5s`, `1m`, `1h` or `30d`; `None` for anything else and for what does not fit.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse(text, &DURATION_UNITS).map(Self)
    }
}

impl ByteSize {
    /// Reads `64MiB`, `1GiB`, `512KiB`, `10MB` or `100B`; `None` for anything else and for what does not fit.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse(text, &SIZE_UNITS).map(Self)
    }
}

impl Share {
    /// Reads `5%` or `0.1%`; `None` for anything else, for more than all and for more than four digits behind the point.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.strip_suffix('%')?.trim_end();
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > SHARE_DIGITS
        {
            return None;
        }
        let millionths: u32 = format!("{whole}{fraction:0<SHARE_DIGITS$}").parse().ok()?;
        (millionths <= WHOLE_MILLIONTHS).then_some(Self { millionths })
    }

    /// This share of a number, rounded down.
    #[must_use]
    pub fn of(self, number: u64) -> u64 {
        let share = u128::from(number) * u128::from(self.millionths) / u128::from(WHOLE_MILLIONTHS);
        // Never more than the number.
        u64::try_from(share).unwrap_or(number)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_cent = 10_u32.pow(SHARE_DIGITS as u32);
        let (whole, fraction) = (self.millionths / per_cent, self.millionths % per_cent);
        let fraction = format!("{fraction:0SHARE_DIGITS$}");
        match fraction.trim_end_matches('0') {
            "" => write!(f, "{whole}%"),
            fraction => write!(f, "{whole}.{fraction}%"),
        }
    }
}

/// In the greatest unit that leaves a whole number.
impl fmt::Display for DurationMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |unit: &&(&str, u64)| self.0.is_multiple_of(unit.1);
        let units = DURATION_UNITS.iter().rev();
        match units.filter(fits).find(|_| self.0 > 0) {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => f.write_str("0ms"),
        }
    }
}

/// In the greatest binary unit that leaves a whole number.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |unit: &&(&str, u64)| self.0.is_multiple_of(unit.1);
        match SIZE_UNITS[..3]
            .iter()
            .rev()
            .find(fits)
            .filter(|_| self.0 > 0)
        {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// A whole number and a unit, with or without a space between them.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let unit = text[digits..].trim_start();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    text[..digits].parse::<u64>().ok()?.checked_mul(*factor)
}

/// The message never repeats the text, which may come from a secret.
macro_rules! text_setting {
    ($type:ident, $hint:literal, $pattern:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl<'de> de::Visitor<'de> for Text {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($hint)
                    }
                    fn visit_newtype_struct<D: Deserializer<'de>>(
                        self,
                        deserializer: D,
                    ) -> Result<$type, D::Error> {
                        deserializer.deserialize_str(Self)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        $type::parse(text).ok_or_else(|| E::custom(concat!("expected ", $hint)))
                    }
                }
                deserializer.deserialize_newtype_struct(stringify!($type), Text)
            }
        }

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    };
}

text_setting!(
    DurationMs,
    "a duration with its unit, such as 100ms, 5s, 1m, 1h or 30d",
    r"^[0-9]+ ?(ms|s|m|h|d)$"
);
text_setting!(
    ByteSize,
    "a size with its unit, such as 64MiB, 1GiB or 512KiB",
    r"^[0-9]+ ?(B|KB|MB|GB|KiB|MiB|GiB)$"
);

text_setting!(
    Share,
    "a share in per cent, such as 5% or 0.1%",
    r"^[0-9]+(\.[0-9]{1,4})? ?%$"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_and_shown_in_per_cent() {
        for (text, millionths) in [
            ("5%", 50_000),
            ("0.1 %", 1_000),
            ("100%", 1_000_000),
            ("12.3456%", 123_456),
        ] {
            let share = Share::parse(text).unwrap();
            assert_eq!(share, Share { millionths });
            assert_eq!(share.to_string(), text.replace(' ', ""));
        }
        for text in [
            "",
            "%",
            "5",
            "-5%",
            "100.1%",
            "1.23456%",
            "five%",
            ".5%",
            "9999999999%",
        ] {
            assert_eq!(Share::parse(text), None, "{text}");
        }
        let share = Share::parse("5%").unwrap();
        assert_eq!(
            (share.of(1_000), share.of(19), share.of(u64::MAX)),
            (50, 0, u64::MAX / 20)
        );
    }

    #[test]
    fn durations_and_sizes_are_read_with_their_unit() {
        assert_eq!(DurationMs::parse("100ms"), Some(DurationMs(100)));
        assert_eq!(DurationMs::parse("30d"), Some(DurationMs(2_592_000_000)));
        assert_eq!(DurationMs::parse("1 h"), Some(DurationMs(3_600_000)));
        assert_eq!(ByteSize::parse("64MiB"), Some(ByteSize(67_108_864)));
        assert_eq!(ByteSize::parse("10B"), Some(ByteSize(10)));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "-5s",
            "5 weeks",
            "1.5s",
            "99999999999999999999s",
        ] {
            assert_eq!(DurationMs::parse(text), None, "{text}");
        }
    }
}
