//! `tidewright state inspect`.

use std::{fmt::Write as _, process::ExitCode};

use clap::Args;

use super::super::control::Output;
use super::super::failed;
use super::Place;
use crate::sink::iso8601::Timestamp;
use crate::state;
use crate::state::inspect::Report;

/// Arguments of `tidewright state inspect`.
#[derive(Debug, Args)]
pub struct InspectArguments {
    #[command(flatten)]
    place: Place,
    /// How it is shown.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Shows what a checkpoint or savepoint holds.
pub fn inspect(InspectArguments { place, output }: &InspectArguments) -> ExitCode {
    let report = state::open(&place.path).and_then(|opened| state::inspect::inspect(&opened));
    match report {
        // Writing to a string cannot fail.
        Ok(report) => output.print(&report, text(&report).unwrap_or_default().trim_end()),
        Err(error) => failed(error, 1),
    }
}

fn text(report: &Report) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    writeln!(
        text,
        "{:?} of job {} at epoch {}, made {} by generation {} with {} worker(s)",
        report.kind,
        report.job,
        report.epoch,
        time(i64::try_from(report.created_ms).unwrap_or(i64::MAX)),
        report.generation,
        report.workers
    )?;
    writeln!(
        text,
        "{} state files, {} KiB; formats: manifest {}, state file {}, row {}",
        report.files,
        report.bytes.div_ceil(1024),
        report.formats.manifest,
        report.formats.state_file,
        report.formats.row
    )?;
    writeln!(text, "\nsources")?;
    for (source, splits) in &report.sources {
        for (split, state) in splits {
            let note = match (state.finished, state.idle) {
                (true, _) => ", ended",
                (_, true) => ", idle",
                _ => "",
            };
            writeln!(
                text,
                "  {source} {split}: next offset {}, watermark {}{note}",
                state.offset,
                time(state.watermark)
            )?;
        }
    }
    writeln!(text, "\nwatermarks")?;
    for (relation, watermark) in &report.watermarks {
        writeln!(text, "  {relation}: {}", time(*watermark))?;
    }
    writeln!(text, "\ndelivered")?;
    for (sink, epoch) in &report.delivered {
        writeln!(text, "  {sink}: epoch {epoch}")?;
    }
    writeln!(text, "\nstate")?;
    for operator in &report.operators {
        writeln!(
            text,
            "  {}: {} keys, {} entries, {} bytes",
            operator.operator, operator.keys, operator.entries, operator.bytes
        )?;
    }
    writeln!(text, "\nviews")?;
    for view in &report.views {
        let readable = if view.readable {
            "its rows can be read here"
        } else {
            "its rows are not in the state"
        };
        let key = match view.key.is_empty() {
            true => String::new(),
            false => format!(" by ({})", view.key.join(", ")),
        };
        writeln!(text, "  {}: {}{key}, {readable}", view.view, view.kind)?;
    }
    Ok(text)
}

/// Event time or wall clock for people.
fn time(ms: i64) -> String {
    match ms {
        i64::MIN => "none".to_owned(),
        i64::MAX => "the end".to_owned(),
        ms => Timestamp(ms).to_string(),
    }
}
