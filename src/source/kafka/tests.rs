//! Against librdkafka's mock cluster, and against a real broker as well where `TIDEWRIGHT_TEST_KAFKA` names one
//! (`host:port`). What the mock does not know (transactions' markers, more partitions) is tested on the real one only.

use std::sync::atomic::{AtomicU32, Ordering};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::Consumer as _,
    error::KafkaResult,
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _},
};
use tidewright_jobs::job::{SourceConfig, StartPosition};
use tidewright_operators::batch;

use super::*;
use crate::source::{
    ALIGN_MS, Halt, SplitStart,
    identity::Topics,
    open,
    testing::{BOUND_MS, Read, context, stream, table},
};

const WAIT: Duration = Duration::from_secs(10);

/// A broker with one topic of two partitions, of this test alone.
struct Cluster {
    brokers: String,
    topic: String,
    mock: Option<MockCluster<'static, DefaultProducerContext>>,
}

impl Cluster {
    fn mock() -> Self {
        let mock = MockCluster::new(1).unwrap();
        mock.create_topic("shop-events", 2, 1).unwrap();
        Self {
            brokers: mock.bootstrap_servers(),
            topic: "shop-events".into(),
            mock: Some(mock),
        }
    }

    fn real() -> Option<Self> {
        static TOPICS: AtomicU32 = AtomicU32::new(0);
        let Ok(brokers) = std::env::var("TIDEWRIGHT_TEST_KAFKA") else {
            eprintln!("skipped: TIDEWRIGHT_TEST_KAFKA names no broker");
            return None;
        };
        let number = TOPICS.fetch_add(1, Ordering::Relaxed);
        let topic = format!("source-test-{}-{number}", std::process::id());
        let cluster = Self {
            brokers,
            topic,
            mock: None,
        };
        let new = NewTopic::new(&cluster.topic, 2, TopicReplication::Fixed(1));
        cluster.admin(|admin, options| async move {
            admin.create_topics(&[new], &options).await.map(drop)
        });
        Some(cluster)
    }

    fn admin<F: Future<Output = KafkaResult<()>>>(
        &self,
        change: impl FnOnce(AdminClient<DefaultClientContext>, AdminOptions) -> F,
    ) {
        let admin = self.client().create().unwrap();
        let options = AdminOptions::new().operation_timeout(Some(WAIT));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(change(admin, options)).unwrap();
    }

