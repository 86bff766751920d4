//! Every mistake is told with its place, what is wrong, and how to mend it.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests stop at the first surprise"
)]

use tidewright_jobs::{Diagnostics, MissingEnv, compile, compile_with};

/// Sources of all kinds; views begin at line 19, sinks follow them.
const SOURCES: &str = r#"name: shop
sources:
  events:
    kafka: { brokers: "b:9092", topic: events }
    schema: { user_id: string, type: string, ts: timestamp_ms, price: "decimal(12,2)", quantity: bigint }
    event_time: { column: ts, out_of_orderness: 5s }
  clicks:
    files: { path: clicks.jsonl }
    schema: { user_id: string, url: string }
  profiles:
    kafka: { brokers: "b:9092", topic: profiles }
    primary_key: [user_id]
    schema: { user_id: string, segment: string, consent: boolean, age: int }
  segments:
    files: { path: segments.jsonl }
    primary_key: [segment]
    schema: { segment: string, title: string }
views:
"#;

fn errors(text: &str) -> Diagnostics {
    match compile("job.yaml", text, &[], &|_| None) {
        Ok(_) => panic!("compiles, but should not:\n{text}"),
        Err(diagnostics) => diagnostics,
    }
}

/// Cases of one test, checked one by one; all that fail are told together.
#[derive(Default)]
struct Cases(Vec<String>);

impl Cases {
    /// `expected`: `line:column what`, where every part of `what` between `..` must occur in the message or its help.
    fn file(&mut self, text: &str, expected: &str) {
        let found = errors(text);
        let (place, what) = expected.split_once(' ').unwrap();
        let is_it = found.0.iter().any(|d| {
            let full = format!("{} | {}", d.message, d.help.as_deref().unwrap_or_default());
            let here = format!("{}:{}", d.line, d.column);
            here == place && what.split(" .. ").all(|part| full.contains(part))
        });
        if !is_it {
            self.0.push(format!("expected {expected}\nfound {found}\n"));
        }
    }

    /// One view named `v`; its SQL begins at 20:5.
    fn sql(&mut self, sql: &str, expected: &str) {
        let indented: String = sql.lines().map(|line| format!("    {line}\n")).collect();
        let sink = "sinks:\n  out: { from: v, stdout: {} }\n";
        self.file(&format!("{SOURCES}  v: |\n{indented}{sink}"), expected);
    }

    /// One sink named `out` at line 22, over a view `v` with the given SQL at line 20.
    fn sink(&mut self, sql: &str, sink: &str, expected: &str) {
        let text = format!("{SOURCES}  v: |\n    {sql}\nsinks:\n  out: {sink}\n");
        self.file(&text, expected);
    }

    /// One source `s`, at line 3.
    fn source(&mut self, source: &str, expected: &str) {
        let sink = "sinks:\n  out: { from: s, stdout: {} }\n";
        self.file(
            &format!("name: j\nsources:\n  s: {source}\n{sink}"),
            expected,
        );
    }
}

impl Drop for Cases {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.0.is_empty(), "{}", self.0.join("\n"));
        }
    }
}

#[test]
fn yaml_that_cannot_be_read() {
    let mut cases = Cases::default();
    cases.file("name: [a\nsources: {}\n", "2:8 not valid YAML");
    cases.file("name: a\nname: b\n", "2:1 duplicate");
    cases.file(
        "- a\n- b\n",
        "1:1 a job file is a map, this is a list .. begin with",
    );
    cases.file("", "1:1 a job file is a map, this is nothing");
}

