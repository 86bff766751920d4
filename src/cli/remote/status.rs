//! `tidewright status JOB`.

use std::{fmt::Write as _, process::ExitCode};

use super::{ServerArguments, ago, tell, told};
use crate::cli::control::Output;
use crate::control::api::views::JobView;
use crate::control::change::ChangeState;
use crate::control::remote::path_part;

/// Shows a server's view of a job.
pub fn status(server: &ServerArguments, job: &str, output: Output) -> ExitCode {
    tell(server.connect().and_then(|server| {
        let path = format!("/v1/jobs/{}", path_part(job));
        let job: JobView = server.get(&path).map_err(told)?;
        Ok(output.print(&job, text(&job).trim_end()))
    }))
}

fn text(job: &JobView) -> String {
    let state = job.state.name();
    let mut text = format!("job {}: {state} for {}\n", job.name, ago(job.since_ms));
    let mut line = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name:<12} {value}");
    };
    line(
        "version",
        format!(
            "{}, submitted {} ago, {}",
            job.version,
            ago(job.submitted_ms),
            shape(job)
        ),
    );
    if let Some(change) = &job.change {
        let state = match change.state {
            ChangeState::Asked => "asked for",
            ChangeState::TakingOver => "taking over",
            ChangeState::Stopping => "waits for the end of the one before",
            ChangeState::Starting => "starts",
        };
        line(
            "change",
            format!(
                "version {} {state}, operation {}",
                change.version, change.operation
            ),
        );
    }
    if let Some(of) = &job.shadow_of {
        line("shadow", format!("of {of}"));
    }
    for process in &job.processes {
        line(
            "process",
            format!("{}, started {} ago", process.pid, ago(process.started_ms)),
        );
    }
    if let Some(memory) = memory(job) {
        line("memory", memory);
    }
    line("restarts", job.restarts.to_string());
    if job.crash_looping {
        line("crash loop", format!("{} failures in a row", job.failures));
    }
    if let (Some(error), Some(at)) = (&job.last_error, job.last_error_ms) {
        line("last error", format!("{} ago: {error}", ago(at)));
    }
    text
}

/// Its workers and processes.
pub fn shape(job: &JobView) -> String {
    match job.process_count {
        1 => format!("{} worker(s)", job.workers),
        processes => format!("{} worker(s) in each of {processes} processes", job.workers),
    }
}

/// What its processes use, and may.
pub fn memory(job: &JobView) -> Option<String> {
    let used: Vec<_> = job
        .processes
        .iter()
        .filter_map(|process| process.resident_bytes)
        .collect();
    let limit = job.memory_limit_bytes;
    let limit = limit.map_or_else(String::new, |limit| format!(" of {} MiB", limit >> 20));
    (!used.is_empty()).then(|| format!("{} MiB{limit}", used.iter().sum::<u64>() >> 20))
}
