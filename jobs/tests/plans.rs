//! What job files compile to.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests stop at the first surprise"
)]

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, new_null_array};
use serde_json::Value;
use tidewright_jobs::{
    Compiled, compile, explain, explain_json, json_schema,
    plan::{AggregateFunction, Op, SourceKind},
    reference_markdown,
};

const SOURCES: &str = r#"name: shop
sources:
  events:
    kafka: { brokers: "b:9092", topic: events }
    schema: { event_id: string, user_id: string, type: string, ts: timestamp_ms, price: "decimal(12,2)", quantity: bigint }
    event_time: { column: ts, out_of_orderness: 5s }
  mails:
    files: { path: mails.jsonl }
    schema: { user_id: string, type: string, at: timestamp_ms }
    event_time: { column: at }
  profiles:
    kafka: { brokers: "b:9092", topic: profiles }
    primary_key: [user_id]
    schema: { user_id: string, segment: string, consent: boolean, age: int }
  scores:
    files: { path: scores.jsonl }
    primary_key: [user_id]
    schema: { user_id: string, score: double }
  segments:
    files: { path: segments.jsonl }
    primary_key: [segment]
    schema: { segment: string, title: string }
views:
"#;

const TUMBLE: &str = "FROM tumble(events, INTERVAL '1 minute')";

fn env(name: &str) -> Option<String> {
    let value = match name {
        "KAFKA_BROKERS" => "localhost:9092",
        "REDIS_URL" => "redis://:secret@localhost",
        "DYNAMODB_ENDPOINT" => "http://localhost:8000",
        _ => return None,
    };
    Some(value.to_owned())
}

#[track_caller]
fn compiled(views: &str) -> Compiled {
    match compile("job.yaml", &format!("{SOURCES}{views}"), &[], &env) {
        Ok(compiled) => compiled,
        Err(diagnostics) => panic!("{diagnostics}"),
    }
}

fn view_of(sql: &str) -> Compiled {
    compiled(&format!("  v: |\n    {sql}\n"))
}

/// `kind (key): operators` of the last view.
fn shape(compiled: &Compiled) -> String {
    let json = explain_json(compiled);
    let view = json["views"].as_array().unwrap().last().unwrap().clone();
    let list = |value: &Value, field: Option<&str>| {
        let text = |v: &Value| field.map_or(v, |f| &v[f]).as_str().unwrap().to_owned();
        value
            .as_array()
            .unwrap()
            .iter()
            .map(text)
            .collect::<Vec<_>>()
    };
    let key = match &view["key"] {
        Value::Null => "no key".to_owned(),
        key => format!("({})", list(key, None).join(", ")),
    };
    let kind = view["kind"].as_str().unwrap();
    format!(
        "{kind} {key}: {}",
        list(&view["operators"], Some("operator")).join(" ")
    )
}

#[track_caller]
fn check(sql: &str, expected: &str) {
    assert_eq!(shape(&view_of(sql)), expected, "{sql}");
}

#[test]
fn streams() {
    check("SELECT * FROM events", "stream no key: project");
    check(
        "SELECT user_id, type FROM events WHERE quantity > 1",
        "stream no key: filter project",
    );
    check(
        "SELECT user_id, upper(type) AS type FROM events",
        "stream no key: project",
    );
    check(
        "SELECT user_id, type, ts FROM events UNION ALL SELECT user_id, type, at FROM mails",
        "stream no key: project union",
    );
}

#[test]
fn windows_are_streams_keyed_by_group_and_window() {
    check(
        &format!(
            "SELECT user_id, window_start, window_end, count(*) AS n {TUMBLE} GROUP BY user_id, window_start, window_end"
        ),
        "stream (user_id, window_start): window",
    );
    check(
        &format!(
            "SELECT user_id, window_end, count(*) AS n {TUMBLE} GROUP BY user_id, window_start, window_end"
        ),
        "stream (user_id, window_end): window project",
    );
    check(
        &format!("SELECT window_start, count(*) AS n {TUMBLE} GROUP BY window_start"),
        "stream (window_start): window",
    );
    check(
        &format!("SELECT window_start, count(*) AS n {TUMBLE} GROUP BY user_id, window_start"),
        "stream no key: window project",
    );
    check(
        "SELECT user_id, window_start, count(*) AS n FROM tumble((SELECT * FROM events WHERE type = 'x'), INTERVAL '1 minute') GROUP BY user_id, window_start",
        "stream (user_id, window_start): filter project window",
    );
    check(
        &format!(
            "SELECT user_id, window_start, count(*) AS n {TUMBLE} GROUP BY user_id, window_start HAVING count(*) > 3"
        ),
        "stream (user_id, window_start): window filter project",
    );
}