#[test]
fn top_level_keys() {
    let mut cases = Cases::default();
    cases.file(
        "name: a\nsuorces: {}\n",
        "2:1 unknown key `suorces` .. did you mean `sources`?",
    );
    cases.file("name: a\nsuorces: {}\n", "1:1 the key `sources` is missing");
    cases.file("sources: {}\n", "1:1 the key `name` is missing");
    cases.file("sources: {}\n", "1:10 a job needs at least one source");
    cases.file("name: \"a b\"\nsources: {}\n", "1:7 the job's name must be");
    cases.file(
        "name: a\nsources: [x]\n",
        "2:10 `sources` is a map of names, this is a list",
    );
    cases.file(
        &format!("{SOURCES}checkpoint: {{ intervall: 1s }}\n"),
        "19:15 unknown key `intervall` .. did you mean `interval`?",
    );
    cases.file(
        &format!("{SOURCES}checkpoint: {{ interval: 100 }}\n"),
        "19:25 expected a duration with its unit, such as 100ms",
    );
    cases.file(
        &format!("{SOURCES}checkpoint: {{ interval: fast }}\n"),
        "19:25 expected a duration with its unit",
    );
    cases.file(
        &format!("{SOURCES}checkpoint: {{ store: \"ftp://x\" }}\n"),
        "19:22 neither a directory nor S3 .. s3://bucket/prefix",
    );
    cases.file(
        &format!("{SOURCES}checkpoint: {{ keep: 0 }}\n"),
        "19:21 `keep` must be at least 1",
    );
    cases.file(
        &format!("{SOURCES}limits: {{ outbox: 64 }}\n"),
        "19:19 expected a size with its unit",
    );
    cases.file(
        &format!("{SOURCES}limits: {{ outbox: 1B }}\n"),
        "19:19 `outbox` must be 1KiB or more",
    );
    cases.file(
        &format!("{SOURCES}state: {{ memory: 12B }}\n"),
        "19:18 `memory` must be 1KiB or more",
    );
    cases.file(
        &format!("{SOURCES}state: {{ directory: /tmp }}\n"),
        "19:8 the key `memory` is missing here",
    );
    cases.file(
        &format!("{SOURCES}epoch: {{ tick: 0ms }}\n"),
        "19:16 `tick` must be 1ms or more",
    );
    cases.file(
        &format!("{SOURCES}start_after: table\n"),
        "19:14 unknown name `table` .. did you mean `tables`?",
    );
}

