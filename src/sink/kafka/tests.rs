use std::time::{Duration, Instant};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
};
use tidewright_checkpoints::Epoch;
use tidewright_jobs::job::KafkaSinkConfig;

use super::KafkaWriter;
use crate::sink::{
    AppendBatch, AppendWriter, Fence, SinkContext, SinkError,
    testing::{Lost, Owner, appended, context, service, unique},
};

const PARTITIONS: i32 = 4;

/// A topic of a test's own.
struct Bench {
    brokers: String,
    topic: String,
    context: SinkContext,
}

impl Bench {
    fn with_settings(settings: &[(&str, &str)]) -> Option<Self> {
        let brokers = service("TIDEWRIGHT_TEST_KAFKA")?;
        let topic = unique("test");
        let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
            .set("bootstrap.servers", &brokers)
            .create()
            .unwrap();
        let mut wanted = NewTopic::new(&topic, PARTITIONS, TopicReplication::Fixed(1));
        for (name, value) in settings {
            wanted = wanted.set(name, value);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let created = runtime.block_on(admin.create_topics([&wanted], &AdminOptions::new()));
        created.unwrap()[0].as_ref().unwrap();
        // The job's name is part of the transactional id: every test has its own.
        let context = context(&unique("job"));
        Some(Self {
            brokers,
            topic,
            context,
        })
    }

    fn new() -> Option<Self> {
        Self::with_settings(&[])
    }

    fn writer(&self) -> KafkaWriter {
        let config = KafkaSinkConfig {
            brokers: Some(self.brokers.clone()),
            topic: self.topic.clone(),
            properties: [("linger.ms".to_owned(), "1".to_owned())].into(),
        };
        KafkaWriter::new(&config, &self.context).unwrap()
    }

    /// What readers of committed records see: (partition, key, value), sorted by value.
    fn committed(&self, expected: usize) -> Vec<(i32, Option<String>, String)> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", unique("reader"))
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .create()
            .unwrap();
        let mut all = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            all.add_partition_offset(&self.topic, partition, Offset::Beginning)
                .unwrap();
        }
        consumer.assign(&all).unwrap();
        let (mut rows, mut ended) = (Vec::new(), 0);
        let begun = Instant::now();
        while ended < PARTITIONS || rows.len() < expected {
            assert!(begun.elapsed() < Duration::from_secs(30), "{rows:?}");
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let text = |bytes: Option<&[u8]>| {
                        bytes.map(|b| String::from_utf8(b.to_vec()).unwrap())
                    };
                    let value = text(message.payload()).unwrap();
                    rows.push((message.partition(), text(message.key()), value));
                }
                Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) => panic!("{error}"),
                None => {}
            }
        }
        rows.sort_by(|a, b| a.2.cmp(&b.2));
        rows
    }

    fn users(&self, expected: usize) -> Vec<String> {
        self.committed(expected)
            .into_iter()
            .filter_map(|(_, key, _)| key)
            .collect()
    }
}

#[test]
fn records_and_marker_are_one_transaction() {
    let Some(bench) = Bench::new() else { return };
    let mut writer = bench.writer();
    assert_eq!(writer.recover().unwrap(), None);
    let report = writer
        .append(&appended(1_767_225_600_000, &["a", "b"]), &Owner)
        .unwrap();
    assert_eq!(report.applied, 2);
    writer
        .append(&appended(1_767_225_600_010, &[]), &Owner)
        .unwrap();
    assert_eq!(
        bench.writer().recover().unwrap(),
        Some(Epoch(1_767_225_600_010))
    );
    let rows = bench.committed(2);
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].1.as_deref(), Some("a"));
    assert_eq!(rows[0].2, r#"{"user_id":"a","clicks":0}"#);
    // murmur2("a") and murmur2("b") of Java's producer, modulo four partitions.
    assert_eq!(
        (rows[0].0, rows[1].0),
        (java_partition("a"), java_partition("b"))
    );
}

