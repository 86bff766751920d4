//! The same over files, into DynamoDB and an embedded store that has one reader at a time; and how shadows go.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tidewright::sink::embedded::EmbeddedStores;

use super::rebuilt;
use crate::{
    harness::{
        checkpoints::Checkpoints,
        collector::{Collector, attributes},
        dynamodb::Dynamodb,
        eventually::eventually,
        input::{Events, write_files},
        jobfile::{JobFile, events, from_files},
        process::{Command, Process},
        services::unique_name,
    },
    shop::LIMIT,
    upgrade::house::SOCKET,
};

const FILES: u32 = 3;
const PURCHASES: &str = "WHERE type = 'purchase'";

/// Rows by key, without what the sinks add.
type Rows = BTreeMap<String, BTreeMap<String, Value>>;

/// Files of events, and jobs over them.
struct Archive {
    dynamodb: Dynamodb,
    folder: TempDir,
    name: String,
}

impl Archive {
    fn open(prefix: &str) -> Option<Self> {
        let dynamodb = Dynamodb::require()?;
        let folder = TempDir::new().unwrap();
        let events = Events {
            count: 2_000,
            users: 30,
            ..Events::default()
        };
        write_files(
            &events.lines(),
            &folder.path().join("input"),
            "events",
            FILES,
        );
        Some(Self {
            dynamodb,
            folder,
            name: unique_name(prefix),
        })
    }

    fn store(&self, job: &str) -> PathBuf {
        self.folder.path().join(job).join("rows.redb")
    }

    /// The file of a job of events under a condition, which goes on when the files have been read. With a condition, it has a sink
    /// more.
    fn write(&self, job: &str, condition: &str) -> PathBuf {
        let ticks = json!({
            "datagen": { "kind": "events", "seed": 5, "users": 10, "splits": 1, "rate": 100 },
            "event_time": { "column": "ts", "out_of_orderness": "1s" },
        });
        let recent = format!(
            "SELECT user_id, count(*) AS events FROM rolling(events, INTERVAL '7 days', INTERVAL '1 hour') {condition}
             GROUP BY user_id"
        );
        let minutes = format!(
            "SELECT user_id, window_start, count(*) AS events FROM tumble(events, INTERVAL '10 seconds') {condition}
             GROUP BY user_id, window_start"
        );
        let beats = "SELECT user_id, count(*) AS beats FROM rolling(ticks, INTERVAL '1 hour', INTERVAL '1 minute')
             GROUP BY user_id";
        let embedded =
            |from: &str| json!({ "from": from, "embedded": { "path": self.store(job) } });
        let table = |table: &str| {
            json!({ "from": "recent", "dynamodb": {
                "table": table, "endpoint": self.dynamodb.endpoint(), "region": "us-east-1", "create_table": true,
            } })
        };
        let input = self.folder.path().join("input");
        let file = JobFile::new(job)
            .source("events", events(from_files(&input), "5s"))
            .source("ticks", ticks)
            .view("recent", &recent)
            .view("minutes", &minutes)
            .view("beats", beats)
            .sink("items", table(job))
            .sink("users", embedded("recent"))
            .sink("minutes", embedded("minutes"))
            .sink("none", json!({ "from": "beats", "blackhole": {} }))
            .checkpoints("50ms", &self.folder.path().join("checkpoints"));
        let file = match condition {
            "" => file,
            _ => file.sink("copy", table(&format!("{job}.copy"))),
        };
        file.write(self.folder.path())
    }

    fn checkpoints(&self, job: &str) -> Checkpoints {
        let folder = self.folder.path().join("checkpoints");
        Checkpoints::of(&format!("file://{}", folder.display()), job)
    }

    fn tidewright(&self, words: &[&str], file: &Path) -> Command {
        let command = Command::tidewright(self.folder.path());
        command.args(words).arg(file)
    }

    /// Waits until a process of a job, or of a shadow, has a checkpoint of all files.
    fn await_all_read(&self, process: &mut Process, job: &str) {
        eventually(LIMIT, "all files are read", || {
            assert!(process.is_running(), "ended early:\n{}", process.stderr());
            let manifest = self.checkpoints(job).latest()?;
            let files = manifest.sources.get("events")?;
            let read = files.values().filter(|file| file.finished).count();
            (read == FILES as usize).then_some(())
        });
    }

    fn start(&self, job: &str, condition: &str) -> Process {
        let file = self.write(job, condition);
        let mut process = self.tidewright(&["run"], &file).start();
        self.await_all_read(&mut process, job);
        process
    }

    fn items(&self, table: &str) -> Rows {
        let mut items = self.dynamodb.items(table);
        items.retain(|_, item| !item.contains_key("_deleted"));
        let items = items.into_iter().map(|(key, item)| {
            let item = item.into_iter().map(|(name, value)| (name, value.into()));
            (key, item.collect())
        });
        items.collect()
    }

