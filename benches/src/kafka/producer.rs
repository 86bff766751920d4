//! Sends records, and knows which of them did not arrive.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext, Message, Timestamp,
    error::KafkaError,
    message::DeliveryResult,
    producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext},
    types::RDKafkaErrorCode,
};

use crate::{Result, workload::partition::partition};

/// How long the broker may take for what is still on its way at the end.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(120);
/// Answers are looked for once in this many records: looking takes a lock.
const RECORDS_PER_POLL: u64 = 1_000;

/// What the producer is tuned for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Most records a second: large batches.
    Throughput,
    /// Least time until a record is appended: no waiting for batches to fill.
    Latency,
}

/// A watched record that the broker has appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// What [`Producer::send_watched`] was given.
    pub tag: usize,
    /// The broker's append time, in milliseconds since 1970, if the topic keeps that.
    pub appended_ms: Option<i64>,
}

/// Sends to the partition that Kafka's default partitioner would choose.
pub struct Producer {
    client: BaseProducer<Deliveries>,
    sent: u64,
}

impl Producer {
    /// `compression`: `none`, `lz4`, or another codec that librdkafka was built with.
    ///
    /// # Errors
    /// If the settings make no sense to librdkafka.
    pub fn open(brokers: &str, target: Target, compression: &str) -> Result<Self> {
        let linger_ms = match target {
            Target::Throughput => "50",
            // The default of Kafka's own producer since 4.0. Without it, a broker that shares two cores with the job is busy with
            // requests of few records.
            Target::Latency => "5",
        };
        let client = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("compression.type", compression)
            .set("linger.ms", linger_ms)
            .set("batch.size", "1000000")
            .set("batch.num.messages", "10000")
            .set("queue.buffering.max.messages", "1000000")
            .set("queue.buffering.max.kbytes", "524288")
            .create_with_context(Deliveries::default())?;
        Ok(Self { client, sent: 0 })
    }

    /// Hands a record over; waits while the queue is full. `timestamp_ms` is Kafka's, not the event time.
    ///
    /// # Errors
    /// If the client refuses the record, or an earlier one did not arrive.
    pub fn send(&mut self, topic: &str, key: &[u8], value: &[u8], timestamp_ms: i64) -> Result<()> {
        self.send_watched(topic, key, value, timestamp_ms, 0)
    }

    /// As [`send`](Self::send), and [`appended`](Self::appended) tells when the record is in the log. `tag` is not 0.
    ///
    /// # Errors
    /// As `send`.
    pub fn send_watched(
        &mut self,
        topic: &str,
        key: &[u8],
        value: &[u8],
        timestamp_ms: i64,
        tag: usize,
    ) -> Result<()> {
        let mut record = BaseRecord::with_opaque_to(topic, tag)
            .partition(partition(key))
            .timestamp(timestamp_ms)
            .key(key)
            .payload(value);
        while let Err((error, refused)) = self.client.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            self.client.poll(Duration::from_millis(5));
            record = refused;
        }
        self.sent += 1;
        if self.sent.is_multiple_of(RECORDS_PER_POLL) {
            self.poll()?;
        }
        Ok(())
    }

    /// Takes in the broker's answers. Call it often when records are watched.
    ///
    /// # Errors
    /// If a record did not arrive.
    pub fn poll(&self) -> Result<()> {
        // One call takes in one answer, which is about a batch: with small batches there are more of them than calls.
        let mut unanswered = i32::MAX;
        while self.client.in_flight_count() < unanswered {
            unanswered = self.client.in_flight_count();
            self.client.poll(Duration::ZERO);
        }
        self.client.context().check()
    }

    /// The watched records that were appended since the last call.
    #[must_use]
    pub fn appended(&self) -> Vec<Appended> {
        std::mem::take(&mut *self.client.context().appended())
    }

    /// Waits until everything has arrived, and tells how many records that were.
    ///
    /// # Errors
    /// If a record did not arrive.
    pub fn flush(&self) -> Result<u64> {
        self.client.flush(FLUSH_TIMEOUT)?;
        self.client.context().check()?;
        Ok(self.sent)
    }
}

/// What became of the records.
#[derive(Default)]
struct Deliveries {
    lost: AtomicU64,
    first_error: Mutex<Option<KafkaError>>,
    appended: Mutex<Vec<Appended>>,
}

impl Deliveries {
    fn check(&self) -> Result<()> {
        match self.lost.load(Ordering::Relaxed) {
            0 => Ok(()),
            lost => {
                let first = locked(&self.first_error).take();
                let reason = first.map_or_else(String::new, |error| format!(": {error}"));
                Err(format!("{lost} records did not arrive{reason}").into())
            }
        }
    }

    fn appended(&self) -> MutexGuard<'_, Vec<Appended>> {
        locked(&self.appended)
    }
}

/// Nothing that holds these locks leaves anything half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, tag: usize) {
        match result {
            Ok(_) if tag == 0 => {}
            Ok(message) => {
                let appended_ms = match message.timestamp() {
                    Timestamp::LogAppendTime(ms) => Some(ms),
                    Timestamp::CreateTime(_) | Timestamp::NotAvailable => None,
                };
                self.appended().push(Appended { tag, appended_ms });
            }
            Err((error, _)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                locked(&self.first_error).get_or_insert_with(|| error.clone());
            }
        }
    }
}
