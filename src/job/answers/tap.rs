//! Showing rows as they pass to a client, until it has seen enough, it goes, or the job ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::taps::{Elsewhere, OpenElsewhere};
use crate::control::protocol::{Answer, TapEnd, TapRequest, Tapped};
use crate::control::socket::Reply;
use crate::runtime::context::JobContext;
use crate::runtime::tap::{Listening, Sampling, TapError};

/// An answer goes out at least this often: only so it is seen that the client has gone.
const ANSWER_EVERY: Duration = Duration::from_secs(1);

/// A tap that is open.
pub(super) struct Open {
    /// Closes first, so that whoever taps next finds room in all processes.
    elsewhere: Option<OpenElsewhere>,
    listening: Listening,
    limit: u64,
    until: Option<Instant>,
}

impl Open {
    /// Opens what a client wants; otherwise the answer why not.
    pub(super) fn new(
        context: &JobContext,
        elsewhere: Option<Arc<Elsewhere>>,
        request: TapRequest,
    ) -> Result<Self, Answer> {
        let sampling = Sampling::new(request.every, request.rate).map_err(Answer::Refused)?;
        let sampling = sampling.among(context.place.processes);
        let listening = context.taps.listen(&request.relation, sampling);
        let listening = listening.map_err(|error| match error {
            TapError::Unknown(..) => Answer::NotFound(error.to_string()),
            TapError::TooMany | TapError::Over => Answer::Refused(error.to_string()),
        })?;
        let elsewhere =
            elsewhere.map(|elsewhere| elsewhere.open(&request.relation, sampling, &listening));
        Ok(Self {
            elsewhere,
            listening,
            limit: request.limit.unwrap_or(u64::MAX),
            // A time that no clock reaches is none.
            until: request
                .seconds
                .and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds))),
        })
    }

    /// Answers again and again, for the first time at once.
    pub(super) fn answer(self, reply: Reply<'_>) {
        let (mut lines_left, mut shown) = (self.limit, 0);
        let mut wait = Duration::ZERO;
        loop {
            let now = Instant::now();
            let time_left = self.until.map(|until| until.saturating_duration_since(now));
            let patience = time_left.map_or(wait, |left| left.min(wait));
            wait = ANSWER_EVERY;
            let lines_max = usize::try_from(lines_left).unwrap_or(usize::MAX);
            let passed = self.listening.next(lines_max, patience);
            if let Some(elsewhere) = &self.elsewhere {
                elsewhere.more(&passed.emptied);
            }
            shown += passed.shown;
            lines_left -= passed.lines.len() as u64;
            let ended = if lines_left == 0 {
                Some(TapEnd::Limit)
            } else if passed.over {
                Some(TapEnd::Job)
            } else if time_left == Some(Duration::ZERO) {
                Some(TapEnd::Time)
            } else {
                None
            };
            let is_taken = reply(Answer::Tapped(Tapped {
                lines: passed.lines,
                left_out: passed.passed - shown,
                ended,
            }));
            if !is_taken || ended.is_some() {
                return;
            }
        }
    }
}
