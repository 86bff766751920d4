//! A transactional producer and its marker.

use std::time::{Duration, Instant};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, ResourceSpecifier},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, Producer},
};
use tidewright_checkpoints::Epoch;
use tidewright_jobs::job::KafkaSinkConfig;

use super::{failure, record::Record};
use crate::{
    kafka_client::{ClientLog, topic_metadata},
    sink::{SinkContext, SinkError},
};

/// How long one question to the broker may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the records of a transaction may take, and its commit.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);
/// After this the broker aborts a transaction of ours, which holds back readers until then.
const TRANSACTION_TIMEOUT_MS: &str = "45000";
const ABORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes in the producer's queue: bounds its memory.
const QUEUE_KIB: &str = "32768";
/// The broker's limit where it does not tell: its default for `max.message.bytes`.
const RECORD_BYTES_MAX: usize = 1_048_588;

/// A producer that has shut out those before it.
pub(super) struct Connection {
    place: String,
    topic: String,
    producer: BaseProducer,
    consumer: BaseConsumer<ClientLog>,
    group: ConsumerGroupMetadata,
    record_bytes_max: usize,
}

impl Connection {
    /// Connects, checks the topic, shuts out earlier producers of the same id. Brokers that refuse the client end the start,
    /// but once they have answered, they are tried again: passwords and certificates are changed in one place after another.
    pub(super) fn open(
        config: &KafkaSinkConfig,
        context: &SinkContext,
        place: &str,
        has_answered: bool,
    ) -> Result<Self, SinkError> {
        let id = format!("{}-{}-{}", context.job, context.sink, context.writer);
        let failed = |doing: &'static str| move |error| failure::of(place, doing, &error);
        let consumer: BaseConsumer<ClientLog> = client_config(config)
            .set("group.id", &id)
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .create_with_context(ClientLog::default())
            .map_err(|error| misconfigured(place, &error))?;
        check_topic(&consumer, &config.topic, place, has_answered)?;
        let record_bytes_max = record_bytes_max(config, place);
        let producer: BaseProducer = producer_config(config)
            .set("transactional.id", &id)
            .set("message.max.bytes", record_bytes_max.to_string())
            .create()
            .map_err(|error| misconfigured(place, &error))?;
        producer
            .init_transactions(DELIVERY_TIMEOUT)
            .map_err(failed("cannot begin as the only producer"))?;
        let group = consumer.group_metadata().ok_or_else(|| {
            SinkError::Fatal(format!("{place}: the consumer for the marker has no group"))
        })?;
        Ok(Self {
            place: place.to_owned(),
            topic: config.topic.clone(),
            producer,
            consumer,
            group,
            record_bytes_max,
        })
    }

    /// The largest record that topic and client take, in bytes.
    pub(super) fn record_bytes_max(&self) -> usize {
        self.record_bytes_max
    }

    /// The marker that the last committed transaction left.
    pub(super) fn marker(&self) -> Result<Option<Epoch>, SinkError> {
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition(&self.topic, 0);
        let committed = self
            .consumer
            .committed_offsets(wanted, ANSWER_TIMEOUT)
            .map_err(|error| self.failed("cannot read the marker", &error))?;
        let Some(element) = committed.find_partition(&self.topic, 0) else {
            return Ok(None);
        };
        element
            .error()
            .map_err(|error| self.failed("cannot read the marker", &error))?;
        match element.offset() {
            Offset::Offset(epoch) => Ok(u64::try_from(epoch).ok().map(Epoch)),
            _ => Ok(None),
        }
    }

    pub(super) fn begin(&self) -> Result<(), SinkError> {
        self.producer
            .begin_transaction()
            .map_err(|error| self.failed("cannot begin a transaction", &error))
    }

