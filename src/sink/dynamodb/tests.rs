use std::sync::Arc;

use arrow::array::{BooleanArray, StringViewArray};
use aws_sdk_dynamodb::{Client, types::AttributeValue};
use tidewright_checkpoints::{Epoch, Generation};
use tidewright_jobs::job::{DynamodbSinkConfig, SinkConfig};

use super::{DynamodbWriter, Item, client};
use crate::sink::{
    KeyedBatch, KeyedWriter, SinkContext, SinkError, Version, WriteReport,
    testing::{Lost, Owner, context, every_type, keyed, service, unique},
};

/// A table of a test's own.
struct Bench {
    config: DynamodbSinkConfig,
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Bench {
    fn new() -> Option<Self> {
        let endpoint = service("TIDEWRIGHT_TEST_DYNAMODB")?;
        let config = serde_json::json!({"dynamodb": {
            "table": unique("test"), "endpoint": endpoint, "region": "us-east-1", "create_table": true,
        }});
        let Ok(SinkConfig::Dynamodb(config)) = serde_json::from_value(config) else {
            panic!("not a configuration");
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let client = runtime.block_on(client::connect(&config));
        Some(Self {
            config,
            runtime,
            client,
        })
    }

    fn writer_of(&self, context: &SinkContext) -> DynamodbWriter {
        DynamodbWriter::new(&self.config, context).unwrap()
    }

    fn writer(&self) -> DynamodbWriter {
        self.writer_of(&context("job"))
    }

    fn item(&self, user: &str) -> Item {
        let request = self
            .client
            .get_item()
            .table_name(&self.config.table)
            .consistent_read(true);
        let request = request.key("user_id", AttributeValue::S(user.to_owned()));
        self.runtime
            .block_on(request.send())
            .unwrap()
            .item
            .unwrap_or_default()
    }

    fn clicks(&self, user: &str) -> String {
        self.item(user)["clicks"].as_n().unwrap().clone()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let request = self.client.delete_table().table_name(&self.config.table);
        let _ = self.runtime.block_on(request.send());
    }
}

fn counts(report: &WriteReport) -> (u64, u64, usize) {
    (report.applied, report.already_there, report.refused.len())
}

#[test]
fn a_row_becomes_an_item_of_typed_attributes() {
    let Some(bench) = Bench::new() else { return };
    let rows = every_type();
    let mut context = context("job");
    context.schema = rows.schema();
    let version = Version {
        generation: Generation(1),
        epoch: Epoch(2),
        sequence: 3,
    };
    let batch = KeyedBatch {
        deleted: BooleanArray::from(vec![false, false]),
        versions: vec![version; 2],
        as_of_ms: 0,
        rows,
    };
    bench.writer_of(&context).write(&batch, &Owner).unwrap();
    let s = |text: &str| AttributeValue::S(text.to_owned());
    let n = |text: &str| AttributeValue::N(text.to_owned());
    let expected = [
        ("_as_of", s("1970-01-01T00:00:00.000Z")),
        ("_job", s("job")),
        ("_version", s(&version.to_string())),
        ("big", n("9007199254740993")),
        ("day", s("2024-02-29")),
        ("flag", AttributeValue::Bool(true)),
        ("price", n("-12.05")),
        ("ratio", n("0.1")),
        ("seen", s("2026-01-01T00:00:00.001Z")),
        ("small", n("-7")),
        ("user_id", s("u\"1")),
    ];
    let expected: Item = expected
        .map(|(name, value)| (name.to_owned(), value))
        .into();
    assert_eq!(bench.item("u\"1"), expected);
    assert_eq!(bench.item("u2").len(), 4);
}

#[test]
fn a_replay_changes_nothing_and_an_older_version_never_wins() {
    let Some(bench) = Bench::new() else { return };
    let (mut one, mut two) = (bench.writer(), bench.writer());
    let new = keyed(1, 20, &[("a", Some(2)), ("b", Some(2))]);
    assert_eq!(counts(&one.write(&new, &Owner).unwrap()), (2, 0, 0));
    assert_eq!(counts(&two.write(&new, &Owner).unwrap()), (0, 2, 0));
    let old = keyed(1, 10, &[("a", Some(1)), ("c", Some(1))]);
    assert_eq!(counts(&two.write(&old, &Owner).unwrap()), (1, 1, 0));
    assert_eq!(
        (bench.clicks("a"), bench.clicks("c")),
        ("2".to_owned(), "1".to_owned())
    );
}

#[test]
fn interleaved_writers_leave_the_greatest_version_of_every_key() {
    let Some(bench) = Bench::new() else { return };
    bench
        .writer()
        .write(&keyed(1, 0, &[("x", Some(0))]), &Owner)
        .unwrap();
    std::thread::scope(|scope| {
        for offset in 0..3u64 {
            let mut writer = bench.writer();
            scope.spawn(move || {
                for round in 0..12 {
                    let epoch = 1 + (round * 5 + offset * 7) % 12;
                    let clicks = i64::try_from(epoch).ok();
                    let batch = keyed(1, epoch, &[("x", clicks), ("y", clicks)]);
                    // A row that changes between comparison and answer is sent again.
                    while let Err(error) = writer.write(&batch, &Owner) {
                        assert!(matches!(error, SinkError::Transient(_)), "{error}");
                    }
                }
            });
        }
    });
    assert_eq!(
        (bench.clicks("x"), bench.clicks("y")),
        ("12".to_owned(), "12".to_owned())
    );
}

#[test]
fn a_writer_of_an_earlier_generation_is_fenced() {
    let Some(bench) = Bench::new() else { return };
    let (mut zombie, mut owner) = (bench.writer(), bench.writer());
    zombie
        .write(&keyed(1, 100, &[("a", Some(1))]), &Owner)
        .unwrap();
    owner
        .write(&keyed(2, 50, &[("a", Some(2))]), &Owner)
        .unwrap();
    let late = zombie.write(&keyed(1, 900, &[("a", Some(3))]), &Owner);
    assert!(matches!(late, Err(SinkError::Fenced(_))), "{late:?}");
    assert_eq!(bench.clicks("a"), "2");
    let lost = owner.write(&keyed(2, 60, &[("a", Some(4))]), &Lost);
    assert!(matches!(lost, Err(SinkError::Fenced(_))));
    assert_eq!(bench.clicks("a"), "2");
}

#[test]
fn a_deleted_row_leaves_a_mark_that_keeps_late_writes_out() {
    let Some(bench) = Bench::new() else { return };
    let mut writer = bench.writer();
    writer
        .write(&keyed(1, 10, &[("a", Some(1))]), &Owner)
        .unwrap();
    writer.write(&keyed(1, 20, &[("a", None)]), &Owner).unwrap();
    assert_eq!(
        counts(
            &writer
                .write(&keyed(1, 15, &[("a", Some(9))]), &Owner)
                .unwrap()
        ),
        (0, 1, 0)
    );
    let mark = bench.item("a");
    assert_eq!(mark["_deleted"], AttributeValue::Bool(true));
    assert!(mark.contains_key("_expires") && !mark.contains_key("clicks"));
    writer
        .write(&keyed(1, 30, &[("a", Some(3))]), &Owner)
        .unwrap();
    assert_eq!(bench.clicks("a"), "3");
    assert!(!bench.item("a").contains_key("_deleted"));
}

#[test]
fn what_another_job_or_program_wrote_is_left_alone() {
    let Some(bench) = Bench::new() else { return };
    bench
        .writer()
        .write(&keyed(1, 1, &[("a", Some(1))]), &Owner)
        .unwrap();
    let put = bench.client.put_item().table_name(&bench.config.table);
    let put = put.item("user_id", AttributeValue::S("b".to_owned()));
    bench.runtime.block_on(put.send()).unwrap();
    let mut other = bench.writer_of(&context("other"));
    for user in ["a", "b"] {
        let result = other.write(&keyed(9, 9, &[(user, Some(9))]), &Owner);
        assert!(matches!(result, Err(SinkError::Fatal(_))), "{result:?}");
    }
    assert_eq!(bench.clicks("a"), "1");
}

#[test]
fn a_row_that_dynamodb_cannot_hold_is_refused_and_the_others_are_written() {
    let Some(bench) = Bench::new() else { return };
    let long = "x".repeat(3000);
    let rows = [(long.as_str(), Some(1)), ("", Some(2)), ("b", Some(3))];
    let report = bench.writer().write(&keyed(1, 1, &rows), &Owner).unwrap();
    assert_eq!(counts(&report), (1, 0, 2));
    assert_eq!(bench.clicks("b"), "3");
}

#[test]
fn many_rows_are_in_flight_at_once_and_all_arrive() {
    let Some(bench) = Bench::new() else { return };
    let users: Vec<String> = (0..300).map(|n| format!("u{n}")).collect();
    let rows: Vec<_> = users
        .iter()
        .zip(0..)
        .map(|(user, n)| (user.as_str(), Some(n)))
        .collect();
    let report = bench.writer().write(&keyed(1, 1, &rows), &Owner).unwrap();
    assert_eq!(counts(&report), (300, 0, 0));
    assert_eq!(bench.clicks("u299"), "299");
}

#[test]
fn a_missing_table_and_one_with_another_key_are_told() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    bench.config.create_table = false;
    let batch = keyed(1, 1, &[("a", Some(1))]);
    let missing = bench.writer().write(&batch, &Owner);
    assert!(
        matches!(&missing, Err(SinkError::Fatal(m)) if m.contains("user_id (S)")),
        "{missing:?}"
    );
    bench.config.create_table = true;
    bench.writer().write(&batch, &Owner).unwrap();
    let mut other_key = context("job");
    other_key.key = vec![1];
    let wrong = bench.writer_of(&other_key).write(&batch, &Owner);
    assert!(
        matches!(&wrong, Err(SinkError::Fatal(m)) if m.contains("clicks (N)")),
        "{wrong:?}"
    );
}

#[test]
fn a_server_that_is_down_is_tried_again_later() {
    let config =
        serde_json::json!({"table": "t", "endpoint": "http://127.0.0.1:1", "region": "us-east-1"});
    let config: DynamodbSinkConfig = serde_json::from_value(config).unwrap();
    let mut writer = DynamodbWriter::new(&config, &context("job")).unwrap();
    let result = writer.write(&keyed(1, 1, &[("a", Some(1))]), &Owner);
    assert!(matches!(result, Err(SinkError::Transient(_))), "{result:?}");
}

#[test]
fn a_null_key_is_refused_without_asking() {
    let Some(bench) = Bench::new() else { return };
    let mut batch = keyed(1, 1, &[("a", Some(1))]);
    let mut columns = batch.rows.columns().to_vec();
    columns[0] = Arc::new(StringViewArray::from(vec![None::<&str>]));
    batch.rows = arrow::record_batch::RecordBatch::try_new(batch.rows.schema(), columns).unwrap();
    let report = bench.writer().write(&batch, &Owner).unwrap();
    assert_eq!(counts(&report), (0, 0, 1));
    assert_eq!(report.refused[0].reason, "key column user_id is null");
}
