//! Whether a job catches up, judged by a minute of samples and not by a limit: how much is too much differs from job to job,
//! but what keeps growing never ends well.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How what a split is behind develops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trend {
    /// Too few samples, or nobody knows how far behind it is.
    #[default]
    Unknown,
    /// It has stood at its end lately.
    CaughtUp,
    /// Neither more nor less, as far as can be told.
    Steady,
    /// Less and less.
    Shrinking,
    /// More and more, although records are read.
    Growing,
    /// Records wait, and none has been read for the whole time.
    Stalled,
}

impl Trend {
    /// Its name as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::CaughtUp => "caught_up",
            Self::Steady => "steady",
            Self::Shrinking => "shrinking",
            Self::Growing => "growing",
            Self::Stalled => "stalled",
        }
    }
}

/// A split at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// When, in milliseconds.
    pub at_ms: u64,
    /// Records between the position and the end.
    pub behind: u64,
    /// The position.
    pub next_offset: i64,
}

/// What a minute of points says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Course {
    /// The trend.
    pub trend: Trend,
    /// How fast what is behind grows, in records per second; less than zero while it shrinks.
    pub growth_per_s: f64,
    /// At the present rate, when nothing will be left, in seconds; `None` if it does not shrink.
    pub catch_up_s: Option<f64>,
}

/// Fewer points say nothing.
pub const POINTS_MIN: usize = 12;

/// Judges a course by its first and last third: only if all of one lies above all of the other has it changed.
///
/// `whole`: the points cover the whole time after which a split that stands still is stalled.
#[must_use]
pub fn course(points: &[Point], whole: bool) -> Course {
    let Some(last) = points.last() else {
        return Course::default();
    };
    let third = points.len() / 3;
    let (early, late) = (&points[..third], &points[points.len() - third..]);
    let trend = trend(points, early, late, whole);
    if points.len() < POINTS_MIN {
        let trend = match last.behind {
            0 => Trend::CaughtUp,
            _ => Trend::Unknown,
        };
        return Course {
            trend,
            catch_up_s: (last.behind == 0).then_some(0.0),
            ..Course::default()
        };
    }
    let seconds = middle(late, |point| point.at_ms) - middle(early, |point| point.at_ms);
    let change = middle(late, |point| point.behind) - middle(early, |point| point.behind);
    let growth_per_s = change / (seconds / 1000.0).max(f64::EPSILON);
    let catch_up_s = match trend {
        Trend::CaughtUp => Some(0.0),
        Trend::Shrinking => Some(last.behind as f64 / -growth_per_s),
        Trend::Unknown | Trend::Steady | Trend::Growing | Trend::Stalled => None,
    };
    Course {
        trend,
        growth_per_s,
        catch_up_s,
    }
}

fn trend(points: &[Point], early: &[Point], late: &[Point], whole: bool) -> Trend {
    let least = |points: &[Point]| points.iter().map(|point| point.behind).min();
    let most = |points: &[Point]| points.iter().map(|point| point.behind).max();
    let waits = points.iter().all(|point| point.behind > 0);
    let stands = points
        .windows(2)
        .all(|pair| pair[0].next_offset == pair[1].next_offset);
    if least(late) == Some(0) {
        Trend::CaughtUp
    } else if whole && waits && stands {
        Trend::Stalled
    } else if least(late) > most(early) {
        Trend::Growing
    } else if most(late) < least(early) {
        Trend::Shrinking
    } else {
        Trend::Steady
    }
}

/// The median.
fn middle(points: &[Point], of: impl Fn(&Point) -> u64) -> f64 {
    let mut values: Vec<_> = points.iter().map(of).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A point a second: how far behind, and where.
    fn judge(seconds: u64, point: impl Fn(u64) -> (u64, i64)) -> Course {
        let points: Vec<_> = (0..seconds)
            .map(|second| {
                let (behind, next_offset) = point(second);
                Point {
                    at_ms: second * 1000,
                    behind,
                    next_offset,
                }
            })
            .collect();
        course(&points, seconds >= 60)
    }

    /// Noise between 0 and 99.
    fn noise(second: u64) -> u64 {
        second.wrapping_mul(2_654_435_761) % 100
    }

    #[test]
    fn a_split_that_falls_behind_by_twenty_records_a_second_grows_also_under_noise() {
        let course = judge(60, |second| {
            (500 + second * 20 + noise(second), second as i64)
        });
        assert_eq!((course.trend, course.catch_up_s), (Trend::Growing, None));
        assert!((18.0..22.0).contains(&course.growth_per_s), "{course:?}");
    }

    #[test]
    fn what_shrinks_says_when_nothing_will_be_left() {
        let course = judge(60, |second| (10_000 - second * 100, second as i64));
        assert_eq!(course.trend, Trend::Shrinking);
        let left = course.catch_up_s.expect("it shrinks");
        assert!((40.0..42.0).contains(&left), "{course:?}");
    }

    #[test]
    fn noise_is_no_trend_and_neither_is_much() {
        let course = judge(60, |second| (1_000_000 + noise(second), second as i64));
        assert_eq!((course.trend, course.catch_up_s), (Trend::Steady, None));
    }

    #[test]
    fn whoever_stood_at_the_end_lately_has_caught_up() {
        let course = judge(60, |second| (if second == 50 { 0 } else { 900 }, 7));
        assert_eq!(
            (course.trend, course.catch_up_s),
            (Trend::CaughtUp, Some(0.0))
        );
        // Long ago is not lately.
        let course = judge(60, |second| {
            (if second == 5 { 0 } else { 900 }, second as i64)
        });
        assert_eq!(course.trend, Trend::Steady);
    }

    #[test]
    fn a_position_that_does_not_move_for_the_whole_time_is_stalled_however_little_waits() {
        assert_eq!(judge(60, |_| (1, 7)).trend, Trend::Stalled);
        assert_eq!(judge(60, |second| (1 + second, 7)).trend, Trend::Stalled);
        // Too early to tell.
        assert_eq!(judge(30, |_| (1, 7)).trend, Trend::Steady);
        assert_eq!(judge(30, |second| (1 + second, 7)).trend, Trend::Growing);
    }

    #[test]
    fn few_points_tell_nothing_but_whether_it_is_at_the_end() {
        assert_eq!(judge(0, |_| (1, 7)).trend, Trend::Unknown);
        assert_eq!(judge(11, |second| (second + 1, 7)).trend, Trend::Unknown);
        assert_eq!(judge(3, |_| (0, 7)).trend, Trend::CaughtUp);
    }
}