#[test]
fn sources() {
    let mut cases = Cases::default();
    cases.source(
        "{ schema: { a: string } }",
        "3:6 a connector is missing .. exactly one of kafka, files, datagen",
    );
    cases.source(
        "{ kafka: { brokers: b, topic: t }, files: { path: p }, schema: { a: string } }",
        "3:6 more than one connector",
    );
    cases.source(
        "{ kafak: { brokers: b, topic: t }, schema: { a: string } }",
        "3:8 unknown key `kafak` .. did you mean `kafka`?",
    );
    cases.source(
        "{ kafka: { brokers: b }, schema: { a: string } }",
        "3:15 the key `topic` is missing",
    );
    cases.source(
        "{ kafka: { brokers: b, topic: \"\" }, schema: { a: string } }",
        "3:36 the topic is empty",
    );
    cases.source(
        "{ kafka: { brokers: b, topic: 5 }, schema: { a: string } }",
        "3:36 expected a string, found number",
    );
    cases.source(
        "{ kafka: { brokers: b, topic: t, start: lastest }, schema: { a: string } }",
        "3:46 unknown name `lastest` .. did you mean `latest`?",
    );
    cases.source(
        "{ kafka: { brokers: b, topic: t, properties: { group.id: x } }, schema: { a: string } }",
        "3:63 `group.id` is set by the engine",
    );
    cases.source("{ files: { path: p } }", "3:6 the key `schema` is missing");
    cases.source(
        "{ files: { path: p }, format: avro, schema: { a: string } }",
        "3:36 unknown name `avro` .. json",
    );
    cases.source(
        "{ files: { path: p }, schema: { a: strin } }",
        "3:41 unknown type `strin` .. did you mean `string`?",
    );
    cases.source(
        "{ files: { path: p }, schema: { a: \"decimal(40,2)\" } }",
        "3:41 unknown type `decimal(40,2)`",
    );
    cases.source(
        "{ files: { path: p }, schema: { _a: string } }",
        "3:42 `_a` is reserved",
    );
    cases.source(
        "{ files: { path: p }, schema: { ts: timestamp_ms }, event_time: { column: tz } }",
        "3:80 no column `tz` .. did you mean `ts`?",
    );
    cases.source(
        "{ files: { path: p }, schema: { ts: bigint }, event_time: { column: ts } }",
        "3:74 not a timestamp .. ts: timestamp_ms",
    );
    cases.source(
        "{ files: { path: p }, schema: { ts: timestamp_ms }, event_time: { column: ts, idle: 5s } }",
        "3:84 unknown key `idle`",
    );
    cases.source(
        "{ files: { path: p }, schema: { a: string }, primary_key: [b] }",
        "3:65 no column `b` in the schema",
    );
    cases.source(
        "{ files: { path: p }, schema: { a: string }, primary_key: [] }",
        "3:64 the primary key has no columns",
    );
    cases.source(
        "{ files: { path: p }, schema: { a: double }, primary_key: [a] }",
        "3:65 `a` is a double",
    );
    cases.source(
        "{ datagen: { kind: evnts } }",
        "3:25 unknown name `evnts` .. did you mean `events`?",
    );
    cases.source(
        "{ datagen: { kind: events, late: 2 } }",
        "3:39 `late` is a share",
    );
    cases.source(
        "{ datagen: { kind: events, users: lots } }",
        "3:40 expected u64, found text",
    );
    cases.source(
        "{ datagen: { kind: categories }, schema: { id: string } }",
        "3:53 generated records have no column `id: string` .. category: string",
    );
    cases.file(
        "name: j\nsources:\n  My-Source: { datagen: { kind: events } }\n",
        "3:3 `My-Source` cannot be a name here",
    );
    cases.file(
        "name: j\nsources:\n  sink: { datagen: { kind: events } }\n",
        "3:3 `sink` cannot be the name of a source",
    );
}

#[test]
fn references() {
    let mut cases = Cases::default();
    cases.source(
        "{ kafka: { brokers: \"${env:BROKERS}\", topic: t }, schema: { a: string } }",
        "3:26 the environment variable BROKERS is not set .. ${env:BROKERS:-default}",
    );
    cases.source(
        "{ kafka: { brokers: \"${BROKERS}\", topic: t }, schema: { a: string } }",
        "3:26 unknown reference `${BROKERS}` .. ${env:NAME}",
    );
    cases.source(
        "{ kafka: { brokers: \"${env:BROKERS\", topic: t }, schema: { a: string } }",
        "3:26 without its `}`",
    );
    cases.source(
        "{ kafka: { brokers: \"${file:/no/such/file}\", topic: t }, schema: { a: string } }",
        "3:26 the file `/no/such/file` cannot be read",
    );
    cases.sql(
        "SELECT user_id FROM events WHERE type = '${env:TYPE}'",
        "20:46 references are not resolved inside SQL",
    );
}

