//! Kafka topics: each partition is a split, assigned to its worker for good.
//!
//! The position is the reader's own: the offset after the last record, or the end that the broker told, since
//! transaction markers occupy offsets too. Offsets out of range are never mended silently. A broker that goes away is
//! waited for.

mod client;
mod identity;
mod observer;
mod partitions;
mod queue;
mod split;
#[cfg(test)]
mod tests;
mod topic;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tidewright_jobs::{
    job::KafkaSourceConfig,
    plan::{SourceKind, SourcePlan},
};

use self::{
    observer::{Observer, Seen, Task},
    partitions::Partitions,
    queue::{ConsumerQueue, TAKE_MAX},
    split::KafkaSplit,
};
use super::{
    ReaderRequest, SourceBatch, SourceError, SplitProgress, SplitReader,
    assemble::{Assembler, BATCH_ROWS_MAX, Deletes},
    open::OpenContext,
    partitioner::Partitioner,
};

/// How often offsets are reported to the consumer group at most.
const COMMIT_INTERVAL: Duration = Duration::from_millis(500);
/// How often the ends of partitions are looked up for the lag.
const LAG_INTERVAL: Duration = Duration::from_millis(100);
/// How long a few records wait for more: under a steady load the client hands over what each response brings, a dozen records many hundred
/// times a second, and a batch costs reader, worker and operators the same whether it has twelve rows or a hundred.
const GATHERED_FOR: Duration = Duration::from_millis(2);

/// Reads the partitions that belong to one worker.
pub struct KafkaReader {
    queue: ConsumerQueue,
    assembler: Assembler,
    partitions: Partitions,
    observer: Observer,
    idle_after: Option<Duration>,
    /// Positions to report to the consumer group.
    commits: BTreeMap<i32, i64>,
    next_commit: Instant,
    next_lag: Instant,
    paused: bool,
    announced: bool,
}

impl KafkaReader {
    /// # Errors
    /// If the topic is not there or not reachable, or its records are not those of the checkpoint.
    pub fn open(
        plan: &SourcePlan,
        config: &KafkaSourceConfig,
        context: &OpenContext,
    ) -> Result<Self, SourceError> {
        Self::open_with(plan, config, context, observer::REFRESH_INTERVAL)
    }

    fn open_with(
        plan: &SourcePlan,
        config: &KafkaSourceConfig,
        context: &OpenContext,
        refresh: Duration,
    ) -> Result<Self, SourceError> {
        let fail = |message: String| SourceError::new(&plan.name, &message);
        let group = config.group.as_deref().unwrap_or(&context.job);
        let settings = client::settings(config, group).map_err(fail)?;
        let helper = client::connect(&settings).map_err(fail)?;
        let partitions = Partitions::find(&helper, plan, config, context)?;
        let consumer = client::connect(&settings).map_err(fail)?;
        let queue = ConsumerQueue::new(consumer, &config.topic)
            .ok_or_else(|| fail(format!("topic {}: no consumer queue", config.topic)))?;
        let ends = context.ends.clone();
        let observer = Observer::start(helper, config, partitions.topic_id.clone(), refresh, ends)
            .map_err(|error| fail(format!("no thread for the Kafka client: {error}")))?;
        let mut assembler = Assembler::new(plan, Deletes::ByNullValue)?;
        if let Some(column) = plan.partitioned_by() {
            assembler.check_partitions(Partitioner::new(column, partitions.count()));
        }
        let mut reader = Self {
            queue,
            assembler,
            partitions,
            observer,
            idle_after: idle_after(plan, context),
            commits: BTreeMap::new(),
            next_commit: Instant::now(),
            next_lag: Instant::now(),
            paused: false,
            announced: false,
        };
        reader.partitions.assign_wanted(reader.queue.consumer())?;
        Ok(reader)
    }

    fn take_observations(&mut self) -> Result<(), SourceError> {
        while let Some(seen) = self.observer.seen() {
            match seen {
                Seen::Partitions(count) => self.partitions.look_at_count(count)?,
                Seen::Missing(message) => {
                    return Err(self.partitions.fail(&format!(
                        "the topic was deleted while the job ran ({message}): start over with `--restore none` once it \
                         is there again"
                    )));
                }
                Seen::Recreated(id) => {
                    return Err(self.partitions.recreated("while the job ran", &id));
                }
                Seen::End(partition, end) => {
                    if let Some(split) = self.partitions.split_mut(partition) {
                        split.answered(end, Instant::now());
                    }
                }
            }
        }
        Ok(())
    }

