//! The partitions of one worker: which are fetched, and what becomes of their messages.

mod beginning;

use std::{sync::Arc, time::Instant};

use rdkafka::{
    Offset, TopicPartitionList, config::RDKafkaLogLevel, consumer::Consumer as _,
    error::KafkaResult, types::RDKafkaErrorCode,
};

use super::{
    super::{
        SourceError,
        assemble::{Assembler, Record},
        open::{ALIGN_MS, OpenContext},
        watermark::SplitClock,
    },
    client::Consumer,
    queue::Message,
    split::KafkaSplit,
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
    /// The topic's name has passed to another one.
    pub(super) fn recreated(&self, when: &str, id: &str) -> SourceError {
        let Self { source, topic, .. } = self;
        self.fail(&format!(
            "topic {topic} was deleted and created anew {when}: its id is {id} now, and its offsets are those of other \
             records. Go on with the state and read the new topic from its beginning (`--from-earliest --from-sources {source}`), \
             make what derives from it anew as well (and `--reset-view {source}`), or start over with `--restore none`"
        ))
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

/// With `partitioned_by`, partitions may neither come nor go.
fn other_count(topic: &str, before: impl std::fmt::Display, now: i32) -> String {
    format!(
        "topic {topic} had {before} partitions and now has {now}: its keys belong to other partitions now, and \
         `partitioned_by` relies on each key staying in one. Leave `partitioned_by` out and start over with `--restore none`"
    )
}
