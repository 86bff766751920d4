//! What the brokers say about a topic, and where to begin reading it.

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::Consumer as _,
    types::{RDKafkaErrorCode, RDKafkaRespErr},
};
use tidewright_jobs::job::{KafkaSourceConfig, StartPosition};

use super::client::{Consumer, REQUEST_TIMEOUT};
use crate::{kafka_client::topic_metadata, runtime::pulse};

/// Why a topic's partitions are not known.
#[derive(Debug)]
pub(super) enum TopicError {
    /// No broker answered.
    Unreachable(String),
    /// The brokers do not have it.
    Missing(String),
}

impl std::fmt::Display for TopicError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Unreachable(message) | Self::Missing(message)) = self;
        f.write_str(message)
    }
}

/// The offsets that a partition holds: from `low` to just before `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) low: i64,
    pub(super) high: i64,
}

/// The number of a topic's partitions.
pub(super) fn partition_count(
    consumer: &Consumer,
    config: &KafkaSourceConfig,
) -> Result<i32, TopicError> {
    let topic = &config.topic;
    let metadata = topic_metadata(consumer, topic, REQUEST_TIMEOUT).map_err(|unanswered| {
        let brokers = &config.brokers;
        TopicError::Unreachable(match unanswered.is_refusal() {
            true => format!("no connection to the brokers {brokers}: {unanswered}"),
            false => format!(
                "no answer from the brokers {brokers} within {} s: {unanswered}",
                REQUEST_TIMEOUT.as_secs()
            ),
        })
    })?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let (count, error) = found.map_or((0, None), |found| (found.partitions().len(), found.error()));
    match error.map(|error: RDKafkaRespErr| RDKafkaErrorCode::from(error)) {
        None if count > 0 => Ok(i32::try_from(count).unwrap_or(i32::MAX)),
        None | Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            Err(TopicError::Missing(missing(consumer, topic)))
        }
        Some(error) => Err(TopicError::Unreachable(format!("topic {topic}: {error}"))),
    }
}

/// What the brokers tell the topic by; `None` if they have nothing of the kind.
pub(super) fn id(
    consumer: &Consumer,
    config: &KafkaSourceConfig,
) -> Result<Option<String>, String> {
    let topic = &config.topic;
    // Every broker knows it; by itself the client would wait for the controller.
    let metadata = topic_metadata(consumer, topic, REQUEST_TIMEOUT)
        .map_err(|unanswered| format!("no answer about topic {topic}: {unanswered}"))?;
    super::identity::topic_id(consumer, topic, metadata.orig_broker_id())
}

fn missing(consumer: &Consumer, topic: &str) -> String {
    let all = consumer.client().fetch_metadata(None, REQUEST_TIMEOUT);
    let names: Vec<String> = all.map_or_else(
        |_| Vec::new(),
        |all| {
            all.topics()
                .iter()
                .map(|topic| topic.name().to_owned())
                .collect()
        },
    );
    let similar = similar(topic, &names);
    if similar.is_empty() {
        format!("there is no topic {topic}")
    } else {
        format!(
            "there is no topic {topic}; similar ones: {}",
            similar.join(", ")
        )
    }
}

/// The names that `topic` may have been meant to be: they contain each other or differ in a few letters.
fn similar<'n>(topic: &str, names: &'n [String]) -> Vec<&'n str> {
    let wanted = topic.to_lowercase();
    let visible = names.iter().filter(|name| !name.starts_with("__"));
    visible
        .filter(|name| {
            let name = name.to_lowercase();
            name.contains(&wanted)
                || wanted.contains(&name)
                || edit_distance(&name, &wanted) <= wanted.chars().count() / 3
        })
        .map(String::as_str)
        .take(5)
        .collect()
}

/// Levenshtein's distance, by rows (Wagner and Fischer, 1974).
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, b) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

