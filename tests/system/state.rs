//! What `tidewright state` shows of a checkpoint is what the job's stores hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use datafusion::{
    arrow::{
        array::{AsArray, RecordBatch},
        datatypes::{Int64Type, SchemaRef},
    },
    datasource::MemTable,
    prelude::SessionContext,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    harness::{
        eventually::eventually,
        input::{Events, Line, Profiles, produce, user_id},
        jobfile::{JobFile, events, from_kafka, profiles},
        kafka::Kafka,
        process::{Command, Process},
        redis::{Redis, require_redis},
        services::unique_name,
    },
    shop::LIMIT,
};

const USERS: u64 = 30;
const EVENTS: u64 = 2_000;

const ACTIVITY: &str = "
    SELECT user_id, window_start, window_end, count(*) AS events, sum(price) AS spent
    FROM tumble(events, INTERVAL '1 minute') GROUP BY user_id, window_start, window_end";
const ENGAGEMENT: &str = "
    SELECT user_id, count(*) AS events, sum(price * quantity) AS spend, max(ts) AS last_seen,
           last_value(category ORDER BY ts) AS last_category
    FROM rolling(events, INTERVAL '2 minutes', INTERVAL '10 seconds') GROUP BY user_id";
const CUSTOMER: &str = "
    SELECT p.user_id, upper(p.segment) AS segment, coalesce(e.events, 0) AS events, e.spend, e.last_seen
    FROM profiles p LEFT JOIN engagement e ON p.user_id = e.user_id WHERE p.consent";
const SEGMENTS: &str = "SELECT segment, sum(events) AS events FROM customer GROUP BY segment";

/// A job over files into Redis, stopped with windows still open.
struct Stopped {
    folder: TempDir,
    redis: Redis,
    name: String,
}

impl Stopped {
    fn run() -> Option<Self> {
        let (kafka, redis) = (Kafka::require()?, require_redis()?);
        let folder = TempDir::new().unwrap();
        let name = unique_name("state");
        let generated = Events {
            count: EVENTS,
            users: USERS,
            ..Events::default()
        };
        let users = Profiles {
            users: USERS,
            ..Profiles::default()
        };
        let topic = |lines: &[Line], partitions| {
            let topic = kafka.create_topic("state", partitions as i32);
            produce(lines, &kafka, &topic, partitions);
            from_kafka(kafka.brokers(), &topic)
        };
        let (events_topic, users_topic) = (topic(&generated.lines(), 2), topic(&users.lines(), 1));
        let key = |view: &str, key: &str| json!({ "url": redis.url(), "key": format!("{name}:{view}:{key}") });
        let job = JobFile::new(&name)
            .source("events", events(events_topic, "5s"))
            .source("profiles", profiles(users_topic))
            .view("activity", ACTIVITY)
            .view("engagement", ENGAGEMENT)
            .view("customer", CUSTOMER)
            .view("segments", SEGMENTS)
            .sink(
                "a",
                json!({ "from": "activity", "redis": key("activity", "{user_id}:{window_start}") }),
            )
            .sink(
                "e",
                json!({ "from": "engagement", "redis": key("engagement", "{user_id}") }),
            )
            .sink(
                "c",
                json!({ "from": "customer", "redis": key("customer", "{user_id}") }),
            )
            .sink(
                "s",
                json!({ "from": "segments", "redis": key("segments", "{segment}") }),
            )
            .checkpoints("50ms", &folder.path().join("checkpoints"));
        let path = job.write(folder.path());
        let stopped = Self {
            folder,
            redis,
            name,
        };
        let mut process = stopped.tidewright(&["run"]).arg(path).start();
        eventually(LIMIT, "everything is delivered", || {
            assert!(process.is_running(), "{}", process.stderr());
            let mut asked = stopped
                .tidewright(&["status", "--output", "json"])
                .run(LIMIT);
            asked.status()?.success().then_some(())?;
            let status = asked.summary();
            let frontier = |name: &str| status["frontiers"][name]["epoch"].as_u64();
            let all = status["events_in"]["events"] == EVENTS;
            // Whatever the last rows changed is in the stores once the epoch in which they were read is.
            (all && frontier("delivered")? > 0 && frontier("delivered") == frontier("durable"))
                .then_some(())
        });
        process.terminate();
        process.wait_for_success(LIMIT);
        Some(stopped)
    }

