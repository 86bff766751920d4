//! Prints the totals that R1 and R2 must come to, as JSON: `{"r1":{..},"r2":{..}}`.

use std::process::ExitCode;

use clap::Parser;
use tidewright_benches::{Result, exit, oracle::expected};

/// Tells the right totals of R1 and R2, from the generator alone.
#[derive(Parser)]
struct Arguments {
    /// Number of events, without the sentinels.
    #[arg(long)]
    count: u64,
    /// The seed that `generate` was given.
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

fn main() -> ExitCode {
    exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    println!(
        "{}",
        serde_json::to_string(&expected(arguments.count, arguments.seed))?
    );
    Ok(())
}
