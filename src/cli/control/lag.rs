//! `tidewright lag`.

use std::{collections::BTreeMap, process::ExitCode};

use super::{StatusArguments, failed, other};
use crate::cli::remote::{self, table};
use crate::control::client;
use crate::control::protocol::{Answer, Request};
use crate::metrics::lag::{Lag, SplitLag};
use crate::metrics::watermarks::{HeldBy, RelationWatermark};

/// Shows how far a job is behind.
pub fn lag(arguments: &StatusArguments) -> ExitCode {
    let StatusArguments {
        job,
        server,
        asking,
    } = arguments;
    if let Some(job) = job {
        return remote::lag(server, job, asking.output);
    }
    match client::ask_once(&asking.socket, &Request::Lag {}) {
        Ok(Answer::Lag(lag)) => asking.output.print(&lag, &text(&lag)),
        Ok(answer) => other(answer),
        Err(error) => failed(error, 1),
    }
}

/// For people.
pub fn text(lag: &Lag) -> String {
    let headings = [
        "SOURCE",
        "SPLIT",
        "BEHIND",
        "SECONDS",
        "TREND",
        "CATCH UP",
        "WATERMARK",
        "",
    ];
    let furthest = furthest(lag);
    let rows: Vec<_> = lag
        .splits
        .iter()
        .map(|split| row(split, furthest.get(&*split.source).copied()))
        .collect();
    let mut lines = vec![table(&headings, &rows), String::new()];
    lines.extend(lag.watermarks.iter().map(|relation| held(relation, lag)));
    let ages = lag
        .frontiers
        .named()
        .map(|(name, frontier)| match frontier.epoch {
            0 => format!("{name} -"),
            _ => format!(
                "{name} -{} ms",
                lag.at_ms.saturating_sub(frontier.wall_clock_ms)
            ),
        });
    lines.push(format!("frontiers  {}", ages.join("  ")));
    lines.join("\n")
}

/// The largest watermark of each source's splits.
fn furthest(lag: &Lag) -> BTreeMap<&str, i64> {
    let mut furthest = BTreeMap::new();
    for split in &lag.splits {
        if let Some(watermark) = split.watermark_ms {
            let largest = furthest.entry(&*split.source).or_insert(watermark);
            *largest = watermark.max(*largest);
        }
    }
    furthest
}

fn row(split: &SplitLag, furthest: Option<i64>) -> Vec<String> {
    let unknown = || "-".to_owned();
    let records = split.records_behind;
    let catch_up = match split.catch_up_seconds {
        _ if split.finished => unknown(),
        Some(0.0) => unknown(),
        Some(seconds) => duration(seconds),
        None if records.is_some_and(|records| records > 0) => "never".to_owned(),
        None => unknown(),
    };
    // How far behind the split that has come furthest.
    let watermark = split.watermark_ms.zip(furthest);
    let watermark = watermark.map(|(watermark, furthest)| match furthest - watermark {
        0 => "first".to_owned(),
        ms => format!("-{}", duration(ms as f64 / 1000.0)),
    });
    let marks = [
        (split.finished, "ended"),
        (split.idle, "idle"),
        (split.holds_watermark, "holds the watermark"),
    ];
    let marks = marks.iter().filter(|(is_so, _)| *is_so);
    let marks: Vec<_> = marks.map(|(_, mark)| *mark).collect();
    vec![
        split.source.clone(),
        split.split.clone(),
        records.map_or_else(unknown, |records| records.to_string()),
        split.seconds_behind.map_or_else(unknown, duration),
        split.trend.name().replace('_', " "),
        catch_up,
        watermark.unwrap_or_else(unknown),
        marks.join(", "),
    ]
}

fn held(relation: &RelationWatermark, lag: &Lag) -> String {
    let by = match &relation.held_by {
        HeldBy::Nothing => "nothing holds it".to_owned(),
        HeldBy::Start => "not all splits are known yet".to_owned(),
        HeldBy::Idleness { source } => format!("all splits of {source} are idle"),
        HeldBy::Split { source, split } => format!("held by split {split} of {source}"),
    };
    let watermark = relation.watermark_ms.map(|ms| {
        let behind = lag.at_ms as f64 - ms as f64;
        format!("{} behind the clock", duration((behind / 1000.0).max(0.0)))
    });
    let watermark = watermark.unwrap_or_else(|| "none".to_owned());
    format!("watermark of {}: {watermark}, {by}", relation.relation)
}

/// For people: seconds as they are, more in larger units.
fn duration(seconds: f64) -> String {
    match seconds {
        0.0 => "0 s".to_owned(),
        ..10.0 => format!("{seconds:.1} s"),
        ..120.0 => format!("{seconds:.0} s"),
        ..7_200.0 => format!("{:.0} min", seconds / 60.0),
        ..172_800.0 => format!("{:.0} h", seconds / 3_600.0),
        _ => format!("{:.0} d", seconds / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::trend::Trend;

    #[test]
    fn the_table_says_who_is_behind_who_holds_and_when_it_is_over() {
        let split = |name: &str, records: u64, watermark_ms: i64| SplitLag {
            source: "events".to_owned(),
            split: name.to_owned(),
            records_behind: Some(records),
            seconds_behind: Some(records as f64 / 10.0),
            watermark_ms: Some(watermark_ms),
            ..SplitLag::default()
        };
        let lag = Lag {
            at_ms: 100_000,
            splits: vec![
                SplitLag {
                    trend: Trend::Shrinking,
                    catch_up_seconds: Some(130.0),
                    holds_watermark: true,
                    ..split("0", 50, 30_000)
                },
                SplitLag {
                    trend: Trend::Growing,
                    ..split("1", 9_000, 90_000)
                },
            ],
            watermarks: vec![RelationWatermark {
                relation: "totals".to_owned(),
                watermark_ms: Some(30_000),
                held_by: HeldBy::Split {
                    source: "events".to_owned(),
                    split: "0".to_owned(),
                },
            }],
            ..Lag::default()
        };
        let expected = "\
SOURCE  SPLIT  BEHIND  SECONDS  TREND      CATCH UP  WATERMARK
events  0      50      5.0 s    shrinking  2 min     -60 s      holds the watermark
events  1      9000    15 min   growing    never     first

watermark of totals: 70 s behind the clock, held by split 0 of events
frontiers  ingested -  computed -  durable -  delivered -";
        assert_eq!(text(&lag), expected);
    }
}
