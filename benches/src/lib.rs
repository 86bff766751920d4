//! The reference workload and what measures Tidewright on it.
//!
//! | binary | what it does |
//! |---|---|
//! | `generate` | writes the workload's events and profiles into Kafka |
//! | `oracle` | tells the totals that R1 and R2 must come to, from the generator alone |
//! | `limit` | the hand-written program: R1 and R2 without fault tolerance, as fast as this machine can |
//! | `totals` | adds up the rows that a job wrote into a file, in the oracle's form |
//! | `latency` | measures how long after its append an event shows in Redis |
//!
//! R1 counts events and purchases and sums revenue per user and minute; R2 joins R1 with the user's profile and keeps
//! those who consent. Nothing here uses the engine: `limit` and `oracle` share the generator and nothing else.

use std::process::ExitCode;

pub mod kafka;
pub mod oracle;
pub mod probes;
pub mod quantiles;
pub mod totals;
pub mod usage;
pub mod windows;
pub mod workload;

/// Any error: these programs end with the first one.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// The result of a program's step.
pub type Result<T> = std::result::Result<T, Error>;

/// Prints the error, if there is one, and tells how the process ends.
#[must_use]
pub fn exit(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