/// Asks a partition's leader for the offsets that it holds.
pub(super) fn bounds(consumer: &Consumer, topic: &str, partition: i32) -> Result<Bounds, String> {
    // A slow broker that answers for many partitions, one after the other, is no worker that hangs.
    pulse::beat();
    let answer = consumer
        .client()
        .fetch_watermarks(topic, partition, REQUEST_TIMEOUT);
    match answer {
        Ok((low, high)) => Ok(Bounds { low, high }),
        Err(error) => Err(format!(
            "no answer about the offsets of topic {topic}, partition {partition}: {error}"
        )),
    }
}

/// The offset of the first record at or after a time (milliseconds since 1970), the end if there is none.
pub(super) fn offset_at(
    consumer: &Consumer,
    topic: &str,
    partition: i32,
    time_ms: i64,
    bounds: Bounds,
) -> Result<i64, String> {
    let fail = |error| {
        format!("no answer about topic {topic}, partition {partition} at {time_ms}: {error}")
    };
    let mut times = TopicPartitionList::new();
    times
        .add_partition_offset(topic, partition, Offset::Offset(time_ms))
        .map_err(fail)?;
    pulse::beat();
    let found = consumer
        .offsets_for_times(times, REQUEST_TIMEOUT)
        .map_err(fail)?;
    Ok(match found.elements().first().map(|found| found.offset()) {
        Some(Offset::Offset(offset)) => offset,
        _ => bounds.high,
    })
}

/// Why a partition is read from where it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Begin<'c> {
    /// The checkpoint left it there.
    Restored(i64),
    /// It was not there when the checkpoint was written.
    Appeared,
    /// No checkpoint: the job file says.
    Fresh(&'c StartPosition),
    /// No checkpoint: the first record at or after a time, which the brokers say is here.
    FreshAt(i64),
}

/// Decides where to begin with a partition.
///
/// # Errors
/// If the records from there on are not (all) there any more: the message names the choices.
pub(super) fn starting_offset(
    topic: &str,
    partition: i32,
    begin: Begin<'_>,
    bounds: Bounds,
) -> Result<i64, String> {
    let Bounds { low, high } = bounds;
    let place = format!("topic {topic}, partition {partition}");
    match begin {
        Begin::Restored(offset) if offset > high => Err(format!(
            "{place} ends at offset {high}, before the checkpoint's {offset}: the topic was recreated or lost records; \
             start over with `--restore none`, or restore a checkpoint of this topic"
        )),
        Begin::Restored(offset) if offset < low => Err(format!(
            "{place} begins at offset {low}, after the checkpoint's {offset}: retention has removed {} records that the \
             job has not read; start over with `--restore none` (`start: earliest` reads what is left)",
            low - offset
        )),
        Begin::Restored(offset) => Ok(offset),
        Begin::Appeared if low > 0 => Err(format!(
            "{place} is not in the checkpoint and begins at offset {low}: retention has removed records that the job has \
             not read; start over with `--restore none` (`start: earliest` reads what is left)"
        )),
        Begin::Appeared => Ok(0),
        Begin::Fresh(StartPosition::Latest) => Ok(high),
        Begin::Fresh(StartPosition::Earliest | StartPosition::Timestamp(_)) => Ok(low),
        Begin::Fresh(StartPosition::Offsets(offsets)) => match offsets.get(&partition) {
            None => Ok(low),
            Some(offset) if (low..=high).contains(offset) => Ok(*offset),
            Some(offset) => Err(format!(
                "{place} holds offsets {low} to {high}, not the {offset} that is given for it: choose another, or \
                 begin at the earliest"
            )),
        },
        Begin::FreshAt(offset) => Ok(offset),
    }
}

/// Checks that a topic has the partitions that offsets are given for.
///
/// # Errors
/// With the first that it has not.
pub(super) fn check_named_partitions(config: &KafkaSourceConfig, count: i32) -> Result<(), String> {
    let StartPosition::Offsets(offsets) = &config.start else {
        return Ok(());
    };
    match offsets
        .keys()
        .find(|partition| !(0..count).contains(*partition))
    {
        None => Ok(()),
        Some(partition) => Err(format!(
            "an offset is given for partition {partition}, but topic {} has {count} partitions (0 to {})",
            config.topic,
            count - 1
        )),
    }
}

