//! Measuring: reads what the threads of this process have counted.

use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use tidewright_jobs::plan::{SourceKind, SourcePlan};

use super::{Breaker, Checkpoints, DeadLetterCount, Distribution, Measurements, Sink, Split};
use crate::metrics::frontiers::Frontiers;
use crate::metrics::watermarks::{self, event_time};
use crate::runtime::clock::NO_WATERMARK;
use crate::runtime::context::JobContext;
use crate::runtime::control::SplitReport;
use crate::runtime::epoch::wall_clock_ms;
use crate::runtime::stats::Known;
use crate::runtime::summary::{cpu_seconds, memory_bytes, values};
use crate::sink::driver::{BreakerState, SinkStatus};
use crate::source::{ALIGN_MS, owner_of_split};

impl Measurements {
    /// What this process has measured of its job up to now.
    #[must_use]
    pub fn take(context: &JobContext) -> Self {
        let stats = &*context.stats;
        let known = stats.splits.known();
        let at_ms = wall_clock_ms();
        let frontiers = Frontiers::of(context);
        Self {
            job: context.plan.name.clone(),
            process: context.place.process,
            processes: context.place.processes,
            at_ms,
            started_ms: u64::try_from(context.started_ms).unwrap_or(0),
            generation: context.generation.0,
            workers: context.place.threads,
            running: context.built.load(Ordering::Relaxed) >= context.place.threads,
            records_in: values(&stats.events_in),
            view_rows: values(&stats.view_rows),
            late_rows: values(&stats.late),
            dead_letters: dead_letters(context),
            watermarks: watermarks::relations(&context.plan, &known),
            splits: splits(context, &known, at_ms),
            frontiers,
            operators: stats.activity.times(),
            sinks: context
                .plan
                .sinks
                .iter()
                .map(|sink| measure_sink(context, &sink.name))
                .collect(),
            checkpoints: checkpoints(context),
            delivery_latency: Distribution::of(&stats.delivery_times.counts()),
            state_spilled: stats.state_spilled.get(),
            state_fetched: stats.state_fetched.get(),
            health: None,
            cpu_seconds: cpu_seconds(),
            resident_bytes: memory_bytes("VmRSS:"),
        }
    }
}

fn dead_letters(context: &JobContext) -> Vec<DeadLetterCount> {
    let counts = context.stats.dead_letters.by_cause().into_iter();
    counts
        .map(|((relation, cause), count)| DeadLetterCount {
            relation: relation.to_string(),
            cause,
            count,
        })
        .collect()
}

fn splits(context: &JobContext, known: &Known, at_ms: u64) -> Vec<Split> {
    let split = |report: &SplitReport| {
        let source = &context.plan.sources[report.source];
        let owner = owner_of_split(&source.name, report.split, context.workers);
        Split {
            source: source.name.clone(),
            split: report.name.clone(),
            is_here: context.place.is_here(owner),
            next_offset: report.next_offset,
            records_behind: report
                .behind
                .map(|records| u64::try_from(records).unwrap_or(0)),
            seconds_behind: seconds_behind(report, at_ms),
            watermark_ms: event_time(report.watermark),
            idle: report.idle,
            finished: report.finished,
            holds_watermark: watermarks::holds(&context.plan, known, report),
            held: is_held(context, known, report),
        }
    };
    known.splits.values().map(split).collect()
}

/// Streams wait for tables on a fresh start, and splits far ahead in event time for the others.
fn is_held(context: &JobContext, known: &Known, report: &SplitReport) -> bool {
    let source = &context.plan.sources[report.source];
    let is_table = |source: &SourcePlan| matches!(source.kind, SourceKind::Table { .. });
    if is_table(source) {
        return false;
    }
    let behind = |split: &SplitReport| {
        is_table(&context.plan.sources[split.source]) && !split.caught_up && !split.finished
    };
    let waits = context.tables_first() && (!known.ready || known.splits.values().any(behind));
    let watermark = known.watermarks.get(source.node.0).copied();
    let watermark = watermark.filter(|watermark| *watermark != NO_WATERMARK);
    let is_ahead = |watermark: i64| report.watermark > watermark.saturating_add(ALIGN_MS);
    waits || watermark.is_some_and(is_ahead)
}

/// Zero at the end, else the time up to which the split has been read tells.
fn seconds_behind(report: &SplitReport, at_ms: u64) -> Option<f64> {
    match (report.behind, report.read_through_ms) {
        (Some(0), _) => Some(0.0),
        (_, Some(through)) => Some(at_ms.saturating_sub(through) as f64 / 1000.0),
        _ => None,
    }
}

fn measure_sink(context: &JobContext, sink: &str) -> Sink {
    let stats = &*context.stats;
    let writers = stats.sinks.of(sink);
    let sum = |of: fn(&SinkStatus) -> u64| writers.iter().map(|writer| of(writer)).sum::<u64>();
    let failing = writers.iter().filter_map(|writer| writer.failing());
    let failing = failing.min_by_key(|failing| failing.since);
    let breakers = writers.iter().map(|writer| Breaker::of(writer.breaker()));
    Sink {
        sink: sink.to_owned(),
        rows: stats.sink_rows[sink].get(),
        delivered_ms: context.wall_clock_of(stats.delivered[sink].get()),
        outbox_rows: stats.outbox_rows[sink].get(),
        outbox_bytes: stats.outbox_bytes[sink].get(),
        outbox_limit_bytes: context.settings.outbox_bytes as u64,
        breaker: breakers.max().unwrap_or_default(),
        failing_since_ms: failing.as_ref().map(|failing| since_1970(failing.since)),
        error: failing.map(|failing| failing.error),
        failed_attempts: sum(SinkStatus::failed_attempts),
        refused_rows: sum(SinkStatus::rows_refused),
    }
}

fn since_1970(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Breaker {
    fn of(state: BreakerState) -> Self {
        match state {
            BreakerState::Closed => Self::Closed,
            BreakerState::Open => Self::Open,
            BreakerState::HalfOpen => Self::HalfOpen,
        }
    }
}

fn checkpoints(context: &JobContext) -> Checkpoints {
    let stats = &*context.stats;
    let published = stats.published_ms.get();
    let uncovered = stats.ingest_times.first_after(stats.durable.get());
    let interval = context.settings.checkpoint_interval.as_millis();
    Checkpoints {
        count: stats.checkpoints.get(),
        written_bytes: stats.checkpoint_bytes.get(),
        last_bytes: stats.checkpoint_last_bytes.get(),
        last_duration_s: stats.checkpoint_last_micros.get() as f64 / 1e6,
        last_published_ms: (published > 0).then_some(published),
        uncovered_s: uncovered.map(|since| since.elapsed().as_secs_f64()),
        interval_ms: u64::try_from(interval).unwrap_or(u64::MAX),
        durations: Distribution::of(&stats.checkpoint_times.counts()),
    }
}
