//! Live progress of a run on the terminal.

use std::{
    fmt::Write as _,
    io::{IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::job::logged::LOG_TARGET;
use crate::runtime::context::Place;
use crate::runtime::stats::Stats;

/// How often the display changes.
const REFRESH: Duration = Duration::from_millis(500);
/// How often a line is printed where the output is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// A running display; ends when it is dropped.
pub struct Progress {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Shows what a job tells: in place on a terminal, a line now and then elsewhere, and in the log if that is wanted.
    #[must_use]
    pub fn start(stats: Arc<Stats>, place: Place, hint: Option<String>, log_json: bool) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let ended = done.clone();
        let thread = thread::Builder::new()
            .name("progress".to_owned())
            .spawn(move || match log_json {
                true => log(&stats, place, &ended),
                false => show(&stats, place, hint.as_deref(), &ended),
            })
            .ok();
        Self { done, thread }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It has only printed; how it ended says nothing about the job.
            let _ = thread.join();
        }
    }
}

/// What was counted when the rate was last computed.
struct Last {
    at: Instant,
    events: u64,
}

fn show(stats: &Stats, place: Place, hint: Option<&str>, done: &AtomicBool) {
    let in_place = std::io::stderr().is_terminal();
    let mut last = Last {
        at: Instant::now(),
        events: 0,
    };
    let mut lines = 0;
    if !in_place && let Some(hint) = hint {
        // In place it is a line of the display. Nobody is left to read if this fails.
        let _ = writeln!(std::io::stderr(), "{hint}");
    }
    while !done.load(Ordering::Relaxed) {
        thread::park_timeout(if in_place { REFRESH } else { LINE_EVERY });
        let mut text = render(stats, &mut last, hint, in_place);
        if place.processes > 1 {
            // Numbers are those of this process until the end, when they are added up.
            let whose = format!("process {} of {}: ", place.process, place.processes);
            text.insert_str(
                0,
                &if in_place {
                    format!("{}\n", whose.trim_end())
                } else {
                    whose
                },
            );
        }
        let mut stderr = std::io::stderr().lock();
        if in_place && lines > 0 {
            // Up over the lines of the last display.
            let _ = write!(stderr, "\x1b[{lines}A\x1b[J");
        }
        lines = text.lines().count();
        // Lines are cut at the terminal's edge: a wrapped one would be two to go up. Nobody is left to read if this fails.
        let _ = match in_place {
            true => write!(stderr, "\x1b[?7l{text}\x1b[?7h"),
            false => stderr.write_all(text.as_bytes()),
        };
    }
}

/// An event of the log now and then: figures as fields.
fn log(stats: &Stats, place: Place, done: &AtomicBool) {
    let mut last = Last {
        at: Instant::now(),
        events: 0,
    };
    while !done.load(Ordering::Relaxed) {
        thread::park_timeout(LINE_EVERY);
        let (events, rate) = last.count(stats);
        let rows = rows_delivered(stats);
        let latency = stats.delivery_times.summary_ms();
        let [ingested, computed, durable, delivered] =
            frontiers(stats).map(|(_, epoch)| behind_ms(epoch));
        tracing::info!(
            target: LOG_TARGET,
            process = place.process,
            events,
            events_per_second = rate.round(),
            rows_delivered = rows,
            latency_p50_ms = latency.map(|[p50, ..]| p50),
            latency_p99_ms = latency.map(|[_, p99, _]| p99),
            ingested_behind_ms = ingested,
            computed_behind_ms = computed,
            durable_behind_ms = durable,
            delivered_behind_ms = delivered,
            "{rate:.0} events/s, {events} events, {rows} rows delivered"
        );
    }
}

impl Last {
    /// Events so far, and how many a second since they were last counted.
    fn count(&mut self, stats: &Stats) -> (u64, f64) {
        let events: u64 = stats.events_in.values().map(|counter| counter.get()).sum();
        let now = Instant::now();
        let seconds = now.duration_since(self.at).as_secs_f64().max(0.001);
        let rate = events.saturating_sub(self.events) as f64 / seconds;
        *self = Self { at: now, events };
        (events, rate)
    }
}

fn rows_delivered(stats: &Stats) -> u64 {
    stats.sink_rows.values().map(|counter| counter.get()).sum()
}

/// The four frontiers, by name.
fn frontiers(stats: &Stats) -> [(&'static str, u64); 4] {
    let delivered = stats.delivered.values().map(|counter| counter.get());
    [
        ("ingested", stats.ingested.get()),
        ("computed", stats.computed.get()),
        ("durable", stats.durable.get()),
        ("delivered", delivered.min().unwrap_or(0)),
    ]
}

fn render(stats: &Stats, last: &mut Last, hint: Option<&str>, in_place: bool) -> String {
    let (events, rate) = last.count(stats);
    let rows = rows_delivered(stats);
    let latency = stats.delivery_times.summary_ms().map_or_else(
        || "-".to_owned(),
        |[p50, p99, _]| format!("p50 {p50:.0} ms, p99 {p99:.0} ms"),
    );
    let checkpoint = stats.checkpoint_times.summary_ms().map_or_else(
        || "-".to_owned(),
        |[p50, p99, _]| format!("p50 {p50:.0} ms, p99 {p99:.0} ms"),
    );
    let ages = frontiers(stats)
        .map(|(name, epoch)| format!("{name} {}", age(epoch)))
        .join("  ");
    if !in_place {
        return format!(
            "{rate:.0} events/s, {events} events, {rows} rows delivered, latency {latency}, frontiers: {ages}\n"
        );
    }
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name:<12} {value}");
    };
    line("events", format!("{rate:.0}/s, {events} in all"));
    let views: Vec<_> = stats
        .view_rows
        .iter()
        .map(|(view, counter)| format!("{view} {}", counter.get()))
        .collect();
    line("rows", views.join("  "));
    line("delivered", format!("{rows} rows"));
    line("frontiers", ages);
    line("latency", latency);
    line(
        "checkpoints",
        format!(
            "{}, {} KiB, {checkpoint}",
            stats.checkpoints.get(),
            stats.checkpoint_bytes.get() / 1024
        ),
    );
    line(
        "set aside",
        format!(
            "{} late, {} dead letters",
            stats.late_rows(),
            stats.dead_letters.all()
        ),
    );
    if let Some(hint) = hint {
        line("try", hint.to_owned());
    }
    text
}

/// How far behind now an epoch is, in milliseconds, which epochs count since 1970; `None` before the first one.
fn behind_ms(epoch: u64) -> Option<u64> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    (epoch > 0).then(|| now_ms.saturating_sub(epoch))
}

/// The same for people.
fn age(epoch: u64) -> String {
    match behind_ms(epoch) {
        None => "-".to_owned(),
        Some(behind) if behind < 10_000 => format!("-{behind} ms"),
        Some(behind) => format!("-{} s", behind / 1000),
    }
}
