//! Generated records, so that a job runs with nothing installed.
//!
//! Record number i of a split is a pure function of the seed, the split and i: reading again from an offset gives the
//! same records. They are made as JSON bytes and decoded like any others.

mod records;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tidewright_jobs::{
    job::DatagenConfig,
    plan::{SourceKind, SourcePlan},
};

use self::records::Generator;
use super::{
    End, ReaderRequest, SourceBatch, SourceError, SplitProgress, SplitReader,
    assemble::{Assembler, Deletes, Record},
    open::{ALIGN_MS, OpenContext},
    watermark::SplitClock,
};
use crate::runtime::epoch::wall_clock_ms;

/// Records made of one split before the next one's turn.
const PIECE_RECORDS: u64 = 1_024;
/// Between the number of a split and the start of its event time, in the split's name.
const START_MARK: char = '@';

/// Generates the splits that belong to one worker.
pub struct DatagenReader {
    assembler: Assembler,
    generator: Generator,
    splits: Vec<GeneratedSplit>,
    json: Vec<u8>,
    pace: Option<Pace>,
    source_watermark: i64,
    paused: bool,
    announced: bool,
}

struct GeneratedSplit {
    progress: SplitProgress,
    clock: SplitClock,
    /// Where this run began.
    first: i64,
    count: Option<i64>,
    touched: bool,
}

/// How many records of each split are due by now.
struct Pace {
    since: Instant,
    per_second: f64,
}

impl Pace {
    fn due(&self) -> i64 {
        (self.since.elapsed().as_secs_f64() * self.per_second) as i64
    }
}

impl DatagenReader {
    /// # Errors
    /// If the checkpoint is of a generator with another number of splits, or the configuration makes no sense.
    pub fn open(
        plan: &SourcePlan,
        config: &DatagenConfig,
        context: &OpenContext,
    ) -> Result<Self, SourceError> {
        let fail = |message: String| SourceError::new(&plan.name, &message);
        check(config, context).map_err(fail)?;
        let start_ms = start_ms(config, context);
        let generator = Generator::new(config, start_ms);
        let bound_ms = match &plan.kind {
            SourceKind::Stream {
                event_time: Some(declared),
            } => declared.out_of_orderness_ms,
            _ => 0,
        };
        let owned = (0..config.splits).filter(|split| context.owns(&plan.name, *split));
        let paced = config.rate.map(|rate| rate / f64::from(config.splits));
        let splits: Vec<GeneratedSplit> = owned
            .map(|split| {
                let name = split_name(split, config, start_ms);
                let count = generator
                    .count(split)
                    .map(|count| count.min(i64::MAX as u64) as i64);
                GeneratedSplit::new(split, name.into(), count, bound_ms, context)
            })
            .collect();
        if let Some(per_second) = paced {
            for split in &splits {
                context
                    .ends
                    .set(split.progress.split, split.paced(per_second));
            }
        }
        Ok(Self {
            assembler: Assembler::new(plan, Deletes::ByNullValue)?,
            generator,
            splits,
            json: Vec::with_capacity(512),
            pace: paced.map(|per_second| Pace {
                since: Instant::now(),
                per_second,
            }),
            source_watermark: i64::MIN,
            paused: false,
            announced: false,
        })
    }

    /// Makes what is due, always of the split that has come least far.
    fn generate(&mut self) {
        let due = self.pace.as_ref().map_or(i64::MAX, Pace::due);
        while !self.paused && !self.assembler.is_full() {
            let limit = match self.source_watermark {
                i64::MIN => i64::MAX,
                watermark => watermark.saturating_add(ALIGN_MS),
            };
            let next = self
                .splits
                .iter_mut()
                .filter(|split| split.is_due(due) && split.progress.watermark <= limit)
                .min_by_key(|split| split.progress.next_offset);
            let Some(split) = next else { break };
            split.generate_piece(due, &self.generator, &mut self.assembler, &mut self.json);
        }
    }

    /// How long to sleep when there was nothing to make: until the next record is due, unless something else holds.
    fn wait(&self, timeout: Duration) -> Duration {
        match self.next_due() {
            Some(due) if !self.paused && !due.is_zero() => due.min(timeout),
            _ => timeout,
        }
    }

    /// How long until the next record is due; `None` if no split goes on.
    fn next_due(&self) -> Option<Duration> {
        let pace = self.pace.as_ref()?;
        let unfinished = self.splits.iter().filter(|split| !split.progress.finished);
        let next = unfinished
            .map(|split| split.progress.next_offset - split.first + 1)
            .min()?;
        let at = Duration::try_from_secs_f64(next as f64 / pace.per_second).ok()?;
        Some(at.saturating_sub(pace.since.elapsed()))
    }
}

