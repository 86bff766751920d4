//! The rules of the verdict, each a pure function.

use std::collections::{BTreeMap, BTreeSet};

use super::{Problem, ProblemKind, Verdict};
use crate::metrics::lag::{Lag, SplitLag};
use crate::metrics::measurements::{Breaker, Measurements, Sink};
use crate::metrics::trend::{POINTS_MIN, Trend};
use crate::metrics::window::{SAMPLE_EVERY_MS, SAMPLES, Sample, Window};

/// What has stood still for so long stands still.
const WINDOW_MS: u64 = (SAMPLES as u64 - 1) * SAMPLE_EVERY_MS;
/// A checkpoint that has been due for so many intervals is overdue,
const INTERVALS_MAX: u64 = 10;
/// but not before this time: publishing takes some.
const OVERDUE_LEAST_S: f64 = 10.0;

/// The breaker of a sink is not closed: degraded; unhealthy once attempts have failed for the whole minute.
pub fn sinks_down(processes: &[Measurements]) -> Vec<Problem> {
    let mut down = BTreeMap::<&str, (Vec<&Sink>, u64)>::new();
    for process in processes {
        for sink in &process.sinks {
            if sink.breaker != Breaker::Closed {
                let (sinks, at_ms) = down.entry(&sink.sink).or_default();
                sinks.push(sink);
                *at_ms = process.at_ms;
            }
        }
    }
    let problem = |(name, (sinks, at_ms)): (&str, (Vec<&Sink>, u64))| {
        let since = sinks.iter().filter_map(|sink| sink.failing_since_ms).min();
        let since_ms = since.unwrap_or(at_ms);
        let rows: u64 = sinks.iter().map(|sink| sink.outbox_rows).sum();
        let error = sinks.iter().find_map(|sink| sink.error.as_deref());
        let long = at_ms.saturating_sub(since_ms) >= WINDOW_MS;
        Problem {
            problem: ProblemKind::SinkDown,
            subject: name.to_owned(),
            severity: if long {
                Verdict::Unhealthy
            } else {
                Verdict::Degraded
            },
            reason: format!(
                "sink {name}: its breaker has been open since {}, {rows} rows wait: {}",
                clock(since_ms),
                error.unwrap_or("attempts fail")
            ),
        }
    };
    down.into_iter().map(problem).collect()
}

/// The outbox of a sink that works has been full for the last third of the window: degraded.
pub fn sinks_slow(processes: &[Measurements], window: &Window) -> Vec<Problem> {
    let count = window.samples().count();
    if count < POINTS_MIN {
        return Vec::new();
    }
    let full = |name: &str| {
        let mut late = window.samples().rev().take(count / 3);
        late.all(|sample| sample.outbox_full.get(name) == Some(&true))
    };
    let sinks = processes.iter().flat_map(|process| &process.sinks);
    let works: BTreeSet<&str> = sinks
        .filter(|sink| sink.breaker == Breaker::Closed)
        .map(|sink| &*sink.sink)
        .collect();
    let slow = works.into_iter().filter(|name| full(name));
    slow.map(|name| Problem {
        problem: ProblemKind::SinkSlow,
        subject: name.to_owned(),
        severity: Verdict::Degraded,
        reason: format!("sink {name}: its store takes less than comes, its outbox is full and sources wait for it"),
    })
    .collect()
}

/// Records have waited for a checkpoint for ten intervals, and ten seconds: unhealthy.
pub fn checkpoint_overdue(first: &Measurements) -> Vec<Problem> {
    let checkpoints = &first.checkpoints;
    let limit_s = (checkpoints.interval_ms * INTERVALS_MAX) as f64 / 1000.0;
    let waiting = checkpoints.uncovered_s;
    let overdue = waiting.filter(|waiting| *waiting > limit_s.max(OVERDUE_LEAST_S));
    let problem = overdue.map(|waiting| Problem {
        problem: ProblemKind::CheckpointOverdue,
        subject: String::new(),
        severity: Verdict::Unhealthy,
        reason: format!(
            "records have been waiting {waiting:.0} s for a checkpoint, and one is due every {} ms: is the checkpoint store \
             reachable and fast enough?",
            checkpoints.interval_ms
        ),
    });
    problem.into_iter().collect()
}

