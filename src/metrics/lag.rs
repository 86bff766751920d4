//! How far a job is behind, split by split.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::frontiers::Frontiers;
use super::measurements::{Measurements, Split};
use super::trend::{Course, Point, Trend, course};
use super::watermarks::RelationWatermark;
use super::window::{SAMPLES, SplitName, Window};

/// How far a job is behind. Times are milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Lag {
    /// The job.
    pub job: String,
    /// When this was measured.
    pub at_ms: u64,
    /// Records behind over all splits whose end is known.
    pub records_behind: u64,
    /// Seconds behind of the split that is furthest behind; `null` if nobody knows.
    pub seconds_behind: Option<f64>,
    /// In how many seconds the last split will have caught up at the present rates; `null` if one of them won't.
    pub catch_up_seconds: Option<f64>,
    /// The splits.
    pub splits: Vec<SplitLag>,
    /// How far event time has come in sources and views, and what each waits for.
    pub watermarks: Vec<RelationWatermark>,
    /// How far the job has come.
    pub frontiers: Frontiers,
}

/// How far a split is behind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SplitLag {
    /// The source.
    pub source: String,
    /// The partition, the file, the part of a generator.
    pub split: String,
    /// The offset of the next record.
    pub next_offset: i64,
    /// Records between there and the end; `null` where nobody knows.
    pub records_behind: Option<u64>,
    /// What was in the split so many seconds ago has been read; 0 at the end, `null` where nobody knows.
    pub seconds_behind: Option<f64>,
    /// How that has developed over the last minute.
    pub trend: Trend,
    /// How many records more it is behind each second; less than 0 while that shrinks.
    pub growth_per_second: f64,
    /// In how many seconds nothing is left at the present rate; `null` if that does not shrink.
    pub catch_up_seconds: Option<f64>,
    /// Largest event time seen minus the bound; `null` before the first.
    pub watermark_ms: Option<i64>,
    /// Its source's watermark waits for it.
    pub holds_watermark: bool,
    /// It is idle and holds nobody back.
    pub idle: bool,
    /// No record will follow.
    pub finished: bool,
}

impl Lag {
    /// How far a job is behind, by what process 0 has measured now and within the last minute.
    #[must_use]
    pub fn of(now: &Measurements, window: &Window) -> Self {
        let splits: Vec<_> = now
            .splits
            .iter()
            .map(|split| SplitLag::of(split, courses(window, split)))
            .collect();
        let records = splits.iter().filter_map(|split| split.records_behind);
        let seconds = splits.iter().filter_map(|split| split.seconds_behind);
        let catch_up: Option<Vec<_>> = splits
            .iter()
            .filter(|split| split.records_behind != Some(0))
            .map(|split| split.catch_up_seconds)
            .collect();
        Self {
            job: now.job.clone(),
            at_ms: now.at_ms,
            records_behind: records.sum(),
            seconds_behind: seconds.max_by(f64::total_cmp),
            catch_up_seconds: catch_up.map(|all| all.into_iter().fold(0.0, f64::max)),
            watermarks: now.watermarks.clone(),
            frontiers: now.frontiers,
            splits,
        }
    }
}

impl SplitLag {
    fn of(split: &Split, course: Course) -> Self {
        Self {
            source: split.source.clone(),
            split: split.split.clone(),
            next_offset: split.next_offset,
            records_behind: split.records_behind,
            seconds_behind: split.seconds_behind,
            trend: course.trend,
            growth_per_second: course.growth_per_s,
            catch_up_seconds: course.catch_up_s,
            watermark_ms: split.watermark_ms,
            holds_watermark: split.holds_watermark,
            idle: split.idle,
            finished: split.finished,
        }
    }
}

/// The course of a split within the window.
fn courses(window: &Window, split: &Split) -> Course {
    let name: SplitName = (split.source.clone(), split.split.clone());
    let points = window.samples().filter_map(|sample| {
        let found = sample.splits.get(&name)?;
        Some(Point {
            at_ms: sample.at_ms,
            behind: found.records_behind?,
            next_offset: found.next_offset,
        })
    });
    let points: Vec<_> = points.collect();
    course(&points, points.len() >= SAMPLES)
}
