//! One job, as lines of text: what it does now, from what it has measured now and a while ago.

mod overview;
mod tables;

use ratatui::{
    style::{Color, Style, Stylize},
    text::{Line, Span},
};

use self::overview::NAME_WIDTH;
use super::ask::JobSeen;
use super::numbers::{seconds_between, span};
use super::prose::wrapped;
use crate::control::api::views::JobView;
use crate::metrics::health::{Health, Verdict};
use crate::metrics::measurements::Measurements;

/// The page. Sentences take as many lines of this width as they need; tables are made for 80 columns.
pub(super) fn lines(now: &JobSeen, before: Option<&JobSeen>, width: usize) -> Vec<Line<'static>> {
    let sentence = |line| wrapped(line, width, 2);
    let mut lines = Vec::new();
    if let Some(view) = &now.view {
        lines.extend(said(view, now.at_ms).into_iter().flat_map(sentence));
    }
    lines.extend(
        now.health
            .as_ref()
            .map(verdict)
            .into_iter()
            .flat_map(sentence),
    );
    let Some(measured) = &now.measured else {
        lines.push(Line::from(
            "nothing is measured now: no process of the job answers",
        ));
        return lines;
    };
    let same = |before: &&Measurements| before.generation == measured.generation;
    let before = before.and_then(|before| before.measured.as_ref());
    let page = JobPage {
        now: measured,
        before: before.filter(same),
    };
    lines.extend(sentence(page.title()));
    let named = page.overview().into_iter();
    lines.extend(named.flat_map(|line| wrapped(line, width, NAME_WIDTH)));
    for part in [page.views(), page.sinks(), page.splits(), page.operators()] {
        if part.len() > 1 {
            lines.push(Line::default());
            lines.extend(part);
        }
    }
    lines
}

/// What a server says about its job.
fn said(job: &JobView, now_ms: u64) -> Vec<Line<'static>> {
    let since = span(seconds_between(job.since_ms, now_ms));
    let state = format!(
        "{} for {since}, version {}, {} restart(s), {} failure(s) in a row",
        job.state.name(),
        job.version,
        job.restarts,
        job.failures
    );
    let mut lines = vec![Line::from(vec![
        job.name.clone().bold(),
        "  ".into(),
        state.into(),
    ])];
    if let Some(error) = &job.last_error {
        lines.push(Line::styled(
            format!("last error: {error}"),
            Style::new().fg(Color::Red),
        ));
    }
    lines
}

/// Whether it does what it should, and why not.
pub(super) fn verdict(health: &Health) -> Line<'static> {
    let color = match health.verdict {
        Verdict::Healthy => Color::Green,
        Verdict::Degraded => Color::Yellow,
        Verdict::Unhealthy => Color::Red,
    };
    let verdict = Span::styled(health.verdict.name(), Style::new().fg(color));
    Line::from(vec![verdict, format!(": {}", health.reason).into()])
}

/// What one job has measured now and a while ago.
struct JobPage<'a> {
    now: &'a Measurements,
    before: Option<&'a Measurements>,
}

impl JobPage<'_> {
    /// What has been counted per second since before.
    fn per_second(&self, count: impl Fn(&Measurements) -> u64) -> Option<f64> {
        let before = self.before?;
        let more = count(self.now).checked_sub(count(before))?;
        Some(more as f64 / self.seconds()?)
    }

    /// The time between the two moments.
    fn seconds(&self) -> Option<f64> {
        let before = self.before?;
        let seconds = seconds_between(before.at_ms, self.now.at_ms);
        (seconds > 0.0).then_some(seconds)
    }
}
