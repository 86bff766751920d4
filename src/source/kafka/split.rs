//! What the reader knows of one partition.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::super::{Halt, SplitProgress, watermark::SplitClock};

/// How often an idle partition's end is asked for again.
const RECHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How soon to ask again when the answer was no.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct KafkaSplit {
    pub(super) partition: i32,
    pub(super) progress: SplitProgress,
    pub(super) clock: SplitClock,
    /// Whether the client fetches it; partitions far ahead or at their end are not.
    pub(super) fetching: bool,
    /// The end that was seen at the start.
    end: i64,
    bounded: bool,
    /// Where reading ends although the partition goes on.
    halt: Option<Halt>,
    /// What was reported last.
    reported: Option<SplitProgress>,
    /// The end as far as known now.
    known_end: i64,
    /// Since when its position has stood at the end, as the broker told.
    at_end_since: Option<Instant>,
    /// Whether the broker is being asked whether that is still so.
    asked: bool,
    ask_at: Option<Instant>,
}

impl KafkaSplit {
    pub(super) fn new(
        partition: i32,
        next_offset: i64,
        end: i64,
        bounded: bool,
        idle: bool,
        clock: SplitClock,
    ) -> Self {
        let name: Arc<str> = partition.to_string().into();
        let mut split = Self {
            partition,
            progress: SplitProgress {
                split: partition.unsigned_abs(),
                name,
                next_offset,
                watermark: clock.watermark(),
                // What was idle stays so only if nothing has come since.
                idle: idle && next_offset >= end && !bounded,
                caught_up: false,
                finished: false,
                lag: None,
                timestamp: None,
            },
            clock,
            fetching: false,
            end,
            bounded,
            halt: None,
            reported: None,
            known_end: end,
            at_end_since: None,
            asked: false,
            ask_at: None,
        };
        split.moved();
        split
    }

    /// Reads no further than this.
    pub(super) fn until(mut self, halt: Option<Halt>) -> Self {
        self.halt = halt;
        self.moved();
        self
    }

    /// It stands where reading ends.
    pub(super) fn is_halted(&self) -> bool {
        self.halts_before(self.progress.next_offset)
    }

    fn halts_before(&self, offset: i64) -> bool {
        self.halt.is_some_and(|halt| offset >= halt.offset)
    }

    /// Whether a record at this offset is still to be read.
    #[inline]
    pub(super) fn wants(&self, offset: i64) -> bool {
        offset >= self.progress.next_offset
            && !(self.bounded && offset >= self.end)
            && !self.halts_before(offset)
    }

    /// A record was read.
    #[inline]
    pub(super) fn read(&mut self, offset: i64) {
        self.progress.next_offset = offset + 1;
        self.progress.watermark = self.clock.watermark();
        self.progress.idle = false;
        self.at_end_since = None;
        self.moved();
    }

    /// A record was not wanted: it comes again, or lies beyond where reading ends.
    #[cold]
    pub(super) fn skip(&mut self, offset: i64) {
        if self.fetching && self.bounded && offset >= self.end {
            self.pass_end();
        }
        if self.fetching && self.halts_before(offset) {
            self.pass_halt();
        }
    }

    /// No record lies between the last one and where reading ends.
    fn pass_halt(&mut self) {
        let offset = self.halt.map_or(i64::MIN, |halt| halt.offset);
        self.progress.next_offset = self.progress.next_offset.max(offset);
        self.moved();
    }

    fn pass_end(&mut self) {
        self.progress.next_offset = self.progress.next_offset.max(self.end);
        self.moved();
    }

    /// The broker says that nothing follows `offset`. What lies between the last record and there are transaction
    /// markers and records that compaction has removed.
    pub(super) fn reached_end(&mut self, offset: i64, now: Instant) {
        if offset < self.progress.next_offset {
            return;
        }
        if self.bounded && offset >= self.end {
            self.pass_end();
            return;
        }
        if self.halts_before(offset) {
            self.pass_halt();
            return;
        }
        self.progress.next_offset = offset;
        self.known_end = self.known_end.max(offset);
        self.at_end_since.get_or_insert(now);
        self.moved();
    }

    #[inline]
    fn moved(&mut self) {
        if self.progress.next_offset >= self.end {
            self.progress.caught_up = true;
            self.progress.finished = self.bounded;
        }
        if let Some(halt) = self.halt.filter(|_| self.is_halted()) {
            self.progress.caught_up = true;
            self.progress.finished |= halt.finished;
            self.progress.idle = halt.idle;
        }
    }

    /// The end, as the client knows it from the last response.
    pub(super) fn saw_end(&mut self, end: Option<i64>) {
        self.known_end = self.known_end.max(end.unwrap_or(i64::MIN));
    }

    /// Whether the broker should be asked now if this partition is idle: it has stood at its end for `idle_after`.
    pub(super) fn should_ask(&self, idle_after: Duration, now: Instant) -> bool {
        let long_enough = self
            .at_end_since
            .is_some_and(|since| now.duration_since(since) >= idle_after);
        long_enough && !self.asked && !self.bounded && self.ask_at.is_none_or(|at| now >= at)
    }

