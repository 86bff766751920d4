//! Showing rows as they pass to a client, until it has seen enough, it goes, or the job ends.

use std::time::{Duration, Instant};

use crate::control::protocol::{Answer, TapEnd, TapRequest, Tapped};
use crate::control::socket::Reply;
use crate::runtime::context::JobContext;
use crate::runtime::tap::{Listening, Sampling, TapError};

/// An answer goes out at least this often: only so it is seen that the client has gone.
const ANSWER_EVERY: Duration = Duration::from_secs(1);

/// A tap that is open.
pub(super) struct Open {
    listening: Listening,
    processes: usize,
    limit: u64,
    until: Option<Instant>,
}

impl Open {
    /// Opens what a client wants; otherwise the answer why not.
    pub(super) fn new(context: &JobContext, request: TapRequest) -> Result<Self, Answer> {
        let sampling = Sampling::new(request.every, request.rate).map_err(Answer::Refused)?;
        let listening = context.taps.listen(&request.relation, sampling);
        let listening = listening.map_err(|error| match error {
            TapError::Unknown(..) => Answer::NotFound(error.to_string()),
            TapError::TooMany | TapError::Over => Answer::Refused(error.to_string()),
        })?;
        Ok(Self {
            listening,
            processes: context.place.processes,
            limit: request.limit.unwrap_or(u64::MAX),
            // A time that no clock reaches is none.
            until: request
                .seconds
                .and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds))),
        })
    }

    /// Answers again and again.
    pub(super) fn answer(self, reply: Reply<'_>) {
        let (mut lines_left, mut shown) = (self.limit, 0);
        loop {
            let now = Instant::now();
            let time_left = self.until.map(|until| until.saturating_duration_since(now));
            let patience = time_left.map_or(ANSWER_EVERY, |left| left.min(ANSWER_EVERY));
            let lines_max = usize::try_from(lines_left).unwrap_or(usize::MAX);
            let passed = self.listening.next(lines_max, patience);
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
                processes: self.processes,
                ended,
            }));
            if !is_taken || ended.is_some() {
                return;
            }
        }
    }
}
