//! All metrics: their names, units, labels and meaning. docs/metrics.md is made from this list.
//!
//! Names follow Prometheus' conventions, `tidewright_<name>_<unit>` and `_total` behind counters, and stay as they are:
//! dashboards and alerts rely on them.

use prometheus_client::registry::Unit;

/// What comes before every name.
pub const PREFIX: &str = "tidewright";

/// One metric.
#[derive(Debug)]
pub struct Metric {
    /// Its name without prefix, unit and `_total`.
    pub name: &'static str,
    /// How its values behave.
    pub kind: Kind,
    /// The unit of its values.
    pub unit: Option<UnitName>,
    /// Labels, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// How values behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Grows, and begins anew with the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts in buckets.
    Histogram,
}

/// A unit as names spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitName {
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Records of a source.
    Records,
    /// Rows of a view.
    Rows,
}

impl UnitName {
    /// As the exposition wants it.
    #[must_use]
    pub fn unit(self) -> Unit {
        match self {
            Self::Seconds => Unit::Seconds,
            Self::Bytes => Unit::Bytes,
            Self::Records => Unit::Other("records".to_owned()),
            Self::Rows => Unit::Other("rows".to_owned()),
        }
    }

    /// As OpenTelemetry spells it (UCUM).
    #[must_use]
    pub fn ucum(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Bytes => "By",
            Self::Records => "{record}",
            Self::Rows => "{row}",
        }
    }
}

impl Metric {
    /// The whole name.
    #[must_use]
    pub fn full_name(&self) -> String {
        let unit = self.unit.map(|unit| format!("_{}", unit.unit().as_str()));
        let total = match self.kind {
            Kind::Counter => "_total",
            Kind::Gauge | Kind::Histogram => "",
        };
        format!("{PREFIX}_{}{}{total}", self.name, unit.unwrap_or_default())
    }
}

macro_rules! metrics {
    ($($constant:ident: $kind:ident $name:literal $($unit:ident)?, [$($label:literal),*], $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                unit: metrics!(@unit $($unit)?),
                labels: &[$($label),*],
                help: $help,
            };
        )*
        /// All of them, in the order in which they are shown.
        pub const ALL: &[&Metric] = &[$(&$constant),*];
    };
    (@unit) => { None };
    (@unit $unit:ident) => { Some(UnitName::$unit) };
}

