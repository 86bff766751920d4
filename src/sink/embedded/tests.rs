use std::sync::Arc;

use arrow::array::StringViewArray;
use tempfile::TempDir;
use tidewright_jobs::job::EmbeddedSinkConfig;

use super::{EmbeddedStore, EmbeddedStores, EmbeddedWriter, Tables, Tombstone, tables::rows_name};
use crate::sink::{
    KeyedWriter, SinkContext, SinkError,
    testing::{Lost, Owner, context, keyed},
};

struct Bench {
    folder: TempDir,
    context: SinkContext,
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            context: context("job"),
        }
    }

    fn writer_of(&self, context: &SinkContext) -> EmbeddedWriter {
        let path = self.folder.path().join("store/rows.redb");
        let config = EmbeddedSinkConfig {
            path: path.to_str().unwrap().to_owned(),
        };
        EmbeddedWriter::new(&config, context).unwrap()
    }

    fn writer(&self) -> EmbeddedWriter {
        self.writer_of(&self.context)
    }

    fn store(&self) -> EmbeddedStore {
        self.context.stores.all().remove(0).1
    }

    fn clicks(&self, user: &str) -> Option<i64> {
        self.store().get("customer", user).unwrap()?["clicks"].as_i64()
    }
}

#[test]
fn rows_are_read_as_json_with_their_stamps() {
    let bench = Bench::new();
    bench
        .writer()
        .write(&keyed(1, 5, &[("a", Some(1)), ("b", Some(2))]), &Owner)
        .unwrap();
    let row = bench.store().get("customer", "a").unwrap().unwrap();
    let expected = serde_json::json!({
        "user_id": "a", "clicks": 1,
        "_version": "000000000000001000000000000005000000", "_as_of": "2026-01-01T00:00:00.000Z",
    });
    assert_eq!(row, expected);
    assert_eq!(bench.store().count("customer").unwrap(), 2);
    assert_eq!(bench.store().relations().unwrap(), ["customer"]);
    assert_eq!(bench.store().get("customer", "nobody").unwrap(), None);
    assert_eq!(bench.store().get("nothing", "a").unwrap(), None);
    assert_eq!(bench.store().count("nothing").unwrap(), 0);
}

#[test]
fn a_replay_changes_nothing_and_an_older_version_never_wins() {
    let bench = Bench::new();
    let (mut one, mut two) = (bench.writer(), bench.writer());
    one.write(&keyed(1, 20, &[("a", Some(2))]), &Owner).unwrap();
    let report = two.write(&keyed(1, 20, &[("a", Some(2))]), &Owner).unwrap();
    assert_eq!((report.applied, report.already_there), (0, 1));
    let report = two
        .write(&keyed(1, 10, &[("a", Some(1)), ("c", Some(1))]), &Owner)
        .unwrap();
    assert_eq!((report.applied, report.already_there), (1, 1));
    assert_eq!((bench.clicks("a"), bench.clicks("c")), (Some(2), Some(1)));
}

#[test]
fn an_earlier_generation_or_another_job_writes_nothing_of_its_batch() {
    let bench = Bench::new();
    bench
        .writer()
        .write(&keyed(2, 20, &[("a", Some(2))]), &Owner)
        .unwrap();
    let late = keyed(1, 99, &[("new", Some(9)), ("a", Some(9))]);
    let fenced = bench.writer().write(&late, &Owner);
    assert!(matches!(fenced, Err(SinkError::Fenced(_))), "{fenced:?}");
    let mut other = bench.context.clone();
    other.job = "other".into();
    let foreign = bench
        .writer_of(&other)
        .write(&keyed(3, 99, &[("a", Some(9))]), &Owner);
    assert!(matches!(foreign, Err(SinkError::Fatal(_))), "{foreign:?}");
    let lost = bench
        .writer()
        .write(&keyed(2, 21, &[("a", Some(9))]), &Lost);
    assert!(matches!(lost, Err(SinkError::Fenced(_))), "{lost:?}");
    assert_eq!((bench.clicks("a"), bench.clicks("new")), (Some(2), None));
}

#[test]
fn a_deleted_row_is_gone_and_its_mark_keeps_late_writes_out() {
    let bench = Bench::new();
    let mut writer = bench.writer();
    writer
        .write(&keyed(1, 10, &[("a", Some(1))]), &Owner)
        .unwrap();
    writer.write(&keyed(1, 20, &[("a", None)]), &Owner).unwrap();
    assert_eq!(bench.store().count("customer").unwrap(), 0);
    let report = writer
        .write(&keyed(1, 15, &[("a", Some(9))]), &Owner)
        .unwrap();
    assert_eq!((report.applied, bench.clicks("a")), (0, None));
    writer
        .write(&keyed(1, 30, &[("a", Some(3))]), &Owner)
        .unwrap();
    assert_eq!(bench.clicks("a"), Some(3));
}

#[test]
fn a_mark_goes_when_its_time_is_over_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStores::default()
        .open(&folder.path().join("s.redb"))
        .unwrap();
    let transaction = store.begin_write().unwrap();
    let mut tables = Tables::open(&transaction, "r").unwrap();
    let tombstone = |expires_ms| Tombstone {
        version: "1",
        job: "job",
        expires_ms,
    };
    tables.bury("a", tombstone(100)).unwrap();
    tables.bury("b", tombstone(100)).unwrap();
    tables.bury("b", tombstone(200)).unwrap();
    tables.remove_expired(100).unwrap();
    assert_eq!(tables.tombstones_len(), 2);
    tables.remove_expired(150).unwrap();
    assert_eq!(tables.tombstones_len(), 1);
    assert!(tables.stored("b").unwrap().is_some());
    tables.remove_expired(300).unwrap();
    assert_eq!(tables.tombstones_len(), 0);
    assert_eq!(rows_name("r"), "rows/r");
}

#[test]
fn rows_survive_a_restart_and_a_second_process_is_told_to_wait() {
    let bench = Bench::new();
    bench
        .writer()
        .write(&keyed(1, 5, &[("a", Some(1))]), &Owner)
        .unwrap();
    // Stores of its own, as another process has them.
    let mut second = bench.context.clone();
    second.stores = EmbeddedStores::default();
    let mut writer = bench.writer_of(&second);
    let busy = writer.write(&keyed(1, 5, &[("a", Some(1))]), &Owner);
    assert!(matches!(busy, Err(SinkError::Transient(_))), "{busy:?}");
    let Bench { folder, context } = bench;
    drop(context);
    let report = writer
        .write(&keyed(1, 5, &[("a", Some(1))]), &Owner)
        .unwrap();
    assert_eq!(report.already_there, 1);
    drop(folder);
}

#[test]
fn a_null_key_is_refused() {
    let bench = Bench::new();
    let mut batch = keyed(1, 1, &[("a", Some(1))]);
    let mut columns = batch.rows.columns().to_vec();
    columns[0] = Arc::new(StringViewArray::from(vec![None::<&str>]));
    batch.rows = arrow::record_batch::RecordBatch::try_new(batch.rows.schema(), columns).unwrap();
    let report = bench.writer().write(&batch, &Owner).unwrap();
    assert_eq!(report.refused[0].reason, "key column user_id is null");
    assert_eq!(bench.store().count("customer").unwrap(), 0);
}