#[test]
fn a_window_that_accepts_late_rows_is_a_table() {
    let late = compiled(&format!(
        "  v:\n    sql: SELECT user_id, window_start, count(*) AS n {TUMBLE} GROUP BY user_id, window_start\n    lateness: 10s\n"
    ));
    assert_eq!(shape(&late), "table (user_id, window_start): window");
    let lateness = late.plan.nodes.iter().find_map(|n| match &n.op {
        Op::Window(window) => Some(window.lateness_ms),
        _ => None,
    });
    assert_eq!(lateness, Some(10_000));
}

#[test]
fn windows_of_windows_go_by_the_end_of_the_inner_one() {
    let cascade = compiled(&format!(
        "  a: SELECT user_id, window_start, window_end, count(*) AS n {TUMBLE} GROUP BY user_id, window_start, window_end\n  b: SELECT user_id, window_start, sum(n) AS n FROM tumble(a, INTERVAL '1 hour') GROUP BY user_id, window_start\n"
    ));
    assert_eq!(
        shape(&cascade),
        "stream (user_id, window_start): project window"
    );
    let b = cascade.plan.nodes.last().unwrap();
    let Op::Window(window) = &b.op else {
        panic!("{b:?}")
    };
    let input = &cascade.plan.nodes[window.input.0];
    assert_eq!(input.schema.field(window.time).name(), "window_end");
}

#[test]
fn tables() {
    let rolling = "FROM rolling(events, INTERVAL '7 days', INTERVAL '1 hour')";
    check(
        &format!("SELECT user_id, count(*) AS n, max(ts) AS last {rolling} GROUP BY user_id"),
        "table (user_id): rolling",
    );
    check(
        &format!("SELECT count(*) AS n {rolling}"),
        "table (): rolling",
    );
    check(
        "SELECT user_id, segment FROM profiles WHERE consent",
        "table (user_id): filter project",
    );
    check(
        "SELECT segment, count(*) AS n FROM profiles GROUP BY segment",
        "table (segment): project table_aggregate",
    );
    check(
        "SELECT DISTINCT segment FROM profiles",
        "table (segment): project table_aggregate",
    );
    check(
        "SELECT user_id AS id, age + 1 AS age FROM profiles",
        "table (id): project",
    );
}

#[test]
fn joins() {
    check(
        "SELECT e.event_id, p.segment FROM events e JOIN profiles p ON e.user_id = p.user_id",
        "stream no key: filter project lookup project",
    );
    check(
        "SELECT e.event_id, p.segment FROM profiles p JOIN events e ON e.user_id = p.user_id",
        "stream no key: filter project lookup project",
    );
    check(
        "SELECT e.event_id, p.segment FROM events e LEFT JOIN profiles p ON e.user_id = p.user_id WHERE p.consent IS NULL",
        "stream no key: project lookup filter project",
    );
    check(
        "SELECT p.user_id, p.segment, s.score FROM profiles p LEFT JOIN scores s ON p.user_id = s.user_id",
        "table (user_id): key_join project",
    );
    check(
        "SELECT p.user_id, s.title FROM profiles p LEFT JOIN segments s ON p.segment = s.segment",
        "table (user_id): table_join project",
    );
    check(
        "SELECT p.user_id, s.segment, s.title FROM profiles p JOIN segments s ON p.age = length(s.title)",
        "table (user_id, segment): filter filter project table_join project",
    );
    check(
        "SELECT p.user_id, t.n FROM profiles p CROSS JOIN (SELECT count(*) AS n FROM segments) t",
        "table (user_id): table_aggregate project table_join",
    );
}

