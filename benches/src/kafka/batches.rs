//! Reads partitions to their ends by librdkafka's batch call, which costs less per record than polling one by one.

use std::{collections::HashMap, ptr::NonNull, time::Duration};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    bindings::{
        rd_kafka_consume_batch_queue, rd_kafka_message_destroy, rd_kafka_message_t,
        rd_kafka_queue_destroy, rd_kafka_queue_get_consumer, rd_kafka_queue_t,
    },
    consumer::{BaseConsumer, Consumer},
    error::{IsError, KafkaError},
};

use crate::Result;

/// Records taken by one call at most.
const BATCH_MAX: usize = 4_096;
/// A call waits this long for a full batch.
const BATCH_TIMEOUT_MS: i32 = 20;
const METADATA_TIMEOUT: Duration = Duration::from_secs(30);

/// A record as it lies in librdkafka's memory.
#[derive(Clone, Copy, Debug)]
pub struct Record<'m> {
    /// The partition.
    pub partition: i32,
    /// The value; empty for a tombstone.
    pub value: &'m [u8],
}

/// Reads some partitions from their beginnings to the ends that they had when it was opened.
pub struct BatchReader {
    // Fields are dropped in this order: the queue before its client.
    queue: ConsumerQueue,
    _consumer: BaseConsumer,
    /// The end offsets of the partitions that are not there yet.
    ends: HashMap<i32, i64>,
    batch: Vec<*mut rd_kafka_message_t>,
}

impl BatchReader {
    /// `properties` are librdkafka's, in addition to the reader's own.
    ///
    /// # Errors
    /// If the broker does not answer or the topic is not there.
    pub fn open(
        brokers: &str,
        topic: &str,
        partitions: &[i32],
        properties: &[(String, String)],
    ) -> Result<Self> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            .set("group.id", "tidewright-limit")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            // librdkafka waits a second by default when its queue was full: six times slower.
            .set("fetch.queue.backoff.ms", "5");
        for (name, value) in properties {
            config.set(name, value);
        }
        let consumer: BaseConsumer = config.create()?;
        let mut ends = HashMap::new();
        let mut assignment = TopicPartitionList::new();
        for partition in partitions {
            let (begin, end) = consumer.fetch_watermarks(topic, *partition, METADATA_TIMEOUT)?;
            if begin < end {
                ends.insert(*partition, end);
                assignment.add_partition_offset(topic, *partition, Offset::Offset(begin))?;
            }
        }
        consumer.assign(&assignment)?;
        Ok(Self {
            queue: ConsumerQueue::of(&consumer)?,
            _consumer: consumer,
            ends,
            batch: Vec::with_capacity(BATCH_MAX),
        })
    }

    /// Hands the next batch's records to `each`; `false` when all ends were reached before.
    ///
    /// # Errors
    /// The first error of the consumer or of `each`.
    pub fn next_batch(&mut self, mut each: impl FnMut(Record<'_>) -> Result<()>) -> Result<bool> {
        if self.ends.is_empty() {
            return Ok(false);
        }
        for message in self.queue.take(&mut self.batch).0.iter() {
            // SAFETY: librdkafka handed the message over just now; it is destroyed after the loop.
            let message = unsafe { &**message };
            if message.err.is_error() {
                return Err(KafkaError::MessageConsumption(message.err.into()).into());
            }
            // Records that were appended after the ends were asked for do not count.
            let Some(end) = self.ends.get(&message.partition).copied() else {
                continue;
            };
            if message.offset < end {
                each(Record {
                    partition: message.partition,
                    value: value(message),
                })?;
            }
            if message.offset + 1 >= end {
                self.ends.remove(&message.partition);
            }
        }
        Ok(true)
    }
}

fn value(message: &rd_kafka_message_t) -> &[u8] {
    if message.payload.is_null() {
        return &[];
    }
    // SAFETY: the payload is as long as the message says and lives as long as the message.
    unsafe { std::slice::from_raw_parts(message.payload.cast(), message.len) }
}

/// The queue of a consumer's records.
struct ConsumerQueue(NonNull<rd_kafka_queue_t>);

impl ConsumerQueue {
    fn of(consumer: &BaseConsumer) -> Result<Self> {
        // SAFETY: the client lives as long as the consumer.
        let queue = unsafe { rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        NonNull::new(queue)
            .map(Self)
            .ok_or_else(|| "the client has no consumer queue".into())
    }

    /// Fills `batch`, as far as records come within the timeout.
    fn take<'b>(&self, batch: &'b mut Vec<*mut rd_kafka_message_t>) -> Taken<'b> {
        // SAFETY: the array has room for as many pointers as it says; the call fills in as many as it returns, each a
        // message that is ours until destroyed.
        unsafe {
            let taken = rd_kafka_consume_batch_queue(
                self.0.as_ptr(),
                BATCH_TIMEOUT_MS,
                batch.as_mut_ptr(),
                batch.capacity(),
            );
            batch.set_len(usize::try_from(taken).unwrap_or(0));
        }
        Taken(batch)
    }
}

impl Drop for ConsumerQueue {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_queue_get_consumer`, destroyed once, while the client still lives.
        unsafe { rd_kafka_queue_destroy(self.0.as_ptr()) }
    }
}

/// Messages that are ours: destroyed with this value, also when their handler fails.
struct Taken<'b>(&'b mut Vec<*mut rd_kafka_message_t>);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        for message in self.0.drain(..) {
            // SAFETY: each is ours and destroyed once: `drain` empties the array.
            unsafe { rd_kafka_message_destroy(message) }
        }
    }
}
