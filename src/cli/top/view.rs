//! What `top` shows, and what keys do to it: no terminal, no clock, no requests.

use std::cell::Cell;
use std::collections::VecDeque;

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Style, Stylize},
    text::Line,
    widgets::Widget,
};

use super::ask::{Seen, Target};
use super::job_page;
use super::jobs_page::JobsPage;
use super::prose::wrapped;
use super::terminal::Wish;

/// Rates are those of this time, in milliseconds.
const RATES_OVER_MS: u64 = 5_000;

/// What is shown.
#[derive(Debug)]
pub(super) struct View {
    target: Target,
    /// What has been seen of it lately, the oldest first.
    seen: VecDeque<Seen>,
    /// Why nothing newer has been seen.
    trouble: Option<String>,
    /// The first line that is shown, or the chosen job.
    at: usize,
    /// How wide it was when it was drawn last, in columns.
    width: Cell<usize>,
}

/// What a key asks for beyond another look at the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// The end.
    End,
    /// To look at something else.
    Look(Target),
}

impl View {
    /// Nothing has been seen yet.
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            seen: VecDeque::new(),
            trouble: None,
            at: 0,
            width: Cell::new(80),
        }
    }

    /// Something new has been seen of a target, or could not be.
    pub(super) fn see(&mut self, target: &Target, seen: Result<Seen, String>) {
        if *target != self.target {
            return;
        }
        match seen {
            Err(trouble) => self.trouble = Some(trouble),
            Ok(seen) => {
                self.trouble = None;
                let now_ms = seen.at_ms();
                self.seen.push_back(seen);
                while self.seen.len() > 2 && self.seen[1].at_ms() + RATES_OVER_MS <= now_ms {
                    self.seen.pop_front();
                }
            }
        }
    }

    /// A key was pressed.
    pub(super) fn wish(&mut self, wish: Wish) -> Effect {
        match wish {
            Wish::Quit => Effect::End,
            Wish::Redraw => Effect::None,
            Wish::Move(lines) => {
                self.at = self.at.saturating_add_signed(isize::from(lines));
                self.at = self.at.min(self.last());
                Effect::None
            }
            Wish::Open => match self.chosen() {
                Some(job) => self.look(Target::Job(job)),
                None => Effect::None,
            },
            Wish::Back => match &self.target {
                Target::Job(_) => self.look(Target::Jobs),
                Target::Jobs | Target::Socket => Effect::End,
            },
        }
    }

    fn look(&mut self, target: Target) -> Effect {
        *self = Self::new(target.clone());
        Effect::Look(target)
    }

    fn chosen(&self) -> Option<String> {
        match self.seen.back()? {
            Seen::Jobs(jobs) => jobs.jobs.get(self.at).map(|seen| seen.job.name.clone()),
            Seen::Job(_) => None,
        }
    }

    /// The last line, or job, that can be reached.
    fn last(&self) -> usize {
        match self.seen.back() {
            Some(Seen::Jobs(jobs)) => jobs.jobs.len().saturating_sub(1),
            Some(Seen::Job(_)) => {
                let lines = self.lines(self.width.get());
                lines.len().saturating_sub(1)
            }
            None => 0,
        }
    }

    /// Everything, whether there are enough lines for it or not; sentences are broken at this width.
    pub(super) fn lines(&self, width: usize) -> Vec<Line<'static>> {
        let before = self.seen.front().filter(|_| self.seen.len() > 1);
        match (self.seen.back(), before) {
            (None, _) => vec![Line::from(match &self.trouble {
                None => "asking ...".to_owned(),
                Some(_) => String::new(),
            })],
            (Some(Seen::Jobs(now)), before) => {
                let before = before.and_then(Seen::jobs);
                let page = JobsPage {
                    now,
                    before,
                    chosen: self.at,
                    width,
                };
                page.lines()
            }
            (Some(Seen::Job(now)), before) => {
                let before = before.and_then(Seen::job);
                job_page::lines(now, before, width)
            }
        }
    }

    fn foot(&self) -> Line<'static> {
        match (&self.trouble, &self.target) {
            (Some(trouble), _) => Line::styled(trouble.clone(), Style::new().fg(Color::Red)),
            (None, Target::Jobs) => Line::from(" q quit   arrows choose   enter opens a job").dim(),
            (None, Target::Job(_)) => Line::from(" q quit   arrows scroll   esc all jobs").dim(),
            (None, Target::Socket) => Line::from(" q quit   arrows scroll").dim(),
        }
    }
}

/// Draws as much as there is room for: the page from where it has been scrolled to, and below it help or trouble.
impl Widget for &View {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let width = usize::from(area.width);
        let height = usize::from(area.height);
        self.width.set(width);
        let mut foot = wrapped(self.foot(), width, 0);
        // However much there is to say, some of the page stays.
        foot.truncate((height / 2).max(1));
        let Some(room) = height.checked_sub(foot.len()) else {
            return;
        };
        let lines = self.lines(width);
        let first = match self.target {
            // What is chosen stays in sight, below the headings.
            Target::Jobs => (self.at + 3).saturating_sub(room),
            Target::Job(_) | Target::Socket => self.at.min(lines.len().saturating_sub(room)),
        };
        let rows = area.rows();
        for (line, row) in lines.into_iter().skip(first).take(room).zip(rows) {
            line.render(row, buffer);
        }
        for (line, row) in foot.into_iter().zip(area.rows().skip(room)) {
            line.render(row, buffer);
        }
    }
}

#[cfg(test)]
mod tests;