#[test]
fn first_and_last_need_positions_of_their_source_only() {
    let job = view_of(
        "SELECT user_id, last_value(type ORDER BY ts) AS last, first_value(type ORDER BY ts) AS first FROM rolling(events, INTERVAL '1 day', INTERVAL '1 hour') GROUP BY user_id",
    );
    let needs: Vec<_> = job.plan.sources.iter().map(|s| s.needs_position).collect();
    assert_eq!(needs, [true, false, false, false, false]);
    let functions = job.plan.nodes.iter().find_map(|n| match &n.op {
        Op::Rolling(r) => Some(r.aggregates.iter().map(|a| a.function).collect::<Vec<_>>()),
        _ => None,
    });
    assert_eq!(
        functions,
        Some(vec![AggregateFunction::Last, AggregateFunction::First])
    );
}

/// Views over `events` with another first source; which of their windows are partition-local.
fn local_windows(source: &str, views: &[&str]) -> Vec<(String, Option<usize>)> {
    let mut text = format!("name: shop\nsources:\n  events: {source}\n  more: {source}\nviews:\n",);
    for (number, sql) in views.iter().enumerate() {
        text.push_str(&format!("  v{number}: |\n    {sql}\n"));
    }
    let job = compile("job.yaml", &text, &[], &|_| None).unwrap();
    let windows = job
        .plan
        .nodes
        .iter()
        .filter(|node| matches!(node.op, Op::Window(_) | Op::Rolling(_)));
    let windows = windows.map(|node| (node.name.clone(), job.plan.partition_local(node)));
    windows.collect()
}

#[test]
fn windows_grouped_by_what_their_topic_is_partitioned_by_are_partition_local() {
    let source = r#"{ kafka: { brokers: "b:9092", topic: t, partitioned_by: user_id }, schema: { user_id: string, type: string, ts: timestamp_ms }, event_time: { column: ts, out_of_orderness: 5s } }"#;
    let minute = "INTERVAL '1 minute'";
    let local = [
        format!(
            "SELECT user_id, window_start, count(*) AS n FROM tumble(events, {minute}) GROUP BY user_id, window_start"
        ),
        format!(
            "SELECT type, user_id, window_start, count(*) AS n FROM tumble(events, {minute}) WHERE type <> 'a' GROUP BY user_id, type, window_start"
        ),
        format!(
            "SELECT user_id, max(length(type)) AS n FROM rolling(more, {minute}, {minute}) GROUP BY user_id"
        ),
        format!(
            "SELECT u, count(*) AS n FROM rolling((SELECT user_id AS u, ts FROM events WHERE type = 'a'), {minute}, {minute}) GROUP BY u"
        ),
    ];
    let exchanged = [
        format!(
            "SELECT type, window_start, count(*) AS n FROM tumble(events, {minute}) GROUP BY type, window_start"
        ),
        format!(
            "SELECT upper(user_id) AS u, count(*) AS n FROM rolling(events, {minute}, {minute}) GROUP BY upper(user_id)"
        ),
        format!(
            "SELECT user_id, count(*) AS n FROM rolling((SELECT type AS user_id, ts FROM events), {minute}, {minute}) GROUP BY user_id"
        ),
        format!(
            "SELECT user_id, count(*) AS n FROM rolling((SELECT user_id, ts FROM events UNION ALL SELECT user_id, ts FROM more), {minute}, {minute}) GROUP BY user_id"
        ),
    ];
    let views: Vec<&str> = local.iter().chain(&exchanged).map(String::as_str).collect();
    let found: Vec<_> = local_windows(source, &views)
        .into_iter()
        .map(|(_, local)| local)
        .collect();
    let (events, more) = (Some(0), Some(1));
    assert_eq!(
        found,
        [events, events, more, events, None, None, None, None]
    );
    let without = source.replace(", partitioned_by: user_id", "");
    assert!(
        local_windows(&without, &views)
            .iter()
            .all(|(_, local)| local.is_none())
    );
}

#[test]
fn validate_shows_what_is_partition_local() {
    let text = r#"name: shop
sources:
  events:
    kafka: { brokers: "b:9092", topic: t, partitioned_by: user_id }
    schema: { user_id: string, ts: timestamp_ms }
    event_time: { column: ts, out_of_orderness: 5s }
views:
  v: |
    SELECT user_id, count(*) AS n FROM rolling(events, INTERVAL '1 day', INTERVAL '1 hour') GROUP BY user_id
"#;
    let job = compile("job.yaml", text, &[], &|_| None).unwrap();
    let shown = explain(&job);
    assert!(shown.contains("partitioned by user_id"), "{shown}");
    assert!(
        shown.contains(
            "partition-local: no exchange, rows and state stay with the partitions of events"
        ),
        "{shown}"
    );
    let json = explain_json(&job);
    assert_eq!(json["sources"][0]["partitioned_by"], "user_id");
    assert_eq!(
        json["views"][0]["operators"][0]["partition_local"],
        "events"
    );
}

