//! What a process of a job has measured, as samples.

use super::{Exposition, Value};
use crate::metrics::catalogue as all;
use crate::metrics::health::{Health, Verdict};
use crate::metrics::measurements::{Breaker, Measurements, Sink, Split};

/// Adds everything that a process has measured.
pub(super) fn add(exposition: &mut Exposition, measured: &Measurements) {
    let process = measured.process.to_string();
    let of = [&*measured.job, &process];
    let mut add = |metric: &all::Metric, labels: &[&str], value: f64| {
        exposition.add(metric, &[&of[..], labels].concat(), value);
    };
    add(&all::JOB_START, &[], seconds(measured.started_ms));
    add(&all::JOB_RUNNING, &[], flag(measured.running));
    if let Some(health) = &measured.health {
        add_health(&mut add, health);
    }
    for (source, records) in &measured.records_in {
        add(&all::SOURCE_RECORDS, &[source], *records as f64);
    }
    for split in measured.splits.iter().filter(|split| split.is_here) {
        add_split(&mut add, split);
    }
    for relation in &measured.watermarks {
        if let Some(watermark) = relation.watermark_ms {
            let labels = [&*relation.relation];
            add(&all::WATERMARK, &labels, watermark as f64 / 1000.0);
        }
    }
    for (view, rows) in &measured.view_rows {
        add(&all::VIEW_ROWS, &[view], *rows as f64);
    }
    for (view, rows) in &measured.late_rows {
        add(&all::LATE_ROWS, &[view], *rows as f64);
    }
    for letters in &measured.dead_letters {
        let labels = [&*letters.relation, letters.cause.name()];
        add(&all::DEAD_LETTERS, &labels, letters.count as f64);
    }
    for time in &measured.operators {
        let worker = time.worker.to_string();
        let labels = [&*worker, &*time.operator];
        add(&all::OPERATOR_BUSY, &labels, time.busy_s);
        add(&all::OPERATOR_BACKPRESSURED, &labels, time.backpressured_s);
        add(&all::OPERATOR_IDLE, &labels, time.idle_s);
    }
    for (name, frontier) in measured.frontiers.named() {
        add(&all::FRONTIER, &[name], seconds(frontier.wall_clock_ms));
    }
    for sink in &measured.sinks {
        add_sink(&mut add, sink, measured.at_ms);
    }
    add_checkpoints(&mut add, measured);
    add(&all::STATE_SPILLED, &[], measured.state_spilled as f64);
    add(&all::STATE_FETCHED, &[], measured.state_fetched as f64);
    add(&all::PROCESS_CPU, &[], measured.cpu_seconds);
    add(&all::PROCESS_MEMORY, &[], measured.resident_bytes as f64);
    let latency = Value::Buckets(measured.delivery_latency.clone());
    exposition.push(&all::DELIVERY_LATENCY, &of, latency);
    let durations = Value::Buckets(measured.checkpoints.durations.clone());
    exposition.push(&all::CHECKPOINT_DURATION, &of, durations);
}

fn add_health(add: &mut impl FnMut(&all::Metric, &[&str], f64), health: &Health) {
    for verdict in Verdict::ALL {
        let is_it = flag(health.verdict == verdict);
        add(&all::JOB_HEALTH, &[verdict.name()], is_it);
    }
    for found in &health.problems {
        let labels = [found.problem.name(), &*found.subject, found.severity.name()];
        add(&all::JOB_PROBLEM, &labels, 1.0);
    }
}

fn add_split(add: &mut impl FnMut(&all::Metric, &[&str], f64), split: &Split) {
    let labels = [&*split.source, &*split.split];
    if let Some(records) = split.records_behind {
        add(&all::SPLIT_BEHIND_RECORDS, &labels, records as f64);
    }
    if let Some(seconds) = split.seconds_behind {
        add(&all::SPLIT_BEHIND_SECONDS, &labels, seconds);
    }
    add(&all::SPLIT_POSITION, &labels, split.next_offset as f64);
    if let Some(watermark) = split.watermark_ms {
        add(&all::SPLIT_WATERMARK, &labels, watermark as f64 / 1000.0);
    }
    add(&all::SPLIT_IDLE, &labels, flag(split.idle));
    add(
        &all::SPLIT_HOLDS_WATERMARK,
        &labels,
        flag(split.holds_watermark),
    );
}

fn add_sink(add: &mut impl FnMut(&all::Metric, &[&str], f64), sink: &Sink, at_ms: u64) {
    let labels = [&*sink.sink];
    add(&all::SINK_ROWS, &labels, sink.rows as f64);
    add(&all::SINK_DELIVERED, &labels, seconds(sink.delivered_ms));
    add(&all::OUTBOX_ROWS, &labels, sink.outbox_rows as f64);
    add(&all::OUTBOX_BYTES, &labels, sink.outbox_bytes as f64);
    add(&all::OUTBOX_LIMIT, &labels, sink.outbox_limit_bytes as f64);
    let states = [
        ("closed", Breaker::Closed),
        ("open", Breaker::Open),
        ("half_open", Breaker::HalfOpen),
    ];
    for (name, state) in states {
        let is_it = flag(sink.breaker == state);
        add(&all::BREAKER, &[&*sink.sink, name], is_it);
    }
    let failing = sink
        .failing_since_ms
        .map(|since| at_ms.saturating_sub(since));
    add(&all::SINK_FAILING, &labels, seconds(failing.unwrap_or(0)));
    add(&all::SINK_FAILED, &labels, sink.failed_attempts as f64);
    add(&all::SINK_REFUSED, &labels, sink.refused_rows as f64);
}

fn add_checkpoints(add: &mut impl FnMut(&all::Metric, &[&str], f64), measured: &Measurements) {
    let checkpoints = &measured.checkpoints;
    add(
        &all::CHECKPOINT_WRITTEN,
        &[],
        checkpoints.written_bytes as f64,
    );
    if measured.process > 0 {
        // Process 0 publishes them for all.
        return;
    }
    add(&all::CHECKPOINTS, &[], checkpoints.count as f64);
    if let Some(published) = checkpoints.last_published_ms {
        let age_ms = measured.at_ms.saturating_sub(published);
        add(&all::CHECKPOINT_SIZE, &[], checkpoints.last_bytes as f64);
        add(
            &all::CHECKPOINT_LAST_DURATION,
            &[],
            checkpoints.last_duration_s,
        );
        add(&all::CHECKPOINT_AGE, &[], seconds(age_ms));
    }
    let uncovered = checkpoints.uncovered_s.unwrap_or(0.0);
    add(&all::CHECKPOINT_UNCOVERED, &[], uncovered);
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

fn flag(set: bool) -> f64 {
    f64::from(u8::from(set))
}
