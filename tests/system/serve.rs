//! The control plane: `tidewright serve`, its REST API and the commands that ask it.

mod api;
mod changes;
mod command_line;
mod files;
mod kills;
mod limits;
mod logs;
mod processes;
mod savepoints;
mod secrets;
mod supervision;
mod tap;

use serde_json::{Value, json};

/// A job that makes and counts events for ever, with nothing else running; `count` ends it.
pub fn counting(name: &str, count: Option<u64>) -> String {
    let count = count.map_or_else(String::new, |count| format!(", count: {count}"));
    format!(
        "name: {name}
sources:
  events:
    datagen: {{ kind: events, seed: 1, users: 50, rate: 500{count} }}
    event_time: {{ column: ts, out_of_orderness: 5s }}
views:
  counts: |
    SELECT user_id, count(*) AS events
    FROM rolling(events, INTERVAL '1 day', INTERVAL '1 hour') GROUP BY user_id
sinks:
  store: {{ from: counts, embedded: {{ path: counts.redb }} }}
"
    )
}

/// The request that submits a job file.
pub fn submission(file: &str) -> Value {
    json!({ "file": file })
}
