//! Every mistake is told with its place, what is wrong, and how to mend it.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests stop at the first surprise"
)]

mod connectors;
mod sql;

use tidewright_jobs::{Diagnostics, MissingEnv, Surroundings, compile, compile_in, compile_with};

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
fn a_withheld_variable_is_an_error_also_where_others_may_be_missing() {
    let text = |name: &str| {
        format!(
            "name: j\nsources:\n  s: {{ datagen: {{ kind: profiles, users: 5 }}, primary_key: [user_id] }}\nsinks:\n  out: {{ from: s, redis: {{ url: \"${{env:{name}}}\", key: \"p:{{user_id}}\" }} }}\n"
        )
    };
    let surroundings = Surroundings {
        env: &|_| Some("redis://c2VjcmV0".to_owned()),
        withheld: &|name| name == "TOKEN",
        file: &|_| Err(std::io::ErrorKind::NotFound.into()),
    };
    let compiled = |name| compile_in("job.yaml", &text(name), &[], surroundings, MissingEnv::Warn);
    let found = compiled("TOKEN").unwrap_err().to_string();
    let message = "the environment variable TOKEN is withheld from job files";
    assert!(
        found.contains(message) && !found.contains("not set"),
        "{found}"
    );
    assert!(!found.contains("c2VjcmV0"), "{found}");
    for readable in ["OTHER", "TOKEN:-redis://localhost"] {
        let compiled = compiled(readable).unwrap();
        assert!(compiled.warnings.is_empty(), "{:?}", compiled.warnings);
    }
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
