//! How many records and rows may become dead letters: over the stated share the job stops, because what is left would
//! be results of a part of its input.
//!
//! It stops in good order. Everything up to the final checkpoint is accounted for, the dead letters included, so the next start
//! goes on behind them and begins to count anew. Whether to start is for people to say: the exit code is one
//! of its own, on which no supervisor starts the job again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tidewright_jobs::job::DeadLetterLimit;

use crate::dead_letter::DeadLetter;

/// Different reasons that are counted apart.
const REASONS_MAX: usize = 32;
/// Reasons that a message names.
const REASONS_TOLD: usize = 3;
/// Bytes of a reason or origin in a message.
const TOLD_BYTES_MAX: usize = 300;

/// The tolerance of a job, in one of its processes.
#[derive(Debug)]
pub struct Tolerance {
    limit: Option<DeadLetterLimit>,
    windows: Mutex<BTreeMap<String, Arc<Mutex<Window>>>>,
    verdict: Arc<Verdict>,
}

/// Where what was too much is told.
#[derive(Debug)]
struct Verdict {
    words: OnceLock<String>,
    stop: Arc<AtomicBool>,
}

/// Judges what one place rejects, on one worker.
#[derive(Clone, Debug)]
pub struct Judge {
    limit: DeadLetterLimit,
    place: String,
    /// The workers of a process judge together.
    window: Arc<Mutex<Window>>,
    verdict: Arc<Verdict>,
}

impl Tolerance {
    /// Without a limit everything is tolerated. `stop` ends the job with a final checkpoint.
    #[must_use]
    pub fn new(limit: Option<DeadLetterLimit>, stop: Arc<AtomicBool>) -> Self {
        let words = OnceLock::new();
        Self {
            limit,
            windows: Mutex::default(),
            verdict: Arc::new(Verdict { words, stop }),
        }
    }

    /// The judge of a place, such as `source events`; nobody where everything is tolerated.
    #[must_use]
    pub fn judge(&self, place: &str) -> Option<Judge> {
        let limit = self.limit?;
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Judge {
            limit,
            place: place.to_owned(),
            window: windows.entry(place.to_owned()).or_default().clone(),
            verdict: self.verdict.clone(),
        })
    }

    /// What was too much, if anything was.
    #[must_use]
    pub fn exceeded(&self) -> Option<&str> {
        self.verdict.words.get().map(String::as_str)
    }
}

impl Judge {
    /// Takes note of some records or rows, of which these became dead letters.
    pub fn note(&self, records: u64, letters: &[DeadLetter]) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(much) = window.add(records, letters, self.limit) {
            let words = much.in_words(&self.place, self.limit);
            // The first is told.
            if self.verdict.words.set(words.clone()).is_ok() {
                tracing::error!("{words}");
            }
            self.verdict.stop.store(true, Ordering::Relaxed);
        }
    }
}

/// The records that are judged together: at least as many as the limit says, up to the end of a batch.
#[derive(Debug, Default)]
struct Window {
    records: u64,
    letters: u64,
    reasons: BTreeMap<String, u64>,
    example: String,
}

/// What was too much.
#[derive(Debug, PartialEq, Eq)]
struct Exceeded {
    records: u64,
    letters: u64,
    /// Most frequent first.
    reasons: Vec<(String, u64)>,
    example: String,
}

impl Window {
    fn add(
        &mut self,
        records: u64,
        letters: &[DeadLetter],
        limit: DeadLetterLimit,
    ) -> Option<Exceeded> {
        self.records += records;
        self.letters += letters.len() as u64;
        for letter in letters {
            self.count(letter);
        }
        // Before the window is full the rest of it is taken to be good: no later record can mend what is too much.
        let of = self.records.max(limit.window_records);
        let exceeded = self.letters > limit.stop_above.of(of);
        let full = self.records >= limit.window_records;
        if !exceeded && !full {
            return None;
        }
        let window = std::mem::take(self);
        exceeded.then(|| window.told())
    }

    fn count(&mut self, letter: &DeadLetter) {
        let reason = cut(&letter.reason);
        if self.reasons.len() < REASONS_MAX || self.reasons.contains_key(reason) {
            *self.reasons.entry(reason.to_owned()).or_default() += 1;
        }
        if self.example.is_empty() {
            cut(&letter.origin).clone_into(&mut self.example);
        }
    }

