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
    /// Shows what a job tells: in place on a terminal, a line now and then elsewhere.
    #[must_use]
    pub fn start(stats: Arc<Stats>, place: Place, hint: Option<String>) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let ended = done.clone();
        let thread = thread::Builder::new()
            .name("progress".to_owned())
            .spawn(move || show(&stats, place, hint.as_deref(), &ended))
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

fn render(stats: &Stats, last: &mut Last, hint: Option<&str>, in_place: bool) -> String {
    let events: u64 = stats.events_in.values().map(|counter| counter.get()).sum();
    let now = Instant::now();
    let seconds = now.duration_since(last.at).as_secs_f64().max(0.001);
    let rate = events.saturating_sub(last.events) as f64 / seconds;
    *last = Last { at: now, events };
    let rows: u64 = stats.sink_rows.values().map(|counter| counter.get()).sum();
    let delivered = stats
        .delivered
        .values()
        .map(|counter| counter.get())
        .min()
        .unwrap_or(0);
    let latency = stats.delivery_times.summary_ms().map_or_else(
        || "-".to_owned(),
        |[p50, p99, _]| format!("p50 {p50:.0} ms, p99 {p99:.0} ms"),
    );
    let checkpoint = stats.checkpoint_times.summary_ms().map_or_else(
        || "-".to_owned(),
        |[p50, p99, _]| format!("p50 {p50:.0} ms, p99 {p99:.0} ms"),
    );
    let ages = [
        ("ingested", stats.ingested.get()),
        ("computed", stats.computed.get()),
        ("durable", stats.durable.get()),
        ("delivered", delivered),
    ]
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

/// How far behind now an epoch is: epochs are milliseconds since 1970.
fn age(epoch: u64) -> String {
    if epoch == 0 {
        return "-".to_owned();
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis();
    let behind = now.saturating_sub(u128::from(epoch));
    if behind < 10_000 {
        format!("-{behind} ms")
    } else {
        format!("-{} s", behind / 1000)
    }
}
