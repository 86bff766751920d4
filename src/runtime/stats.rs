//! What a running job tells about itself: counters, frontiers and latencies, shared by all threads of the process.

mod activity;
mod dead_letters;
mod sinks;
mod splits;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

pub use self::activity::{Activity, OperatorTime, Waits};
pub use self::dead_letters::DeadLetters;
pub use self::sinks::SinkStatuses;
pub use self::splits::{Known, Splits};

/// A shared counter.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds to it.
    pub fn add(&self, amount: u64) {
        if amount > 0 {
            self.0.fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// Takes from it.
    pub fn subtract(&self, amount: u64) {
        self.0.fetch_sub(amount, Ordering::Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Raises it to at least this value.
    pub fn raise(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }
}

/// Durations in microseconds.
#[derive(Clone, Debug)]
pub struct Latencies(Arc<Mutex<Histogram<u64>>>);

impl Default for Latencies {
    fn default() -> Self {
        // Three significant digits; grows by itself up to hours.
        let mut histogram = Histogram::new_with_max(3_600_000_000, 3)
            .unwrap_or_else(|error| unreachable!("constant bounds are valid: {error}"));
        histogram.auto(true);
        Self(Arc::new(Mutex::new(histogram)))
    }
}

impl Latencies {
    /// Records a duration for `count` rows.
    pub fn record(&self, duration: Duration, count: u64) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let mut histogram = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Recording fails only beyond the histogram's range, which then is its largest value.
        if histogram.record_n(micros, count).is_err() {
            let highest = histogram.high();
            let _ = histogram.record_n(highest, count);
        }
    }

    /// Durations in microseconds with how often they were recorded.
    #[must_use]
    pub fn counts(&self) -> Vec<(u64, u64)> {
        let histogram = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recorded = histogram.iter_recorded();
        recorded
            .map(|step| (step.value_iterated_to(), step.count_at_value()))
            .collect()
    }

    /// Median, 99th percentile and maximum in milliseconds; `None` without records.
    #[must_use]
    pub fn summary_ms(&self) -> Option<[f64; 3]> {
        let histogram = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ms = |micros: u64| micros as f64 / 1000.0;
        (!histogram.is_empty()).then(|| {
            [
                ms(histogram.value_at_quantile(0.5)),
                ms(histogram.value_at_quantile(0.99)),
                ms(histogram.max()),
            ]
        })
    }
}

/// When the first record of each epoch was ingested, until the epoch is delivered.
#[derive(Clone, Debug, Default)]
pub struct IngestTimes(Arc<Mutex<VecDeque<(u64, Instant, u64)>>>);

/// A store may be down for long: beyond so many epochs, neighbours become one that counts from the older one's first record.
const EPOCHS_NOTED_MAX: usize = 4096;

impl IngestTimes {
    /// Notes the first record of an epoch and how many there were.
    pub fn note(&self, epoch: u64, at: Instant, records: u64) {
        let mut times = self.lock();
        times.push_back((epoch, at, records));
        if times.len() > EPOCHS_NOTED_MAX {
            *times = times.make_contiguous().chunks(2).map(merged).collect();
        }
    }

    /// When the first record was ingested that is in no epoch up to this one.
    #[must_use]
    pub fn first_after(&self, epoch: u64) -> Option<Instant> {
        let times = self.lock();
        let later = times.iter().filter(|(at, ..)| *at > epoch);
        later.map(|(_, instant, _)| *instant).min()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, Instant, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out everything up to and including an epoch.
    #[must_use]
    pub fn take_through(&self, epoch: u64) -> Vec<(Instant, u64)> {
        let mut times = self.lock();
        let mut taken = Vec::new();
        times.retain(|(at, instant, records)| {
            let keep = *at > epoch;
            if !keep {
                taken.push((*instant, *records));
            }
            keep
        });
        taken
    }
}

/// Epochs as one: delivered with the last of them.
fn merged(epochs: &[(u64, Instant, u64)]) -> (u64, Instant, u64) {
    let mut epochs = epochs.iter().copied();
    let first = epochs.next().unwrap_or((0, Instant::now(), 0));
    epochs.fold(first, |(last, since, sum), (epoch, at, records)| {
        (last.max(epoch), since.min(at), sum + records)
    })
}

/// Everything that a running job tells.
#[derive(Debug)]
pub struct Stats {
    /// When this process began.
    pub started: Instant,
    /// Records read, by source.
    pub events_in: BTreeMap<String, Counter>,
    /// Rows made, by view.
    pub view_rows: BTreeMap<String, Counter>,
    /// Rows delivered, by sink.
    pub sink_rows: BTreeMap<String, Counter>,
    /// Last marker, by append sink: zero for keyed ones.
    pub appended: BTreeMap<String, Counter>,
    /// Last delivered epoch, by sink.
    pub delivered: BTreeMap<String, Counter>,
    /// Bytes that wait in the outbox, by sink.
    pub outbox_bytes: BTreeMap<String, Counter>,
    /// Rows that wait there, by sink.
    pub outbox_rows: BTreeMap<String, Counter>,
    /// How the stores of sinks fare.
    pub sinks: SinkStatuses,
    /// Splits and watermarks of the whole job.
    pub splits: Splits,
    /// How operators spend their time.
    pub activity: Activity,
    /// Rows that came too late, by view.
    pub late: BTreeMap<String, Counter>,
    /// Records and rows that could not be processed.
    pub dead_letters: DeadLetters,
    /// Last closed epoch of any source.
    pub ingested: Counter,
    /// Last epoch that all operators have completed.
    pub computed: Counter,
    /// Last epoch whose checkpoint is published.
    pub durable: Counter,
    /// Published checkpoints.
    pub checkpoints: Counter,
    /// Bytes written for checkpoints and compaction.
    pub checkpoint_bytes: Counter,
    /// Keys moved to local disk, where state may be larger than memory.
    pub state_spilled: Counter,
    /// Keys brought back.
    pub state_fetched: Counter,
    /// When the last of them was published: wall clock, milliseconds since 1970.
    pub published_ms: Counter,
    /// From a marker's close to its publication.
    pub checkpoint_times: Latencies,
    /// The same of the last one, in microseconds.
    pub checkpoint_last_micros: Counter,
    /// Bytes of state files and manifest that the last one wrote.
    pub checkpoint_last_bytes: Counter,
    /// When epochs were ingested.
    pub ingest_times: IngestTimes,
    /// From ingestion to delivery in all sinks.
    pub delivery_times: Latencies,
}

impl Stats {
    /// Counters for the relations of a plan.
    #[must_use]
    pub fn new(plan: &tidewright_jobs::plan::Plan) -> Self {
        let sinks = || counters(plan.sinks.iter().map(|sink| &sink.name));
        Self {
            events_in: counters(plan.sources.iter().map(|source| &source.name)),
            view_rows: counters(plan.views.iter().map(|(name, _)| name)),
            sink_rows: sinks(),
            appended: sinks(),
            delivered: sinks(),
            outbox_bytes: sinks(),
            outbox_rows: sinks(),
            late: counters(plan.views.iter().map(|(name, _)| name)),
            ..Self::empty()
        }
    }

    /// Counters for these sources and nothing else.
    #[cfg(test)]
    pub fn of_names<const N: usize>(sources: [&str; N]) -> Self {
        let sources = sources.map(str::to_owned);
        Self {
            events_in: counters(sources.iter()),
            late: counters(["late".to_owned()].iter()),
            ..Self::empty()
        }
    }

    /// Rows that came too late, of all views.
    #[must_use]
    pub fn late_rows(&self) -> u64 {
        self.late.values().map(Counter::get).sum()
    }

    fn empty() -> Self {
        Self {
            started: Instant::now(),
            events_in: BTreeMap::new(),
            view_rows: BTreeMap::new(),
            sink_rows: BTreeMap::new(),
            appended: BTreeMap::new(),
            delivered: BTreeMap::new(),
            outbox_bytes: BTreeMap::new(),
            outbox_rows: BTreeMap::new(),
            sinks: SinkStatuses::default(),
            splits: Splits::default(),
            activity: Activity::default(),
            late: BTreeMap::new(),
            dead_letters: DeadLetters::default(),
            ingested: Counter::default(),
            computed: Counter::default(),
            durable: Counter::default(),
            checkpoints: Counter::default(),
            checkpoint_bytes: Counter::default(),
            state_spilled: Counter::default(),
            state_fetched: Counter::default(),
            published_ms: Counter::default(),
            checkpoint_times: Latencies::default(),
            checkpoint_last_micros: Counter::default(),
            checkpoint_last_bytes: Counter::default(),
            ingest_times: IngestTimes::default(),
            delivery_times: Latencies::default(),
        }
    }
}

fn counters<'a>(names: impl Iterator<Item = &'a String>) -> BTreeMap<String, Counter> {
    names
        .map(|name| (name.clone(), Counter::default()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ingest_times_stay_bounded_while_nothing_is_delivered_and_lose_no_record() {
        let times = IngestTimes::default();
        let start = Instant::now();
        for epoch in 1..=20_000 {
            times.note(epoch, start + Duration::from_millis(epoch), 1);
        }
        assert!(times.lock().len() <= EPOCHS_NOTED_MAX);
        assert_eq!(times.first_after(0), Some(start + Duration::from_millis(1)));
        // What is delivered in part is not delivered.
        let before: u64 = times
            .take_through(1)
            .iter()
            .map(|(_, records)| records)
            .sum();
        let all = times.take_through(u64::MAX);
        let records: u64 = all.iter().map(|(_, records)| records).sum();
        assert_eq!((before, records), (0, 20_000));
        assert_eq!(times.first_after(0), None);
    }
}
