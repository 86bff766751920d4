//! The partitions of one worker: where each begins, which are fetched, and what becomes of their messages.

use std::{sync::Arc, time::Instant};

use rdkafka::{
    Offset, TopicPartitionList, config::RDKafkaLogLevel, consumer::Consumer as _,
    error::KafkaResult, types::RDKafkaErrorCode,
};
use tidewright_checkpoints::SHARDS;
use tidewright_jobs::{
    job::{KafkaSourceConfig, StartPosition},
    plan::{SourceKind, SourcePlan},
};

use super::{
    super::{
        SourceError,
        assemble::{Assembler, Record},
        identity::{Meeting, Topic},
        open::{ALIGN_MS, OpenContext},
        watermark::SplitClock,
    },
    client::Consumer,
    queue::Message,
    split::KafkaSplit,
    topic::{self, Begin, Bounds},
};
use crate::kafka_client::log_line;

/// The partitions, apart from the client so that its messages can be handed to them.
pub(super) struct Partitions {
    source: Arc<str>,
    topic: String,
    /// What is needed to take on a partition that appears.
    context: OpenContext,
    bound_ms: i64,
    pub(super) splits: Vec<KafkaSplit>,
    /// Partition to position in `splits`.
    positions: Vec<Option<usize>>,
    /// How many partitions the topic had when last seen.
    count: i32,
    /// What the brokers tell the topic by; `None` if they have nothing of the kind.
    pub(super) topic_id: Option<String>,
    /// Offsets of the checkpoint are those of another topic.
    is_another: bool,
    /// What runs relies on each key being in one partition for good.
    keys_stay: bool,
    pub(super) source_watermark: i64,
}

impl Partitions {
    /// Asks the brokers which partitions there are, and decides where to begin with those of this worker.
    pub(super) fn find(
        helper: &Consumer,
        plan: &SourcePlan,
        config: &KafkaSourceConfig,
        context: &OpenContext,
    ) -> Result<Self, SourceError> {
        let fail = |message: String| SourceError::new(&plan.name, &message);
        let count =
            topic::partition_count(helper, config).map_err(|error| fail(error.to_string()))?;
        check_nothing_vanished(config, context, count).map_err(fail)?;
        topic::check_named_partitions(config, count).map_err(fail)?;
        if config.partitioned_by.is_some() {
            check_keys_stay(config, context, count).map_err(fail)?;
        }
        let bound_ms = match &plan.kind {
            SourceKind::Stream {
                event_time: Some(declared),
            } => declared.out_of_orderness_ms,
            _ => 0,
        };
        let mut partitions = Self {
            source: plan.name.as_str().into(),
            topic: config.topic.clone(),
            context: context.clone(),
            bound_ms,
            splits: Vec::new(),
            positions: Vec::new(),
            count,
            topic_id: topic::id(helper, config).map_err(fail)?,
            is_another: false,
            keys_stay: config.partitioned_by.is_some(),
            source_watermark: i64::MIN,
        };
        partitions.meet()?;
        for partition in 0..count {
            if context.owns(&plan.name, partition.unsigned_abs()) {
                let bounds = topic::bounds(helper, &config.topic, partition).map_err(fail)?;
                let split = partitions
                    .begin(helper, config, partition, bounds)
                    .map_err(fail)?;
                partitions.add(split);
            }
        }
        Ok(partitions)
    }

    /// Compares the topic with the one that the checkpoint was made from.
    fn meet(&mut self) -> Result<(), SourceError> {
        let Some(id) = self.topic_id.clone() else {
            return Ok(());
        };
        let topic = Topic {
            name: self.topic.clone(),
            id,
        };
        let topics = &self.context.topics;
        if let Meeting::Another(known) = topics.meet(&self.source, &topic) {
            if !self.context.moved {
                return Err(
                    self.recreated(&format!("since the checkpoint (id {known})"), &topic.id)
                );
            }
            // Whoever runs the job has said where to begin: with this topic, for its offsets cannot be the other's.
            tracing::warn!(
                topic = topic.name,
                "another topic than the checkpoint's is read, from the position that was given"
            );
            self.is_another = true;
        }
        topics.note(&self.source, topic);
        Ok(())
    }

    /// The topic's name has passed to another one.
    pub(super) fn recreated(&self, when: &str, id: &str) -> SourceError {
        let Self { source, topic, .. } = self;
        self.fail(&format!(
            "topic {topic} was deleted and created anew {when}: its id is {id} now, and its offsets are those of other \
             records. Go on with the state and read the new topic from its beginning (`--from-earliest --from-sources {source}`), \
             make what derives from it anew as well (and `--reset-view {source}`), or start over with `--restore none`"
        ))
    }

