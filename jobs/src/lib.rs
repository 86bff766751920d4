//! What a job says: from the job file to a checked plan. SQL planning lives here; nothing runs here.
//!
//! [`compile`] reads a job file, checks everything that needs no connection, and returns a [`plan::Plan`] with the
//! job's settings, or every mistake that it found with line, column and how to mend it.
//!
//! ```
//! let file = "
//! name: visits
//! sources:
//!   events:
//!     files: { path: events.jsonl }
//!     schema: { user_id: string, ts: timestamp_ms }
//!     event_time: { column: ts, out_of_orderness: 5s }
//! views:
//!   visits_1m: |
//!     SELECT user_id, window_start, count(*) AS visits
//!     FROM tumble(events, INTERVAL '1 minute') GROUP BY user_id, window_start
//! sinks:
//!   out: { from: visits_1m, stdout: {} }
//! ";
//! let compiled = tidewright_jobs::compile("visits.yaml", file, &[], &|_| None)?;
//! assert_eq!(compiled.plan.views[0].0, "visits_1m");
//! # Ok::<(), tidewright_jobs::Diagnostics>(())
//! ```

mod check;
mod compile;
mod definition;
mod diagnostics;
mod explain;
pub mod job;
pub mod plan;
mod planner;
mod reference;
mod shadow;
mod sql;
mod tree;
pub mod units;

pub use self::compile::{
    CheckpointSettings, Compiled, JobSettings, StateSettings, compile, compile_in, compile_with,
};
pub use self::definition::{Definition, SinkDefinition, SourceDefinition, ViewDefinition};
pub use self::diagnostics::{Diagnostic, Diagnostics, Position, Warning};
pub use self::explain::{describe_operator, explain, explain_json};
pub use self::reference::{json_schema, reference_markdown};
pub use self::sql::batch;
pub use self::tree::{MissingEnv, Surroundings};
