//! A trace of each published checkpoint, for whoever exports traces; nothing is recorded otherwise.
//!
//! ```text
//!  checkpoint     |──────────────────────────────|  from its marker to its publication
//!  write state    |──────────────────|              until the part of every worker is durable, in whichever process
//!  publish                           |───────────|  the manifest, and the swap of HEAD
//! ```

use std::time::{Instant, SystemTime};

use opentelemetry::trace::{Span, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, global};

use super::control::MarkerKind;

/// A checkpoint on its way.
#[derive(Clone, Copy, Debug)]
pub struct UnderWay {
    /// Its epoch.
    pub epoch: u64,
    /// Why it is taken.
    pub kind: MarkerKind,
    /// Files of state that it adds.
    pub files: usize,
    /// When its marker came.
    pub marked: Instant,
    /// When the state of all workers was durable.
    pub durable: Instant,
}

impl UnderWay {
    /// Records that it has been published now. `job`: whose it is; a process that makes views again runs a shadow too.
    pub fn published(&self, job: &str) {
        let tracer = global::tracer("tidewright");
        let (now, end) = (Instant::now(), SystemTime::now());
        let wall_clock = |at: Instant| end.checked_sub(now.duration_since(at)).unwrap_or(end);
        let whole = tracer.span_builder("checkpoint");
        let whole = whole.with_start_time(wall_clock(self.marked));
        let mut whole = tracer.build_with_context(whole, &Context::new());
        if !whole.is_recording() {
            return;
        }
        whole.set_attributes(self.attributes(job));
        let within = Context::new().with_remote_span_context(whole.span_context().clone());
        for (name, from, to) in [
            ("write state", self.marked, self.durable),
            ("publish", self.durable, now),
        ] {
            let step = tracer.span_builder(name).with_start_time(wall_clock(from));
            let mut step = tracer.build_with_context(step, &within);
            step.end_with_timestamp(wall_clock(to));
        }
        whole.end_with_timestamp(end);
    }

    fn attributes(&self, job: &str) -> Vec<KeyValue> {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let kind = match self.kind {
            MarkerKind::Periodic => "periodic",
            MarkerKind::Savepoint => "savepoint",
            MarkerKind::Final => "final",
        };
        vec![
            KeyValue::new("tidewright.checkpoint.job", job.to_owned()),
            KeyValue::new("tidewright.checkpoint.epoch", number(self.epoch)),
            KeyValue::new("tidewright.checkpoint.kind", kind),
            KeyValue::new("tidewright.checkpoint.files", number(self.files as u64)),
        ]
    }
}