    fn begin(
        &self,
        helper: &Consumer,
        config: &KafkaSourceConfig,
        partition: i32,
        bounds: Bounds,
    ) -> Result<KafkaSplit, String> {
        let restored = self.context.restored_split(&partition.to_string());
        let is_named = match &config.start {
            StartPosition::Offsets(offsets) => offsets.contains_key(&partition),
            _ => true,
        };
        // Nothing of another topic is in the checkpoint.
        let moved = self.context.moved && (is_named || self.is_another);
        let begin = match (restored, &self.context.restored) {
            (Some(start), _) if !moved => Begin::Restored(start.next_offset),
            (None, Some(_)) if !moved => Begin::Appeared,
            _ => match &config.start {
                StartPosition::Timestamp(time) => {
                    let topic = &config.topic;
                    Begin::FreshAt(topic::offset_at(helper, topic, partition, *time, bounds)?)
                }
                start => Begin::Fresh(start),
            },
        };
        let offset = topic::starting_offset(&config.topic, partition, begin, bounds)?;
        if let Some(start) = restored.filter(|_| moved && !self.is_another) {
            topic::check_skip(&config.topic, partition, start.next_offset, offset)?;
        }
        let watermark = restored.map_or(i64::MIN, |start| start.watermark);
        Ok(KafkaSplit::new(
            partition,
            offset,
            bounds.high,
            self.context.bounded,
            restored.is_some_and(|start| start.idle),
            SplitClock::new(self.bound_ms, watermark),
        )
        .until(self.context.halt(partition.unsigned_abs())))
    }

    fn add(&mut self, split: KafkaSplit) {
        let position = split.progress.split as usize;
        if self.positions.len() <= position {
            self.positions.resize(position + 1, None);
        }
        self.positions[position] = Some(self.splits.len());
        // A bounded run ends where the split ended at the start, and others where they are to, whatever comes now.
        if !self.context.bounded && self.context.until.is_none() {
            self.context.ends.want(split.progress.split);
        }
        self.splits.push(split);
    }

    #[inline]
    pub(super) fn split_mut(&mut self, partition: i32) -> Option<&mut KafkaSplit> {
        let position = usize::try_from(partition).ok()?;
        let position = self.positions.get(position).copied().flatten()?;
        self.splits.get_mut(position)
    }

    /// How many partitions the topic has.
    pub(super) fn count(&self) -> u32 {
        self.count.unsigned_abs()
    }

    /// Takes on partitions that have appeared, from their first record.
    pub(super) fn look_at_count(&mut self, count: i32) -> Result<(), SourceError> {
        if count < self.count {
            return Err(self.fail(&format!(
                "topic {} had {} partitions and now has {count}: it was recreated; start over with `--restore none`",
                self.topic, self.count
            )));
        }
        if self.context.bounded {
            return Ok(());
        }
        if self.keys_stay && count != self.count {
            return Err(self.fail(&other_count(&self.topic, self.count, count)));
        }
        for partition in self.count..count {
            if self.context.owns(&self.source, partition.unsigned_abs()) {
                let clock = SplitClock::new(self.bound_ms, i64::MIN);
                // It was not there at the start, so its end then was 0.
                let split = KafkaSplit::new(partition, 0, 0, false, false, clock);
                self.add(split.until(self.context.halt(partition.unsigned_abs())));
            }
        }
        self.count = count;
        Ok(())
    }

    /// Fetches what is to be read, and leaves be what has ended or is too far ahead of the source.
    pub(super) fn assign_wanted(&mut self, consumer: &Consumer) -> Result<(), SourceError> {
        let limit = match self.source_watermark {
            i64::MIN => i64::MAX,
            watermark => watermark.saturating_add(ALIGN_MS),
        };
        let (mut start, mut stop) = (TopicPartitionList::new(), TopicPartitionList::new());
        for split in &mut self.splits {
            let wanted =
                !split.progress.finished && !split.is_halted() && split.progress.watermark <= limit;
            if wanted == split.fetching {
                continue;
            }
            let list = if wanted { &mut start } else { &mut stop };
            let offset = Offset::Offset(split.progress.next_offset);
            list.add_partition_offset(&self.topic, split.partition, offset)
                .map_err(|error| SourceError::new(&self.source, &error))?;
            split.fetching = wanted;
        }
        change_assignment(consumer, &start, &stop)
            .map_err(|error| SourceError::new(&self.source, &error))
    }