#[test]
fn sql_that_cannot_be_parsed_or_resolved() {
    let mut cases = Cases::default();
    cases.sql("SELEC user_id FROM events", "20:5 it begins with SELECT");
    cases.sql("SELECT user_id FROM events;", "20:31 without a semicolon");
    cases.sql("SELECT user_id FROM events WHERE", "20:37 Expected");
    cases.sql("SELECT user_id,\n  prise\nFROM events", "21:7 'prise'");
    cases.sql(
        "SELECT user_id FROM evnts",
        "20:25 no source or view 'evnts' .. did you mean `events`?",
    );
    cases.sql("SELECT uper(user_id) FROM events", "20:12 'uper'");
    cases.sql(
        "SELECT user_id FROM events WHERE quantity + true > 1",
        "20:5 incompatible types .. has type Int64; has type Boolean",
    );
    cases.file(
        &format!("{SOURCES}  v: >-\n    SELECT user_id\n    FROM events\n"),
        "20:5 folded block",
    );
    cases.file(
        &format!("{SOURCES}  v: [1]\n"),
        "19:6 a view is SQL text, this is a list",
    );
    cases.file(
        &format!("{SOURCES}  v: SELECT prise FROM events\n"),
        "19:13 'prise'",
    );
    cases.file(
        &format!("{SOURCES}  v: \"SELECT prise FROM events\"\n"),
        "19:14 'prise'",
    );
    cases.file(
        &format!("{SOURCES}  v: {{ sql: SELECT prise FROM events }}\n"),
        "19:20 'prise'",
    );
    cases.file(
        &format!("{SOURCES}  v: {{ sql: SELECT user_id FROM events, latness: 5s }}\n"),
        "19:41 unknown key `latness` .. did you mean `lateness`?",
    );
    cases.file(
        &format!("{SOURCES}  events: SELECT user_id FROM clicks\n"),
        "19:3 `events` is a source already",
    );
}

#[test]
fn windows() {
    let mut cases = Cases::default();
    cases.sql(
        "SELECT user_id, count(*) AS n FROM events GROUP BY user_id",
        "20:56 needs a window: FROM tumble",
    );
    cases.sql(
        "SELECT DISTINCT user_id FROM events",
        "20:12 not supported yet: DISTINCT",
    );
    cases.sql(
        "SELECT user_id, count(*) AS n FROM tumble(events, INTERVAL '1 minute') GROUP BY user_id",
        "20:85 must name window_start or window_end",
    );
    cases.sql(
        "SELECT user_id, window_start FROM tumble(events, INTERVAL '1 minute')",
        "20:21 must be aggregated",
    );
    cases.sql(
        "SELECT user_id, window_start, count(*) AS n FROM tumble(clicks, INTERVAL '1 minute') GROUP BY user_id, window_start",
        "20:61 has no event time",
    );
    cases.sql(
        "SELECT user_id, window_start, count(*) AS n FROM tumble(profiles, INTERVAL '1 minute') GROUP BY user_id, window_start",
        "20:61 has no event time",
    );
    cases.sql(
        "SELECT user_id, window_start, count(*) AS n FROM tumble(events) GROUP BY user_id, window_start",
        "20:54 tumble takes 2 arguments, 1 given",
    );
    cases.sql(
        "SELECT user_id, window_start, count(*) AS n FROM tumble(events, 60) GROUP BY user_id, window_start",
        "20:69 positive interval",
    );
    cases.sql(
        "SELECT user_id, count(*) AS n FROM rolling(events, INTERVAL '1 hour', INTERVAL '7 minutes') GROUP BY user_id",
        "20:84 must be a multiple of the step",
    );
    cases.sql(
        "SELECT user_id, window_start, count(*) AS n FROM hop(events, INTERVAL '1 minute', INTERVAL '5 minutes') GROUP BY user_id, window_start",
        "20:54 not supported yet: hop",
    );
    cases.sql(
        "SELECT user_id, window_start, count(*) AS n FROM session(events, INTERVAL '1 minute') GROUP BY user_id, window_start",
        "20:54 not supported yet: session",
    );
    cases.sql(
        "SELECT e.user_id, p.segment FROM events e JOIN profiles FOR SYSTEM_TIME AS OF e.ts p ON e.user_id = p.user_id",
        "20:61 not supported yet: FOR SYSTEM_TIME",
    );
    cases.file(
        &format!("{SOURCES}  v: {{ sql: SELECT user_id FROM events, lateness: 5s }}\n"),
        "19:13 `lateness` is for views with tumble",
    );
    let patient = "SELECT user_id, window_end, count(*) AS n FROM tumble(events, INTERVAL '1 minute') GROUP BY user_id, window_end";
    cases.file(
        &format!(
            "{SOURCES}  w: {{ sql: \"{patient}\", lateness: 5s }}\n  v: SELECT user_id, sum(n) AS n FROM w GROUP BY user_id\n"
        ),
        "20:6 over windows with `lateness`",
    );
    cases.file(
        &format!(
            "{SOURCES}  w: {{ sql: \"{patient}\", lateness: 5s }}\n  v: SELECT w.user_id, w.window_end, p.age FROM w JOIN profiles p ON w.user_id = p.user_id WHERE w.n > 1\n"
        ),
        "20:51 over windows with `lateness`",
    );
}

