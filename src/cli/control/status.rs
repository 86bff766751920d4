//! `tidewright status`.

use std::{fmt::Write as _, process::ExitCode};

use clap::Args;

use super::{Asking, failed, other};
use crate::cli::remote::{self, ServerArguments};
use crate::control::client;
use crate::control::protocol::{Answer, Request};
use crate::control::status::{JobStatus, RunState};
use crate::runtime::epoch::wall_clock_ms;

/// Arguments of `tidewright status`.
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// A job of a server. Without it, the job that listens at the socket.
    #[arg(conflicts_with = "socket")]
    job: Option<String>,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    asking: Asking,
}

/// Shows how a job is doing.
pub fn status(arguments: &StatusArguments) -> ExitCode {
    let StatusArguments {
        job,
        server,
        asking,
    } = arguments;
    if let Some(job) = job {
        return remote::status(server, job, asking.output);
    }
    match client::ask_once(&asking.socket, &Request::Status {}) {
        Ok(Answer::Status(status)) => asking.output.print(&status, text(&status).trim_end()),
        Ok(answer) => other(answer),
        Err(error) => failed(error, 1),
    }
}

fn text(status: &JobStatus) -> String {
    let state = match status.state {
        RunState::Restoring => "restoring",
        RunState::Running => "running",
        RunState::Stopping => "stopping",
    };
    let processes = &status.processes;
    let place = match processes.len() {
        0 | 1 => format!("process {}", status.pid),
        several => format!("{several} processes"),
    };
    let mut text = format!(
        "job {}: {state}, {place}, generation {}, {} worker(s)\n",
        status.job, status.generation, status.workers
    );
    let now = wall_clock_ms();
    let mut line = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name:<12} {value}");
    };
    let counts = |counts: &std::collections::BTreeMap<String, u64>| {
        let counts = counts.iter().map(|(name, count)| format!("{name} {count}"));
        counts.collect::<Vec<_>>().join("  ")
    };
    line("events", counts(&status.events_in));
    line("rows", counts(&status.rows_out.views));
    line("delivered", counts(&status.rows_out.sinks));
    let frontiers = &status.frontiers;
    let frontiers = [
        ("ingested", frontiers.ingested),
        ("computed", frontiers.computed),
        ("durable", frontiers.durable),
        ("delivered", frontiers.delivered),
    ];
    let ages = frontiers.map(|(name, frontier)| match frontier.epoch {
        0 => format!("{name} -"),
        _ => format!("{name} -{} ms", now.saturating_sub(frontier.wall_clock_ms)),
    });
    line("frontiers", ages.join("  "));
    let checkpoints = &status.checkpoints;
    line(
        "checkpoints",
        format!(
            "{}, {} KiB, the last one at epoch {}",
            checkpoints.count,
            checkpoints.bytes / 1024,
            checkpoints.last_epoch
        ),
    );
    line(
        "set aside",
        format!(
            "{} late, {} dead letters",
            status.late, status.dead_lettered
        ),
    );
    let used = |cpu_seconds: f64, peak_rss_bytes: u64| {
        format!(
            "{cpu_seconds:.1} s of CPU, at most {} MiB",
            peak_rss_bytes >> 20
        )
    };
    line("used", used(status.cpu_seconds, status.peak_rss_bytes));
    for process in processes.iter().filter(|_| processes.len() > 1) {
        let of_job = used(process.cpu_seconds, process.peak_rss_bytes);
        line(
            &format!("process {}", process.process),
            format!(
                "{} at {}, {} worker(s), {} events, {of_job}",
                process.pid, process.host, process.workers, process.events_in
            ),
        );
    }
    text
}
