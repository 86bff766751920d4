//! The parts of a job, one in a row: views, sinks, splits and operators.

use std::collections::BTreeMap;

use ratatui::{
    style::{Color, Style},
    text::{Line, Span},
};

use super::JobPage;
use crate::cli::top::numbers::{amount, percent, rate, seconds_between, span};
use crate::cli::top::table::{Column, table};
use crate::metrics::measurements::{Breaker, Measurements, Sink, Split};
use crate::metrics::watermarks::HeldBy;

impl JobPage<'_> {
    pub(super) fn views(&self) -> Vec<Line<'static>> {
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

    pub(super) fn sinks(&self) -> Vec<Line<'static>> {
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
    pub(super) fn splits(&self) -> Vec<Line<'static>> {
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
    pub(super) fn operators(&self) -> Vec<Line<'static>> {
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

fn held_by(held: &HeldBy) -> String {
    match held {
        HeldBy::Nothing => String::new(),
        HeldBy::Start => ", sources start".to_owned(),
        HeldBy::Idleness { source } => format!(", {source} is idle"),
        HeldBy::Split { source, split } => format!(", by {source} / {split}"),
    }
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
