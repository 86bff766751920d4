//! Ends the process when one of its workers hangs. Panics, lost peers and failed stores are noticed where they happen; this is
//! for what would otherwise be silence, in one process as in several: a worker that waits for something that never comes,
//! or computes without end.
//!
//! A step may take long where state is large, and ending a worker that works would only make it begin again. So two limits
//! apply to the time without a [beat](super::pulse):
//!
//! - [`STILL_MAX`] if the worker does nothing. No work looks like that: workers don't wait for servers, only for a disk and,
//!   when they open sources, for answers of brokers, which are given up after 10 s.
//! - [`BUSY_MAX`] if it computes, or would if it got a processor. The longest steps that are no defect, an operator's part
//!   of a checkpoint in which all of a very large state has changed, or a derived table that is made again, take seconds.
//!
//! Time in which the process as a whole does not run, because it or its machine is suspended, does not count.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::failure::hung;
use super::pulse::{Pulse, Pulses};

/// A worker that does nothing for so long without having finished a step hangs.
pub const STILL_MAX: Duration = Duration::from_secs(20);
/// A worker that computes for so long without having finished a step hangs.
pub const BUSY_MAX: Duration = Duration::from_secs(300);
/// How often workers are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// More than this between two looks is time in which this process did not run either.
const LOOK_LATE: Duration = Duration::from_secs(1);
/// Who is active for less than one part in so many of the time does nothing: asking in a loop takes less.
const STILL_SHARE: u32 = 100;

/// The workers are watched until this is dropped.
#[derive(Debug)]
pub struct Watching {
    /// Nothing is sent: its end is the message.
    _end: Sender<()>,
}

/// Watches the workers from now on.
///
/// # Errors
/// If no thread can be started.
pub fn watch(pulses: Arc<Pulses>) -> std::io::Result<Watching> {
    let (end, ended) = channel();
    thread::Builder::new()
        .name("watch".to_owned())
        .spawn(move || {
            let mut stalls: BTreeMap<usize, Stall> = BTreeMap::new();
            let mut looked = Instant::now();
            while ended.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                let passed = looked.elapsed().min(LOOK_LATE);
                looked = Instant::now();
                for (worker, pulse) in pulses.at_work() {
                    let stall = stalls.entry(worker).or_default();
                    if let Some(hang) = stall.look(pulse.beats(), pulse.active(), passed) {
                        hung(&describe(worker, &pulse, hang));
                    }
                }
            }
        })?;
    Ok(Watching { _end: end })
}

fn describe(worker: usize, pulse: &Pulse, hang: Hang) -> String {
    let place = pulse
        .inside()
        .map(|inside| format!(" in {inside}"))
        .unwrap_or_default();
    let how = match hang {
        Hang::Still => format!("it has done nothing for {} s", STILL_MAX.as_secs()),
        Hang::Busy => format!(
            "it has computed for {} s without coming a step further",
            BUSY_MAX.as_secs()
        ),
    };
    format!(
        "worker {worker} hangs{place}: {how}. The job goes on from its last checkpoint when it is started again; if that \
         happens again, it is a defect of Tidewright"
    )
}

/// How a worker hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hang {
    Still,
    Busy,
}

/// A worker since its last beat, as seen by looks.
#[derive(Debug, Default)]
struct Stall {
    beats: u64,
    active: Option<Duration>,
    /// Since the last beat.
    lasted: Duration,
    /// Since it was last seen active.
    still: Duration,
}

impl Stall {
    /// Looks again: after `passed`, the worker has beaten so often and been active for so long, in all.
    fn look(&mut self, beats: u64, active: Option<Duration>, passed: Duration) -> Option<Hang> {
        // Who cannot be seen is taken to be active.
        let moved = match (self.active, active) {
            (Some(before), Some(now)) => now.saturating_sub(before) >= passed / STILL_SHARE,
            _ => true,
        };
        let beaten = beats != self.beats;
        *self = Self {
            beats,
            active,
            lasted: if beaten {
                Duration::ZERO
            } else {
                self.lasted + passed
            },
            still: if beaten || moved {
                Duration::ZERO
            } else {
                self.still + passed
            },
        };
        if self.still >= STILL_MAX {
            return Some(Hang::Still);
        }
        (self.lasted >= BUSY_MAX).then_some(Hang::Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at a worker every half a second: how it beats and is active by then, in all.
    fn hangs(seconds: u64, seen: impl Fn(u64) -> (u64, Option<Duration>)) -> Option<(u64, Hang)> {
        let mut stall = Stall::default();
        (1..=seconds * 2).find_map(|look| {
            let (beats, active) = seen(look);
            let hang = stall.look(beats, active, Duration::from_millis(500))?;
            Some((look / 2, hang))
        })
    }

    fn milliseconds(count: u64) -> Option<Duration> {
        Some(Duration::from_millis(count))
    }

    #[test]
    fn a_worker_that_waits_for_something_that_never_comes_hangs_soon() {
        assert_eq!(
            hangs(100, |_| (7, milliseconds(9))),
            Some((20, Hang::Still))
        );
        // Also if it asks for it all the time.
        assert_eq!(
            hangs(100, |look| (7, milliseconds(look))),
            Some((20, Hang::Still))
        );
        // Also if it has computed for long before.
        let active = |look: u64| (7, milliseconds(look.min(100) * 500));
        assert_eq!(hangs(100, active), Some((70, Hang::Still)));
    }

    #[test]
    fn a_worker_that_computes_without_end_hangs_later() {
        let busy = |look: u64| (7, milliseconds(look * 500));
        assert_eq!(hangs(299, busy), None);
        assert_eq!(hangs(400, busy), Some((300, Hang::Busy)));
        // Also where nobody tells that it computes.
        assert_eq!(hangs(400, |_| (7, None)), Some((300, Hang::Busy)));
    }

    #[test]
    fn a_worker_that_comes_further_never_hangs() {
        // Without work it beats, and does nothing besides.
        assert_eq!(hangs(3_000, |look| (look, milliseconds(1))), None);
        // Steps of four minutes.
        assert_eq!(
            hangs(3_000, |look| (look / 480, milliseconds(look * 500))),
            None
        );
        // Steps of fifteen seconds, all of them waiting for a disk.
        assert_eq!(hangs(3_000, |look| (look / 30, milliseconds(1))), None);
        // One look in five sees it active: a machine with far too much to do.
        assert_eq!(hangs(280, |look| (7, milliseconds(look / 5 * 10))), None);
    }

    #[test]
    fn time_without_looks_does_not_count() {
        let mut stall = Stall::default();
        for _ in 0..19 {
            // Suspended for a minute each time.
            let passed = Duration::from_secs(60).min(LOOK_LATE);
            assert_eq!(stall.look(7, milliseconds(1), passed), None);
        }
    }
}
