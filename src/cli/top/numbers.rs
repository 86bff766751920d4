//! Numbers as people read them.

/// A count, shortened from 100,000 on.
pub(super) fn amount(count: u64) -> String {
    match count {
        0..10_000 => count.to_string(),
        10_000..10_000_000 => format!("{} k", count / 1_000),
        10_000_000..10_000_000_000 => format!("{} M", count / 1_000_000),
        _ => format!("{} G", count / 1_000_000_000),
    }
}

/// Counts per second; `-` as long as there is nothing to compare with.
pub(super) fn rate(per_second: Option<f64>) -> String {
    per_second.map_or_else(
        || "-".to_owned(),
        |rate| match rate {
            ..10.0 => format!("{rate:.1}"),
            _ => amount(rate.round() as u64),
        },
    )
}

/// Bytes.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut amount = bytes as f64;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    if unit == 0 || amount >= 10.0 {
        format!("{amount:.0} {}", UNITS[unit])
    } else {
        format!("{amount:.1} {}", UNITS[unit])
    }
}

/// A time span in seconds.
pub(super) fn span(seconds: f64) -> String {
    match seconds {
        ..0.0 => "0 ms".to_owned(),
        ..1.0 => format!("{:.0} ms", seconds * 1_000.0),
        ..10.0 => format!("{seconds:.1} s"),
        ..120.0 => format!("{seconds:.0} s"),
        ..7_200.0 => format!("{:.0} min", seconds / 60.0),
        ..172_800.0 => format!("{:.0} h", seconds / 3_600.0),
        _ => format!("{:.0} d", seconds / 86_400.0),
    }
}

/// The time between two moments in milliseconds, in seconds.
pub(super) fn seconds_between(from_ms: u64, to_ms: u64) -> f64 {
    to_ms.saturating_sub(from_ms) as f64 / 1_000.0
}

/// A part of the whole.
pub(super) fn percent(part: f64) -> String {
    format!("{:.0} %", part.clamp(0.0, 1.0) * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let amounts = [9_999, 10_000, 123_456_789, u64::MAX].map(amount);
        assert_eq!(amounts, ["9999", "10 k", "123 M", "18446744073 G"]);
        let rates = [None, Some(0.04), Some(9.94), Some(19_997.2)].map(rate);
        assert_eq!(rates, ["-", "0.0", "9.9", "19 k"]);
        let sizes = [0, 1_023, 1_536, 210 << 20].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.5 KiB", "210 MiB"]);
        let spans = [-1.0, 0.066, 9.9, 90.0, 3_600.0, 1e6].map(span);
        assert_eq!(spans, ["0 ms", "66 ms", "9.9 s", "90 s", "60 min", "12 d"]);
        assert_eq!([0.0, 0.256, 3.0].map(percent), ["0 %", "26 %", "100 %"]);
    }
}