#[test]
fn aggregates() {
    let mut cases = Cases::default();
    let window = |call: &str| {
        format!(
            "SELECT user_id, {call} AS x FROM rolling(events, INTERVAL '1 hour', INTERVAL '1 minute') GROUP BY user_id"
        )
    };
    cases.sql(
        &window("count(DISTINCT type)"),
        "20:36 not supported yet: count(DISTINCT ..)",
    );
    cases.sql(
        &window("stddev(quantity)"),
        "20:28 not supported yet: stddev(..); there are count, sum",
    );
    cases.sql(
        &window("last_value(type)"),
        "20:32 needs ORDER BY the event time",
    );
    cases.sql(
        &window("last_value(type ORDER BY quantity)"),
        "20:32 needs ORDER BY the event time",
    );
    cases.sql(
        &window("last_value(type ORDER BY ts DESC)"),
        "20:32 needs ORDER BY the event time, ascending",
    );
    cases.sql(&window("sum(type)"), "20:21 sum");
    cases.sql(
        "SELECT segment, last_value(age ORDER BY age) AS a FROM profiles GROUP BY segment",
        "20:32 over a table",
    );
    cases.sql(
        "SELECT user_id, count(*) OVER (PARTITION BY user_id) AS n FROM events",
        "20:49 not supported yet: OVER",
    );
}

#[test]
fn joins() {
    let mut cases = Cases::default();
    cases.sql(
        "SELECT a.user_id FROM events a JOIN clicks b ON a.user_id = b.user_id",
        "20:53 not supported yet: a join of two streams",
    );
    cases.sql(
        "SELECT e.user_id, p.title FROM events e JOIN segments p ON e.ts > CAST('2020-01-01' AS TIMESTAMP)",
        "20:45 a stream joins a table by the table's whole key (segment)",
    );
    cases.sql(
        "SELECT e.user_id, p.age FROM events e JOIN profiles p ON e.user_id = p.segment",
        "20:62 a stream joins a table by the table's whole key (user_id)",
    );
    cases.sql(
        "SELECT p.user_id, s.segment FROM profiles p JOIN segments s ON p.age > 3",
        "20:49 at least one equality",
    );
    cases.sql(
        "SELECT p.user_id, e.type FROM profiles p LEFT JOIN events e ON p.user_id = e.user_id",
        "20:68 the stream must be on the left",
    );
    cases.sql(
        "SELECT p.user_id, s.segment FROM profiles p RIGHT JOIN segments s ON p.segment = s.segment",
        "20:74 RIGHT JOIN; swap the sides",
    );
    cases.sql(
        "SELECT p.user_id, s.segment FROM profiles p FULL JOIN segments s ON p.segment = s.segment",
        "20:73 FULL JOIN",
    );
    cases.sql(
        "SELECT p.user_id, s.title FROM profiles p LEFT JOIN segments s ON p.segment = s.segment AND p.age > length(s.title)",
        "20:71 a LEFT JOIN with conditions beyond equalities",
    );
    cases.sql(
        "SELECT p.user_id FROM profiles p WHERE p.segment IN (SELECT segment FROM segments)",
        "20:44 not supported yet: IN (SELECT ..)",
    );
    cases.sql("SELECT title FROM segments", "20:5 its rows need a key");
    cases.sql(
        "SELECT p.user_id, s.segment, p.segment FROM profiles p JOIN segments s ON p.segment = s.segment",
        "20:25 two columns are named 'segment'",
    );
}

