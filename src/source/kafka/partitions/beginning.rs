//! Which partitions there are at the start, and where each of them begins.

use tidewright_checkpoints::SHARDS;
use tidewright_jobs::{
    job::{KafkaSourceConfig, StartPosition},
    plan::{SourceKind, SourcePlan},
};

use super::{Partitions, other_count};
use crate::source::{
    SourceError,
    identity::{Meeting, Topic},
    kafka::{
        client::Consumer,
        split::KafkaSplit,
        topic::{self, Begin, Bounds},
    },
    open::OpenContext,
    watermark::SplitClock,
};

impl Partitions {
    /// Asks the brokers which partitions there are, and decides where to begin with those of this worker.
    pub fn find(
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
