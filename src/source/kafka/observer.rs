//! A thread beside the reader for everything that waits for an answer: offset commits, the ends of quiet partitions,
//! new partitions, how far the source is behind. It has a client of its own, whose answers never mix with the records.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{CommitMode, Consumer as _},
    error::KafkaResult,
};
use tidewright_jobs::job::KafkaSourceConfig;

use super::{
    super::{End, SplitEnds},
    client::Consumer,
    topic::{self, TopicError},
};
use crate::{kafka_client::log_line, runtime::epoch::wall_clock_ms};

/// How often to look for new partitions.
pub(super) const REFRESH_INTERVAL: Duration = Duration::from_secs(30);
/// How often the ends of all partitions are looked up.
const ENDS_INTERVAL: Duration = Duration::from_secs(1);
/// How long a look-up of them may take; commits wait meanwhile.
const ENDS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the last commit may take when the reader goes.
const LAST_COMMIT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the client's own messages are served.
const SERVE_INTERVAL: Duration = Duration::from_secs(1);
/// Brokers that restart may not know a topic for a moment; this often in a row means that it is gone.
const MISSING_SIGHTINGS: u32 = 2;

/// What the reader wants done.
pub(super) enum Task {
    /// Commit these (partition, next offset) to the consumer group.
    Commit(Vec<(i32, i64)>),
    /// Ask for the end of a partition.
    End(i32),
}

/// What the observer has seen.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The topic has this many partitions.
    Partitions(i32),
    /// The topic is another one than at the start; this is its id.
    Recreated(String),
    /// The topic is gone.
    Missing(String),
    /// A partition's end, `None` if its broker did not say.
    End(i32, Option<i64>),
}

/// The reader's end of the thread.
pub(super) struct Observer {
    /// `None` once the reader goes.
    tasks: Option<SyncSender<Task>>,
    seen: Receiver<Seen>,
}

impl Observer {
    /// Starts the thread; it looks for new partitions every `refresh`, and notes in `ends` how far those that are wanted there
    /// reach.
    ///
    /// # Errors
    /// If the system has no thread to give.
    pub(super) fn start(
        consumer: Consumer,
        config: &KafkaSourceConfig,
        topic_id: Option<String>,
        refresh: Duration,
        ends: SplitEnds,
    ) -> std::io::Result<Self> {
        let (tasks, task_queue) = sync_channel(64);
        let (seen_queue, seen) = sync_channel(1_024);
        let worker = Worker {
            consumer,
            config: config.clone(),
            topic_id,
            tasks: task_queue,
            seen: seen_queue,
            refresh,
            missing: 0,
            ends,
        };
        thread::Builder::new()
            .name("kafka-observer".into())
            .spawn(move || worker.run())?;
        Ok(Self {
            tasks: Some(tasks),
            seen,
        })
    }

    /// Hands over a task without waiting; gives it back if the thread is behind.
    pub(super) fn ask(&self, task: Task) -> Result<(), Task> {
        match self.tasks.as_ref().map(|tasks| tasks.try_send(task)) {
            Some(Err(TrySendError::Full(task) | TrySendError::Disconnected(task))) => Err(task),
            _ => Ok(()),
        }
    }

    /// What was seen since the last call, one at a time.
    pub(super) fn seen(&self) -> Option<Seen> {
        self.seen.try_recv().ok()
    }

    /// Lets the thread finish what it was asked for, for a moment.
    pub(super) fn finish(&mut self) {
        self.tasks = None;
        let deadline = Instant::now() + LAST_COMMIT_TIMEOUT;
        // The channel closes when the thread ends.
        while let Some(left) = deadline.checked_duration_since(Instant::now())
            && self.seen.recv_timeout(left).is_ok()
        {}
    }
}

struct Worker {
    consumer: Consumer,
    config: KafkaSourceConfig,
    topic_id: Option<String>,
    tasks: Receiver<Task>,
    seen: SyncSender<Seen>,
    refresh: Duration,
    missing: u32,
    ends: SplitEnds,
}