    pub(super) fn asked(&mut self) {
        self.asked = true;
    }

    /// The broker's answer: only if it stands at the end still is the partition idle. No answer, no idleness.
    pub(super) fn answered(&mut self, end: Option<i64>, now: Instant) {
        self.asked = false;
        self.saw_end(end);
        if self.is_halted() {
            return;
        }
        let idle = self.at_end_since.is_some() && end == Some(self.progress.next_offset);
        self.progress.idle = idle;
        self.ask_at = Some(
            now + if idle {
                RECHECK_INTERVAL
            } else {
                RETRY_INTERVAL
            },
        );
    }

    /// Its progress, if that has changed since it was last reported.
    pub(super) fn report(&mut self) -> Option<SplitProgress> {
        let end = if self.bounded {
            self.end
        } else {
            self.known_end
        };
        self.progress.lag = Some((end - self.progress.next_offset).max(0));
        if self.reported.as_ref() == Some(&self.progress) {
            return None;
        }
        self.reported = Some(self.progress.clone());
        self.reported.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE_AFTER: Duration = Duration::from_secs(30);

    fn split(next: i64, end: i64, bounded: bool) -> KafkaSplit {
        KafkaSplit::new(3, next, end, bounded, true, SplitClock::new(0, i64::MIN))
    }

    #[test]
    fn a_bounded_split_ends_at_the_end_seen_at_the_start() {
        let mut split = split(5, 8, true);
        assert!(split.wants(7) && !split.wants(8) && !split.progress.finished);
        split.read(7);
        assert!(split.progress.finished && split.progress.next_offset == 8);
    }

    #[test]
    fn a_split_with_a_halt_stands_still_there_and_goes_over_what_is_no_record() {
        let halted = |next, finished| {
            let halt = Halt {
                offset: 7,
                finished,
                idle: !finished,
            };
            split(next, 20, false).until(Some(halt))
        };
        let mut split = halted(5, false);
        assert!(split.wants(6) && !split.wants(7) && !split.is_halted());
        split.read(6);
        assert!(split.is_halted() && split.progress.caught_up && !split.progress.finished);
        split.answered(Some(20), Instant::now());
        assert!(split.progress.idle, "as it was where the halt comes from");
        // Offset 6 is a transaction marker.
        let mut split = halted(6, true);
        split.fetching = true;
        split.skip(8);
        assert!(split.is_halted() && split.progress.finished && split.progress.next_offset == 7);
        let mut split = halted(6, false);
        split.reached_end(9, Instant::now());
        assert_eq!(split.progress.next_offset, 7);
    }

    #[test]
    fn a_transaction_marker_at_the_end_does_not_keep_a_bounded_split_open() {
        let mut split = split(5, 9, true);
        split.read(7);
        assert!(!split.progress.finished, "offset 8 is a marker");
        split.reached_end(9, Instant::now());
        assert!(split.progress.finished && split.progress.next_offset == 9);
    }

    #[test]
    fn an_empty_split_is_finished_and_caught_up_at_once() {
        let progress = split(8, 8, true).progress;
        assert!(progress.finished && progress.caught_up && !progress.idle);
    }

    #[test]
    fn a_split_is_idle_only_when_its_broker_confirms_it_after_the_whole_time() {
        let start = Instant::now();
        let mut split = split(5, 8, false);
        assert!(!split.progress.idle, "there are records to read");
        assert!(
            !split.should_ask(IDLE_AFTER, start + IDLE_AFTER),
            "no end was told"
        );
        split.read(7);
        split.reached_end(8, start);
        assert!(!split.should_ask(IDLE_AFTER, start + IDLE_AFTER / 2));
        let later = start + IDLE_AFTER;
        assert!(split.should_ask(IDLE_AFTER, later));
        split.asked();
        assert!(!split.should_ask(IDLE_AFTER, later));
        split.answered(None, later);
        assert!(!split.progress.idle, "unreachable is not idle");
        split.answered(Some(9), later);
        assert!(!split.progress.idle, "a record is on its way");
        split.answered(Some(8), later);
        assert!(split.progress.idle);
        split.read(8);
        assert!(!split.progress.idle);
    }

    #[test]
    fn a_restored_idle_split_stays_idle_only_at_its_end() {
        assert!(split(8, 8, false).progress.idle);
        assert!(!split(7, 8, false).progress.idle);
    }

    #[test]
    fn progress_is_reported_once_per_change() {
        let mut split = split(5, 8, false);
        assert_eq!(split.report().and_then(|progress| progress.lag), Some(3));
        assert_eq!(split.report(), None);
        split.read(5);
        assert_eq!(split.report().and_then(|progress| progress.lag), Some(2));
    }

    #[test]
    fn records_that_come_again_are_not_wanted() {
        let mut split = split(5, 8, false);
        split.read(6);
        assert!(!split.wants(6) && split.wants(7));
        split.reached_end(4, Instant::now());
        assert_eq!(split.progress.next_offset, 7, "an old event moves nothing");
    }
}