    fn tidewright(&self, arguments: &[&str]) -> Command {
        Command::tidewright(self.folder.path()).args(arguments)
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("checkpoints").join(&self.name)
    }

    fn state(&self, arguments: &[&str]) -> Process {
        let (command, rest) = arguments.split_first().unwrap();
        self.tidewright(&["state", command])
            .arg(self.store())
            .args(rest)
            .run(LIMIT)
    }

    /// The rows of a view in Redis, by key, without the fields that every row has.
    fn in_redis(&self, view: &str) -> BTreeMap<String, BTreeMap<String, String>> {
        let prefix = format!("{}:{view}:", self.name);
        let rows = self.redis.hashes(&prefix).into_iter();
        rows.filter(|(_, fields)| !fields.contains_key("_deleted"))
            .map(|(key, mut fields)| {
                fields.retain(|name, _| !name.starts_with('_'));
                (key[prefix.len()..].to_owned(), fields)
            })
            .collect()
    }

    /// An exported view, read back.
    fn export(&self, view: &str) -> (SchemaRef, Vec<RecordBatch>) {
        let file = self.folder.path().join(format!("{view}.parquet"));
        let file_name = file.to_str().unwrap();
        let mut exported =
            self.state(&["export", view, "--parquet", file_name, "--output", "json"]);
        exported.wait_for_success(LIMIT);
        let (schema, batches) = read_parquet(&file);
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let told = json!({ "view": view, "rows": rows, "file": file_name });
        assert_eq!(exported.summary(), told);
        (schema, batches)
    }
}

