//! What a tap shows of a running job, and that the job does not notice.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    harness::{
        eventually::eventually,
        process::{Command, Process},
    },
    shop::{LIMIT, Shop, ShopJob},
};

fn lines(process: &Process) -> Vec<Value> {
    let stdout = process.stdout();
    // The last line may be half written.
    let whole = stdout.rfind('\n').map_or("", |end| &stdout[..end]);
    let lines = whole.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The table that the changes so far make, where they are seen to follow from each other.
fn table(changes: &[Value]) -> BTreeMap<String, Option<Value>> {
    let mut table: BTreeMap<String, Option<Value>> = BTreeMap::new();
    for change in changes {
        let row = &change["row"];
        let user = row["user_id"].as_str().unwrap().to_owned();
        let known = table.get(&user);
        let after = match change["change"].as_str().unwrap() {
            "insert" => {
                assert!(known.is_none_or(Option::is_none), "{change}, was {known:?}");
                Some(row.clone())
            }
            "update" => {
                let before = Some(change["before"].clone());
                assert!(
                    known.is_none_or(|known| *known == before),
                    "{change}, was {known:?}"
                );
                Some(row.clone())
            }
            "delete" => {
                assert!(
                    known.is_none_or(|known| known.as_ref() == Some(row)),
                    "{change}, was {known:?}"
                );
                None
            }
            other => panic!("{other}"),
        };
        table.insert(user, after);
    }
    table
}

fn tap(job: &ShopJob, arguments: &[&str]) -> Process {
    let command = job.tidewright().arg("tap").args(arguments);
    command.arg("--socket").arg(job.socket()).start()
}

#[test]
fn changes_of_a_tapped_table_add_up_to_what_its_store_holds() {
    let Some(mut shop) = Shop::open(50) else {
        return;
    };
    let job = shop.keyed_job("tapped");
    let mut process = job.await_start(job.listening(2).start());
    // The first second of a run may have more rows than a tap shows.
    shop.feed_until("the input is read", || {
        (job.durable_epoch() > 0).then_some(())
    });
    let mut customers = tap(&job, &["customer", "--rate", "1000"]);
    let kinds = ["insert", "update", "delete"];
    shop.feed_until("every kind of change", || {
        assert!(customers.is_running(), "{}", customers.stderr());
        let shown = lines(&customers);
        let is_shown = |kind: &&str| shown.iter().any(|change| change["change"] == **kind);
        kinds.iter().all(is_shown).then_some(())
    });
    process.terminate();
    process.wait_for_success(LIMIT);
    customers.wait_for_success(LIMIT);
    assert_eq!(
        customers.stderr(),
        "the job has ended\n",
        "nothing was left out"
    );
    let stored = shop.redis.hashes(job.prefix());
    let table = table(&lines(&customers));
    assert!(table.len() > 10, "{table:?}");
    for (user, row) in table {
        let stored = &stored[&format!("{}:customer:{user}", job.prefix())];
        let Some(row) = row else {
            assert!(stored.contains_key("_deleted"), "{user}: {stored:?}");
            continue;
        };
        for (column, value) in row.as_object().unwrap() {
            let shown = match value {
                Value::Null => None,
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            };
            assert_eq!(
                stored.get(column),
                shown.as_ref(),
                "{user}, {column}: {stored:?}"
            );
        }
    }
}

/// A job that makes many events, run by itself.
pub struct Busy {
    pub folder: TempDir,
    process: Process,
}

impl Busy {
    pub fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("busy.yaml");
        let text = "
name: busy
sources:
  events:
    datagen: { kind: events, seed: 1, users: 50, rate: 20000 }
    event_time: { column: ts, out_of_orderness: 5s }
sinks:
  nowhere: { from: events, blackhole: {} }
checkpoint: { store: 'file://FOLDER/checkpoints' }
";
        let text = text.replace("FOLDER", folder.path().to_str().unwrap());
        std::fs::write(&file, text).unwrap();
        let process = Command::tidewright(folder.path())
            .arg("run")
            .arg(&file)
            .args(["--quiet", "--summary", "json", "--socket"])
            .arg(folder.path().join("socket"))
            .start();
        let mut busy = Self { folder, process };
        eventually(LIMIT, "the job reads", || {
            assert!(busy.process.is_running(), "{}", busy.process.stderr());
            (busy.socket().exists() && busy.events() > 0).then_some(())
        });
        busy
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn events(&self) -> u64 {
        let mut status = Client::ask(&self.socket(), &json!({ "status": {} }));
        let status = status.next().expect("the job answers");
        status["status"]["events_in"]["events"].as_u64().unwrap()
    }

    fn tap(&self) -> Client {
        let request = json!({ "tap": { "relation": "events", "rate": 1_000 } });
        Client::ask(&self.socket(), &request)
    }
}

/// A client of the control socket that reads only when it is told to.
pub struct Client(BufReader<UnixStream>);

impl Client {
    pub fn ask(socket: &Path, request: &Value) -> Self {
        let mut connection = UnixStream::connect(socket).unwrap();
        connection
            .write_all(format!("{request}\n").as_bytes())
            .unwrap();
        connection.set_read_timeout(Some(LIMIT)).unwrap();
        Self(BufReader::new(connection))
    }

    /// The next answer, if it comes whole.
    pub fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.ends_with('\n')
            .then(|| serde_json::from_str(&line).unwrap())
    }
}