    /// Deletes the topic and creates another one of the same name.
    fn make_anew(&self) {
        let topic = [self.topic.as_str()];
        self.admin(|admin, options| async move {
            admin.delete_topics(&topic, &options).await.map(drop)
        });
        let created = || {
            let new = NewTopic::new(&self.topic, 2, TopicReplication::Fixed(1));
            let mut results = Vec::new();
            self.admin(|admin, options| {
                let results = &mut results;
                async move {
                    *results = admin.create_topics(&[new], &options).await?;
                    Ok(())
                }
            });
            results.pop().is_some_and(|result| result.is_ok())
        };
        let deadline = Instant::now() + WAIT;
        while !created() {
            assert!(Instant::now() < deadline, "the topic is not created");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }

    fn produce(&self, records: &[(i32, Option<&str>, Option<&str>)]) {
        let producer: BaseProducer = self.client().create().unwrap();
        self.produce_by(&producer, records);
        producer.flush(WAIT).unwrap();
    }

    fn produce_by(&self, producer: &BaseProducer, records: &[(i32, Option<&str>, Option<&str>)]) {
        for (partition, key, value) in records {
            let mut record = BaseRecord::<str, str>::to(&self.topic)
                .partition(*partition)
                .timestamp(1_000);
            record.key = *key;
            record.payload = *value;
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
    }

    fn produce_events(&self, events: &[(i32, i64)]) {
        let events: Vec<_> = events
            .iter()
            .map(|(partition, ts)| (*partition, format!("{{\"user_id\":\"u\",\"ts\":{ts}}}")))
            .collect();
        let records: Vec<_> = events
            .iter()
            .map(|(partition, json)| (*partition, None, Some(json.as_str())))
            .collect();
        self.produce(&records);
    }

    fn config(&self) -> KafkaSourceConfig {
        KafkaSourceConfig {
            brokers: self.brokers.clone(),
            topic: self.topic.clone(),
            start: StartPosition::Earliest,
            group: Some(format!("{}-readers", self.topic)),
            partitioned_by: None,
            properties: BTreeMap::new(),
        }
    }

    fn stream(&self) -> SourcePlan {
        stream(SourceConfig::Kafka(self.config()), Some(200))
    }

    fn open(&self, context: &OpenContext) -> Box<dyn SplitReader> {
        open(&self.stream(), context).unwrap()
    }

    fn open_error(&self, plan: &SourcePlan, restored: Option<Vec<SplitStart>>) -> String {
        open(plan, &context(restored)).err().unwrap().to_string()
    }
}

/// Runs a test on the mock, and on the real broker if there is one.
fn on_both(test: impl Fn(&Cluster)) {
    test(&Cluster::mock());
    if let Some(real) = Cluster::real() {
        test(&real);
    }
}

fn bounded() -> OpenContext {
    OpenContext {
        bounded: true,
        ..context(None)
    }
}

fn places(read: &Read) -> Vec<i64> {
    let mut offsets = read.integers(batch::OFFSET);
    offsets.sort_unstable();
    offsets
}

#[test]
fn records_become_rows_in_offset_order_with_their_watermarks() {
    on_both(|cluster| {
        cluster.produce_events(&[(0, 100), (0, 90), (1, 500), (0, 120)]);
        cluster.produce(&[(1, None, Some("{broken")), (1, None, None)]);
        let mut reader = cluster.open(&context(None));
        let first = reader.poll(WAIT).unwrap().unwrap();
        assert_eq!(first.splits.len(), 2, "the first batch names every split");
        let mut read = Read {
            batches: vec![first],
        };
        read.until(&mut *reader, |read| read.records() == 6);
        assert_eq!(places(&read), [0, 0, 1, 2]);
        let mut stamps = read.integers(batch::WATERMARK);
        stamps.sort_unstable();
        assert_eq!(stamps, [i64::MIN, i64::MIN, 100 - BOUND_MS, 100 - BOUND_MS]);
        let dead = read.dead_letters();
        assert_eq!(
            dead[0].origin,
            format!("topic {}, partition 1, offset 1", cluster.topic)
        );
        assert_eq!(
            (dead[0].payload.as_slice(), dead.len()),
            (&b"{broken"[..], 2)
        );
    });
}

#[test]
fn a_bounded_run_ends_at_the_ends_seen_at_the_start() {
    on_both(|cluster| {
        cluster.produce_events(&[(0, 1), (0, 2), (1, 3)]);
        let mut reader = cluster.open(&bounded());
        cluster.produce_events(&[(0, 4), (1, 5)]);
        let mut read = Read::default();
        read.until_finished(&mut *reader);
        assert_eq!(places(&read), [0, 0, 1]);
        let ends: Vec<_> = read
            .progress()
            .iter()
            .map(|split| split.next_offset)
            .collect();
        assert_eq!(ends, [2, 1]);
        assert!(
            read.progress()
                .iter()
                .all(|split| split.caught_up && split.lag == Some(0))
        );
    });
}

#[test]
fn a_null_value_deletes_by_the_records_key() {
    on_both(|cluster| {
        cluster.produce(&[
            (
                0,
                Some("u1"),
                Some("{\"user_id\":\"u1\",\"segment\":\"x\",\"updated_at\":77}"),
            ),
            (0, Some("u1"), None),
            (0, Some("\"u2\""), None),
            (0, Some("{\"user_id\":\"u3\"}"), None),
            (0, None, None),
        ]);
        let plan = table(SourceConfig::Kafka(cluster.config()));
        let mut reader = open(&plan, &bounded()).unwrap();
        let mut read = Read::default();
        read.until_finished(&mut *reader);
        assert_eq!(read.ops(), [1, -1, -1, -1]);
        let users = ["u1", "u1", "u2", "u3"].map(|user| Some(user.to_owned()));
        assert_eq!(read.texts("user_id"), users);
        assert_eq!(
            read.integers(batch::VERSION_TIME),
            [77, 1_000, 1_000, 1_000]
        );
        assert!(read.dead_letters()[0].reason.contains("without a key"));
    });
}

#[test]
fn reading_goes_on_where_the_checkpoint_was_and_commits_reach_the_group() {
    on_both(|cluster| {
        cluster.produce_events(&[(0, 10), (0, 20), (1, 30)]);
        let mut reader = cluster.open(&context(None));
        let mut read = Read::default();
        read.until(&mut *reader, |read| read.records() == 3);
        reader.request(ReaderRequest::Commit(vec![(0, 2), (1, 1), (7, 9)]));
        drop(reader);
        cluster.produce_events(&[(0, 40)]);
        let mut reader = cluster.open(&context(Some(read.starts())));
        let mut rest = Read::default();
        rest.until(&mut *reader, |read| read.records() == 1);
        assert_eq!(rest.integers(batch::OFFSET), [2]);
        assert_eq!(rest.integers(batch::WATERMARK), [20 - BOUND_MS]);
        let config = cluster.config();
        let settings = client::settings(&config, config.group.as_deref().unwrap()).unwrap();
        let mut asked = TopicPartitionList::new();
        asked.add_partition_range(&cluster.topic, 0, 1);
        let committed = client::connect(&settings)
            .unwrap()
            .committed_offsets(asked, WAIT)
            .unwrap();
        let committed: Vec<_> = committed
            .elements()
            .iter()
            .map(|element| element.offset())
            .collect();
        assert_eq!(committed, [Offset::Offset(2), Offset::Offset(1)]);
    });
}

#[test]
fn every_start_position_is_honoured() {
    on_both(|cluster| {
        cluster.produce_events(&[(0, 1), (0, 2), (0, 3)]);
        let starts = [
            (StartPosition::Earliest, 0),
            (StartPosition::Latest, 3),
            (StartPosition::Offsets([(0, 2)].into()), 2),
        ];
        for (start, offset) in starts {
            let config = KafkaSourceConfig {
                start,
                ..cluster.config()
            };
            let plan = stream(SourceConfig::Kafka(config), None);
            let mut reader = open(
                &plan,
                &OpenContext {
                    bounded: true,
                    ..context(None)
                },
            )
            .unwrap();
            reader.request(ReaderRequest::Pause(true));
            let first = reader.poll(Duration::ZERO).unwrap().unwrap();
            assert_eq!(first.splits[0].next_offset, offset);
        }
    });
}

#[test]
fn offsets_that_the_topic_does_not_have_stop_the_job_with_the_choices() {
    on_both(|cluster| {
        cluster.produce_events(&[(0, 1)]);
        let start = |name: &str, next_offset| SplitStart {
            name: name.into(),
            next_offset,
            watermark: 0,
            idle: false,
        };
        let beyond =
            cluster.open_error(&cluster.stream(), Some(vec![start("0", 5), start("1", 0)]));
        assert!(
            beyond.contains("recreated") && beyond.contains("--restore none"),
            "{beyond}"
        );
        let fewer = cluster.open_error(&cluster.stream(), Some(vec![start("8", 0)]));
        assert!(
            fewer.contains("partition 8") && fewer.contains("recreated"),
            "{fewer}"
        );
    });
}

#[test]
fn an_unreachable_broker_is_an_error_that_names_it() {
    let config = KafkaSourceConfig {
        brokers: "127.0.0.1:1".into(),
        topic: "events".into(),
        start: StartPosition::Earliest,
        group: None,
        partitioned_by: None,
        properties: BTreeMap::new(),
    };
    let opened = open(&stream(SourceConfig::Kafka(config), None), &context(None));
    let error = opened.err().unwrap().to_string();
    assert!(
        error.contains("127.0.0.1:1") && error.contains("no answer"),
        "{error}"
    );
}

#[test]
fn a_split_is_idle_once_its_broker_has_confirmed_the_end_and_a_record_wakes_it() {
    on_both(|cluster| {
        cluster.produce_events(&[(0, 10), (1, 10)]);
        let mut reader = cluster.open(&context(None));
        let (mut read, since) = (Read::default(), Instant::now());
        let all_idle =
            |read: &Read| read.records() == 2 && read.progress().iter().all(|split| split.idle);
        read.until(&mut *reader, all_idle);
        assert!(since.elapsed() >= Duration::from_millis(200));
        cluster.produce_events(&[(0, 20)]);
        read.until(&mut *reader, |read| read.records() == 3);
        let idle: Vec<_> = read.progress().iter().map(|split| split.idle).collect();
        assert_eq!(idle, [false, true]);
    });
}

/// The client's own position is one too far after the end of a partition; going on from there would lose a record.
#[test]
fn a_split_that_waited_for_the_others_at_its_end_loses_nothing() {
    on_both(|cluster| {
        let ahead = 2 * ALIGN_MS;
        cluster.produce_events(&[(0, ahead), (0, ahead + 1)]);
        let mut reader = cluster.open(&context(None));
        let mut read = Read::default();
        read.until(&mut *reader, |read| {
            read.records() == 2 && read.progress().iter().all(|split| split.idle)
        });
        reader.request(ReaderRequest::Watermark(0));
        assert!(reader.poll(Duration::ZERO).is_ok());
        cluster.produce_events(&[(0, ahead + 2), (0, ahead + 3), (1, 5)]);
        read.until(&mut *reader, |read| read.records() == 3);
        assert_eq!(read.progress()[0].next_offset, 2, "it waits");
        reader.request(ReaderRequest::Watermark(ahead));
        read.until(&mut *reader, |read| read.records() == 5);
        assert_eq!(places(&read), [0, 0, 1, 2, 3]);
    });
}

#[test]
fn a_paused_reader_reads_nothing_and_loses_nothing() {
    on_both(|cluster| {
        let mut reader = cluster.open(&context(None));
        let mut read = Read::default();
        read.until(&mut *reader, |read| !read.batches.is_empty());
        reader.request(ReaderRequest::Pause(true));
        cluster.produce_events(&[(0, 1), (1, 2)]);
        for _ in 0..10 {
            read.batches
                .extend(reader.poll(Duration::from_millis(20)).unwrap());
        }
        assert_eq!(read.records(), 0);
        reader.request(ReaderRequest::Pause(false));
        read.until(&mut *reader, |read| read.records() == 2);
    });
}

#[test]
fn a_broker_that_goes_away_is_waited_for_and_not_taken_for_idle() {
    let cluster = Cluster::mock();
    let mock = cluster.mock.as_ref().unwrap();
    cluster.produce_events(&[(0, 1), (1, 1)]);
    let plan = stream(SourceConfig::Kafka(cluster.config()), Some(1_000));
    let mut reader = open(&plan, &context(None)).unwrap();
    let mut read = Read::default();
    read.until(&mut *reader, |read| read.records() == 2);
    mock.broker_down(1).unwrap();
    let down_until = Instant::now() + Duration::from_millis(2_500);
    while Instant::now() < down_until {
        read.batches
            .extend(reader.poll(Duration::from_millis(20)).unwrap());
    }
    assert!(read.progress().iter().all(|split| !split.idle));
    mock.broker_up(1).unwrap();
    cluster.produce_events(&[(0, 2), (1, 2)]);
    read.until(&mut *reader, |read| read.records() == 4);
    assert_eq!(places(&read), [0, 0, 1, 1]);
}

#[test]
fn two_workers_share_the_partitions() {
    on_both(|cluster| {
        let mut names = Vec::new();
        for worker in 0..2 {
            let mut reader = cluster.open(&OpenContext {
                worker,
                workers: 2,
                ..context(None)
            });
            let first = reader.poll(Duration::ZERO).unwrap().unwrap();
            names.extend(first.splits.into_iter().map(|split| split.name.to_string()));
        }
        names.sort();
        assert_eq!(names, ["0", "1"]);
        let splits = names.into_iter().map(|name| (name, 0));
        let found = crate::source::splits(&cluster.stream()).unwrap();
        assert_eq!(found, splits.collect::<Vec<_>>());
    });
}

#[test]
fn partitions_with_a_halt_are_read_to_there_and_stand_still() {
    on_both(|cluster| {
        cluster.produce_events(&[(0, 1), (0, 2), (0, 3), (1, 1), (1, 2)]);
        let halt = |offset, idle| Halt {
            offset,
            finished: false,
            idle,
        };
        let mut reader = cluster.open(&OpenContext {
            until: Some([(0, halt(2, true)), (1, halt(2, false))].into()),
            ..context(None)
        });
        let mut read = Read::default();
        read.until(&mut *reader, |read| read.records() == 4);
        cluster.produce_events(&[(0, 4), (1, 3)]);
        for _ in 0..5 {
            read.batches
                .extend(reader.poll(Duration::from_millis(20)).unwrap());
        }
        assert_eq!(places(&read), [0, 0, 1, 1]);
        let progress = read.progress();
        let offsets: Vec<_> = progress.iter().map(|split| split.next_offset).collect();
        assert_eq!(offsets, [2, 2]);
        assert_eq!((progress[0].idle, progress[1].idle), (true, false));
    });
}

#[test]
fn a_missing_topic_is_an_error_that_suggests_similar_ones() {
    let Some(cluster) = Cluster::real() else {
        return;
    };
    let config = KafkaSourceConfig {
        topic: cluster.topic.replacen("source", "sorce", 1),
        ..cluster.config()
    };
    let error = cluster.open_error(&stream(SourceConfig::Kafka(config), None), None);
    assert!(
        error.contains("there is no topic") && error.contains("source-test"),
        "{error}"
    );
}

#[test]
fn aborted_records_do_not_count_and_markers_do_not_keep_a_bounded_run_open() {
    let Some(cluster) = Cluster::real() else {
        return;
    };
    let mut config = cluster.client();
    config.set("transactional.id", &cluster.topic);
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(WAIT).unwrap();
    for (value, commit) in [(1, true), (2, false), (3, true), (4, false)] {
        producer.begin_transaction().unwrap();
        let json = format!("{{\"user_id\":\"u\",\"ts\":{value}}}");
        cluster.produce_by(&producer, &[(0, None, Some(&json))]);
        producer.flush(WAIT).unwrap();
        let end = if commit {
            producer.commit_transaction(WAIT)
        } else {
            producer.abort_transaction(WAIT)
        };
        end.unwrap();
    }
    let mut reader = cluster.open(&bounded());
    let mut read = Read::default();
    read.until_finished(&mut *reader);
    assert_eq!(places(&read), [0, 4]);
    assert_eq!(read.progress()[0].next_offset, 8, "past the last marker");
}

#[test]
fn partitions_that_appear_while_running_are_read_from_their_start() {
    let Some(cluster) = Cluster::real() else {
        return;
    };
    let (plan, config) = (cluster.stream(), cluster.config());
    let mut reader =
        KafkaReader::open_with(&plan, &config, &context(None), Duration::from_millis(300)).unwrap();
    let mut read = Read::default();
    read.until(&mut reader, |read| !read.batches.is_empty());
    let topic = cluster.topic.clone();
    cluster.admin(|admin, options| async move {
        admin
            .create_partitions(&[NewPartitions::new(&topic, 3)], &options)
            .await
            .map(drop)
    });
    // A producer learns of the new partition a moment later.
    std::thread::sleep(Duration::from_secs(1));
    cluster.produce_events(&[(2, 1), (2, 2)]);
    read.until(&mut reader, |read| read.records() == 2);
    assert_eq!(read.progress().len(), 3);
}

#[test]
fn partitions_that_appear_stop_a_job_that_relies_on_where_keys_are() {
    let Some(cluster) = Cluster::real() else {
        return;
    };
    let config = KafkaSourceConfig {
        partitioned_by: Some("user_id".into()),
        ..cluster.config()
    };
    let plan = stream(SourceConfig::Kafka(config.clone()), None);
    let mut reader =
        KafkaReader::open_with(&plan, &config, &context(None), Duration::from_millis(300)).unwrap();
    reader.poll(Duration::ZERO).unwrap();
    let topic = cluster.topic.clone();
    cluster.admin(|admin, options| async move {
        admin
            .create_partitions(&[NewPartitions::new(&topic, 3)], &options)
            .await
            .map(drop)
    });
    let deadline = Instant::now() + WAIT;
    let error = loop {
        assert!(Instant::now() < deadline, "nothing was noticed");
        if let Err(error) = reader.poll(Duration::from_millis(100)) {
            break error.to_string();
        }
    };
    assert!(error.contains("had 2 partitions and now has 3"), "{error}");
}

#[test]
fn a_checkpoint_of_another_number_of_partitions_is_refused_where_keys_must_stay() {
    let Some(cluster) = Cluster::real() else {
        return;
    };
    let restored = || {
        Some(vec![SplitStart {
            name: "0".into(),
            next_offset: 0,
            watermark: i64::MIN,
            idle: false,
        }])
    };
    let config = KafkaSourceConfig {
        partitioned_by: Some("user_id".into()),
        ..cluster.config()
    };
    let plan = stream(SourceConfig::Kafka(config), None);
    let error = cluster.open_error(&plan, restored());
    assert!(
        error.contains("had 1 partitions and now has 2") && error.contains("--restore none"),
        "{error}"
    );
    assert!(open(&cluster.stream(), &context(restored())).is_ok());
}

#[test]
fn a_start_by_time_begins_at_the_first_record_not_before_it() {
    let Some(cluster) = Cluster::real() else {
        return;
    };
    // Every record's own timestamp is 1,000.
    cluster.produce_events(&[(0, 1), (0, 2), (0, 3)]);
    for (time, offset) in [(500, 0), (1_000, 0), (1_001, 3)] {
        let start = StartPosition::Timestamp(time);
        let config = KafkaSourceConfig {
            start,
            ..cluster.config()
        };
        let mut reader = open(&stream(SourceConfig::Kafka(config), None), &bounded()).unwrap();
        reader.request(ReaderRequest::Pause(true));
        let first = reader.poll(Duration::ZERO).unwrap().unwrap();
        assert_eq!(first.splits[0].next_offset, offset, "from {time}");
    }
}

#[test]
fn records_that_retention_removes_before_they_are_read_stop_the_job_with_the_choices() {
    let Some(cluster) = Cluster::real() else {
        return;
    };
    let ahead = 2 * ALIGN_MS;
    cluster.produce_events(&[(0, ahead), (0, ahead + 1)]);
    let mut reader = cluster.open(&context(None));
    let mut read = Read::default();
    read.until(&mut *reader, |read| read.records() == 2);
    reader.request(ReaderRequest::Watermark(0));
    assert!(reader.poll(Duration::ZERO).is_ok());
    cluster.produce_events(&[(0, ahead + 2), (0, ahead + 3), (0, ahead + 4)]);
    let mut before = TopicPartitionList::new();
    before
        .add_partition_offset(&cluster.topic, 0, Offset::Offset(4))
        .unwrap();
    cluster.admin(|admin, options| async move {
        admin.delete_records(&before, &options).await.map(drop)
    });
    reader.request(ReaderRequest::Watermark(ahead));
    let deadline = Instant::now() + WAIT;
    let error = loop {
        assert!(Instant::now() < deadline, "nobody noticed");
        if let Err(error) = reader.poll(Duration::from_millis(20)) {
            break error.to_string();
        }
    };
    assert!(
        error.contains("offset 2") && error.contains("--restore none"),
        "{error}"
    );
}

#[test]
fn a_topic_that_was_made_anew_stops_a_restored_job_with_the_choices() {
    let Some(cluster) = Cluster::real() else {
        return;
    };
    cluster.produce_events(&[(0, 1), (0, 2)]);
    let first = context(None);
    let mut reader = cluster.open(&first);
    let mut read = Read::default();
    read.until(&mut *reader, |read| read.records() == 2);
    drop(reader);
    let mut kept = BTreeMap::new();
    first.topics.keep(&mut kept);
    let restored = || OpenContext {
        topics: Topics::of(&kept).unwrap().into(),
        ..context(Some(read.starts()))
    };
    assert!(
        open(&cluster.stream(), &restored()).is_ok(),
        "it is the same one"
    );

    cluster.make_anew();
    // Its offsets alone tell nothing: it holds more records than have been read.
    cluster.produce_events(&[(0, 11), (0, 12), (0, 13)]);
    let error = open(&cluster.stream(), &restored())
        .err()
        .unwrap()
        .to_string();
    for part in [
        "created anew",
        "--from-earliest --from-sources",
        "--restore none",
    ] {
        assert!(error.contains(part), "{error}");
    }
    let said_where = OpenContext {
        moved: true,
        bounded: true,
        ..restored()
    };
    let mut reader = cluster.open(&said_where);
    let mut read = Read::default();
    read.until_finished(&mut *reader);
    assert_eq!(
        places(&read),
        [0, 1, 2],
        "from its beginning, behind the old offset"
    );
}

#[test]
fn a_topic_that_is_made_anew_stops_a_running_job_with_the_choices() {
    let Some(cluster) = Cluster::real() else {
        return;
    };
    cluster.produce_events(&[(0, 1)]);
    let (plan, config) = (cluster.stream(), cluster.config());
    let refresh = Duration::from_secs(1);
    let mut reader = KafkaReader::open_with(&plan, &config, &context(None), refresh).unwrap();
    let mut read = Read::default();
    read.until(&mut reader, |read| read.records() == 1);
    cluster.make_anew();
    cluster.produce_events(&[(0, 1), (0, 2)]);
    let deadline = Instant::now() + WAIT;
    let error = loop {
        assert!(Instant::now() < deadline, "nobody noticed");
        if let Err(error) = reader.poll(Duration::from_millis(20)) {
            break error.to_string();
        }
    };
    assert!(
        error.contains("created anew while the job ran") && error.contains("--restore none"),
        "{error}"
    );
}

/// The mock gives ids as well.
#[test]
fn the_topic_of_a_source_is_noted() {
    on_both(|cluster| {
        let context = context(None);
        drop(cluster.open(&context));
        let mut kept = BTreeMap::new();
        context.topics.keep(&mut kept);
        let topics = serde_json::Value::from_iter(kept);
        assert_eq!(
            topics["topics"]["events"]["name"], *cluster.topic,
            "{topics}"
        );
        assert!(
            topics["topics"]["events"]["id"]
                .as_str()
                .is_some_and(|id| id.len() == 22)
        );
    });
}