impl Worker {
    fn run(mut self) {
        let mut next_refresh = Instant::now() + self.refresh;
        let mut next_ends = Instant::now();
        loop {
            let wait = next_refresh.min(next_ends);
            let wait = wait.saturating_duration_since(Instant::now());
            let told = match self.tasks.recv_timeout(wait.min(SERVE_INTERVAL)) {
                Ok(Task::Commit(offsets)) => {
                    self.commit(&offsets);
                    Ok(())
                }
                Ok(Task::End(partition)) => {
                    let bounds = topic::bounds(&self.consumer, &self.config.topic, partition);
                    let end = bounds.ok().map(|bounds| bounds.high);
                    self.seen.send(Seen::End(partition, end))
                }
                Err(RecvTimeoutError::Timeout) => Ok(()),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if told.is_err() {
                return;
            }
            // Serves the client's log; no partition is assigned, so no message can come.
            let _ = self.consumer.poll(Duration::ZERO);
            if Instant::now() >= next_ends {
                // A broker that does not answer tells nothing: what was known stays.
                let _ = self.look_up_ends();
                next_ends = Instant::now() + ENDS_INTERVAL;
            }
            if Instant::now() >= next_refresh {
                next_refresh = Instant::now() + self.refresh;
                if self.look_for_partitions().is_err() {
                    return;
                }
            }
        }
    }

    fn look_for_partitions(&mut self) -> Result<(), std::sync::mpsc::SendError<Seen>> {
        match topic::partition_count(&self.consumer, &self.config) {
            Ok(count) => {
                self.missing = 0;
                if let Some(another) = self.another_topic() {
                    return self.seen.send(Seen::Recreated(another));
                }
                self.seen.send(Seen::Partitions(count))
            }
            Err(TopicError::Missing(message)) => {
                self.missing += 1;
                if self.missing < MISSING_SIGHTINGS {
                    return Ok(());
                }
                self.seen.send(Seen::Missing(message))
            }
            Err(TopicError::Unreachable(message)) => {
                log_line(RDKafkaLogLevel::Warning as i32, "METADATA", &message);
                Ok(())
            }
        }
    }

    /// The topic's id, if it is not the one at the start. Who does not answer now is asked again.
    fn another_topic(&self) -> Option<String> {
        let known = self.topic_id.as_ref()?;
        match topic::id(&self.consumer, &self.config) {
            Ok(id) => id.filter(|id| id != known),
            Err(message) => {
                log_line(RDKafkaLogLevel::Warning as i32, "METADATA", &message);
                None
            }
        }
    }

    /// One question about all partitions: a special time stands for the end.
    fn look_up_ends(&self) -> KafkaResult<()> {
        let mut list = TopicPartitionList::new();
        for split in self.ends.wanted() {
            let partition = i32::try_from(split).unwrap_or(i32::MAX);
            list.add_partition_offset(&self.config.topic, partition, Offset::End)?;
        }
        if list.count() == 0 {
            return Ok(());
        }
        let seen_ms = wall_clock_ms();
        let told = self.consumer.offsets_for_times(list, ENDS_TIMEOUT)?;
        for element in told.elements() {
            if let Offset::Offset(offset) = element.offset()
                && element.error().is_ok()
            {
                let end = End::At { offset, seen_ms };
                self.ends.set(element.partition().unsigned_abs(), end);
            }
        }
        Ok(())
    }

    /// A commit only tells others how far the job is, so a failure is no more than a message.
    fn commit(&self, offsets: &[(i32, i64)]) {
        if let Err(error) = self.try_commit(offsets) {
            let message = format!("offsets of {} not committed: {error}", self.config.topic);
            log_line(RDKafkaLogLevel::Warning as i32, "COMMIT", &message);
        }
    }

    fn try_commit(&self, offsets: &[(i32, i64)]) -> KafkaResult<()> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            list.add_partition_offset(&self.config.topic, *partition, Offset::Offset(*offset))?;
        }
        self.consumer.commit(&list, CommitMode::Sync)
    }
}