    /// What the stores of a job that has ended hold, by sink.
    fn rows(&self, job: &str) -> BTreeMap<&'static str, Rows> {
        let stores = EmbeddedStores::default();
        let store = stores.open(&self.store(job)).unwrap();
        let embedded = |relation: &str| -> Rows {
            let page = store.page(relation, None, 100_000).unwrap().into_iter();
            page.map(|(key, row)| (key, serde_json::from_value(row).unwrap()))
                .collect()
        };
        let mut rows = BTreeMap::from([
            ("items", self.items(job)),
            ("users", embedded("recent")),
            ("minutes", embedded("minutes")),
        ]);
        let copy = format!("{job}.copy");
        if self.dynamodb.has_table(&copy) {
            rows.insert("copy", self.items(&copy));
        }
        for row in rows
            .values_mut()
            .flat_map(|rows: &mut Rows| rows.values_mut())
        {
            row.retain(|name, _| !name.starts_with('_'));
        }
        rows
    }

    /// What a new job of the same file makes.
    fn undisturbed(&self, condition: &str) -> BTreeMap<&'static str, Rows> {
        let job = unique_name("undisturbed");
        let mut process = self.start(&job, condition);
        process.terminate();
        process.wait_for_success(LIMIT);
        let rows = self.rows(&job);
        assert!(rows.values().all(|rows| rows.len() > 5), "{rows:?}");
        rows
    }

    /// Whether there is anything of a shadow: its table, its store, its checkpoints.
    fn has(&self, shadow: &str) -> [bool; 3] {
        let folder = self.folder.path().join(&self.name);
        let job = format!("{}.shadow.{shadow}", self.name);
        let mut tables = ["", ".copy"]
            .map(|copy| format!("{}{copy}.shadow.{shadow}", self.name))
            .into_iter();
        [
            tables.any(|table| self.dynamodb.has_table(&table)),
            folder.join(format!("shadow.{shadow}")).exists(),
            !self.checkpoints(&job).is_empty(),
        ]
    }
}

#[test]
fn views_over_files_are_made_again_and_nothing_of_the_shadow_is_left() {
    let Some(archive) = Archive::open("rebuild-files") else {
        return;
    };
    let collector = Collector::start();
    let mut running = archive.start(&archive.name, "");
    let claim = archive.checkpoints(&archive.name).claim();
    let file = archive.write(&archive.name, PURCHASES);
    let mut process = archive
        .tidewright(&["run"], &file)
        .args(["--rebuild-view", "recent", "--rebuild-view", "minutes"])
        .args(["--take-over", SOCKET, "--socket", "other.sock"])
        .args(["--summary", "json"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .start();
    eventually(LIMIT, "the job is taken over, and the shadow gone", || {
        assert!(process.is_running(), "{}", process.stderr());
        let taken = archive.checkpoints(&archive.name).claim() != claim;
        (taken && archive.has("rebuild") == [false; 3]).then_some(())
    });
    running.wait_for_success(LIMIT);
    archive.await_all_read(&mut process, &archive.name);
    let shadow = format!("{}.shadow.rebuild", archive.name);
    let expected = BTreeSet::from([archive.name.clone(), shadow]);
    eventually(LIMIT, "checkpoints of both are told apart", || {
        let received = collector.received();
        let spans = received.spans.iter().map(|(_, span)| span);
        let jobs = spans
            .filter(|span| span.name == "checkpoint")
            .map(|span| attributes(&span.attributes)["tidewright.checkpoint.job"].clone());
        (jobs.collect::<BTreeSet<_>>() == expected).then_some(())
    });
    process.terminate();
    process.wait_for_success(LIMIT);
    for sink in ["items", "users"] {
        assert!(rebuilt(&process, sink, "different") > 5, "{sink}");
    }
    assert!(rebuilt(&process, "minutes", "only_a") > 5);
    let rows = archive.rows(&archive.name);
    assert!(rows.contains_key("copy"), "a sink that is new");
    assert_eq!(rows, archive.undisturbed(PURCHASES));
}

#[test]
fn a_shadow_is_dropped_with_all_that_it_has_unless_it_runs() {
    let Some(archive) = Archive::open("shadow-drop") else {
        return;
    };
    let mut live = archive.start(&archive.name, "");
    let claim = archive.checkpoints(&archive.name).claim();
    let file = archive.write(&archive.name, "");
    let mut shadow = archive
        .tidewright(&["run"], &file)
        .args(["--shadow", "next", "--socket", "other.sock"])
        .start();
    archive.await_all_read(&mut shadow, &format!("{}.shadow.next", archive.name));
    let drop = || {
        let command = archive.tidewright(&["shadow", "drop"], &file).arg("next");
        let mut process = command.run(LIMIT);
        let code = process.status().unwrap().code();
        (code, process.stdout() + &process.stderr())
    };
    let (code, said) = drop();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("stop it first"), "{said}");
    assert!(shadow.is_running(), "{}", shadow.stderr());
    shadow.terminate();
    shadow.wait_for_success(LIMIT);
    assert_eq!(archive.has("next"), [true; 3]);
    let (code, said) = drop();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(archive.has("next"), [false; 3]);
    let (code, said) = drop();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("there is no") && said.contains("next"),
        "{said}"
    );
    // The live job goes on, with what it has.
    assert_eq!(archive.checkpoints(&archive.name).claim(), claim);
    live.terminate();
    live.wait_for_success(LIMIT);
    assert_eq!(archive.rows(&archive.name), archive.undisturbed(""));
}
