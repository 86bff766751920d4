//! The form of a case, and how cases run.
//!
//! Input is a table with a header for each source: its name (`events/2` for its second file) and columns. Then come rows,
//! one word a value: `-` is a missing field, `ts` is in seconds. A line that begins with `!` is written as it stands behind it.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
};

use sonic_rs::JsonValueTrait;
use tempfile::TempDir;

use crate::oracle::{
    declared::{Relation, Source, View},
    engine::{Ran, Variation, run},
};

pub struct Case {
    name: &'static str,
    input: &'static str,
    /// One view, or several: `name = SELECT ..; SELECT ..`, of which the last one is compared.
    sql: &'static str,
    /// The key of the compared view, if it is a table.
    key: Option<&'static [&'static str]>,
    lateness_ms: i64,
    expected: &'static str,
}

/// A case whose last view is a stream.
pub fn stream(
    name: &'static str,
    input: &'static str,
    sql: &'static str,
    expected: &'static str,
) -> Case {
    Case {
        name,
        input,
        sql,
        key: None,
        lateness_ms: 0,
        expected,
    }
}

/// A case whose last view is a table with this key.
pub fn table(
    name: &'static str,
    key: &'static [&'static str],
    input: &'static str,
    sql: &'static str,
    expected: &'static str,
) -> Case {
    Case {
        key: Some(key),
        ..stream(name, input, sql, expected)
    }
}

impl Case {
    pub fn late_by(mut self, lateness_ms: i64) -> Self {
        self.lateness_ms = lateness_ms;
        self
    }

    fn views(&self, number: usize) -> Vec<View> {
        let statements: Vec<_> = self.sql.split(';').map(str::trim).collect();
        let mut views = Vec::new();
        for (at, statement) in statements.iter().enumerate() {
            let (name, sql) = match statement.split_once(" = SELECT") {
                Some((name, rest)) if at + 1 < statements.len() => (name, format!("SELECT{rest}")),
                _ => ("result", (*statement).to_owned()),
            };
            views.push(View::stream(&own(number, name), &bound(number, &sql)));
        }
        let result = views.last_mut().unwrap();
        result.lateness_ms = self.lateness_ms;
        if let Some(key) = self.key {
            result.result = Relation::Table(key.iter().map(|k| (*k).to_owned()).collect());
        }
        views
    }
}

/// What every source of this name has as columns.
fn source(kind: &str, name: &str) -> Source {
    match kind {
        "events" => Source::stream(
            name,
            &[
                ("who", "string"),
                ("type", "string"),
                ("ts", "timestamp_ms"),
                ("price", "decimal(12,2)"),
                ("quantity", "bigint"),
                ("score", "double"),
                ("ok", "boolean"),
            ],
            "ts",
            5_000,
        ),
        "orders" => Source::stream(
            name,
            &[
                ("who", "string"),
                ("ts", "timestamp_ms"),
                ("amount", "decimal(12,2)"),
            ],
            "ts",
            5_000,
        ),
        "people" => Source::table(
            name,
            &[
                ("who", "string"),
                ("segment", "string"),
                ("city", "string"),
                ("shop", "string"),
                ("credit", "decimal(12,2)"),
                ("consent", "boolean"),
            ],
            &["who"],
        ),
        "plans" => Source::table(
            name,
            &[("who", "string"), ("plan", "string"), ("seats", "bigint")],
            &["who"],
        ),
        "shops" => Source::table(
            name,
            &[
                ("shop", "string"),
                ("city", "string"),
                ("kind", "string"),
                ("size", "bigint"),
            ],
            &["shop"],
        ),
        other => panic!("no source {other}"),
    }
}

fn is_header(word: &str) -> bool {
    let name = word.split('/').next().unwrap();
    ["events", "orders", "people", "plans", "shops"].contains(&name)
}

/// The name of a case's relation in the job.
fn own(number: usize, name: &str) -> String {
    format!("c{number}_{name}")
}

/// SQL with this case's names in place of those in braces.
fn bound(number: usize, sql: &str) -> String {
    sql.replace('{', &own(number, "")).replace('}', "")
}