impl SplitReader for DatagenReader {
    fn poll(&mut self, timeout: Duration) -> Result<Option<SourceBatch>, SourceError> {
        self.generate();
        if self.announced && self.splits.iter().all(|split| !split.touched) {
            std::thread::sleep(self.wait(timeout));
            self.generate();
        }
        let all = !std::mem::replace(&mut self.announced, true);
        let touched: Vec<_> = self
            .splits
            .iter_mut()
            .filter_map(|split| {
                let touched = std::mem::take(&mut split.touched) || all;
                touched.then(|| split.progress.clone())
            })
            .collect();
        if touched.is_empty() && !all {
            return Ok(None);
        }
        self.assembler.finish(touched).map(Some)
    }

    fn request(&mut self, request: ReaderRequest) {
        match request {
            ReaderRequest::Pause(paused) => self.paused = paused,
            ReaderRequest::Watermark(watermark) => self.source_watermark = watermark,
            // Nobody else keeps count of what was generated.
            ReaderRequest::Commit(_) => {}
        }
    }
}

impl GeneratedSplit {
    fn new(
        split: u32,
        name: Arc<str>,
        count: Option<i64>,
        bound_ms: i64,
        context: &OpenContext,
    ) -> Self {
        let restored = context.restored_split(&name);
        let next_offset = restored.map_or(0, |start| start.next_offset);
        let watermark = restored.map_or(i64::MIN, |start| start.watermark);
        let mut generated = Self {
            progress: SplitProgress {
                split,
                name,
                next_offset,
                watermark,
                idle: false,
                caught_up: count.is_none(),
                finished: false,
                lag: None,
                timestamp: None,
            },
            clock: SplitClock::new(bound_ms, watermark),
            first: next_offset,
            count,
            touched: false,
        };
        generated.look_at_end();
        generated
    }

    /// How far it reaches from now on.
    fn paced(&self, per_second: f64) -> End {
        End::Paced {
            since_ms: wall_clock_ms(),
            first: self.first,
            end: self.count,
            per_second,
        }
    }

    fn is_due(&self, due: i64) -> bool {
        !self.progress.finished && self.progress.next_offset - self.first < due
    }

    fn generate_piece(
        &mut self,
        due: i64,
        generator: &Generator,
        assembler: &mut Assembler,
        json: &mut Vec<u8>,
    ) {
        self.touched = true;
        for _ in 0..PIECE_RECORDS {
            if assembler.is_full() || !self.is_due(due) {
                break;
            }
            let SplitProgress {
                split, next_offset, ..
            } = self.progress;
            let place = generator.write(split, next_offset.unsigned_abs(), json);
            let record = Record {
                split,
                offset: next_offset,
                timestamp: Some(place),
                key: None,
                value: Some(json),
            };
            assembler.push(&mut self.clock, &record, || {
                format!("generator split {split}, record {next_offset}")
            });
            self.progress.next_offset += 1;
            self.progress.watermark = self.clock.watermark();
            self.look_at_end();
        }
    }

    fn look_at_end(&mut self) {
        let left = self
            .count
            .map(|count| (count - self.progress.next_offset).max(0));
        self.progress.lag = left;
        if left == Some(0) {
            self.progress.finished = true;
            self.progress.caught_up = true;
        }
    }
}

fn check(config: &DatagenConfig, context: &OpenContext) -> Result<(), String> {
    if config.splits == 0 || config.users == 0 {
        return Err("`splits` and `users` must be at least 1".into());
    }
    if config
        .rate
        .is_some_and(|rate| !(rate > 0.0 && rate.is_finite()))
    {
        return Err("`rate` must be a positive number".into());
    }
    for (name, share) in [("late", config.late), ("malformed", config.malformed)] {
        if !(0.0..=1.0).contains(&share) {
            return Err(format!("`{name}` is a share between 0 and 1, not {share}"));
        }
    }
    match &context.restored {
        Some(restored) if restored.len() != config.splits as usize => Err(format!(
            "the checkpoint is of {} splits but `splits` is {}: records would repeat or be lost; set it back, or start \
             over with `--restore none`",
            restored.len(),
            config.splits
        )),
        _ => Ok(()),
    }
}

/// The event time of the first record. Without `start_ms` that is the time of the first start, which the splits' names
/// carry from checkpoint to checkpoint.
fn start_ms(config: &DatagenConfig, context: &OpenContext) -> i64 {
    let first_start = || {
        let name = &context.restored.as_ref()?.first()?.name;
        name.split_once(START_MARK)?.1.parse().ok()
    };
    config
        .start_ms
        .or_else(first_start)
        .unwrap_or(context.now_ms)
}

fn split_name(split: u32, config: &DatagenConfig, start_ms: i64) -> String {
    match config.start_ms {
        Some(_) => split.to_string(),
        None => format!("{split}{START_MARK}{start_ms}"),
    }
}

/// The splits' names, without the start of their event time.
pub(super) fn splits(config: &DatagenConfig) -> Vec<String> {
    (0..config.splits).map(|split| split.to_string()).collect()
}

#[cfg(test)]
mod tests;