#[test]
fn what_has_no_meaning_on_unbounded_input() {
    let mut cases = Cases::default();
    cases.sql(
        "SELECT user_id FROM events ORDER BY ts",
        "20:41 ORDER BY has no meaning",
    );
    cases.sql(
        "SELECT user_id FROM events LIMIT 5",
        "20:32 LIMIT has no meaning",
    );
    cases.sql(
        "SELECT user_id, now() AS at FROM events",
        "20:21 now() is not a function of the input",
    );
    cases.sql(
        "SELECT user_id, random() AS r FROM events",
        "20:21 random() is not a function of the input",
    );
    cases.sql(
        "SELECT user_id FROM profiles UNION ALL SELECT user_id FROM profiles",
        "20:34 UNION ALL is for streams",
    );
    cases.sql("SELECT 1 AS one", "20:5 must read a source");
    cases.sql(
        "SELECT user_id AS _id FROM events",
        "20:23 the column name '_id' is reserved",
    );
    cases.sql("SELECT user_id, NULL AS x FROM events", "20:21 has no type");
    cases.sql(
        "SELECT user_id, INTERVAL '1 minute' AS x FROM events",
        "20:21 which a column cannot have",
    );
}

#[test]
fn sinks() {
    let mut cases = Cases::default();
    const STREAM: &str = "SELECT user_id, type FROM events";
    const TABLE: &str = "SELECT user_id, segment, consent FROM profiles";
    const WINDOWS: &str = "SELECT user_id, type, window_start, window_end, count(*) AS n FROM tumble(events, INTERVAL '1 minute') GROUP BY user_id, type, window_start, window_end";
    cases.sink(TABLE, "{ stdout: {} }", "22:8 the key `from` is missing");
    cases.sink(
        TABLE,
        "{ from: v }",
        "22:8 a connector is missing .. redis, dynamodb",
    );
    cases.sink(
        TABLE,
        "{ from: w, stdout: {} }",
        "22:16 no source or view `w`",
    );
    cases.sink(
        TABLE,
        "{ from: profils, stdout: {} }",
        "22:16 no source or view `profils` .. did you mean `profiles`?",
    );
    cases.sink(
        TABLE,
        "{ from: v, stdout: {}, blackhole: {} }",
        "22:8 more than one connector",
    );
    cases.sink(
        TABLE,
        "{ from: v, redis: { url: \"localhost\", key: \"p:{user_id}\" } }",
        "22:33 redis:// or rediss://",
    );
    cases.sink(
        TABLE,
        "{ from: v, redis: { url: \"rediss://h#insecure\", key: \"p:{user_id}\" } }",
        "22:33 always verified .. ca",
    );
    cases.sink(
        TABLE,
        "{ from: v, redis: { url: \"redis://h\", key: \"p:{user_id}\", tls: { ca: c.pem } } }",
        "22:75 without TLS .. rediss://",
    );
    cases.sink(
        TABLE,
        "{ from: v, redis: { url: \"rediss://h\", key: \"p:{user_id}\", tls: { ca: \"\" } } }",
        "22:82 the path is empty",
    );
    cases.sink(
        TABLE,
        "{ from: v, redis: { url: \"rediss://h\", key: \"p:{user_id}\", tls: { cert: c.pem } } }",
        "22:84 belong together .. private key",
    );
    cases.sink(
        TABLE,
        "{ from: v, redis: { url: \"redis://h\", key: \"p:{segment}\" } }",
        "22:51 `segment` is not a key column .. write v:{user_id}",
    );
    cases.sink(
        TABLE,
        "{ from: v, redis: { url: \"redis://h\", key: \"p\" } }",
        "22:51 does not name user_id",
    );
    cases.sink(
        TABLE,
        "{ from: v, redis: { url: \"redis://h\", key: \"p:{user_id\" } }",
        "22:51 a brace in the key template has no partner",
    );
    cases.sink(
        TABLE,
        "{ from: v, redis: { url: \"redis://h\", key: \"p:{id}\" } }",
        "22:51 has no column `id`",
    );
    cases.sink(
        TABLE,
        "{ from: v, redis: { url: \"redis://h\", key: \"p:{user_id}\", ttl: 30 days } }",
        "22:71 not a duration .. 30d",
    );
    cases.sink(
        STREAM,
        "{ from: v, redis: { url: \"redis://h\", key: \"p:{user_id}\" } }",
        "22:16 `redis` writes rows by key, and `v` has none",
    );
    cases.sink(
        STREAM,
        "{ from: v, embedded: { path: x } }",
        "22:16 `embedded` writes rows by key",
    );
    cases.sink(
        WINDOWS,
        "{ from: v, dynamodb: { table: t } }",
        "22:16 a DynamoDB key has one or two columns, that of `v` has 3: (user_id, type, window_start)",
    );
    cases.sink(
        TABLE,
        "{ from: v, dynamodb: { table: t, max_in_flight: 0 } }",
        "22:56 `max_in_flight` must be at least 1",
    );
    cases.sink(
        TABLE,
        "{ from: v, kafka: { topic: t }, delivery: eager }",
        "22:50 needs a keyed sink",
    );
    cases.sink(
        TABLE,
        "{ from: v, stdout: {}, delivery: at_once }",
        "22:41 unknown name `at_once`",
    );
    cases.file(
        &format!("{SOURCES}dead_letter: {{ stdout: {{}}, stop_above: 5 }}\n"),
        "18:40 a share in per cent, such as 5%",
    );
    cases.file(
        &format!("{SOURCES}dead_letter: {{ stop_above: 5%, window_records: 0 }}\n"),
        "18:49 `window_records` must be at least 1",
    );
    cases.file(
        &format!("{SOURCES}dead_letter: {{ window_records: 100 }}\n"),
        "18:14 a connector is missing here .. kafka, files",
    );
    cases.file(
        &format!("{SOURCES}dead_letter: {{ redis: {{}} }}\n"),
        "19:16 unknown key `redis` .. known: kafka, files, stdout, blackhole",
    );
    cases.file(
        "name: j\nsources:\n  s: { datagen: { kind: events } }\nsinks:\n  a: { from: s, files: { path: x } }\n  b: { from: s, files: { path: x } }\n",
        "6:32 another sink writes this file",
    );
    cases.file(
        "name: j\nsources:\n  s: { datagen: { kind: events } }\nsinks:\n  out: { from: s, kafka: { topic: t } }\n",
        "5:26 the key `brokers` is missing here",
    );
}