    /// Hands a record to the producer; waits while its queue is full.
    pub(super) fn send(&self, record: &Record) -> Result<(), SinkError> {
        let deadline = Instant::now() + DELIVERY_TIMEOUT;
        loop {
            let mut message = BaseRecord::<str, str>::to(&self.topic).payload(&record.value);
            if let Some(key) = &record.key {
                message = message.key(key);
            }
            match self.producer.send(message) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _))
                    if Instant::now() < deadline =>
                {
                    self.producer.poll(Duration::from_millis(20));
                }
                Err((error, _)) => return Err(self.failed("cannot send", &error)),
            }
        }
    }

    /// Waits until every record is acknowledged or failed; the commit tells which.
    pub(super) fn flush(&self) -> Result<(), SinkError> {
        self.producer
            .flush(DELIVERY_TIMEOUT)
            .map_err(|error| self.failed("cannot deliver", &error))
    }

    /// Puts the marker into the transaction.
    pub(super) fn send_marker(&self, through: Epoch) -> Result<(), SinkError> {
        let offset = i64::try_from(through.0).map_err(|_| {
            SinkError::Fatal(format!("{}: epoch {through} is out of range", self.place))
        })?;
        let mut marker = TopicPartitionList::new();
        marker
            .add_partition_offset(&self.topic, 0, Offset::Offset(offset))
            .and_then(|()| {
                self.producer
                    .send_offsets_to_transaction(&marker, &self.group, ANSWER_TIMEOUT)
            })
            .map_err(|error| self.failed("cannot write the marker", &error))
    }

    pub(super) fn commit(&self) -> Result<(), SinkError> {
        let deadline = Instant::now() + DELIVERY_TIMEOUT;
        loop {
            match self.producer.commit_transaction(ANSWER_TIMEOUT) {
                Ok(()) => return Ok(()),
                // The outcome is still open: asking again resumes the same commit.
                Err(KafkaError::Transaction(error))
                    if error.is_retriable() && Instant::now() < deadline => {}
                Err(error) => return Err(self.failed("cannot commit", &error)),
            }
        }
    }

    /// Ends the transaction, so that readers need not wait for its timeout. If that fails, the next producer's beginning does it.
    pub(super) fn abort(&self) {
        if let Err(error) = self.producer.abort_transaction(ABORT_TIMEOUT) {
            tracing::debug!(place = self.place, %error, "could not abort a transaction");
        }
    }

    fn failed(&self, doing: &str, error: &KafkaError) -> SinkError {
        failure::of(&self.place, doing, error)
    }
}

/// What producer, consumer and admin client share.
fn client_config(config: &KafkaSinkConfig) -> ClientConfig {
    with_properties(ClientConfig::new(), config)
}

fn producer_config(config: &KafkaSinkConfig) -> ClientConfig {
    let mut defaults = ClientConfig::new();
    defaults
        .set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS)
        .set("queue.buffering.max.kbytes", QUEUE_KIB)
        // The partition that Java's producer chooses for a key.
        .set("partitioner", "murmur2_random");
    with_properties(defaults, config)
}

/// The job's own properties override the defaults.
fn with_properties(mut client: ClientConfig, config: &KafkaSinkConfig) -> ClientConfig {
    client
        .set(
            "bootstrap.servers",
            config.brokers.as_deref().unwrap_or_default(),
        )
        .set("reconnect.backoff.max.ms", "1000");
    for (name, value) in &config.properties {
        client.set(name, value);
    }
    client
}

fn misconfigured(place: &str, error: &KafkaError) -> SinkError {
    SinkError::Fatal(format!("{place}: {error}"))
}

fn check_topic(
    consumer: &BaseConsumer<ClientLog>,
    topic: &str,
    place: &str,
    has_answered: bool,
) -> Result<(), SinkError> {
    let metadata = topic_metadata(consumer, topic, ANSWER_TIMEOUT).map_err(|unanswered| {
        let message = format!("{place}: cannot look up the topic: {unanswered}");
        match unanswered.is_refusal() && !has_answered {
            true => SinkError::Fatal(message),
            false => failure::sorted(&unanswered.error, message),
        }
    })?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let error = found
        .and_then(|found| found.error())
        .map(RDKafkaErrorCode::from);
    match (found, error) {
        (Some(_), Some(error)) if error != RDKafkaErrorCode::UnknownTopicOrPartition => {
            let error = KafkaError::MetadataFetch(error);
            Err(failure::of(place, "cannot look up the topic", &error))
        }
        (Some(found), None) if !found.partitions().is_empty() => Ok(()),
        _ => Err(SinkError::Fatal(format!(
            "{place}: the topic does not exist; create it before the job starts"
        ))),
    }
}

/// The topic's `max.message.bytes`; the broker's default where it may not be asked.
fn record_bytes_max(config: &KafkaSinkConfig, place: &str) -> usize {
    let asked = ask_record_bytes_max(config);
    asked.unwrap_or_else(|reason| {
        tracing::debug!(place, reason, "the topic's max.message.bytes is unknown");
        RECORD_BYTES_MAX
    })
}

fn ask_record_bytes_max(config: &KafkaSinkConfig) -> Result<usize, String> {
    let admin: AdminClient<DefaultClientContext> = client_config(config)
        .create()
        .map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| error.to_string())?;
    let topic = ResourceSpecifier::Topic(&config.topic);
    let options = AdminOptions::new().request_timeout(Some(ANSWER_TIMEOUT));
    let answers = runtime
        .block_on(admin.describe_configs([&topic], &options))
        .map_err(|error| error.to_string())?;
    answers
        .iter()
        .flatten()
        .find_map(|resource| {
            resource
                .get("max.message.bytes")?
                .value
                .as_deref()?
                .parse()
                .ok()
        })
        .ok_or_else(|| "not in the answer".to_owned())
}