/// `Utils.toPositive(Utils.murmur2(key)) % partitions` of Kafka's Java client.
fn java_partition(key: &str) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let data = key.as_bytes();
    let mut hash = 0x9747_b28c_u32 ^ u32::try_from(data.len()).unwrap();
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes(chunk.try_into().unwrap()).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (at, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^= hash >> 15;
    i32::try_from(hash & 0x7fff_ffff).unwrap() % PARTITIONS
}

/// Loses the job after the first look: so between the records and the commit.
struct LostInTheMiddle(std::sync::atomic::AtomicBool);

impl Fence for LostInTheMiddle {
    fn check(&self) -> Result<(), SinkError> {
        if self.0.swap(true, std::sync::atomic::Ordering::Relaxed) {
            return Lost.check();
        }
        Ok(())
    }
}

#[test]
fn an_append_that_is_not_committed_leaves_neither_records_nor_marker() {
    let Some(bench) = Bench::new() else { return };
    let mut writer = bench.writer();
    writer.recover().unwrap();
    writer.append(&appended(5, &["a"]), &Owner).unwrap();
    let lost = writer.append(&appended(6, &["never"]), &LostInTheMiddle(false.into()));
    assert!(
        matches!(lost, Err(SinkError::Fenced(_) | SinkError::Transient(_))),
        "{lost:?}"
    );
    assert_eq!(writer.recover().unwrap(), Some(Epoch(5)));
    writer.append(&appended(6, &["b"]), &Owner).unwrap();
    assert_eq!(bench.users(2), ["a", "b"]);
}

#[test]
fn a_later_writer_shuts_out_an_earlier_one() {
    let Some(bench) = Bench::new() else { return };
    let (mut zombie, mut owner) = (bench.writer(), bench.writer());
    zombie.recover().unwrap();
    zombie.append(&appended(5, &["a"]), &Owner).unwrap();
    assert_eq!(owner.recover().unwrap(), Some(Epoch(5)));
    // The broker refuses it; whether it has lost the job is for its fence to say.
    let shut_out = zombie.append(&appended(6, &["zombie"]), &Owner);
    assert!(
        matches!(shut_out, Err(SinkError::Transient(_))),
        "{shut_out:?}"
    );
    owner.append(&appended(6, &["b"]), &Owner).unwrap();
    assert_eq!(bench.users(2), ["a", "b"]);
}

#[test]
fn a_record_too_large_for_the_topic_is_refused_also_when_asked_again() {
    let Some(bench) = Bench::with_settings(&[("max.message.bytes", "2000")]) else {
        return;
    };
    let mut writer = bench.writer();
    writer.recover().unwrap();
    let large = "x".repeat(2000);
    // Together more than the limit: the producer must cut its batches by it.
    let medium: Vec<String> = (0..8).map(|n| format!("{n}{}", "y".repeat(500))).collect();
    let mut users: Vec<&str> = medium.iter().map(String::as_str).collect();
    users.push(&large);
    let batch: AppendBatch = appended(5, &users);
    let report = writer.append(&batch, &Owner).unwrap();
    assert_eq!((report.applied, report.refused.len()), (8, 1));
    assert_eq!(bench.committed(8).len(), 8);
    let mut again = bench.writer();
    assert_eq!(again.recover().unwrap(), Some(Epoch(5)));
    assert_eq!(again.refusals(&batch).unwrap(), report.refused);
}

#[test]
fn a_missing_topic_is_fatal_and_a_missing_broker_is_not() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    bench.topic = unique("missing");
    let missing = bench.writer().recover();
    assert!(
        matches!(&missing, Err(SinkError::Fatal(m)) if m.contains("does not exist")),
        "{missing:?}"
    );
    bench.brokers = "127.0.0.1:1".to_owned();
    let down = bench.writer().recover();
    assert!(matches!(down, Err(SinkError::Transient(_))), "{down:?}");
}
