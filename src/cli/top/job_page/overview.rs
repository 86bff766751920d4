//! What a job does as a whole: its title and a line for each thing that counts.

use ratatui::{style::Stylize, text::Line};

use super::JobPage;
use crate::cli::top::numbers::{amount, bytes, rate, seconds_between, span};
use crate::metrics::measurements::{BUCKETS_S, Distribution};

/// The part of a line in front of a named value.
pub(super) const NAME_WIDTH: usize = 15;

fn named(name: &str, value: String) -> Line<'static> {
    Line::from(format!("  {name:<12} {value}"))
}

impl JobPage<'_> {
    pub(super) fn title(&self) -> Line<'static> {
        let now = self.now;
        let state = if now.running { "running" } else { "restoring" };
        let workers = match now.processes {
            0 | 1 => format!("{} worker(s)", now.workers),
            processes => format!("{processes} processes, {} worker(s)", now.workers),
        };
        let up = span(seconds_between(now.started_ms, now.at_ms));
        Line::from(vec![
            now.job.clone().bold(),
            format!(
                "  {state}, {workers}, up {up}, generation {}",
                now.generation
            )
            .into(),
        ])
    }

    /// A line for each thing that counts.
    pub(super) fn overview(&self) -> Vec<Line<'static>> {
        let now = self.now;
        let events = now.records_in.values().sum();
        let per_second = self.per_second(|measured| measured.records_in.values().sum());
        let late: u64 = now.late_rows.values().sum();
        let dead: u64 = now.dead_letters.iter().map(|letters| letters.count).sum();
        let frontiers = now
            .frontiers
            .named()
            .map(|(name, frontier)| match frontier.epoch {
                0 => format!("{name} -"),
                _ => {
                    let behind = seconds_between(frontier.wall_clock_ms, now.at_ms);
                    format!("{name} -{}", span(behind))
                }
            });
        vec![
            named(
                "events",
                format!(
                    "{}/s, {} in all, {} late, {} dead letters",
                    rate(per_second),
                    amount(events),
                    amount(late),
                    amount(dead)
                ),
            ),
            named("frontiers", frontiers.join("  ")),
            named("latency", self.latency()),
            named("checkpoints", self.checkpoints()),
            named("process", self.process()),
        ]
    }

    /// Of what was delivered lately, if anything was.
    fn latency(&self) -> String {
        let all = &self.now.delivery_latency;
        let lately = self
            .before
            .map(|before| since(all, &before.delivery_latency));
        let of = lately.filter(|lately| lately.counts.iter().any(|count| *count > 0));
        let quantile = |part| at_most(of.as_ref().unwrap_or(all), part);
        match (quantile(0.5), quantile(0.99)) {
            (Some(median), Some(most)) => format!("half within {median}, 99 % within {most}"),
            _ => "nothing delivered yet".to_owned(),
        }
    }

    fn checkpoints(&self) -> String {
        let checkpoints = &self.now.checkpoints;
        let interval = span(checkpoints.interval_ms as f64 / 1_000.0);
        let Some(at) = checkpoints.last_published_ms else {
            return format!("none yet; one every {interval}");
        };
        let waiting = checkpoints.uncovered_s.map_or_else(
            || "all is covered".to_owned(),
            |waiting| format!("oldest uncovered record {}", span(waiting)),
        );
        format!(
            "{}, the last {} ago: {} in {}; {waiting}",
            amount(checkpoints.count),
            span(seconds_between(at, self.now.at_ms)),
            bytes(checkpoints.last_bytes),
            span(checkpoints.last_duration_s),
        )
    }

    fn process(&self) -> String {
        let cores = self.seconds().zip(self.before);
        let cores =
            cores.map(|(seconds, before)| (self.now.cpu_seconds - before.cpu_seconds) / seconds);
        format!(
            "{} cores, {} of memory, {} keys moved to disk, {} back",
            cores.map_or_else(|| "-".to_owned(), |cores| format!("{cores:.2}")),
            bytes(self.now.resident_bytes),
            amount(self.now.state_spilled),
            amount(self.now.state_fetched),
        )
    }
}

/// What has been added since an earlier moment.
fn since(now: &Distribution, before: &Distribution) -> Distribution {
    let before_counts = before.counts.iter().copied().chain(std::iter::repeat(0));
    let counts = now.counts.iter().zip(before_counts);
    Distribution {
        counts: counts
            .map(|(now, before)| now.saturating_sub(before))
            .collect(),
        sum_s: now.sum_s - before.sum_s,
    }
}

/// The bound of the bucket that a quantile is in.
fn at_most(distribution: &Distribution, part: f64) -> Option<String> {
    let all: u64 = distribution.counts.iter().sum();
    let wanted = (all as f64 * part).ceil() as u64;
    let mut seen = 0;
    let bucket = distribution.counts.iter().position(|count| {
        seen += count;
        seen >= wanted.max(1)
    })?;
    Some(BUCKETS_S.get(bucket).map_or_else(
        || format!("more than {}", span(BUCKETS_S[BUCKETS_S.len() - 1])),
        |bound| span(*bound),
    ))
}