/// Checks a position that is given for a partition whose rows up to `checkpoint` are in the restored state.
///
/// # Errors
/// If rows would be counted twice.
pub(super) fn check_skip(
    topic: &str,
    partition: i32,
    checkpoint: i64,
    offset: i64,
) -> Result<(), String> {
    let place = format!("topic {topic}, partition {partition}");
    if offset < checkpoint {
        return Err(format!(
            "{place}: the run is to begin at offset {offset}, but the restored state holds everything up to {checkpoint}, so \
             what lies between would count twice. Begin without state (--restore none), from a checkpoint that has not read \
             that far (--restore MANIFEST), or at {checkpoint} or later"
        ));
    }
    if offset > checkpoint {
        let records = offset - checkpoint;
        tracing::warn!(
            topic,
            partition,
            "{records} offsets are skipped, from {checkpoint} to {offset}, as the position says"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { low: 10, high: 20 };

    fn decide(begin: Begin<'_>) -> Result<i64, String> {
        starting_offset("events", 3, begin, BOUNDS)
    }

    #[test]
    fn a_checkpoints_offset_is_used_while_the_topic_still_has_it() {
        for offset in [10, 15, 20] {
            assert_eq!(decide(Begin::Restored(offset)), Ok(offset));
        }
    }

    #[test]
    fn offsets_that_are_gone_stop_the_job_with_the_choices() {
        for offset in [9, 21] {
            let error = decide(Begin::Restored(offset)).unwrap_err();
            assert!(
                error.contains("--restore none") && error.contains("partition 3"),
                "{error}"
            );
        }
        assert!(decide(Begin::Appeared).is_err());
        let named = StartPosition::Offsets([(3, 5)].into());
        assert!(
            decide(Begin::Fresh(&named))
                .unwrap_err()
                .contains("earliest")
        );
    }

    #[test]
    fn a_fresh_start_follows_the_job_file() {
        assert_eq!(decide(Begin::Fresh(&StartPosition::Earliest)), Ok(10));
        assert_eq!(decide(Begin::Fresh(&StartPosition::Latest)), Ok(20));
        let named = StartPosition::Offsets([(3, 12)].into());
        assert_eq!(decide(Begin::Fresh(&named)), Ok(12));
        let others = StartPosition::Offsets([(4, 12)].into());
        assert_eq!(decide(Begin::Fresh(&others)), Ok(10));
        assert_eq!(decide(Begin::FreshAt(17)), Ok(17));
    }

    #[test]
    fn a_position_behind_the_restored_state_is_refused_and_one_beyond_it_skips() {
        for offset in [12, 15] {
            assert_eq!(check_skip("events", 3, 12, offset), Ok(()));
        }
        let error = check_skip("events", 3, 12, 11).unwrap_err();
        assert!(
            error.contains("partition 3") && error.contains("--restore none"),
            "{error}"
        );
    }

    #[test]
    fn an_offset_for_a_partition_that_is_not_there_is_refused() {
        let config = |partition| KafkaSourceConfig {
            brokers: "b:1".to_owned(),
            topic: "events".to_owned(),
            start: StartPosition::Offsets([(partition, 5)].into()),
            group: None,
            partitioned_by: None,
            properties: Default::default(),
        };
        assert_eq!(check_named_partitions(&config(3), 4), Ok(()));
        for partition in [4, -1] {
            assert!(check_named_partitions(&config(partition), 4).is_err());
        }
    }

    #[test]
    fn a_partition_that_appeared_is_read_from_its_first_record() {
        let new = Bounds { low: 0, high: 5 };
        assert_eq!(starting_offset("events", 9, Begin::Appeared, new), Ok(0));
    }

    #[test]
    fn topics_with_similar_names_are_suggested() {
        let names = [
            "events",
            "event",
            "orders",
            "__consumer_offsets",
            "shop-events",
        ];
        let names = names.map(String::from);
        assert_eq!(similar("evnts", &names), ["events"]);
        assert_eq!(
            similar("Events", &names),
            ["events", "event", "shop-events"]
        );
        assert!(similar("clicks", &names).is_empty());
    }
}
