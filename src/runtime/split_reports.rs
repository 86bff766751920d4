//! What a worker reports of its splits: the last report of each, and which of them no control record holds yet.

use std::collections::{BTreeMap, BTreeSet};

use super::control::SplitReport;
use crate::source::{SplitEnds, SplitProgress};

/// A source's position in the plan, and the split's number.
type Split = (usize, u32);

/// The reports of one worker's splits.
#[derive(Default)]
pub struct SplitReports {
    last: BTreeMap<Split, SplitReport>,
    news: BTreeSet<Split>,
}

impl SplitReports {
    /// Whether something has changed since the last control record.
    #[must_use]
    pub fn have_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// Takes what has changed since the last control record.
    #[must_use]
    pub fn take_news(&mut self) -> Vec<SplitReport> {
        let news = std::mem::take(&mut self.news);
        let reports = news.iter().filter_map(|split| self.last.get(split));
        reports.cloned().collect()
    }

    /// Notes how far a reader has got.
    pub fn note(&mut self, source: usize, split: &SplitProgress, ends: &SplitEnds, now_ms: u64) {
        let before = self.last.get(&(source, split.split));
        let before = before.and_then(|report| report.read_through_ms);
        let behind = ends.behind(split.split, split.next_offset, split.lag, now_ms);
        let told = behind.and_then(|behind| behind.read_through_ms);
        let report = SplitReport {
            source,
            split: split.split,
            name: split.name.to_string(),
            next_offset: split.next_offset,
            watermark: split.watermark,
            idle: split.idle,
            caught_up: split.caught_up,
            finished: split.finished,
            lag: split.lag,
            behind: behind.map(|behind| behind.records),
            read_through_ms: read_through(split, now_ms).max(told).max(before),
        };
        self.news.insert((source, split.split));
        self.last.insert((source, split.split), report);
    }

    /// Takes into account how far the splits of a source reach.
    pub fn look_at_ends(&mut self, source: usize, ends: &SplitEnds, now_ms: u64) {
        let splits = (source, 0)..=(source, u32::MAX);
        for (split, report) in self.last.range_mut(splits) {
            let behind = ends.behind(split.1, report.next_offset, report.lag, now_ms);
            let Some(behind) = behind.filter(|_| !report.finished) else {
                continue;
            };
            report.read_through_ms = report.read_through_ms.max(behind.read_through_ms);
            if report.behind != Some(behind.records) {
                report.behind = Some(behind.records);
                self.news.insert(*split);
            }
        }
    }

    /// All splits end where they are.
    pub fn end_all(&mut self) {
        for (split, report) in &mut self.last {
            report.finished = true;
            self.news.insert(*split);
        }
    }
}

/// Up to which time a split has been read: now at its end, else the timestamp of the last record. Timestamps are what producers
/// say, and may lie ahead.
fn read_through(split: &SplitProgress, now_ms: u64) -> Option<u64> {
    match (split.lag, split.timestamp) {
        (Some(0), _) => Some(now_ms),
        (_, Some(timestamp)) => Some(u64::try_from(timestamp).unwrap_or(0).min(now_ms)),
        (_, None) => None,
    }
}
