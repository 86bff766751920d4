//! Probe events and when their effect was seen.
//!
//! A probe user has a number of events in its row of the store, so the row tells how many of its probes have arrived:
//! the n-th is visible as soon as the number is n. That needs no clock of the engine and no format of times.

use std::time::Instant;

use crate::{kafka::Appended, quantiles::Quantiles};

/// One event of a probe user.
#[derive(Clone, Copy, Debug)]
struct Probe {
    sent: Instant,
    appended_ms: Option<i64>,
    visible: Option<Visible>,
    measured: bool,
}

/// A moment on both clocks: durations from sending come from the monotonic one, from appending from the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Visible {
    /// On the monotonic clock.
    pub at: Instant,
    /// On the wall clock, in milliseconds since 1970.
    pub wall_ms: f64,
}

/// The probes of all probe users.
#[derive(Debug)]
pub struct Probes {
    by_user: Vec<Vec<Probe>>,
    /// How many of each user's probes are visible.
    visible: Vec<usize>,
}

/// What the measured probes came to.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct ProbeReport {
    /// Measured probes.
    pub probes: usize,
    /// Those of them that were never seen.
    pub lost: usize,
    /// Those of them whose append the broker gave no time for. They count as appended when they were sent, so that both
    /// distributions are of the same probes.
    pub without_append_time: usize,
    /// From the producer's call to visible.
    pub from_send_ms: Option<Quantiles>,
    /// From the broker's append to visible. The broker cuts its time to whole milliseconds, so this is up to 1 ms too long,
    /// but never longer than from the producer's call: no record is appended before it is sent.
    pub from_append_ms: Option<Quantiles>,
}

impl Probes {
    /// No probes yet.
    #[must_use]
    pub fn of(users: usize) -> Self {
        Self {
            by_user: vec![Vec::new(); users],
            visible: vec![0; users],
        }
    }

    /// Notes a probe that is about to be sent and returns its tag.
    pub fn sent(&mut self, user: usize, measured: bool) -> usize {
        let probes = &mut self.by_user[user];
        probes.push(Probe {
            sent: Instant::now(),
            appended_ms: None,
            visible: None,
            measured,
        });
        // From 1, since 0 is the tag of what is not watched.
        (probes.len() - 1) * self.visible.len() + user + 1
    }

    /// Notes when a probe was appended.
    pub fn appended(&mut self, appended: Appended) {
        let place = appended.tag - 1;
        let users = self.visible.len();
        if let Some(probe) = self.by_user[place % users].get_mut(place / users) {
            probe.appended_ms = appended.appended_ms;
        }
    }

    /// Notes that a user's row has counted this many events.
    pub fn seen(&mut self, user: usize, events: usize, now: Visible) {
        let events = events.min(self.by_user[user].len());
        for probe in self.by_user[user]
            .iter_mut()
            .take(events)
            .skip(self.visible[user])
        {
            probe.visible = Some(now);
        }
        self.visible[user] = self.visible[user].max(events);
    }

    /// The users with probes on their way.
    #[must_use]
    pub fn outstanding(&self) -> Vec<usize> {
        let users = 0..self.visible.len();
        users
            .filter(|user| self.visible[*user] < self.by_user[*user].len())
            .collect()
    }

    /// What the measured probes came to.
    #[must_use]
    pub fn report(&self) -> ProbeReport {
        let measured = || self.by_user.iter().flatten().filter(|probe| probe.measured);
        let from_send =
            |probe: &Probe| Some((probe.visible?.at - probe.sent).as_secs_f64() * 1_000.0);
        let from_append = |probe: &Probe| {
            let from_send = from_send(probe)?;
            let wall_ms = probe.visible?.wall_ms;
            let told = probe
                .appended_ms
                .map(|appended_ms| wall_ms - appended_ms as f64);
            Some(told.map_or(from_send, |told| told.min(from_send)))
        };
        ProbeReport {
            probes: measured().count(),
            lost: measured().filter(|probe| probe.visible.is_none()).count(),
            without_append_time: measured()
                .filter(|probe| probe.appended_ms.is_none())
                .count(),
            from_send_ms: Quantiles::of(measured().filter_map(from_send).collect()),
            from_append_ms: Quantiles::of(measured().filter_map(from_append).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_count_shows_every_probe_up_to_it_and_only_once() {
        let mut probes = Probes::of(2);
        let tags = [
            probes.sent(1, false),
            probes.sent(1, true),
            probes.sent(1, true),
        ];
        assert_eq!(probes.outstanding(), [1]);
        for (tag, appended_ms) in tags.into_iter().zip([100, 200, 300]) {
            probes.appended(Appended {
                tag,
                appended_ms: Some(appended_ms),
            });
        }
        let sent = probes.by_user[1][2].sent;
        let at = |ms| Visible {
            at: sent + Duration::from_millis(ms),
            wall_ms: 210.0 + ms as f64,
        };
        probes.seen(1, 2, at(0));
        probes.seen(1, 2, at(50));
        assert_eq!(probes.report().lost, 1);
        probes.seen(1, 3, at(100));
        assert_eq!(probes.outstanding(), [0; 0]);
        let report = probes.report();
        assert_eq!((report.probes, report.lost), (2, 0));
        let from_append = report.from_append_ms.unwrap();
        let from_send = report.from_send_ms.unwrap();
        assert_eq!((from_append.max, from_send.max), (10.0, 100.0));
        assert_eq!(
            from_append.p50, from_send.p50,
            "seen sooner than the broker's cut-off time says"
        );
    }

    /// A median over some of the probes could be larger than one over all of them.
    #[test]
    fn no_quantile_from_append_is_larger_than_from_send() {
        let mut probes = Probes::of(1);
        let now = Instant::now();
        for at in 0..100_u32 {
            let tag = probes.sent(0, true);
            // Only of the first, which take longest, the broker tells the time.
            if at < 30 {
                let appended_ms = Some(1_000);
                probes.appended(Appended { tag, appended_ms });
            }
            let visible = Visible {
                at: now + Duration::from_millis(u64::from(200 - at)),
                wall_ms: f64::from(1_195 - at),
            };
            probes.seen(0, at as usize + 1, visible);
        }
        let report = probes.report();
        let (append, send) = (report.from_append_ms.unwrap(), report.from_send_ms.unwrap());
        assert_eq!((report.probes, report.without_append_time), (100, 70));
        assert!(append.p50 <= send.p50 && append.p99 < send.p99 && append.max < send.max);
    }

    #[test]
    fn tags_are_told_apart() {
        let mut probes = Probes::of(3);
        let mut tags: Vec<_> = (0..30).map(|i| probes.sent(i % 3, true)).collect();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), 30);
        assert!(!tags.contains(&0));
    }
}