metrics! {
    JOB_START: Gauge "job_start_timestamp" Seconds, ["job", "process"],
        "When this process started the job, as seconds since 1970";
    JOB_RUNNING: Gauge "job_running", ["job", "process"],
        "1 once all workers of the process have restored their state, 0 before";
    JOB_HEALTH: Gauge "job_health", ["job", "process", "verdict"],
        "1 for the verdict about the job: healthy, degraded, unhealthy; from process 0";
    JOB_PROBLEM: Gauge "job_problem", ["job", "process", "problem", "subject", "severity"],
        "1 for each problem that the verdict is made of, absent without; the subject is a sink, a split (source/split), a source or view";
    SOURCE_RECORDS: Counter "source_records", ["job", "process", "source"],
        "Records read";
    SPLIT_BEHIND_RECORDS: Gauge "split_behind" Records, ["job", "process", "source", "split"],
        "Records between the job's position and the end of the split; absent where nobody knows";
    SPLIT_BEHIND_SECONDS: Gauge "split_behind" Seconds, ["job", "process", "source", "split"],
        "What was in the split so many seconds ago has been read; 0 at the end, absent where nobody knows";
    SPLIT_POSITION: Gauge "split_next_offset", ["job", "process", "source", "split"],
        "The offset of the next record: of files a position in bytes";
    SPLIT_WATERMARK: Gauge "split_watermark_timestamp" Seconds, ["job", "process", "source", "split"],
        "Largest event time seen in the split minus the bound, as seconds since 1970; absent before the first";
    SPLIT_IDLE: Gauge "split_idle", ["job", "process", "source", "split"],
        "1 if the split has been at its end for idle_after, and does not hold the watermark";
    SPLIT_HOLDS_WATERMARK: Gauge "split_holds_watermark", ["job", "process", "source", "split"],
        "1 if the source's watermark is where this split's is, and waits for it";
    WATERMARK: Gauge "watermark_timestamp" Seconds, ["job", "process", "relation"],
        "How far event time has come in a source or view, as seconds since 1970: windows that end by then are closed";
    VIEW_ROWS: Counter "view_rows", ["job", "process", "view"],
        "Rows made; of a table those that came or changed";
    LATE_ROWS: Counter "late_rows", ["job", "process", "view"],
        "Rows that came after what they belong to was final";
    DEAD_LETTERS: Counter "dead_letters", ["job", "process", "relation", "reason"],
        "Records and rows that could not be processed: decode, event_time, partition (of another key), expression, refused (by a store)";
    OPERATOR_BUSY: Counter "operator_busy" Seconds, ["job", "process", "worker", "operator"],
        "Time that an operator worked; of read/SOURCE the CPU time of its thread";
    OPERATOR_BACKPRESSURED: Counter "operator_backpressured" Seconds, ["job", "process", "worker", "operator"],
        "Time that an operator had something but waited until others had taken it: only sources wait, and their readers";
    OPERATOR_IDLE: Counter "operator_idle" Seconds, ["job", "process", "worker", "operator"],
        "Time that an operator had nothing to do";
    FRONTIER: Gauge "frontier_timestamp" Seconds, ["job", "process", "frontier"],
        "When the last epoch behind a frontier was current, as seconds since 1970: ingested, computed, durable, delivered";
    SINK_ROWS: Counter "sink_rows", ["job", "process", "sink"],
        "Rows that the store has acknowledged";
    SINK_DELIVERED: Gauge "sink_delivered_timestamp" Seconds, ["job", "process", "sink"],
        "When the last epoch was current that the store has whole, as seconds since 1970";
    OUTBOX_ROWS: Gauge "sink_outbox" Rows, ["job", "process", "sink"],
        "Rows that wait for the store, as of the last checkpoint or acknowledgement";
    OUTBOX_BYTES: Gauge "sink_outbox" Bytes, ["job", "process", "sink"],
        "Bytes that wait for the store";
    OUTBOX_LIMIT: Gauge "sink_outbox_limit" Bytes, ["job", "process", "sink"],
        "From so many waiting bytes on, sources wait for the sink";
    BREAKER: Gauge "sink_breaker_state", ["job", "process", "sink", "state"],
        "1 for the state of the circuit breaker in front of the store: closed (it works), open (it is down), half_open (it is tried again)";
    SINK_FAILING: Gauge "sink_failing" Seconds, ["job", "process", "sink"],
        "For how long attempts have failed; 0 if the last one worked";
    SINK_FAILED: Counter "sink_failed_attempts", ["job", "process", "sink"],
        "Attempts that failed and were made again";
    SINK_REFUSED: Counter "sink_refused_rows", ["job", "process", "sink"],
        "Rows that the store refused for good: they are dead letters";
    CHECKPOINTS: Counter "checkpoints", ["job", "process"],
        "Checkpoints published; by process 0";
    CHECKPOINT_WRITTEN: Counter "checkpoint_written" Bytes, ["job", "process"],
        "Bytes of state files, manifests and compaction";
    CHECKPOINT_SIZE: Gauge "checkpoint_last_size" Bytes, ["job", "process"],
        "Bytes of state files and manifest that the last checkpoint wrote";
    CHECKPOINT_LAST_DURATION: Gauge "checkpoint_last_duration" Seconds, ["job", "process"],
        "From marker to publication of the last checkpoint";
    CHECKPOINT_AGE: Gauge "checkpoint_age" Seconds, ["job", "process"],
        "Since the last checkpoint was published; grows while nothing changes";
    CHECKPOINT_UNCOVERED: Gauge "checkpoint_uncovered" Seconds, ["job", "process"],
        "For how long the oldest record that no checkpoint covers has been waiting for one; 0 if all are covered";
    CHECKPOINT_DURATION: Histogram "checkpoint_duration" Seconds, ["job", "process"],
        "From marker to publication";
    DELIVERY_LATENCY: Histogram "delivery_latency" Seconds, ["job", "process"],
        "From a record's ingestion to the delivery of what it has made to all sinks, by record";
    STATE_SPILLED: Counter "state_spilled_keys", ["job", "process"],
        "Keys moved to local disk, where state may be larger than memory";
    STATE_FETCHED: Counter "state_fetched_keys", ["job", "process"],
        "Keys brought back from local disk";
    PROCESS_CPU: Counter "process_cpu" Seconds, ["job", "process"],
        "CPU time of the job's process, user and system";
    PROCESS_MEMORY: Gauge "process_resident_memory" Bytes, ["job", "process"],
        "Resident memory of the job's process";
    SERVER_JOB_STATE: Gauge "server_job_state", ["job", "state"],
        "1 for the state of a server's job: created, running, restarting, failing, failed, cancelling, canceled, finished, suspended";
    SERVER_JOB_ANSWERS: Gauge "server_job_answers", ["job"],
        "1 if a job that has processes has told its measurements to the server just now; if 0, its other metrics are missing";
    SERVER_JOB_RESTARTS: Counter "server_job_restarts", ["job"],
        "Starts after the first one, since the job was submitted";
    SERVER_JOB_FAILURES: Gauge "server_job_failures", ["job"],
        "Failures in a row; three are a crash loop";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn names_are_unique_and_of_the_conventional_form() {
        let names: BTreeSet<_> = ALL.iter().map(|metric| metric.full_name()).collect();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            let name = metric.full_name();
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(name.bytes().all(plain), "{name}");
            assert_eq!(
                name.ends_with("_total"),
                metric.kind == Kind::Counter,
                "{name}"
            );
            assert!(
                !metric.help.ends_with('.'),
                "{name}: the exposition adds none"
            );
        }
    }

    fn table() -> String {
        let mut text = String::new();
        for metric in ALL {
            let kind = format!("{:?}", metric.kind).to_lowercase();
            let labels: Vec<_> = metric
                .labels
                .iter()
                .map(|label| format!("`{label}`"))
                .collect();
            let (name, labels) = (metric.full_name(), labels.join(", "));
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| `{name}` | {kind} | {labels} | {} |", metric.help);
        }
        text
    }

    /// `UPDATE_DOCS=1 cargo test --workspace --lib catalogue` writes the table anew.
    #[test]
    fn the_documented_table_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        let text = std::fs::read_to_string(path).unwrap();
        let (head, rest) = text.split_once("|---|---|---|---|\n").unwrap();
        let (_, tail) = rest.split_once("\n\n").unwrap();
        let now = format!("{head}|---|---|---|---|\n{}\n{tail}", table());
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &now).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap();
        assert!(
            now == kept,
            "docs/metrics.md is out of date: UPDATE_DOCS=1 cargo test --workspace --lib catalogue"
        );
    }
}