#[test]
fn overrides_name_what_is_there() {
    let text = format!("{SOURCES}sinks:\n  out: {{ from: events, stdout: {{}} }}\n");
    let compiled = |path: &str, value: &str| {
        compile(
            "job.yaml",
            &text,
            &[(path.to_owned(), value.to_owned())],
            &|_| None,
        )
    };
    assert_eq!(
        compiled("checkpoint.interval", "20ms")
            .unwrap()
            .job
            .checkpoint
            .interval_ms,
        20
    );
    assert!(compiled("sources.events.kafka.start", "latest").is_ok());
    assert!(
        compiled("sources.events.kafka.topic", "7").is_err(),
        "a number is no topic"
    );
    let message = |path: &str| compiled(path, "x").unwrap_err().to_string();
    assert!(message("checkpont.interval").contains("did you mean `checkpoint`?"));
    assert!(message("sources.event.kafka.topic").contains("did you mean `events`?"));
    assert!(message("sources.events.kafka.topik").contains("did you mean `topic`?"));
    assert!(message("checkpoint.intervall").contains("did you mean `interval`?"));
}

#[test]
fn several_mistakes_are_told_at_once_and_their_consequences_are_not() {
    let text = format!(
        "{SOURCES}  a: SELECT prise FROM events\n  b: SELECT x FROM a\n  c: SELECT nothing FROM profiles\nsinks:\n  out: {{ from: b, stdout: {{}} }}\n"
    );
    let found = errors(&text);
    let lines: Vec<_> = found.0.iter().map(|d| d.line).collect();
    assert_eq!(lines, [19, 21], "{found}");
}