    #[inline]
    pub(super) fn handle(
        &mut self,
        message: &Message<'_>,
        assembler: &mut Assembler,
    ) -> Result<(), SourceError> {
        if let Some(error) = message.error {
            return self.handle_event(message, error);
        }
        let Some(position) = usize::try_from(message.partition)
            .ok()
            .and_then(|partition| self.positions.get(partition).copied().flatten())
        else {
            return Ok(());
        };
        let (split, topic) = (&mut self.splits[position], &self.topic);
        if !split.fetching || !split.wants(message.offset) {
            split.skip(message.offset);
            return Ok(());
        }
        let record = Record {
            split: split.progress.split,
            offset: message.offset,
            timestamp: message.timestamp,
            key: message.key,
            value: message.value,
        };
        assembler.push(&mut split.clock, &record, || {
            format!(
                "topic {topic}, partition {}, offset {}",
                message.partition, message.offset
            )
        });
        split.read(message.offset);
        split.progress.timestamp = message.timestamp;
        Ok(())
    }

    #[cold]
    fn handle_event(
        &mut self,
        event: &Message<'_>,
        error: RDKafkaErrorCode,
    ) -> Result<(), SourceError> {
        let text = String::from_utf8_lossy(event.value.unwrap_or_default()).into_owned();
        match error {
            RDKafkaErrorCode::PartitionEOF => {
                if let Some(split) = self.split_mut(event.partition).filter(|split| split.fetching) {
                    split.reached_end(event.offset, Instant::now());
                }
                Ok(())
            }
            RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => {
                Err(self.fail(&format!(
                    "topic {}, partition {}: its broker does not have offset {} ({text}): retention has removed it, or \
                     the topic was recreated; start over with `--restore none` (`start: earliest` reads what is left)",
                    self.topic, event.partition, event.offset
                )))
            }
            RDKafkaErrorCode::TopicAuthorizationFailed => Err(self.fail(&format!(
                "topic {}: this client may not read it any more ({text})",
                self.topic
            ))),
            // The client goes on by itself when the broker is there again.
            _ => {
                log_line(RDKafkaLogLevel::Warning as i32, "CONSUME", &text);
                Ok(())
            }
        }
    }

    pub(super) fn fail(&self, message: &str) -> SourceError {
        SourceError::new(&self.source, &message)
    }
}

fn change_assignment(
    consumer: &Consumer,
    start: &TopicPartitionList,
    stop: &TopicPartitionList,
) -> KafkaResult<()> {
    if stop.count() > 0 {
        consumer.incremental_unassign(stop)?;
    }
    if start.count() > 0 {
        consumer.incremental_assign(start)?;
    }
    Ok(())
}

/// With `partitioned_by`, a key's state is where its partition is: that must be the same one as when it was saved.
fn check_keys_stay(
    config: &KafkaSourceConfig,
    context: &OpenContext,
    count: i32,
) -> Result<(), String> {
    if count > i32::from(SHARDS) {
        return Err(format!(
            "topic {} has {count} partitions, and `partitioned_by` is possible for up to {SHARDS}: leave it out",
            config.topic
        ));
    }
    let known = context.restored.as_ref().map_or(0, Vec::len);
    if known == 0 || i32::try_from(known) == Ok(count) {
        return Ok(());
    }
    Err(other_count(&config.topic, known, count))
}

fn other_count(topic: &str, before: impl std::fmt::Display, now: i32) -> String {
    format!(
        "topic {topic} had {before} partitions and now has {now}: its keys belong to other partitions now, and \
         `partitioned_by` relies on each key staying in one. Leave `partitioned_by` out and start over with `--restore none`"
    )
}

fn check_nothing_vanished(
    config: &KafkaSourceConfig,
    context: &OpenContext,
    count: i32,
) -> Result<(), String> {
    let there = |name: &str| {
        name.parse::<i32>()
            .is_ok_and(|partition| (0..count).contains(&partition))
    };
    let mut names = context.restored.iter().flatten().map(|split| &split.name);
    match names.find(|name| !there(name)) {
        None => Ok(()),
        Some(name) => Err(format!(
            "topic {} has {count} partitions, but the checkpoint has read partition {name}: the topic was recreated; \
             start over with `--restore none`",
            config.topic
        )),
    }
}