#[test]
fn only_used_columns_are_decoded() {
    let job = view_of("SELECT user_id FROM events WHERE quantity > 1");
    let names = |i: usize| {
        job.plan.sources[i]
            .schema
            .fields()
            .iter()
            .map(|f| f.name().clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(0), ["user_id", "ts", "quantity"]);
    assert_eq!(names(2), ["user_id"], "a table's key always");
    let SourceKind::Stream {
        event_time: Some(time),
    } = &job.plan.sources[0].kind
    else {
        panic!()
    };
    assert_eq!((time.column, time.out_of_orderness_ms), (1, 5_000));
}

#[test]
fn every_node_comes_after_its_inputs_and_has_supported_types_only() {
    let job = view_of(
        "SELECT user_id, concat(type, 'x') AS a, CASE WHEN quantity > 1 THEN 'many' ELSE 'one' END AS b, date_part('hour', ts) AS c, price * quantity AS d, CAST(ts AS DATE) AS e, to_timestamp_seconds(quantity) AS f FROM events",
    );
    let node = job.plan.nodes.last().unwrap();
    let types: Vec<_> = node
        .schema
        .fields()
        .iter()
        .map(|f| f.data_type().to_string())
        .collect();
    assert_eq!(
        types,
        [
            "Utf8View",
            "Utf8View",
            "Utf8View",
            "Int32",
            "Decimal128(33, 2)",
            "Date32",
            "Timestamp(ms)"
        ]
    );
}

#[test]
fn integers_that_overflow_fail_instead_of_wrapping_around() {
    let job = view_of("SELECT quantity + 1 AS more FROM events");
    let project = job.plan.nodes.last().unwrap();
    let Op::Project { input, exprs } = &project.op else {
        panic!("{project:?}")
    };
    let evaluated = |quantity: i64| {
        let schema = job.plan.nodes[input.0].schema.clone();
        let column = schema.index_of("quantity").unwrap();
        let columns = schema
            .fields()
            .iter()
            .enumerate()
            .map(|(i, field)| match i == column {
                true => Arc::new(Int64Array::from(vec![quantity])) as ArrayRef,
                false => new_null_array(field.data_type(), 1),
            });
        let batch = RecordBatch::try_new(schema.clone(), columns.collect()).unwrap();
        exprs[0]
            .evaluate(&batch)
            .and_then(|value| value.into_array(1))
    };
    assert_eq!(
        evaluated(41).unwrap().to_data(),
        Int64Array::from(vec![42]).into()
    );
    assert!(evaluated(i64::MAX).is_err());
}

fn shipped(name: &str) -> Compiled {
    let path = format!("{}/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    compile(name, &text, &[], &env).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

#[test]
fn the_shipped_jobs_compile_without_warnings_and_hold_the_same_views() {
    let (main, demo) = (shipped("personalization.yaml"), shipped("demo.yaml"));
    let views = |job: &Compiled| explain_json(job)["views"].clone();
    assert!(main.warnings.is_empty() && demo.warnings.is_empty());
    assert_eq!(views(&main), views(&demo));
    assert_eq!(main.plan.sinks.len(), 7);
}

#[test]
fn an_explanation_tells_kinds_keys_state_and_no_secrets() {
    let job = shipped("personalization.yaml");
    let text = explain(&job);
    for part in [
        "view activity_1m: stream, key (user_id, window_start)",
        "view customer: table, key (user_id)",
        "tumble 1m by ts",
        "rolling 30d by ts, the tail leaves every 1d",
        "state: differential arrangement",
        "sink hot <- customer: redis key profile:{user_id}, exactly once",
        "sink late <- late rows: kafka topic late",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let all = format!("{text}{}{:?}", explain_json(&job), job.plan);
    assert!(!all.contains("secret"));
}

#[test]
fn an_explanation_tells_where_state_larger_than_memory_is() {
    let views = "  v: |\n    SELECT user_id, count(*) AS n FROM rolling(events, INTERVAL '1 hour', INTERVAL '1 minute') GROUP BY user_id\n";
    let explained = |rest: &str| {
        let file = format!("{SOURCES}{views}{rest}");
        explain(&compile("job.yaml", &file, &[], &env).unwrap())
    };
    assert!(explained("").contains("\nstate in memory\n"));
    let limited = explained("state: { memory: 2GiB, directory: /fast }\n");
    for part in [
        "own keyed state in up to 2GiB of memory per process",
        "on local disk in /fast",
        "differential arrangements in memory beside that",
    ] {
        assert!(limited.contains(part), "{part} is not in\n{limited}");
    }
}

#[test]
fn unused_sources_and_views_are_warned_about() {
    let job = view_of("SELECT user_id FROM events");
    let warned: Vec<_> = job.warnings.iter().map(|w| (w.line, w.column)).collect();
    assert_eq!(warned, [(7, 3), (11, 3), (15, 3), (19, 3), (24, 3)]);
}

/// `UPDATE_DOCS=1 cargo test -p tidewright-jobs` writes the page anew.
#[test]
fn the_reference_page_is_up_to_date() {
    let path = format!("{}/../docs/job-file.md", env!("CARGO_MANIFEST_DIR"));
    let page = reference_markdown();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(std::path::Path::new(&path).parent().unwrap()).unwrap();
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == written,
        "docs/job-file.md is out of date: UPDATE_DOCS=1 cargo test -p tidewright-jobs"
    );
}

#[test]
fn the_schema_knows_every_top_level_key() {
    let schema = json_schema();
    let keys: Vec<_> = schema["properties"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(keys.len(), 11, "{keys:?}");
    assert_eq!(schema["required"], serde_json::json!(["name", "sources"]));
}

/// What state is read by: operators, expressions and columns.
fn nodes(plan: &tidewright_jobs::plan::Plan) -> String {
    let node = |node: &tidewright_jobs::plan::Node| {
        format!(
            "{} {:?} {:?} {:?}",
            node.name, node.op, node.schema, node.kind
        )
    };
    let nodes: Vec<_> = plan.nodes.iter().map(node).collect();
    format!("{} {:?}", nodes.join("\n"), plan.views)
}

#[test]
fn the_definition_alone_gives_the_same_nodes() {
    let jobs = [
        include_str!("../personalization.yaml"),
        include_str!("../demo.yaml"),
    ];
    for job in jobs {
        let compiled = compile("job.yaml", job, &[], &env).unwrap();
        let kept = serde_json::to_string(&compiled.definition).unwrap();
        assert!(
            !kept.contains("secret") && !kept.contains("localhost"),
            "{kept}"
        );
        let definition: tidewright_jobs::Definition = serde_json::from_str(&kept).unwrap();
        let plan = definition.plan(&compiled.plan.name).unwrap();
        assert_eq!(nodes(&plan), nodes(&compiled.plan));
    }
    let late = "  late_1m:\n    sql: |\n      SELECT user_id, window_start, window_end, count(*) AS n\n      \
        FROM tumble(events, INTERVAL '1 minute')\n      GROUP BY user_id, window_start, window_end\n    lateness: 90s\n";
    let compiled = compiled(late);
    let plan = compiled.definition.plan("shop").unwrap();
    assert_eq!(nodes(&plan), nodes(&compiled.plan));
}

#[test]
fn epochs_are_short_only_where_somebody_sees_them_before_a_checkpoint() {
    let tick = |delivery: &str, more: &str| {
        let sink = format!(
            "  out: {{ from: users, delivery: {delivery}, redis: {{ url: \"${{env:REDIS_URL}}\", key: \"u:{{user_id}}\" }} }}"
        );
        let view = "  users: SELECT user_id, segment FROM profiles\n";
        compiled(&format!("{view}sinks:\n{sink}\n{more}"))
            .job
            .epoch_tick_ms
    };
    assert_eq!(tick("exactly_once", ""), 100);
    assert_eq!(tick("eager", ""), 10);
    for (interval, expected) in [("5ms", 10), ("20ms", 20), ("10s", 100)] {
        let checkpoint = format!("checkpoint: {{ interval: {interval} }}\n");
        assert_eq!(tick("exactly_once", &checkpoint), expected, "{interval}");
        assert_eq!(tick("eager", &checkpoint), 10, "{interval}");
        let said = format!("{checkpoint}epoch: {{ tick: 3ms }}\n");
        assert_eq!(tick("exactly_once", &said), 3, "{interval}");
    }
}
