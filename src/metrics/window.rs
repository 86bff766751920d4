//! The last minute of a job, a sample each second: what trends are judged by.

use std::collections::{BTreeMap, VecDeque};

use super::measurements::Measurements;

/// How often a sample is taken.
pub const SAMPLE_EVERY_MS: u64 = 1_000;
/// Samples kept: a minute and the moment before it.
pub const SAMPLES: usize = 61;

/// A split by its source and name.
pub type SplitName = (String, String);

/// The samples, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Window(VecDeque<Sample>);

/// A job at a moment, as far as trends need it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// When.
    pub at_ms: u64,
    /// The splits of all sources.
    pub splits: BTreeMap<SplitName, SplitSample>,
    /// Per sink, its outbox is full.
    pub outbox_full: BTreeMap<String, bool>,
    /// Per source or view, dead letters so far.
    pub dead_letters: BTreeMap<String, u64>,
    /// Per source, records read so far.
    pub records_in: BTreeMap<String, u64>,
}

/// A split at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SplitSample {
    /// Records between the position and the end, where known.
    pub records_behind: Option<u64>,
    /// The offset of the next record.
    pub next_offset: i64,
    /// Its watermark.
    pub watermark_ms: Option<i64>,
    /// Its source's watermark waits for it.
    pub holds_watermark: bool,
}

impl Sample {
    /// A sample of a job, from what its processes have measured. Every process knows all splits; process 0 knows them best.
    #[must_use]
    pub fn of(processes: &[Measurements]) -> Self {
        let mut sample = Self::default();
        if let Some(first) = processes.first() {
            sample.at_ms = first.at_ms;
            sample.splits = first.splits.iter().map(named).collect();
        }
        for process in processes {
            for sink in &process.sinks {
                let full = sink.outbox_bytes > sink.outbox_limit_bytes;
                *sample.outbox_full.entry(sink.sink.clone()).or_default() |= full;
            }
            for letters in &process.dead_letters {
                let relation = letters.relation.clone();
                *sample.dead_letters.entry(relation).or_default() += letters.count;
            }
            for (source, records) in &process.records_in {
                *sample.records_in.entry(source.clone()).or_default() += records;
            }
        }
        sample
    }
}

fn named(split: &super::measurements::Split) -> (SplitName, SplitSample) {
    let name = (split.source.clone(), split.split.clone());
    let sample = SplitSample {
        records_behind: split.records_behind,
        next_offset: split.next_offset,
        watermark_ms: split.watermark_ms,
        holds_watermark: split.holds_watermark,
    };
    (name, sample)
}

impl Window {
    /// Adds the newest sample.
    pub fn push(&mut self, sample: Sample) {
        self.0.push_back(sample);
        while self.0.len() > SAMPLES {
            self.0.pop_front();
        }
    }

    /// The samples, oldest first.
    pub fn samples(&self) -> impl DoubleEndedIterator<Item = &Sample> + Clone {
        self.0.iter()
    }

    /// It covers the whole time.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.len() >= SAMPLES
    }

    /// How long it reaches back, in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        let ends = self.0.front().zip(self.0.back());
        ends.map_or(0.0, |(first, last)| {
            last.at_ms.saturating_sub(first.at_ms) as f64 / 1000.0
        })
    }
}