#[test]
fn who_taps_and_does_not_read_neither_slows_a_job_nor_keeps_it_from_ending() {
    let mut busy = Busy::start();
    let mut stalled = busy.tap();
    let first = stalled.next().unwrap();
    assert!(first["tapped"]["lines"].is_array(), "{first}");
    let before = busy.events();
    eventually(LIMIT, "the job goes on", || {
        (busy.events() > before + 100_000).then_some(())
    });
    busy.process.terminate();
    busy.process.wait_for_success(LIMIT);
    let events = busy.process.summary()["events_in"]["events"]
        .as_u64()
        .unwrap();
    let answers: Vec<_> = std::iter::once(first)
        .chain(std::iter::from_fn(|| stalled.next()))
        .collect();
    let mut shown = 0;
    let mut passed = 0;
    for answer in &answers {
        let tapped = &answer["tapped"];
        for line in tapped["lines"].as_array().unwrap() {
            let line: Value = serde_json::from_str(line.as_str().unwrap()).unwrap();
            let columns = line["row"].as_object().unwrap();
            assert!(columns.contains_key("user_id"), "{line}");
            assert!(columns.keys().all(|name| !name.starts_with('_')), "{line}");
            shown += 1;
        }
        let now = shown + tapped["left_out"].as_u64().unwrap();
        assert!(now >= passed, "{now} after {passed}");
        passed = now;
    }
    assert!(shown > 100, "{shown}");
    assert!(
        passed <= events && shown < passed,
        "{shown} of {passed} of {events}"
    );
}

#[test]
fn a_tap_closes_when_its_client_goes_so_that_another_may_listen() {
    let busy = Busy::start();
    let mut open: Vec<_> = (0..8).map(|_| busy.tap()).collect();
    for client in &mut open {
        assert!(client.next().unwrap()["tapped"].is_object());
    }
    let refused = busy.tap().next().unwrap();
    let reason = refused["refused"].as_str().unwrap();
    assert!(reason.contains("8 taps"), "{reason}");
    drop(open.pop());
    eventually(LIMIT, "there is room again", || {
        let mut one_more = busy.tap();
        one_more.next().unwrap()["tapped"].is_object().then_some(())
    });
}

#[test]
fn a_tap_ends_where_it_is_told_to_and_wrong_names_are_told_with_the_right_ones() {
    let busy = Busy::start();
    let tap = |arguments: &[&str]| {
        Command::tidewright(busy.folder.path())
            .arg("tap")
            .args(arguments)
            .arg("--socket")
            .arg(busy.socket())
            .run(LIMIT)
    };
    let mut limited = tap(&["events", "--limit", "7", "--every", "3"]);
    limited.wait_for_success(LIMIT);
    assert_eq!(lines(&limited).len(), 7);
    assert!(
        limited.stderr().contains("more rows passed"),
        "{}",
        limited.stderr()
    );
    let mut unknown = tap(&["event"]);
    assert_eq!(unknown.status().unwrap().code(), Some(4));
    assert!(
        unknown.stderr().contains("there are: events"),
        "{}",
        unknown.stderr()
    );
    assert_eq!(
        tap(&["events", "--rate", "0"]).status().unwrap().code(),
        Some(2)
    );
}
