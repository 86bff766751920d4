//! Quantiles of measured durations.

use serde::Serialize;

/// Of a distribution of durations, in milliseconds, by the nearest rank.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

impl Quantiles {
    /// `None` without durations.
    #[must_use]
    pub fn of(mut durations_ms: Vec<f64>) -> Option<Self> {
        durations_ms.sort_by(f64::total_cmp);
        let max = *durations_ms.last()?;
        let rank = |share: f64| {
            let rank = (share * durations_ms.len() as f64).ceil() as usize;
            durations_ms[rank.saturating_sub(1)]
        };
        Some(Self {
            p50: rank(0.5),
            p90: rank(0.9),
            p99: rank(0.99),
            max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Quantiles;

    #[test]
    fn ranks_are_the_nearest() {
        let quantiles = Quantiles::of((1..=200).rev().map(f64::from).collect());
        assert_eq!(
            quantiles,
            Some(Quantiles {
                p50: 100.0,
                p90: 180.0,
                p99: 198.0,
                max: 200.0
            })
        );
        assert_eq!(
            Quantiles::of(vec![4.0]).map(|one| (one.p50, one.p99)),
            Some((4.0, 4.0))
        );
        assert_eq!(Quantiles::of(Vec::new()), None);
    }
}