    fn consume(&mut self, timeout: Duration) -> Result<(), SourceError> {
        if self.paused {
            // What the client has fetched waits in its own bounded queue.
            std::thread::sleep(timeout);
            return Ok(());
        }
        if self.take(TAKE_MAX, Duration::ZERO)? == 0 {
            // A batch waits until it is full, so only one message is waited for.
            if timeout.is_zero() || self.take(1, timeout)? == 0 {
                return Ok(());
            }
        }
        self.take_what_is_there()?;
        if self.assembler.is_small() {
            std::thread::sleep(GATHERED_FOR);
            self.take_what_is_there()?;
        }
        Ok(())
    }

    fn take_what_is_there(&mut self) -> Result<(), SourceError> {
        while !self.assembler.is_full() && self.take(TAKE_MAX, Duration::ZERO)? > 0 {}
        Ok(())
    }

    fn take(&mut self, max: usize, timeout: Duration) -> Result<usize, SourceError> {
        let Self {
            queue,
            partitions,
            assembler,
            ..
        } = self;
        let max = max.min(BATCH_ROWS_MAX);
        let mut failed = None;
        let taken = queue.take(max, timeout, |message| {
            if let Err(error) = partitions.handle(message, assembler) {
                failed.get_or_insert(error);
            }
        });
        failed.map_or(Ok(taken), Err)
    }

    fn watch_idleness(&mut self) {
        let Some(idle_after) = self.idle_after else {
            return;
        };
        let now = Instant::now();
        for split in &mut self.partitions.splits {
            if split.should_ask(idle_after, now)
                && self.observer.ask(Task::End(split.partition)).is_ok()
            {
                split.asked();
            }
        }
    }

    fn watch_lag(&mut self) {
        let now = Instant::now();
        if now < self.next_lag {
            return;
        }
        self.next_lag = now + LAG_INTERVAL;
        for split in &mut self.partitions.splits {
            split.saw_end(self.queue.known_end(split.partition));
        }
    }

    fn commit(&mut self) {
        let now = Instant::now();
        if self.commits.is_empty() || now < self.next_commit {
            return;
        }
        self.next_commit = now + COMMIT_INTERVAL;
        let offsets = std::mem::take(&mut self.commits);
        if let Err(Task::Commit(offsets)) = self
            .observer
            .ask(Task::Commit(offsets.into_iter().collect()))
        {
            self.commits = offsets.into_iter().collect();
        }
    }

    fn wait_for(&self, timeout: Duration) -> Duration {
        if self.announced {
            timeout
        } else {
            Duration::ZERO
        }
    }
}

impl SplitReader for KafkaReader {
    fn poll(&mut self, timeout: Duration) -> Result<Option<SourceBatch>, SourceError> {
        self.take_observations()?;
        self.consume(self.wait_for(timeout))?;
        self.watch_lag();
        self.watch_idleness();
        self.partitions.assign_wanted(self.queue.consumer())?;
        self.commit();
        let splits: Vec<SplitProgress> = self
            .partitions
            .splits
            .iter_mut()
            .filter_map(KafkaSplit::report)
            .collect();
        let first = !std::mem::replace(&mut self.announced, true);
        if splits.is_empty() && self.assembler.is_empty() && !first {
            return Ok(None);
        }
        self.assembler.finish(splits).map(Some)
    }

    fn request(&mut self, request: ReaderRequest) {
        match request {
            ReaderRequest::Pause(paused) => self.paused = paused,
            ReaderRequest::Watermark(watermark) => self.partitions.source_watermark = watermark,
            ReaderRequest::Commit(offsets) => {
                for (split, offset) in offsets {
                    // Other workers' partitions are theirs to report.
                    let partition = i32::try_from(split).unwrap_or(i32::MAX);
                    if self.partitions.split_mut(partition).is_some() {
                        self.commits.insert(partition, offset);
                    }
                }
            }
        }
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        self.next_commit = Instant::now();
        self.commit();
        self.observer.finish();
    }
}

/// A bounded run knows no idleness: it ends instead.
fn idle_after(plan: &SourcePlan, context: &OpenContext) -> Option<Duration> {
    match &plan.kind {
        SourceKind::Stream {
            event_time: Some(declared),
        } if !context.bounded => declared.idle_after_ms.map(Duration::from_millis),
        _ => None,
    }
}

/// The names of the topic's partitions, with the first offset that each still holds.
pub(super) fn splits(
    plan: &SourcePlan,
    config: &KafkaSourceConfig,
) -> Result<Vec<(String, i64)>, SourceError> {
    let fail = |message: String| SourceError::new(&plan.name, &message);
    // No offset is ever committed by this client.
    let settings = client::settings(config, "splits").map_err(fail)?;
    let consumer = client::connect(&settings).map_err(fail)?;
    let count =
        topic::partition_count(&consumer, config).map_err(|error| fail(error.to_string()))?;
    let first = |partition: i32| {
        let bounds = topic::bounds(&consumer, &config.topic, partition).map_err(fail)?;
        Ok((partition.to_string(), bounds.low))
    };
    (0..count).map(first).collect()
}
