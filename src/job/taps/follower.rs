//! A process that sends process 0 the rows of its taps.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Weak,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use super::{Order, Rows, decode, encode};
use crate::cluster::{Mail, Peers};
use crate::runtime::context::JobContext;
use crate::runtime::tap::{Listening, Sampling, Share};

/// How often process 0 is sent rows while somebody taps.
const SEND_EVERY: Duration = Duration::from_millis(100);
/// How often it is told how many rows have passed while none are shown.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// A share of so many bytes is not added to: the job's own data goes the same way.
const SHARE_BYTES: usize = 256 << 10;
/// Nor is the last one added to when it has so many: with one more row, and twice as long in JSON, a message holds it.
const LAST_SHARE_BYTES: usize = 2 << 20;

/// What follows process 0.
pub(super) struct Follower {
    context: Weak<JobContext>,
    leader: Peers,
    open: BTreeMap<u64, Sending>,
}

impl Follower {
    /// Of a job, and this is process 0 of it.
    pub(super) fn new(context: &Arc<JobContext>, leader: Peers) -> Self {
        Self {
            context: Arc::downgrade(context),
            leader,
            open: BTreeMap::new(),
        }
    }

    /// Does what process 0 wants until the job ends here.
    pub(super) fn run(mut self, mail: &Receiver<Mail>) {
        let mut round = Instant::now();
        loop {
            let next = match self.open.is_empty() {
                true => mail.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => mail.recv_timeout(round.saturating_duration_since(Instant::now())),
            };
            match next {
                Ok(Mail::From(_, order)) => {
                    if let Some(order) = decode(order) {
                        self.obey(order);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    round = Instant::now() + SEND_EVERY;
                    for (tap, sending) in &mut self.open {
                        if let Some(share) = sending.next() {
                            send(&self.leader, *tap, share);
                        }
                    }
                }
                Ok(Mail::End) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        for (tap, sending) in self.open {
            send(&self.leader, tap, sending.last());
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Open {
                tap,
                relation,
                sampling,
            } => match self.listen(&relation, sampling) {
                Some(listening) => _ = self.open.insert(tap, Sending::new(listening)),
                None => send(&self.leader, tap, Share::default().last()),
            },
            Order::More { tap } => {
                if let Some(sending) = self.open.get_mut(&tap) {
                    sending.is_wanted = true;
                }
            }
            Order::Close { tap } => _ = self.open.remove(&tap),
        }
    }

    /// Listens here; there is nothing to listen to once the job has ended.
    fn listen(&self, relation: &str, sampling: Sampling) -> Option<Listening> {
        let context = self.context.upgrade()?;
        let listening = context.taps.listen(relation, sampling);
        listening
            .inspect_err(|error| tracing::debug!(%error, "process 0 is not sent rows"))
            .ok()
    }
}

fn send(leader: &Peers, tap: u64, share: Share) {
    leader.tell(0, encode(&Rows { tap, share }));
}

/// A tap whose rows go to process 0.
struct Sending {
    listening: Listening,
    is_wanted: bool,
    counted: u64,
    sent: Instant,
}

impl Sending {
    fn new(listening: Listening) -> Self {
        Self {
            listening,
            is_wanted: true,
            counted: 0,
            sent: Instant::now(),
        }
    }

    /// What is to be sent now, if anything.
    fn next(&mut self) -> Option<Share> {
        if !self.is_wanted {
            return None;
        }
        let share = self.listening.share(SHARE_BYTES);
        let counts = share.passed() > self.counted && self.sent.elapsed() >= COUNT_EVERY;
        if share.is_empty() && !counts {
            return None;
        }
        self.is_wanted = false;
        self.counted = share.passed();
        self.sent = Instant::now();
        Some(share)
    }

    /// What is left at the end, as far as a message holds it: the rest counts as left out. Nothing is added to what process 0 has not
    /// taken yet.
    fn last(self) -> Share {
        let bytes_max = match self.is_wanted {
            true => LAST_SHARE_BYTES,
            false => 0,
        };
        self.listening.share(bytes_max).last()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;
    use crate::runtime::tap::{RATE_MAX, Shown, Taps};

    /// The longest row that is shared, and workers that all find room for one.
    const ROW_BYTES: usize = 4 << 20;
    const WORKERS: usize = 4;
    /// What `cluster/frame.rs` takes for damage.
    const MESSAGE_BYTES_MAX: usize = 16 << 20;

    #[test]
    fn the_last_share_fits_into_a_message_however_much_the_workers_leave() {
        let taps = Taps::new(&["clicks".to_owned()]);
        let all = Sampling::new(1, RATE_MAX).unwrap();
        let sending = Sending::new(taps.listen("clicks", all).unwrap());
        let tap = taps.of("clicks");
        let all_have_room = Barrier::new(WORKERS);
        let row = |_: usize| {
            all_have_room.wait();
            // Each of them takes two bytes in JSON.
            let text = "\"".repeat(ROW_BYTES);
            Shown { text, other: None }
        };
        thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| tap.offer(1, row));
            }
        });
        taps.end();
        let share = sending.last();
        assert_eq!(share.passed(), WORKERS as u64, "what is left out counts");
        let message = encode(&Rows {
            tap: u64::MAX,
            share,
        })
        .to_string();
        assert!(message.len() > 2 * ROW_BYTES, "there is a row in it");
        assert!(message.len() < MESSAGE_BYTES_MAX, "{}", message.len());
    }
}
