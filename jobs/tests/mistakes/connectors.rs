//! What is wrong with a source or a sink.

use tidewright_jobs::compile;

use super::{Cases, SOURCES};

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
        "3:36 expected a string, found number .. in quotes it is text",
    );
    cases.source(
        "{ kafka: { brokers: b, topic: n }, schema: { a: string } }",
        "3:36 expected a string, found boolean .. a bare y, n, .. in quotes it is text",
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
        "22:71 without TLS .. rediss://",
    );
    cases.sink(
        TABLE,
        "{ from: v, redis: { url: \"rediss://h\", key: \"p:{user_id}\", tls: { ca: \"\" } } }",
        "22:78 the path is empty",
    );
    cases.sink(
        TABLE,
        "{ from: v, redis: { url: \"rediss://h\", key: \"p:{user_id}\", tls: { cert: c.pem } } }",
        "22:80 belong together .. private key",
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
        "19:40 a share in per cent, such as 5%",
    );
    cases.file(
        &format!("{SOURCES}dead_letter: {{ stop_above: 5%, window_records: 0 }}\n"),
        "19:48 `window_records` must be at least 1",
    );
    cases.file(
        &format!("{SOURCES}dead_letter: {{ window_records: 100 }}\n"),
        "19:14 a connector is missing here .. kafka, files",
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