fn read_parquet(path: &Path) -> (SchemaRef, Vec<RecordBatch>) {
    let file = File::open(path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let schema = reader.schema().clone();
    let batches = reader.build().unwrap();
    (schema, batches.collect::<Result<_, _>>().unwrap())
}

/// A JSON row as Redis holds it: nulls have no field, everything else is text.
fn as_fields(row: &Value) -> BTreeMap<String, String> {
    let fields = row.as_object().unwrap().iter();
    let fields = fields.filter(|(_, value)| !value.is_null());
    fields
        .map(|(name, value)| {
            let text = value.as_str().map(str::to_owned);
            (name.clone(), text.unwrap_or_else(|| value.to_string()))
        })
        .collect()
}

/// Numbers as JSON readers have them: without the zeros at the end of a decimal.
fn as_numbers(fields: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let number = |text: &String| text.parse().ok().and_then(serde_json::Number::from_f64);
    let fields = fields.iter();
    fields
        .map(|(name, text)| {
            let whole = text.parse::<i64>().is_ok();
            let number = number(text).filter(|_| !whole);
            (
                name.clone(),
                number.map_or(text.clone(), |number| number.to_string()),
            )
        })
        .collect()
}

#[test]
fn state_get_shows_the_rows_that_redis_holds() {
    let Some(stopped) = Stopped::run() else {
        return;
    };
    for view in ["customer", "engagement"] {
        let rows = stopped.in_redis(view);
        assert!(rows.len() > 5, "{rows:?}");
        for user in (0..USERS).map(user_id).step_by(4) {
            let mut shown = stopped.state(&["get", view, &user]);
            let Some(expected) = rows.get(&user) else {
                assert_eq!(shown.status().unwrap().code(), Some(4), "{user}");
                continue;
            };
            shown.wait_for_success(LIMIT);
            let row = serde_json::from_str(&shown.stdout()).unwrap();
            assert_eq!(as_fields(&row), as_numbers(expected), "{view} {user}");
        }
    }
    let mut profile = stopped.state(&["get", "profiles", &user_id(1), "--output", "json"]);
    profile.wait_for_success(LIMIT);
    let profile: Value = serde_json::from_str(&profile.stdout()).unwrap();
    assert_eq!(profile["user_id"], user_id(1));
    let mut derived = stopped.state(&["get", "segments", "VIP"]);
    let log = derived.stderr();
    assert_eq!(derived.status().unwrap().code(), Some(1), "{log}");
    let says = log.contains("derived from other tables") && log.contains("customer");
    assert!(says, "{log}");
    let unknown = stopped.state(&["get", "costumer", "x"]).stderr();
    assert!(unknown.contains("no view or source costumer"), "{unknown}");
}

#[test]
fn closed_and_open_windows_together_hold_every_event_once() {
    let Some(stopped) = Stopped::run() else {
        return;
    };
    let mut counts = BTreeMap::<String, i64>::new();
    for (key, fields) in stopped.in_redis("activity") {
        let user = key.split(':').next().unwrap().to_owned();
        *counts.entry(user).or_default() += fields["events"].parse::<i64>().unwrap();
    }
    let closed: i64 = counts.values().sum();
    assert!(closed > 0 && closed < EVENTS as i64, "{closed}");
    for user in (0..USERS).map(user_id) {
        let mut shown = stopped.state(&["get", "activity", &user]);
        if shown.status().unwrap().code() == Some(4) {
            continue;
        }
        shown.wait_for_success(LIMIT);
        for pane in shown.stdout().lines() {
            let pane: Value = serde_json::from_str(pane).unwrap();
            *counts.entry(user.clone()).or_default() += pane["events"].as_i64().unwrap();
        }
    }
    assert_eq!(counts.values().sum::<i64>(), EVENTS as i64);
}

#[test]
fn an_exported_view_reads_back_as_what_redis_holds() {
    let Some(stopped) = Stopped::run() else {
        return;
    };
    let (schema, batches) = stopped.export("customer");
    let names: Vec<_> = schema.fields().iter().map(|field| field.name()).collect();
    assert_eq!(
        names,
        ["user_id", "segment", "events", "spend", "last_seen"]
    );
    let table = MemTable::try_new(schema, vec![batches]).unwrap();
    let context = SessionContext::new();
    context.register_table("customer", Arc::new(table)).unwrap();
    let sql = "SELECT segment, sum(events) AS events FROM customer GROUP BY segment";
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let totals = runtime.block_on(async { context.sql(sql).await?.collect().await });
    let mut found = BTreeMap::new();
    for batch in totals.unwrap() {
        let segments = batch.column(0).as_string_view();
        let events = batch.column(1).as_primitive::<Int64Type>();
        for (segment, events) in segments.iter().zip(events) {
            found.insert(segment.unwrap().to_owned(), events.unwrap().to_string());
        }
    }
    let expected = stopped.in_redis("segments").into_iter();
    let expected = expected.map(|(segment, fields)| (segment, fields["events"].clone()));
    assert_eq!(found, expected.collect());
    let again = stopped.folder.path().join("customer.parquet");
    let refused = stopped.state(&["export", "customer", "--parquet", again.to_str().unwrap()]);
    assert!(
        refused.stderr().contains("cannot write"),
        "a file is never replaced"
    );
}

#[test]
fn inspect_shows_what_the_manifest_and_its_files_hold() {
    let Some(stopped) = Stopped::run() else {
        return;
    };
    let mut shown = stopped.state(&["inspect", "--output", "json"]);
    shown.wait_for_success(LIMIT);
    let report = shown.summary();
    assert_eq!(report["job"], stopped.name.as_str());
    assert_eq!(report["kind"], "final");
    assert_eq!(
        report["formats"],
        json!({ "manifest": 1, "state_file": 1, "row": 1 })
    );
    let operators = report["operators"].as_array().unwrap();
    let keys = |operator: &str| {
        let found = operators.iter().find(|found| found["operator"] == operator);
        found.map(|found| found["keys"].as_u64().unwrap())
    };
    assert_eq!(keys("profiles/upsert"), Some(USERS));
    let views = report["views"].as_array().unwrap().iter();
    let readable = views.filter(|view| view["readable"] == true);
    let readable: BTreeSet<_> = readable
        .map(|view| view["view"].as_str().unwrap())
        .collect();
    let expected = ["profiles", "activity", "engagement", "customer"];
    assert_eq!(readable, BTreeSet::from(expected));
    let read: i64 = report["sources"]["events"]
        .as_object()
        .unwrap()
        .values()
        .map(|split| split["offset"].as_i64().unwrap())
        .sum();
    assert_eq!(read, EVENTS as i64);
    let text = stopped.state(&["inspect"]).stdout();
    for part in [&*stopped.name, "engagement", "watermark", "next offset"] {
        assert!(text.contains(part), "nothing is said of {part}:\n{text}");
    }
    let nothing = stopped
        .tidewright(&["state", "inspect", "nowhere"])
        .run(LIMIT);
    assert!(nothing.stderr().contains("nowhere"), "{}", nothing.stderr());
    assert!(!stopped.folder.path().join("nowhere").exists());
}
