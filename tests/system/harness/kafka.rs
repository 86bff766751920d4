//! A Kafka broker as tests see it: topics, records in, committed records and offsets out.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::BorrowedMessage,
    producer::{BaseProducer, BaseRecord, Producer},
    types::RDKafkaErrorCode,
};

use super::services::{require, unique_name};

/// A record with this partition goes where the client's partitioner puts it.
const UNASSIGNED: i32 = -1;
const LIMIT: Duration = Duration::from_secs(30);

/// A record to send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub partition: i32,
    pub key: Option<String>,
    /// `None` is a tombstone.
    pub value: Option<String>,
    /// Milliseconds since 1970; the time of sending if absent.
    pub timestamp_ms: Option<i64>,
}

/// A record of a topic and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    pub offset: i64,
    pub record: Record,
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Commit,
    Abort,
}

/// A running broker.
#[derive(Clone, Debug)]
pub struct Kafka {
    brokers: String,
}

impl Kafka {
    /// The broker of the test run; `None` if there is none and there need not be.
    pub fn require() -> Option<Self> {
        require("TIDEWRIGHT_TEST_KAFKA").map(|brokers| Self { brokers })
    }

    /// A broker without TLS at this address.
    pub fn at(brokers: &str) -> Self {
        Self {
            brokers: brokers.to_owned(),
        }
    }

    /// Whether it answers, and is registered with its controller.
    pub fn is_up(&self) -> bool {
        let answer = self
            .consumer(&unique_name("reader"))
            .fetch_metadata(None, Duration::from_secs(1));
        answer.is_ok_and(|metadata| !metadata.brokers().is_empty())
    }

    /// Bootstrap servers, as a job file wants them.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Creates a topic and returns its name, which no other test has.
    pub fn create_topic(&self, prefix: &str, partitions: i32) -> String {
        let name = unique_name(prefix);
        self.create_topic_named(&name, partitions);
        name
    }

    /// Creates a topic of this very name: for topics that are deleted and made again.
    pub fn create_topic_named(&self, name: &str, partitions: i32) {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let created = block_on(self.admin().create_topics([&topic], &admin_options()));
        created.unwrap().remove(0).unwrap();
        self.await_partitions(name, partitions);
    }

    /// Deletes a topic.
    pub fn delete_topic(&self, name: &str) {
        let deleted = block_on(self.admin().delete_topics(&[name], &admin_options()));
        deleted.unwrap().remove(0).unwrap();
    }

    /// Gives a topic more partitions: `total` of them then.
    pub fn add_partitions(&self, topic: &str, total: i32) {
        let more = NewPartitions::new(topic, total as usize);
        let made = block_on(self.admin().create_partitions([&more], &admin_options()));
        made.unwrap().remove(0).unwrap();
        self.await_partitions(topic, total);
    }

