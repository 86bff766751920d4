//! What each worker thread does.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use crate::dataflow;
use crate::runtime::context::JobContext;
use crate::runtime::pulse;

/// How long a job that is stopped waits for its sinks after the final checkpoint; what is left is in the checkpoint.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// The longest nap of a worker without work.
const PARK_MAX: Duration = Duration::from_millis(100);

/// One worker thread; true if it ended before everything was delivered.
pub fn work(worker: &mut timely::worker::Worker, context: &Arc<JobContext>) -> bool {
    let _alive = context.pulses.begin(worker.index());
    let probes = dataflow::build(worker, context);
    context.note_built();
    let leads = worker.index() == context.place.first_worker();
    let mut ended_at = None;
    while worker.has_dataflows() {
        pulse::beat();
        worker.step_or_park(Some(PARK_MAX));
        if leads {
            observe(context, &probes);
        }
        // Bounded runs wait for their sinks; a stopped job has everything else in its checkpoint.
        let durable = probes.durable.with_frontier(|frontier| frontier.is_empty());
        if durable && context.stop.load(Ordering::Relaxed) {
            let since = *ended_at.get_or_insert_with(Instant::now);
            if since.elapsed() > STOP_PATIENCE {
                // Timely would go on for as long as there is a dataflow.
                for dataflow in worker.installed_dataflows() {
                    worker.drop_dataflow(dataflow);
                }
                return true;
            }
        }
    }
    if leads {
        observe(context, &probes);
    }
    false
}

/// Writes what the frontiers say into the job's measures.
fn observe(context: &JobContext, probes: &dataflow::Probes) {
    let stats = &context.stats;
    if let Some(memory) = &context.memory {
        stats.state_spilled.raise(memory.spilled());
        stats.state_fetched.raise(memory.fetched());
    }
    let reached = |probe: &timely::dataflow::ProbeHandle<u64>, end: u64| {
        probe.with_frontier(|frontier| frontier.first().map_or(end, |next| next.saturating_sub(1)))
    };
    let last = stats.durable.get();
    stats
        .computed
        .raise(reached(&probes.computed, stats.ingested.get()));
    // A job without sinks has nothing to deliver beyond its checkpoints.
    let mut delivered = last;
    for (sink, probe) in &probes.delivered {
        let epoch = reached(probe, last);
        if epoch >= context.start {
            stats.delivered[sink].raise(epoch);
        }
        delivered = delivered.min(epoch);
    }
    if delivered >= context.start {
        for (at, records) in stats.ingest_times.take_through(delivered) {
            stats.delivery_times.record(at.elapsed(), records);
        }
    }
}