/// Writes a case's input and returns its sources.
fn write(case: &Case, number: usize, folder: &Path) -> Vec<Source> {
    let mut sources = BTreeMap::new();
    let mut header: Vec<&str> = Vec::new();
    for line in case
        .input
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        let words: Vec<_> = line.split_whitespace().collect();
        let (kind, file) = match header.first() {
            Some(first) if !is_header(words[0]) => split_header(first),
            _ => split_header(words[0]),
        };
        let source = sources
            .entry(kind.to_owned())
            .or_insert_with(|| source(kind, &own(number, kind)).under(folder));
        fs::create_dir_all(&source.folder).unwrap();
        let path = source.folder.join(format!("{file}.jsonl"));
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        if is_header(words[0]) {
            header = words;
            continue;
        }
        let text = match line.strip_prefix('!') {
            Some(raw) => raw.to_owned(),
            None => record(source, &header[1..], &words),
        };
        writeln!(file, "{text}").unwrap();
    }
    sources.into_values().collect()
}

fn split_header(word: &str) -> (&str, &str) {
    word.split_once('/').unwrap_or((word, "1"))
}

fn record(source: &Source, names: &[&str], words: &[&str]) -> String {
    assert_eq!(names.len(), words.len(), "{words:?} for {names:?}");
    let given = names.iter().zip(words).filter(|(_, word)| **word != "-");
    let field = |(name, word): (&&str, &&str)| {
        let mut columns = source.columns.iter();
        let column = columns.find(|(column, _)| column == name);
        match column.map(|(_, data_type)| data_type.as_str()) {
            Some("string") => format!("{name:?}:{word:?}"),
            Some("timestamp_ms") => {
                let seconds: f64 = word.parse().unwrap();
                format!("{name:?}:{}", (seconds * 1_000.0).round() as i64)
            }
            _ => format!("{name:?}:{word}"),
        }
    };
    format!("{{{}}}", given.map(field).collect::<Vec<_>>().join(","))
}

/// The rows that the sink of a case's last view ends with, in the form of the expected ones, sorted.
fn found(case: &Case, ran: &Ran, view: &View) -> Vec<String> {
    let path = ran.output.join(format!("{}.jsonl", view.name));
    let content = fs::read_to_string(path).unwrap_or_default();
    let mut state = BTreeMap::new();
    for (number, line) in content.lines().enumerate() {
        let fields = sonic_rs::to_object_iter(line).map(|field| {
            let (name, value) = field.unwrap();
            let raw = value.as_raw_str();
            (
                name.to_string(),
                value.as_str().map_or(raw.to_owned(), short),
            )
        });
        let mut fields: Vec<_> = fields.collect();
        let mut key = vec![format!("{number:06}")];
        let mut deleted = false;
        if let Some(names) = case.key {
            deleted = fields.pop() == Some(("_deleted".to_owned(), "true".to_owned()));
            let of_key = fields
                .iter()
                .filter(|(name, _)| names.contains(&name.as_str()));
            key = of_key.map(|(_, value)| value.clone()).collect();
        }
        let values: Vec<_> = fields.into_iter().map(|(_, value)| value).collect();
        match deleted {
            true => state.remove(&key),
            false => state.insert(key, values.join(" ")),
        };
    }
    let mut rows: Vec<_> = state.into_values().collect();
    rows.sort();
    rows
}

/// Times of the first day stand as the time of day.
fn short(text: &str) -> String {
    let time = text.strip_prefix("1970-01-01T").unwrap_or(text);
    time.strip_suffix(".000Z").unwrap_or(time).to_owned()
}

/// Runs the cases in one job and compares; `dead` is the number of records and rows that cannot be processed, `late`
/// that of rows that come too late.
pub fn check(cases: &[Case], dead: u64, late: u64) {
    assert!(cases.len() >= 10, "ten cases for every kind of view");
    let folder = TempDir::new().unwrap();
    let mut sources = Vec::new();
    let mut views = Vec::new();
    let mut results = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        sources.extend(write(case, number, folder.path()));
        views.extend(case.views(number));
        results.push(views.last().cloned().unwrap());
    }
    let variation = Variation {
        workers: 2,
        ..Variation::default()
    };
    let ran = run(folder.path(), &sources, &views, &variation).unwrap_or_else(|e| panic!("{e}"));
    let mut wrong = Vec::new();
    for (case, view) in cases.iter().zip(&results) {
        let rows = case.expected.lines().map(|row| {
            let words: Vec<_> = row.split_whitespace().collect();
            words.join(" ")
        });
        let mut expected: Vec<_> = rows.filter(|row| !row.is_empty()).collect();
        expected.sort();
        let found = found(case, &ran, view);
        if expected != found {
            wrong.push(format!(
                "{}:\n  expected {expected:?}\n  found    {found:?}",
                case.name
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(ran.summary["dead_lettered"], dead, "dead letters");
    assert_eq!(ran.summary["late"], late, "late rows");
}