    fn told(self) -> Exceeded {
        let mut reasons: Vec<_> = self.reasons.into_iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        reasons.truncate(REASONS_TOLD);
        Exceeded {
            records: self.records,
            letters: self.letters,
            reasons,
            example: self.example,
        }
    }
}

impl Exceeded {
    fn in_words(&self, place: &str, limit: DeadLetterLimit) -> String {
        let reasons: Vec<String> = self
            .reasons
            .iter()
            .map(|(reason, count)| format!("{count} × {reason}"))
            .collect();
        let told: u64 = self.reasons.iter().map(|(_, count)| count).sum();
        let others = match self.letters - told {
            0 => String::new(),
            others => format!("; {others} for other reasons"),
        };
        let example = match self.example.as_str() {
            "" => String::new(),
            example => format!("; the first: {example}"),
        };
        let DeadLetterLimit {
            stop_above,
            window_records,
        } = limit;
        format!(
            "{place}: {} of {} records became dead letters, more than {stop_above} of {window_records} (dead_letter.stop_above): {}{others}{example}. \
             The job stops with a final checkpoint and goes on behind them at its next start. Mend what makes these \
             records, or what the job file says of them, or raise dead_letter.stop_above",
            self.letters,
            self.records,
            reasons.join("; ")
        )
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TOLD_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use tidewright_jobs::units::Share;

    use super::*;

    fn limit() -> DeadLetterLimit {
        DeadLetterLimit {
            stop_above: Share::parse("5%").unwrap(),
            window_records: 100,
        }
    }

    fn letters(count: usize, reason: &str) -> Vec<DeadLetter> {
        let letter = |at: usize| DeadLetter {
            relation: "events".into(),
            origin: format!("offset {at}"),
            cause: crate::dead_letter::Cause::Decode,
            reason: reason.to_owned(),
            payload: Vec::new(),
        };
        (0..count).map(letter).collect()
    }

    /// Batches of (records, dead letters); the batch that is too much.
    fn check(batches: &[(u64, usize)], expected: Option<usize>) {
        let mut window = Window::default();
        let found = batches.iter().position(|(records, bad)| {
            let exceeded = window.add(*records, &letters(*bad, "odd"), limit());
            exceeded.is_some()
        });
        assert_eq!(found, expected, "{batches:?}");
    }

    #[test]
    fn a_share_over_the_limit_is_found_and_one_below_it_never() {
        check(&[(100, 5), (100, 5), (100, 5)], None);
        check(&[(100, 5), (100, 6)], Some(1));
        check(&[(1, 0); 1_000], None);
    }

    #[test]
    fn what_no_good_record_can_mend_is_told_before_the_window_is_full() {
        check(&[(5, 5), (1, 1)], Some(1));
        check(&[(5, 5), (90, 0), (4, 0), (5, 5)], Some(3));
    }

    #[test]
    fn a_batch_larger_than_the_window_is_judged_as_a_whole() {
        check(&[(10_000, 500)], None);
        check(&[(10_000, 501)], Some(0));
    }

    #[test]
    fn the_message_names_place_counts_reasons_and_an_example() {
        let stop = Arc::new(AtomicBool::new(false));
        let tolerance = Tolerance::new(Some(limit()), stop.clone());
        let judges = [(); 2].map(|()| tolerance.judge("source events").unwrap());
        judges[0].note(30, &letters(4, "no number"));
        assert!(!stop.load(Ordering::Relaxed) && tolerance.exceeded().is_none());
        // Another worker's: they are judged together.
        judges[1].note(20, &letters(2, "no text"));
        assert!(stop.load(Ordering::Relaxed));
        let words = tolerance.exceeded().unwrap();
        for part in [
            "source events: 6 of 50 records",
            "more than 5% of 100",
            "4 × no number; 2 × no text; the first: offset 0",
        ] {
            assert!(words.contains(part), "{words}");
        }
    }

    #[test]
    fn without_a_limit_nobody_judges() {
        let tolerance = Tolerance::new(None, Arc::default());
        assert!(tolerance.judge("source events").is_none());
    }

    #[test]
    fn many_different_reasons_take_no_more_room() {
        let mut window = Window::default();
        for at in 0..1_000 {
            let _ = window.add(
                1_000,
                &letters(1, &format!("reason {at}")),
                DeadLetterLimit {
                    window_records: u64::MAX,
                    ..limit()
                },
            );
        }
        assert_eq!((window.reasons.len(), window.letters), (REASONS_MAX, 1_000));
    }
}
