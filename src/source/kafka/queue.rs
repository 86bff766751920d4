//! Taking messages from the client in batches: the one place that calls librdkafka directly.
//!
//! `rd_kafka_consume_batch_queue` costs two thirds of polling one by one. It has a trap, though: an end-of-partition
//! event moves the client's own idea of the position one *past* the end, from where it goes on after a pause. So
//! nobody may use the client's position, pause or resume here; partitions are unassigned and assigned again at the
//! reader's own position instead.

use std::{ffi::CString, ptr::NonNull, time::Duration};

use rdkafka::{
    bindings::{
        rd_kafka_consume_batch_queue, rd_kafka_get_watermark_offsets, rd_kafka_message_destroy,
        rd_kafka_message_t, rd_kafka_message_timestamp, rd_kafka_queue_destroy,
        rd_kafka_queue_get_consumer, rd_kafka_queue_t, rd_kafka_set_logger,
    },
    consumer::Consumer as _,
    error::IsError,
    types::RDKafkaErrorCode,
};

use super::client::{Consumer, log_callback};

/// Messages taken by one call at most.
pub(super) const TAKE_MAX: usize = 1_024;

/// A message, or an event of a partition.
pub(super) struct Message<'m> {
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// Milliseconds since 1970.
    pub(super) timestamp: Option<i64>,
    pub(super) key: Option<&'m [u8]>,
    pub(super) value: Option<&'m [u8]>,
    /// Set if this is an event; `value` is its text then.
    pub(super) error: Option<RDKafkaErrorCode>,
}

/// A consumer's message queue.
pub(super) struct ConsumerQueue {
    /// Destroyed before the client, which is dropped after `drop` has run.
    queue: NonNull<rd_kafka_queue_t>,
    consumer: Consumer,
    topic: CString,
    messages: Vec<*mut rd_kafka_message_t>,
}

// SAFETY: librdkafka's handles may be used from any thread; the array of messages is empty between calls.
unsafe impl Send for ConsumerQueue {}

impl ConsumerQueue {
    /// `None` if the client has no consumer queue or the topic's name holds a NUL.
    pub(super) fn new(consumer: Consumer, topic: &str) -> Option<Self> {
        let client = consumer.client().native_ptr();
        // SAFETY: the client lives as long as the consumer, and the callback is a plain function.
        let queue = unsafe {
            rd_kafka_set_logger(client, Some(log_callback));
            rd_kafka_queue_get_consumer(client)
        };
        Some(Self {
            queue: NonNull::new(queue)?,
            consumer,
            topic: CString::new(topic).ok()?,
            messages: Vec::with_capacity(TAKE_MAX),
        })
    }

    pub(super) fn consumer(&self) -> &Consumer {
        &self.consumer
    }

    /// Hands up to `max` messages to `each` and returns how many there were. Waits for the *last* of them at most
    /// `timeout`, so it should only be given one when `max` is 1.
    pub(super) fn take(
        &mut self,
        max: usize,
        timeout: Duration,
        mut each: impl FnMut(&Message<'_>),
    ) -> usize {
        let max = max.min(self.messages.capacity());
        let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the array has room for `max` pointers; the call fills in as many as it returns, each a message that
        // is ours until destroyed.
        unsafe {
            let taken = rd_kafka_consume_batch_queue(
                self.queue.as_ptr(),
                timeout_ms,
                self.messages.as_mut_ptr(),
                max,
            );
            self.messages.set_len(usize::try_from(taken).unwrap_or(0));
        }
        let taken = Taken(&mut self.messages);
        for message in taken.0.iter() {
            // SAFETY: librdkafka handed it over just now, and it is destroyed after the loop.
            each(&unsafe { read(*message) });
        }
        taken.0.len()
    }

    /// The end of a partition as its last fetched response told it, without asking.
    pub(super) fn known_end(&self, partition: i32) -> Option<i64> {
        let (mut low, mut high) = (0, 0);
        // SAFETY: the client is alive, the topic is a C string, and both results are written to live variables.
        let error = unsafe {
            rd_kafka_get_watermark_offsets(
                self.consumer.client().native_ptr(),
                self.topic.as_ptr(),
                partition,
                &mut low,
                &mut high,
            )
        };
        (!error.is_error() && high >= 0).then_some(high)
    }
}

impl Drop for ConsumerQueue {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_queue_get_consumer`, destroyed once, while the client still lives.
        unsafe { rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

/// Destroys the messages that were taken, even if their handler panics.
struct Taken<'q>(&'q mut Vec<*mut rd_kafka_message_t>);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        for message in self.0.drain(..) {
            // SAFETY: each is ours and destroyed once: `drain` empties the array.
            unsafe { rd_kafka_message_destroy(message) }
        }
    }
}

/// # Safety
/// `message` must be a live message that outlives the result.
unsafe fn read<'m>(message: *const rd_kafka_message_t) -> Message<'m> {
    // SAFETY: alive by this function's contract; payload and key point into it, for as many bytes as it says.
    unsafe {
        let raw = &*message;
        let slice = |start: *const u8, length: usize| {
            (!start.is_null()).then(|| std::slice::from_raw_parts(start, length))
        };
        let timestamp = rd_kafka_message_timestamp(message, std::ptr::null_mut());
        Message {
            partition: raw.partition,
            offset: raw.offset,
            timestamp: (timestamp >= 0).then_some(timestamp),
            key: slice(raw.key.cast(), raw.key_len),
            value: slice(raw.payload.cast(), raw.len),
            error: raw.err.is_error().then(|| raw.err.into()),
        }
    }
}
