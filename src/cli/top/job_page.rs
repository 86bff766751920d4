//! One job, as lines of text: what it does now, from what it has measured now and a while ago.

use std::collections::BTreeMap;

use ratatui::{
    style::{Color, Style, Stylize},
    text::{Line, Span},
};

use super::ask::JobSeen;
use super::numbers::{amount, bytes, percent, rate, seconds_between, span};
use super::prose::wrapped;
use super::table::{Column, table};
use crate::control::api::views::JobView;
use crate::metrics::health::{Health, Verdict};
use crate::metrics::measurements::{BUCKETS_S, Breaker, Distribution, Measurements, Sink, Split};
use crate::metrics::watermarks::HeldBy;

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
    fn title(&self) -> Line<'static> {
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

    fn overview(&self) -> Vec<Line<'static>> {
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

    fn views(&self) -> Vec<Line<'static>> {
        const COLUMNS: [Column; 5] = [
            Column::left("VIEW", 24),
            Column::right("ROWS/S", 8),
            Column::right("ROWS", 8),
            Column::right("LATE", 8),
            Column::left("EVENT TIME BEHIND", 24),
        ];
        let row = |(view, rows): (&String, &u64)| {
            let per_second = self.per_second(|measured| count(&measured.view_rows, view));
            vec![
                view.clone().into(),
                rate(per_second).into(),
                amount(*rows).into(),
                amount(count(&self.now.late_rows, view)).into(),
                self.watermark(view).into(),
            ]
        };
        table(&COLUMNS, self.now.view_rows.iter().map(row))
    }

    /// How far event time is behind the clock, and what it waits for.
    fn watermark(&self, relation: &str) -> String {
        let watermarks = self.now.watermarks.iter();
        let found = { watermarks }.find(|watermark| watermark.relation == relation);
        let Some(watermark) = found else {
            return String::new();
        };
        let behind = event_time_behind(watermark.watermark_ms, self.now.at_ms);
        format!("{behind}{}", held_by(&watermark.held_by))
    }

    fn sinks(&self) -> Vec<Line<'static>> {
        const COLUMNS: [Column; 6] = [
            Column::left("SINK", 19),
            Column::right("ROWS/S", 7),
            Column::right("ROWS", 7),
            Column::right("WAITING", 7),
            Column::right("BEHIND", 7),
            Column::left("STORE", 23),
        ];
        let row = |sink: &Sink| {
            let rows = |measured: &Measurements| {
                let sinks = measured.sinks.iter();
                let same = { sinks }.find(|other| other.sink == sink.sink);
                same.map_or(0, |sink| sink.rows)
            };
            let behind = match sink.delivered_ms {
                0 => "-".to_owned(),
                delivered => span(seconds_between(delivered, self.now.at_ms)),
            };
            vec![
                sink.sink.clone().into(),
                rate(self.per_second(rows)).into(),
                amount(sink.rows).into(),
                amount(sink.outbox_rows).into(),
                behind.into(),
                store(sink, self.now.at_ms),
            ]
        };
        table(&COLUMNS, self.now.sinks.iter().map(row))
    }

    /// Those that are furthest behind come first.
    fn splits(&self) -> Vec<Line<'static>> {
        const COLUMNS: [Column; 5] = [
            Column::left("SOURCE / SPLIT", 31),
            Column::right("RECORDS", 7),
            Column::right("BEHIND", 7),
            Column::right("EVENT T.", 8),
            Column::left("", 19),
        ];
        let mut splits: Vec<&Split> = self.now.splits.iter().collect();
        splits.sort_by(|left, right| {
            let order = |split: &Split| split.seconds_behind.unwrap_or(f64::MAX);
            order(right).total_cmp(&order(left))
        });
        let row = |split: &Split| {
            let unknown = || "?".to_owned();
            vec![
                format!("{} / {}", split.source, split.split).into(),
                split.records_behind.map_or_else(unknown, amount).into(),
                split.seconds_behind.map_or_else(unknown, span).into(),
                event_time_behind(split.watermark_ms, self.now.at_ms).into(),
                condition(split).into(),
            ]
        };
        table(&COLUMNS, splits.into_iter().map(row))
    }

    /// The busiest ones first, as the mean of their workers.
    fn operators(&self) -> Vec<Line<'static>> {
        const COLUMNS: [Column; 4] = [
            Column::left("OPERATOR", 42),
            Column::right("BUSY", 8),
            Column::right("BACKPR.", 8),
            Column::right("IDLE", 8),
        ];
        let mut shares = self.shares();
        shares.sort_by(|left, right| right.1[0].total_cmp(&left.1[0]));
        let row = |(operator, shares): (String, [f64; 3])| {
            let [busy, backpressured, idle] = shares.map(percent);
            vec![
                operator.into(),
                busy.into(),
                backpressured.into(),
                idle.into(),
            ]
        };
        table(&COLUMNS, shares.into_iter().map(row))
    }

    /// The parts of its time that each operator was busy, backpressured and idle lately.
    fn shares(&self) -> Vec<(String, [f64; 3])> {
        let times = |measured: &Measurements| {
            let mut sums = BTreeMap::<String, [f64; 3]>::new();
            for time in &measured.operators {
                let sum = sums.entry(time.operator.clone()).or_default();
                let parts = [time.busy_s, time.backpressured_s, time.idle_s];
                *sum = std::array::from_fn(|part| sum[part] + parts[part]);
            }
            sums
        };
        let before = self.before.map(times).unwrap_or_default();
        let since = |(operator, now): (String, [f64; 3])| {
            let before = before.get(&operator).copied().unwrap_or_default();
            let lately: [f64; 3] = std::array::from_fn(|part| (now[part] - before[part]).max(0.0));
            let whole: f64 = lately.iter().sum();
            (operator, lately.map(|part| part / whole.max(1e-9)))
        };
        times(self.now).into_iter().map(since).collect()
    }

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

