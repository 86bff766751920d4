//! What can be asked of a running job, and what it answers.
//!
//! ```text
//! {"get":{"relation":"customer","key":"u1"}}     {"row":{..}} or {"not_found":".."}
//! {"status":{}}                                  {"status":{..}}, a JobStatus of all processes
//! {"lag":{}}                                     {"lag":{..}}, a Lag
//! {"health":{}}                                  {"health":{..}}, a Health
//! {"metrics":{}}                                 {"metrics":[..]}, the Measurements of each process
//! {"savepoint":{"to":null}}                      {"savepoint":{"location":"..","epoch":1,"bytes":2}} once it is complete
//! {"stop":{"savepoint":false,"drain":false}}     {"stopping":{"generation":1}} at once; with a savepoint, {"savepoint":{..}} follows
//! {"tap":{"relation":"customer","limit":10}}     {"tapped":{..}}, again and again, until one says how it ended
//! ```
//! Any request may be answered by `{"refused":"why"}`. A request with a savepoint may take long: its connection stays
//! open meanwhile, and others are answered on theirs. If the connection ends without the answer, the job has ended.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::status::JobStatus;
use crate::metrics::health::Health;
use crate::metrics::lag::Lag;
use crate::metrics::measurements::Measurements;
pub use crate::runtime::savepoints::SavepointTaken;
use crate::runtime::tap::RATE_DEFAULT;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// A row of an embedded store.
    Get {
        /// The sink, or the view that it is fed from.
        relation: String,
        /// The key as text.
        key: String,
    },
    /// How the job is doing.
    Status {},
    /// How far it is behind.
    Lag {},
    /// Whether it does what it should.
    Health {},
    /// What its processes have measured.
    Metrics {},
    /// A savepoint, while the job goes on.
    Savepoint {
        /// Where it goes: the URL of a folder of its own, `file:///..` or `s3://..`. `null`: below the job's checkpoint store.
        #[serde(default)]
        to: Option<String>,
    },
    /// The job's end, with a final checkpoint.
    Stop {
        /// Whether a savepoint is made of that checkpoint, and where.
        #[serde(default)]
        savepoint: StopSavepoint,
        /// Whether the input ends first, so that all windows close. Who wants to go on later must not drain.
        #[serde(default)]
        drain: bool,
    },
    /// Rows of a view or source, as they pass. It ends when the client goes, too.
    Tap(TapRequest),
}

/// Which rows are shown, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapRequest {
    /// The view or source.
    pub relation: String,
    /// How many rows; without end if absent.
    #[serde(default)]
    pub limit: Option<u64>,
    /// For how long, in seconds; without end if absent.
    #[serde(default)]
    pub seconds: Option<u64>,
    /// One row of so many.
    #[serde(default = "every_row")]
    pub every: u64,
    /// At most so many rows a second.
    #[serde(default = "default_rate")]
    pub rate: u32,
}

fn every_row() -> u64 {
    1
}

fn default_rate() -> u32 {
    RATE_DEFAULT
}

/// Whether a job that stops leaves a savepoint: `false`, `true` (below the job's checkpoint store), or a URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StopSavepoint {
    /// None, or one at the default place.
    Wanted(bool),
    /// One here.
    To(String),
}

impl Default for StopSavepoint {
    fn default() -> Self {
        Self::Wanted(false)
    }
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The row.
    Row(serde_json::Value),
    /// There is no such row.
    NotFound(String),
    /// How the job is doing.
    Status(Box<JobStatus>),
    /// How far it is behind.
    Lag(Box<Lag>),
    /// Whether it does what it should.
    Health(Health),
    /// What its processes have measured.
    Metrics(Vec<Measurements>),
    /// The savepoint is complete and durable.
    Savepoint(SavepointTaken),
    /// The job is going to end.
    Stopping(Stopping),
    /// Rows that have passed since the last answer: some every second, or none.
    Tapped(Tapped),
    /// The request makes no sense here, or failed; the job goes on as before.
    Refused(String),
}

/// A stop that has been accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    /// The claim of the process that ends.
    pub generation: u64,
}

/// Some rows that a tap shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tapped {
    /// Rows and changes, each the text of a JSON object.
    pub lines: Vec<String>,
    /// Rows that have passed since the tap was opened and were not shown.
    pub left_out: u64,
    /// Why this is the last answer; `null` if it isn't.
    pub ended: Option<TapEnd>,
}

/// Why a tap has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TapEnd {
    /// As many rows as were wanted.
    Limit,
    /// As long as was wanted.
    Time,
    /// The job has ended.
    Job,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(request: &Request, json: &str) {
        assert_eq!(serde_json::to_string(request).expect("has a form"), json);
        let read: Request = serde_json::from_str(json).expect("is a request");
        assert_eq!(read, *request);
    }

    #[test]
    fn requests_have_the_documented_forms() {
        check(&Request::Status {}, r#"{"status":{}}"#);
        check(
            &Request::Savepoint { to: None },
            r#"{"savepoint":{"to":null}}"#,
        );
        let stop = |savepoint, drain| Request::Stop { savepoint, drain };
        check(
            &stop(StopSavepoint::Wanted(true), false),
            r#"{"stop":{"savepoint":true,"drain":false}}"#,
        );
        check(
            &stop(StopSavepoint::To("s3://b/p".to_owned()), true),
            r#"{"stop":{"savepoint":"s3://b/p","drain":true}}"#,
        );
        let short: Request = serde_json::from_str(r#"{"stop":{}}"#).expect("is a request");
        assert_eq!(short, stop(StopSavepoint::Wanted(false), false));
        let tap = r#"{"tap":{"relation":"customer","limit":10}}"#;
        let tap: Request = serde_json::from_str(tap).expect("is a request");
        let full =
            r#"{"tap":{"relation":"customer","limit":10,"seconds":null,"every":1,"rate":100}}"#;
        check(&tap, full);
    }
}
