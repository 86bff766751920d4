//! A server's jobs, as lines of text.

use ratatui::{
    style::{Color, Style, Stylize},
    text::{Line, Span},
};

use super::ask::JobsSeen;
use super::job_page::verdict;
use super::numbers::{amount, bytes, rate, seconds_between, span};
use super::prose::wrapped;
use super::table::{Column, table};
use crate::control::api::views::JobView;
use crate::control::lifecycle::JobState;
use crate::metrics::measurements::Measurements;

/// Two moments of a server's jobs.
pub(super) struct JobsPage<'a> {
    /// Now.
    pub(super) now: &'a JobsSeen,
    /// A while ago.
    pub(super) before: Option<&'a JobsSeen>,
    /// The job that a key would open.
    pub(super) chosen: usize,
    /// How wide the terminal is, in columns.
    pub(super) width: usize,
}

const COLUMNS: [Column; 7] = [
    Column::left("JOB", 21),
    Column::left("STATE", 10),
    Column::right("FOR", 7),
    Column::right("EVENTS/S", 8),
    Column::right("BEHIND", 7),
    Column::right("FAILED", 6),
    Column::right("MEMORY", 7),
];

impl JobsPage<'_> {
    /// The page: a title, and a line for each job; below them what is wrong with the chosen one.
    pub(super) fn lines(&self) -> Vec<Line<'static>> {
        let jobs = &self.now.jobs;
        let running = jobs
            .iter()
            .filter(|seen| seen.job.state == JobState::Running);
        let mut lines = vec![Line::from(format!(
            "{} job(s), {} running",
            jobs.len(),
            running.count()
        ))];
        let rows = jobs
            .iter()
            .map(|seen| self.row(&seen.job, seen.measured.as_ref()));
        let mut rows = table(&COLUMNS, rows);
        if let Some(chosen) = rows.get_mut(self.chosen + 1) {
            *chosen = std::mem::take(chosen).reversed();
        }
        lines.extend(rows);
        if let Some(chosen) = jobs.get(self.chosen) {
            lines.push(Line::default());
            let health = chosen.job.health.as_ref().map(verdict);
            let error = chosen.job.last_error.as_ref();
            let error = error.map(|error| Line::from(format!("last error: {error}")));
            let sentences = health.into_iter().chain(error);
            lines.extend(sentences.flat_map(|line| wrapped(line, self.width, 2)));
        }
        lines
    }

    fn row(&self, job: &JobView, measured: Option<&Measurements>) -> Vec<Span<'static>> {
        let memory = job
            .processes
            .iter()
            .filter_map(|process| process.resident_bytes);
        let unknown = || "-".to_owned();
        vec![
            job.name.clone().into(),
            state(job),
            span(seconds_between(job.since_ms, self.now.at_ms)).into(),
            rate(measured.and_then(|now| self.events_per_second(now))).into(),
            measured.and_then(behind).map_or_else(unknown, span).into(),
            amount(job.failures.into()).into(),
            bytes(memory.sum()).into(),
        ]
    }

    fn events_per_second(&self, now: &Measurements) -> Option<f64> {
        let before = self.before?.jobs.iter();
        let before = { before }.find_map(|before| {
            let before = before.measured.as_ref()?;
            (before.job == now.job && before.generation == now.generation).then_some(before)
        })?;
        let events = |measured: &Measurements| measured.records_in.values().sum::<u64>();
        let seconds = seconds_between(before.at_ms, now.at_ms);
        let more = events(now).checked_sub(events(before))?;
        (seconds > 0.0).then(|| more as f64 / seconds)
    }
}

fn state(job: &JobView) -> Span<'static> {
    let color = match job.state {
        JobState::Running | JobState::Finished => Color::Green,
        JobState::Failed | JobState::Failing => Color::Red,
        JobState::Restarting => Color::Yellow,
        _ => Color::Reset,
    };
    let state = match job.crash_looping {
        true => "crash loop",
        false => job.state.name(),
    };
    Span::styled(state, Style::new().fg(color))
}

/// The seconds by which the split is behind that is furthest behind.
fn behind(measured: &Measurements) -> Option<f64> {
    let behind = measured
        .splits
        .iter()
        .filter_map(|split| split.seconds_behind);
    behind.reduce(f64::max)
}
