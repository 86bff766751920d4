//! What the sinks' tests share: rows, contexts and real servers.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arrow::{
    array::{
        ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
        StringViewArray, TimestampMillisecondArray,
    },
    datatypes::{DataType, Field, Schema},
    record_batch::RecordBatch,
};
use tempfile::TempDir;
use tidewright_checkpoints::{Epoch, Generation};

use super::{AppendBatch, EmbeddedStores, Fence, KeyedBatch, SinkContext, SinkError, Version};

/// A process that owns the job.
pub struct Owner;

impl Fence for Owner {
    fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// A process that has lost the job and knows it.
pub struct Lost;

impl Fence for Lost {
    fn check(&self) -> Result<(), SinkError> {
        Err(SinkError::Fenced("HEAD names another".to_owned()))
    }
}

/// A context for rows of `user_id, clicks`, of generation 1.
pub fn context(job: &str) -> SinkContext {
    SinkContext {
        job: job.into(),
        sink: "hot".into(),
        relation: "customer".into(),
        writer: 0,
        generation: Generation(1),
        schema: Arc::new(Schema::new(vec![
            Field::new("user_id", DataType::Utf8View, true),
            Field::new("clicks", DataType::Int64, true),
        ])),
        key: vec![0],
        table: false,
        stores: EmbeddedStores::default(),
    }
}

/// Rows by key; `None` deletes. The version is (generation, epoch, position).
pub fn keyed(generation: u64, epoch: u64, rows: &[(&str, Option<i64>)]) -> KeyedBatch {
    let keys: StringViewArray = rows.iter().map(|(key, _)| Some(*key)).collect();
    let clicks: Int64Array = rows.iter().map(|(_, clicks)| *clicks).collect();
    KeyedBatch {
        rows: RecordBatch::try_new(context("").schema, vec![Arc::new(keys), Arc::new(clicks)])
            .unwrap(),
        deleted: rows
            .iter()
            .map(|(_, clicks)| Some(clicks.is_none()))
            .collect(),
        versions: (0..rows.len())
            .map(|sequence| Version {
                generation: Generation(generation),
                epoch: Epoch(epoch),
                sequence: u32::try_from(sequence).unwrap(),
            })
            .collect(),
        as_of_ms: 1_767_225_600_000,
    }
}

/// Rows to append: users with their position as clicks.
pub fn appended(through: u64, users: &[&str]) -> AppendBatch {
    let keys: StringViewArray = users.iter().map(|user| Some(*user)).collect();
    let clicks: Int64Array = (0..users.len()).map(|at| i64::try_from(at).ok()).collect();
    let rows = RecordBatch::try_new(context("").schema, vec![Arc::new(keys), Arc::new(clicks)]);
    AppendBatch {
        through: Epoch(through),
        rows: vec![rows.unwrap()],
    }
}

/// A row with a value of every type, and one of NULLs behind its key.
pub fn every_type() -> RecordBatch {
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "user_id",
            Arc::new(StringViewArray::from(vec!["u\"1", "u2"])),
        ),
        ("flag", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("small", Arc::new(Int32Array::from(vec![Some(-7), None]))),
        (
            "big",
            Arc::new(Int64Array::from(vec![Some(9_007_199_254_740_993), None])),
        ),
        ("ratio", Arc::new(Float64Array::from(vec![Some(0.1), None]))),
        (
            "seen",
            Arc::new(TimestampMillisecondArray::from(vec![
                Some(1_767_225_600_001),
                None,
            ])),
        ),
        ("day", Arc::new(Date32Array::from(vec![Some(19_782), None]))),
        (
            "price",
            Arc::new(
                Decimal128Array::from(vec![Some(-1205), None])
                    .with_precision_and_scale(12, 2)
                    .unwrap(),
            ),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap()
}

/// A name that no other test and no earlier run uses.
pub fn unique(prefix: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    format!(
        "{prefix}-{}-{}",
        now.as_nanos(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

/// The address of a service from the environment; says so where it is missing.
pub fn service(variable: &str) -> Option<String> {
    let address = std::env::var(variable).ok();
    if address.is_none() {
        println!("skipped: {variable} is not set");
    }
    address
}

/// A Redis server of the test's own, ended with it; or a given one.
pub struct TestRedis {
    pub url: String,
    own: Option<(Child, TempDir)>,
}

impl TestRedis {
    /// The server of `TIDEWRIGHT_TEST_REDIS`, else one from the path, else none, which is said.
    pub fn find() -> Option<Self> {
        match std::env::var("TIDEWRIGHT_TEST_REDIS") {
            Ok(url) => Some(Self { url, own: None }),
            Err(_) => Self::start(),
        }
    }

    /// Starts `redis-server` on a free port.
    pub fn start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        Self::start_at(port)
    }

    /// Starts `redis-server` on a port.
    pub fn start_at(port: u16) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .args(["--appendonly", "no", "--dir"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            println!("skipped: neither TIDEWRIGHT_TEST_REDIS nor redis-server is there");
            return None;
        };
        let server = Self {
            url: format!("redis://127.0.0.1:{port}"),
            own: Some((child, folder)),
        };
        let begun = Instant::now();
        while server.try_connect().is_none() {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "redis-server did not start"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(server)
    }

    pub fn connect(&self) -> redis::Connection {
        self.try_connect().unwrap()
    }

    fn try_connect(&self) -> Option<redis::Connection> {
        let mut connection = redis::Client::open(self.url.as_str())
            .unwrap()
            .get_connection()
            .ok()?;
        redis::cmd("PING").exec(&mut connection).ok()?;
        Some(connection)
    }
}

impl Drop for TestRedis {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.own {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