/// The part of a line in front of a named value.
const NAME_WIDTH: usize = 15;

fn named(name: &str, value: String) -> Line<'static> {
    Line::from(format!("  {name:<12} {value}"))
}

fn count(counts: &BTreeMap<String, u64>, name: &str) -> u64 {
    counts.get(name).copied().unwrap_or(0)
}

/// How far an event time is behind the clock; it may also be ahead of it.
fn event_time_behind(ms: Option<i64>, now_ms: u64) -> String {
    let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
    ms.map_or_else(
        || "-".to_owned(),
        |ms| match now_ms.saturating_sub(ms) {
            ahead @ i64::MIN..0 => format!("+{}", span(ahead.unsigned_abs() as f64 / 1_000.0)),
            behind => span(behind as f64 / 1_000.0),
        },
    )
}

fn condition(split: &Split) -> &'static str {
    match split {
        Split { finished: true, .. } => "finished",
        Split { idle: true, .. } => "idle",
        Split {
            holds_watermark: true,
            ..
        } => "holds the watermark",
        _ => "",
    }
}

fn store(sink: &Sink, now_ms: u64) -> Span<'static> {
    let since = |what: &str| {
        let since = sink.failing_since_ms;
        since.map_or_else(
            || what.to_owned(),
            |since| format!("{what} for {}", span(seconds_between(since, now_ms))),
        )
    };
    let bad = Style::new().fg(Color::Red);
    match sink.breaker {
        Breaker::Open => Span::styled(since("down"), bad),
        Breaker::HalfOpen => Span::styled(since("tried again"), bad),
        Breaker::Closed if sink.failing_since_ms.is_some() => Span::styled(since("failing"), bad),
        Breaker::Closed if sink.refused_rows > 0 => {
            format!("ok, {} refused", amount(sink.refused_rows)).into()
        }
        Breaker::Closed => "ok".into(),
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

fn held_by(held: &HeldBy) -> String {
    match held {
        HeldBy::Nothing => String::new(),
        HeldBy::Start => ", sources start".to_owned(),
        HeldBy::Idleness { source } => format!(", {source} is idle"),
        HeldBy::Split { source, split } => format!(", by {source} / {split}"),
    }
}