    /// Removes the records of a partition before an offset, as retention does.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        let mut offsets = TopicPartitionList::new();
        let offset = Offset::Offset(before);
        offsets
            .add_partition_offset(topic, partition, offset)
            .unwrap();
        block_on(self.admin().delete_records(&offsets, &admin_options())).unwrap();
    }

    /// Sends records in order and waits until all of them are stored.
    pub fn produce(&self, topic: &str, records: impl IntoIterator<Item = Record>) {
        self.sender().send(topic, records);
    }

    /// Sends records in order, each to the partition that Kafka's default partitioner gives its key, and waits until all of
    /// them are stored.
    pub fn produce_by_key(&self, topic: &str, records: impl IntoIterator<Item = Record>) {
        let mut client = self.client();
        client.set("partitioner", "murmur2");
        let producer: BaseProducer = client.create().unwrap();
        let unassigned = |record| Record {
            partition: UNASSIGNED,
            ..record
        };
        send(&producer, topic, records.into_iter().map(unassigned));
        producer.flush(LIMIT).unwrap();
    }

    /// For tests that send often: connecting takes longer than sending.
    pub fn sender(&self) -> Sender {
        Sender(self.client().create().unwrap())
    }

    /// Sends records in one transaction.
    pub fn produce_in_transaction(
        &self,
        topic: &str,
        records: impl IntoIterator<Item = Record>,
        outcome: Outcome,
    ) {
        let mut client = self.client();
        client.set("transactional.id", unique_name("harness"));
        let producer: BaseProducer = client.create().unwrap();
        producer.init_transactions(LIMIT).unwrap();
        producer.begin_transaction().unwrap();
        send(&producer, topic, records);
        producer.flush(LIMIT).unwrap();
        match outcome {
            Outcome::Commit => producer.commit_transaction(LIMIT).unwrap(),
            Outcome::Abort => producer.abort_transaction(LIMIT).unwrap(),
        }
    }

    /// All committed records of a topic, by partition and offset, up to the last stable offset of each partition.
    pub fn read_committed(&self, topic: &str) -> Vec<StoredRecord> {
        let consumer = self.consumer(&unique_name("reader"));
        let partitions = self.partitions(topic);
        let mut all = TopicPartitionList::new();
        for partition in 0..partitions {
            all.add_partition_offset(topic, partition, Offset::Beginning)
                .unwrap();
        }
        consumer.assign(&all).unwrap();
        let mut open: BTreeSet<i32> = (0..partitions).collect();
        let mut records = Vec::new();
        let deadline = Instant::now() + LIMIT;
        while !open.is_empty() {
            assert!(
                Instant::now() < deadline,
                "reading {topic}: no end of {open:?}"
            );
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => records.push(stored(&message)),
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    open.remove(&partition);
                }
                Some(Err(error)) => panic!("reading {topic}: {error}"),
                None => {}
            }
        }
        records.sort_by_key(|stored| (stored.record.partition, stored.offset));
        records
    }

    /// The values of a topic's committed records, by partition and offset; tombstones left out.
    pub fn read_values(&self, topic: &str) -> Vec<String> {
        self.read_committed(topic)
            .into_iter()
            .filter_map(|stored| stored.record.value)
            .collect()
    }

    /// The offset after the last record of each partition; transaction markers count as records.
    pub fn end_offsets(&self, topic: &str) -> BTreeMap<i32, i64> {
        let consumer = self.consumer(&unique_name("reader"));
        (0..self.partitions(topic))
            .map(|partition| {
                let (_, end) = consumer.fetch_watermarks(topic, partition, LIMIT).unwrap();
                (partition, end)
            })
            .collect()
    }

    /// The offsets that a consumer group has committed; partitions without one are absent.
    pub fn committed_offsets(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        let consumer = self.consumer(group);
        let mut all = TopicPartitionList::new();
        all.add_partition_range(topic, 0, self.partitions(topic) - 1);
        let committed = consumer.committed_offsets(all, LIMIT).unwrap();
        committed
            .elements()
            .iter()
            .filter_map(|element| match element.offset() {
                Offset::Offset(offset) => Some((element.partition(), offset)),
                _ => None,
            })
            .collect()
    }

    fn partitions(&self, topic: &str) -> i32 {
        let consumer = self.consumer(&unique_name("reader"));
        let metadata = consumer.fetch_metadata(Some(topic), LIMIT).unwrap();
        metadata.topics()[0].partitions().len() as i32
    }

    /// A new topic becomes known to a broker a moment after its controller has said yes.
    fn await_partitions(&self, topic: &str, partitions: i32) {
        super::eventually::eventually(
            LIMIT,
            &format!("{topic} with {partitions} partitions"),
            || (self.partitions(topic) == partitions).then_some(()),
        );
    }

    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &self.brokers)
            .set("enable.idempotence", "true")
            .set("linger.ms", "2")
            .set_log_level(rdkafka::config::RDKafkaLogLevel::Error);
        client
    }

    fn consumer(&self, group: &str) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", group)
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "20")
            .set_log_level(rdkafka::config::RDKafkaLogLevel::Error)
            .create()
            .unwrap()
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client()
            .remove("enable.idempotence")
            .remove("linger.ms")
            .create()
            .unwrap()
    }
}

/// A connection that sends.
pub struct Sender(BaseProducer);

impl Sender {
    /// Sends records in order and waits until all of them are stored.
    pub fn send(&self, topic: &str, records: impl IntoIterator<Item = Record>) {
        send(&self.0, topic, records);
        self.0.flush(LIMIT).unwrap();
    }
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(LIMIT))
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

fn send(producer: &BaseProducer, topic: &str, records: impl IntoIterator<Item = Record>) {
    for record in records {
        let mut message = BaseRecord::<str, str>::to(topic);
        if record.partition != UNASSIGNED {
            message = message.partition(record.partition);
        }
        if let Some(key) = &record.key {
            message = message.key(key);
        }
        if let Some(value) = &record.value {
            message = message.payload(value);
        }
        if let Some(timestamp_ms) = record.timestamp_ms {
            message = message.timestamp(timestamp_ms);
        }
        while let Err((error, again)) = producer.send(message) {
            let full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            assert!(full, "sending to {topic}: {error}");
            producer.poll(Duration::from_millis(10));
            message = again;
        }
    }
}

fn stored(message: &BorrowedMessage<'_>) -> StoredRecord {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    StoredRecord {
        offset: message.offset(),
        record: Record {
            partition: message.partition(),
            key: message.key().map(text),
            value: message.payload().map(text),
            timestamp_ms: message.timestamp().to_millis(),
        },
    }
}