#[test]
fn a_missing_variable_can_be_a_warning() {
    let text = "name: j\nsources:\n  s: { datagen: { kind: profiles, users: \"${env:USERS}\" }, primary_key: [user_id] }\nsinks:\n  out: { from: s, redis: { url: \"${env:URL}\", key: \"p:{user_id}\", ttl: \"${env:TTL}\" } }\ncheckpoint: { interval: \"${env:INTERVAL}\" }\n";
    let compiled = compile_with("job.yaml", text, &[], &|_| None, MissingEnv::Warn).unwrap();
    let warnings: Vec<_> = compiled
        .warnings
        .iter()
        .map(|w| w.message.as_str())
        .collect();
    assert_eq!(warnings.len(), 4, "{warnings:?}");
    assert!(warnings[1].contains("URL is not set"));
}

#[test]
fn resolved_secrets_are_in_no_message() {
    let secret = "s3cr3t-pa55";
    let env = |_: &str| Some(secret.to_owned());
    for source in [
        "{ kafka: { brokers: b, topic: t, start: \"${env:X}\" }, schema: { a: string } }",
        "{ datagen: { kind: \"${env:X}\", users: \"${env:X}\", rate: \"${env:X}\" } }",
        "{ files: { path: \"${env:X}\" }, schema: { a: \"${env:X}\" } }",
        "{ files: { path: \"${env:X}\" }, schema: { a: string }, event_time: { column: \"${env:X}\" } }",
        "{ files: { path: p }, schema: { ts: timestamp_ms }, event_time: { column: ts, out_of_orderness: \"${env:X}\" } }",
        "{ files: { path: p }, schema: { a: string }, primary_key: [\"${env:X}\"] }",
    ] {
        let text = format!(
            "name: j\nsources:\n  s: {source}\nsinks:\n  out: {{ from: s, redis: {{ url: \"${{env:X}}\", key: \"${{env:X}}\" }} }}\n"
        );
        let found = compile("job.yaml", &text, &[], &env).unwrap_err();
        assert!(!format!("{found}{found:?}").contains(secret), "{found}");
    }
}

#[test]
fn an_error_is_shown_with_its_line_and_a_caret() {
    let found = errors("name: a\nsuorces: {}\nsources: { s: { datagen: { kind: events } } }\n");
    assert_eq!(
        found.to_string(),
        "error: unknown key `suorces`\n --> job.yaml:2:1\n  |\n2 | suorces: {}\n  | ^\n  = help: did you mean `sources`?\n\n1 error"
    );
}

#[test]
fn what_a_topic_is_partitioned_by_must_be_a_text_column_of_a_stream() {
    let source = |rest: &str, by: &str| {
        format!(
            "name: shop\nsources:\n  events:\n    kafka: {{ brokers: b, topic: t, partitioned_by: {by} }}\n    schema: {{ user_id: string, pieces: bigint, ts: timestamp_ms }}\n    {rest}\nsinks:\n  out: {{ from: events, stdout: {{}} }}\n"
        )
    };
    let time = "event_time: { column: ts, out_of_orderness: 5s }";
    assert!(compile("job.yaml", &source(time, "user_id"), &[], &|_| None).is_ok());
    let mut cases = Cases::default();
    cases.file(
        &source(time, "user"),
        "4:52 `user` .. does not have .. user_id",
    );
    cases.file(
        &source(time, "pieces"),
        "4:52 `pieces` .. not a string .. type string",
    );
    cases.file(
        &source("primary_key: [user_id]", "user_id"),
        "4:52 for streams .. leave it out",
    );
}
