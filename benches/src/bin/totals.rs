//! Adds up the rows that a job wrote into a file of JSON lines, in the oracle's form.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser;
use serde::Deserialize;
use tidewright_benches::{
    Result, exit,
    totals::{Totals, cents},
};

/// Adds up result rows: JSON lines with `events`, `purchases` and `revenue`.
#[derive(Parser)]
struct Arguments {
    /// The file.
    file: PathBuf,
}

#[derive(Deserialize)]
struct Row {
    events: u64,
    purchases: u64,
    /// Null without a purchase.
    revenue: Option<f64>,
}

fn main() -> ExitCode {
    exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let mut totals = Totals::default();
    for (number, line) in BufReader::new(File::open(&arguments.file)?)
        .lines()
        .enumerate()
    {
        let row: Row = serde_json::from_str(&line?)
            .map_err(|error| format!("{}:{}: {error}", arguments.file.display(), number + 1))?;
        totals.add_row(
            row.events,
            row.purchases,
            cents(row.revenue.unwrap_or_default()),
        );
    }
    println!("{}", serde_json::to_string(&totals)?);
    Ok(())
}