/// Splits that are stalled, unhealthy, or fall behind, degraded; of each source the one that is furthest behind. Splits that are
/// not read on purpose don't count.
pub fn splits(first: &Measurements, lag: &Lag, window: &Window) -> Vec<Problem> {
    let held: BTreeSet<_> = first
        .splits
        .iter()
        .filter(|split| split.held)
        .map(|split| (&split.source, &split.split))
        .collect();
    let mut worst = BTreeMap::<(&str, ProblemKind), &SplitLag>::new();
    for split in &lag.splits {
        let kind = match split.trend {
            Trend::Stalled => ProblemKind::SplitStalled,
            Trend::Growing => ProblemKind::LagGrowing,
            Trend::Unknown | Trend::CaughtUp | Trend::Steady | Trend::Shrinking => continue,
        };
        if held.contains(&(&split.source, &split.split)) {
            continue;
        }
        let entry = worst.entry((&*split.source, kind)).or_insert(split);
        if split.records_behind > entry.records_behind {
            *entry = split;
        }
    }
    let problem = |((source, kind), split): ((&str, ProblemKind), &SplitLag)| {
        let records = split.records_behind.unwrap_or(0);
        let (severity, what) = match kind {
            ProblemKind::SplitStalled => (
                Verdict::Unhealthy,
                format!(
                    "has not been read for {:.0} s, and {records} records wait",
                    window.seconds()
                ),
            ),
            _ => (
                Verdict::Degraded,
                format!(
                    "falls behind: {records} records wait, {:.0} more each second",
                    split.growth_per_second
                ),
            ),
        };
        Problem {
            problem: kind,
            subject: format!("{source}/{}", split.split),
            severity,
            reason: format!("source {source}: split {} {what}", split.split),
        }
    };
    worst.into_iter().map(problem).collect()
}

/// A split has held its source's watermark for the whole minute without anything to read, while another one of the source came
/// further: degraded.
pub fn watermarks_held(lag: &Lag, window: &Window) -> Vec<Problem> {
    if !window.is_full() {
        return Vec::new();
    }
    let quiet = |split: &&SplitLag| {
        let name = (split.source.clone(), split.split.clone());
        split.holds_watermark
            && window.samples().all(|sample| {
                sample.splits.get(&name).is_some_and(|then| {
                    then.holds_watermark
                        && then.records_behind == Some(0)
                        && then.watermark_ms == split.watermark_ms
                })
            })
    };
    let others_move = |split: &SplitLag| {
        let oldest = window.samples().next();
        lag.splits.iter().any(|other| {
            let name = (other.source.clone(), other.split.clone());
            let then = oldest.and_then(|oldest| oldest.splits.get(&name));
            other.source == split.source
                && then.is_some_and(|then| other.watermark_ms > then.watermark_ms)
        })
    };
    let holders = lag.splits.iter().filter(quiet);
    holders
        .filter(|split| others_move(split))
        .map(|split| Problem {
            problem: ProblemKind::WatermarkHeld,
            subject: format!("{}/{}", split.source, split.split),
            severity: Verdict::Degraded,
            reason: format!(
                "source {}: its watermark is held back by split {}, which has brought nothing for {:.0} s: windows stay open; \
                 event_time.idle_after lets others go on",
                split.source,
                split.split,
                window.seconds()
            ),
        })
        .collect()
}

/// Within the window, most of what a source has brought has become dead letters: unhealthy. Or more of them in its last third
/// than in its first, by more than chance: degraded.
pub fn dead_letters(window: &Window) -> Vec<Problem> {
    let samples: Vec<_> = window.samples().collect();
    if samples.len() < POINTS_MIN {
        return Vec::new();
    }
    let third = samples.len() / 3;
    let relations: BTreeSet<_> = samples
        .iter()
        .flat_map(|sample| sample.dead_letters.keys())
        .collect();
    let rule = |relation: &String| {
        let came = |from: usize, to: usize, of: fn(&Sample) -> &BTreeMap<String, u64>| {
            let at = |number: usize| of(samples[number]).get(relation).copied().unwrap_or(0);
            at(to).saturating_sub(at(from))
        };
        let last = samples.len() - 1;
        let letters = |from, to| came(from, to, |sample| &sample.dead_letters);
        let all = letters(0, last);
        let records = came(0, last, |sample| &sample.records_in);
        let (early, late) = (letters(0, third), letters(last - third, last));
        if records > 0 && all * 2 > records {
            return Some((
                ProblemKind::DeadLettersMost,
                Verdict::Unhealthy,
                format!(
                    "{relation}: {all} of {records} records of the last {:.0} s are dead letters",
                    window.seconds()
                ),
            ));
        }
        // Counts of independent events spread by about their square root.
        let chance = 4.0 * ((early + late) as f64).sqrt();
        (late as f64 - early as f64 > chance).then(|| {
            (
                ProblemKind::DeadLettersRising,
                Verdict::Degraded,
                format!("{relation}: dead letters are rising, {late} of {all} came in the last third of {:.0} s", window.seconds()),
            )
        })
    };
    let found = relations.into_iter().filter_map(|relation| {
        let (problem, severity, reason) = rule(relation)?;
        Some(Problem {
            problem,
            subject: relation.clone(),
            severity,
            reason,
        })
    });
    found.collect()
}

/// A time of day, for people.
fn clock(ms: u64) -> String {
    let seconds = ms / 1000 % 86_400;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02} UTC")
}
