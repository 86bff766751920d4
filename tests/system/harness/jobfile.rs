//! Job files from their parts.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

/// A job file in the making; parts are written in the order in which they come.
#[derive(Clone, Debug, Default)]
pub struct JobFile {
    name: String,
    sources: Vec<(String, Value)>,
    views: Vec<JobView>,
    sinks: Vec<(String, Value)>,
    rest: Vec<(String, Value)>,
}

#[derive(Clone, Debug)]
struct JobView {
    name: String,
    sql: String,
    lateness: Option<String>,
}

impl JobFile {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// Adds a source: the whole of its entry.
    pub fn source(mut self, name: &str, entry: Value) -> Self {
        self.sources.push((name.to_owned(), entry));
        self
    }

    /// Adds a view: its SQL.
    pub fn view(self, name: &str, sql: &str) -> Self {
        self.add_view(name, sql, None)
    }

    /// Adds a view of tumbling windows that accept rows for a while after their end.
    pub fn view_with_lateness(self, name: &str, sql: &str, lateness: &str) -> Self {
        self.add_view(name, sql, Some(lateness.to_owned()))
    }

    fn add_view(mut self, name: &str, sql: &str, lateness: Option<String>) -> Self {
        self.views.push(JobView {
            name: name.to_owned(),
            sql: sql.to_owned(),
            lateness,
        });
        self
    }

    /// Adds a sink: the whole of its entry, `from` included.
    pub fn sink(mut self, name: &str, entry: Value) -> Self {
        self.sinks.push((name.to_owned(), entry));
        self
    }

    /// Adds any other key of the job file: `dead_letter`, `late`, `checkpoint`.
    pub fn key(mut self, name: &str, value: Value) -> Self {
        self.rest.push((name.to_owned(), value));
        self
    }

    /// Checkpoints into this folder.
    pub fn checkpoints(self, interval: &str, folder: &Path) -> Self {
        let store = format!("file://{}", folder.display());
        self.key(
            "checkpoint",
            json!({ "interval": interval, "store": store }),
        )
    }

    /// The job file's text. Entries are JSON, which YAML contains; SQL stands in blocks, as people write it.
    pub fn render(&self) -> String {
        let mut text = format!("name: {}\n", Value::from(self.name.as_str()));
        section(&mut text, "sources", &self.sources);
        if !self.views.is_empty() {
            text.push_str("views:\n");
        }
        for view in &self.views {
            view.render(&mut text);
        }
        section(&mut text, "sinks", &self.sinks);
        for (name, value) in &self.rest {
            let _ = writeln!(text, "{name}: {value}");
        }
        text
    }

    /// Writes the job file into a folder and returns its path.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join(format!("{}.yaml", self.name));
        fs::write(&path, self.render()).unwrap();
        path
    }
}

impl JobView {
    fn render(&self, text: &mut String) {
        let Self {
            name,
            sql,
            lateness,
        } = self;
        let indent = match lateness {
            None => {
                let _ = writeln!(text, "  {name}: |");
                "    "
            }
            Some(lateness) => {
                let _ = writeln!(text, "  {name}:\n    lateness: {lateness}\n    sql: |");
                "      "
            }
        };
        for line in sql.trim().lines() {
            let _ = writeln!(text, "{indent}{}", line.trim());
        }
    }
}

fn section(text: &mut String, name: &str, entries: &[(String, Value)]) {
    if entries.is_empty() {
        return;
    }
    let _ = writeln!(text, "{name}:");
    for (name, entry) in entries {
        let _ = writeln!(text, "  {name}: {entry}");
    }
}

/// The connector of a topic, read from its beginning.
pub fn from_kafka(brokers: &str, topic: &str) -> Value {
    json!({ "kafka": { "brokers": brokers, "topic": topic, "start": "earliest" } })
}

/// The connector of a file, a folder or a pattern.
pub fn from_files(path: &Path) -> Value {
    json!({ "files": { "path": path } })
}

/// A source of [`super::input::Events`], with the fields that the main job uses.
pub fn events(connector: Value, out_of_orderness: &str) -> Value {
    with(
        connector,
        json!({
            "format": "json",
            "schema": {
                "event_id": "string", "user_id": "string", "type": "string", "ts": "timestamp_ms",
                "price": "decimal(12,2)", "quantity": "bigint", "category": "string",
            },
            "event_time": { "column": "ts", "out_of_orderness": out_of_orderness },
        }),
    )
}

/// A source of [`super::input::Profiles`].
pub fn profiles(connector: Value) -> Value {
    with(
        connector,
        json!({
            "format": "json",
            "primary_key": ["user_id"],
            "schema": {
                "user_id": "string", "email": "string", "segment": "string", "consent": "boolean",
            },
        }),
    )
}

/// One entry out of two.
pub fn with(mut entry: Value, more: Value) -> Value {
    if let (Value::Object(entry), Value::Object(more)) = (&mut entry, more) {
        entry.extend(more);
    }
    entry
}
