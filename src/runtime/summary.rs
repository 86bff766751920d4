//! What a run has come to: one JSON object for programs.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::stats::{Counter, Latencies, Stats};

/// The result of a run, for `--summary json`, over all processes of the job. Durations in the unit of their name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Records read, by source.
    pub events_in: BTreeMap<String, u64>,
    /// Rows made by each view and delivered by each sink.
    pub rows_out: RowsOut,
    /// Rows that came too late.
    pub late: u64,
    /// Records and rows that could not be processed.
    pub dead_lettered: u64,
    /// How many processes it counts.
    pub processes: u64,
    /// From start to end.
    pub wall_seconds: f64,
    /// CPU time of all processes, user and system.
    pub cpu_seconds: f64,
    /// Largest resident sets of all processes, added up.
    pub peak_rss_bytes: u64,
    /// The last published checkpoint's epoch.
    pub durable_epoch: u64,
    /// The last delivered epoch, by sink.
    pub delivered_epoch: BTreeMap<String, u64>,
    /// From ingestion to delivery in all sinks; `null` if nothing was delivered.
    pub latency_ms: Option<Quantiles>,
    /// Published checkpoints.
    pub checkpoints: Checkpoints,
    /// State larger than memory; zero without a limit.
    pub state: StateMoves,
}

/// How often keys were moved between memory and local disk.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct StateMoves {
    /// To disk.
    pub spilled: u64,
    /// Back.
    pub fetched: u64,
}

/// Rows made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowsOut {
    /// By view.
    pub views: BTreeMap<String, u64>,
    /// By sink.
    pub sinks: BTreeMap<String, u64>,
}

/// Of a distribution of durations in milliseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Quantiles {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

/// Published checkpoints.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Checkpoints {
    /// How many.
    pub count: u64,
    /// State files, manifests and compaction.
    pub bytes: u64,
    /// From marker to publication, median in milliseconds.
    pub p50_ms: Option<f64>,
    /// From marker to publication, 99th percentile in milliseconds.
    pub p99_ms: Option<f64>,
}

impl Summary {
    /// The summary of what has been counted so far.
    #[must_use]
    pub fn of(stats: &Stats) -> Self {
        let (cpu_seconds, peak_rss_bytes) = resources();
        let checkpoint_times = stats.checkpoint_times.summary_ms();
        Self {
            events_in: values(&stats.events_in),
            rows_out: RowsOut {
                views: values(&stats.view_rows),
                sinks: values(&stats.sink_rows),
            },
            late: stats.late.get(),
            dead_lettered: stats.dead_lettered.get(),
            processes: 1,
            wall_seconds: stats.started.elapsed().as_secs_f64(),
            cpu_seconds,
            peak_rss_bytes,
            durable_epoch: stats.durable.get(),
            delivered_epoch: values(&stats.delivered),
            latency_ms: quantiles(&stats.delivery_times),
            checkpoints: Checkpoints {
                count: stats.checkpoints.get(),
                bytes: stats.checkpoint_bytes.get(),
                p50_ms: checkpoint_times.map(|times| times[0]),
                p99_ms: checkpoint_times.map(|times| times[1]),
            },
            state: StateMoves {
                spilled: stats.state_spilled.get(),
                fetched: stats.state_fetched.get(),
            },
        }
    }
}

/// What one process has counted; parts add up to the job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    summary: Summary,
    /// Latencies in microseconds with their counts: quantiles cannot be added up.
    latencies: Vec<(u64, u64)>,
    /// Some rows are not delivered yet.
    pub undelivered: bool,
}

impl Part {
    /// What this process has counted.
    #[must_use]
    pub fn of(stats: &Stats, undelivered: bool) -> Self {
        Self {
            summary: Summary::of(stats),
            latencies: stats.delivery_times.counts(),
            undelivered,
        }
    }

    /// Adds what another process has counted. Frontiers are the same for all, and checkpoints are published by the first.
    pub fn add(&mut self, other: Self) {
        let (whole, part) = (&mut self.summary, other.summary);
        add(&mut whole.events_in, part.events_in);
        add(&mut whole.rows_out.views, part.rows_out.views);
        add(&mut whole.rows_out.sinks, part.rows_out.sinks);
        whole.late += part.late;
        whole.dead_lettered += part.dead_lettered;
        whole.processes += part.processes;
        whole.cpu_seconds += part.cpu_seconds;
        whole.peak_rss_bytes += part.peak_rss_bytes;
        whole.checkpoints.bytes += part.checkpoints.bytes;
        whole.state.spilled += part.state.spilled;
        whole.state.fetched += part.state.fetched;
        self.latencies.extend(other.latencies);
        self.undelivered |= other.undelivered;
    }

    /// The sum of all parts.
    #[must_use]
    pub fn summary(self) -> Summary {
        let latencies = Latencies::default();
        for (micros, count) in self.latencies {
            latencies.record(Duration::from_micros(micros), count);
        }
        Summary {
            latency_ms: quantiles(&latencies),
            ..self.summary
        }
    }
}

/// Adds counts up, by name.
pub fn add(whole: &mut BTreeMap<String, u64>, part: BTreeMap<String, u64>) {
    for (name, count) in part {
        *whole.entry(name).or_default() += count;
    }
}

fn values(counters: &BTreeMap<String, Counter>) -> BTreeMap<String, u64> {
    counters
        .iter()
        .map(|(name, counter)| (name.clone(), counter.get()))
        .collect()
}

fn quantiles(latencies: &Latencies) -> Option<Quantiles> {
    latencies
        .summary_ms()
        .map(|[p50, p99, max]| Quantiles { p50, p99, max })
}

/// CPU seconds and the largest resident set of this process, as the kernel tells them.
fn resources() -> (f64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .and_then(|kib| kib.trim().parse::<u64>().ok())
        .unwrap_or(0);
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    (cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9, peak * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(events: u64, latency_ms: u64) -> Part {
        let stats = Stats::of_names(["events"]);
        stats.events_in["events"].add(events);
        stats.late.add(1);
        stats
            .delivery_times
            .record(Duration::from_millis(latency_ms), events);
        Part::of(&stats, latency_ms > 50)
    }

    #[test]
    fn parts_add_up_and_quantiles_are_those_of_all_rows() {
        let mut whole = part(90, 10);
        let sent = serde_json::to_string(&part(10, 100)).expect("is JSON");
        whole.add(serde_json::from_str(&sent).expect("is a part"));
        assert!(whole.undelivered);
        let summary = whole.summary();
        assert_eq!(summary.events_in["events"], 100);
        assert_eq!((summary.late, summary.processes), (2, 2));
        let latency = summary.latency_ms.expect("rows were delivered");
        assert!((9.0..11.0).contains(&latency.p50), "{latency:?}");
        assert!((99.0..101.0).contains(&latency.p99), "{latency:?}");
    }
}
