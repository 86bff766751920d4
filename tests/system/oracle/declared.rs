//! What a test declares: sources, views, and how exact a view's doubles are.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::harness::jobfile::{JobFile, with};

/// A source of JSON records. Every file of its folder is a split, or every partition of its topic.
#[derive(Clone, Debug)]
pub struct Source {
    pub name: String,
    /// Names and types, as the job file declares them.
    pub columns: Vec<(String, String)>,
    pub kind: Kind,
    pub folder: PathBuf,
    /// What generates the records, where they are not in files. Its columns are built in.
    pub generator: Option<Value>,
    /// The `kafka` entry, where the records are in a topic.
    pub topic: Option<Value>,
}

/// What the records of a source mean.
#[derive(Clone, Debug)]
pub enum Kind {
    Stream { time: String, bound_ms: i64 },
    Table { key: Vec<String> },
}

/// How doubles are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubles {
    /// To the last bit.
    Exact,
    /// To nine digits: sums over several splits or tiles depend on the order of addition.
    Rounded,
}

/// A view of the job under test.
#[derive(Clone, Debug)]
pub struct View {
    pub name: String,
    pub sql: String,
    /// Allowed lateness in milliseconds; 0 is none.
    pub lateness_ms: i64,
    pub result: Relation,
    pub doubles: Doubles,
    /// Columns that identify a stream's row: where doubles are rounded, rows must find each other by something else.
    pub identity: Vec<String>,
}

/// What a view's rows mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Append-only; every row counts.
    Stream,
    /// By these columns; the last row of a key counts.
    Table(Vec<String>),
}

impl Source {
    pub fn stream(name: &str, columns: &[(&str, &str)], time: &str, bound_ms: i64) -> Self {
        let time = time.to_owned();
        Self::new(name, columns, Kind::Stream { time, bound_ms })
    }

    pub fn table(name: &str, columns: &[(&str, &str)], key: &[&str]) -> Self {
        Self::new(name, columns, Kind::Table { key: owned(key) })
    }

    fn new(name: &str, columns: &[(&str, &str)], kind: Kind) -> Self {
        let columns = columns.iter();
        Self {
            name: name.to_owned(),
            columns: columns
                .map(|(n, t)| ((*n).to_owned(), (*t).to_owned()))
                .collect(),
            kind,
            folder: PathBuf::new(),
            generator: None,
            topic: None,
        }
    }

    /// The same source with its files in `folder/NAME`.
    pub fn under(mut self, folder: &Path) -> Self {
        self.folder = folder.join(&self.name);
        self
    }

    /// Its entry in a job file.
    pub fn entry(&self) -> Value {
        let meaning = match &self.kind {
            Kind::Stream { time, bound_ms } => json!({
                "event_time": { "column": time, "out_of_orderness": format!("{bound_ms}ms") },
            }),
            Kind::Table { key } => json!({ "primary_key": key }),
        };
        if let Some(generator) = &self.generator {
            return with(json!({ "datagen": generator }), meaning);
        }
        let columns = self.columns.iter();
        let schema: Map<String, Value> = columns.map(|(n, t)| (n.clone(), json!(t))).collect();
        let connector = match &self.topic {
            Some(kafka) => json!({ "kafka": kafka }),
            None => json!({ "files": { "path": self.folder } }),
        };
        let records = with(connector, json!({ "format": "json", "schema": schema }));
        with(records, meaning)
    }
}

impl View {
    /// A view whose rows are append-only.
    pub fn stream(name: &str, sql: &str) -> Self {
        Self {
            name: name.to_owned(),
            sql: sql.to_owned(),
            lateness_ms: 0,
            result: Relation::Stream,
            doubles: Doubles::Exact,
            identity: Vec::new(),
        }
    }

    /// A view whose rows change, by its key.
    pub fn table(name: &str, key: &[&str], sql: &str) -> Self {
        Self {
            result: Relation::Table(owned(key)),
            ..Self::stream(name, sql)
        }
    }

    pub fn late_by(mut self, lateness_ms: i64) -> Self {
        self.lateness_ms = lateness_ms;
        self
    }

    /// A table whose doubles may be rounded.
    pub fn rounded(mut self) -> Self {
        self.doubles = Doubles::Rounded;
        self
    }

    /// A stream whose doubles may be rounded.
    pub fn rounded_by(mut self, identity: &[&str]) -> Self {
        self.identity = owned(identity);
        self.rounded()
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A job of these sources and views, with a file for every view, for late rows and for dead letters in `output`.
pub fn job(name: &str, sources: &[Source], views: &[View], output: &Path) -> JobFile {
    let mut job = JobFile::new(name);
    for source in sources {
        job = job.source(&source.name, source.entry());
    }
    let file = |name: &str| json!({ "path": output.join(format!("{name}.jsonl")) });
    for view in views {
        job = match view.lateness_ms {
            0 => job.view(&view.name, &view.sql),
            ms => job.view_with_lateness(&view.name, &view.sql, &format!("{ms}ms")),
        };
        let sink = json!({ "from": view.name, "files": file(&view.name) });
        job = job.sink(&format!("to_{}", view.name), sink);
    }
    job.key("dead_letter", json!({ "files": file("dead_letter") }))
        .key("late", json!({ "files": file("late") }))
}
