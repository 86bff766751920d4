//! Whole protocols on stores that work, fail and crash. One program, so that it is linked once.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests stop at the first surprise"
)]

#[path = "suite/claiming.rs"]
mod claiming;
#[path = "suite/cost.rs"]
mod cost;
#[path = "suite/crashes.rs"]
mod crashes;
#[path = "suite/grafting.rs"]
mod grafting;
#[path = "suite/job.rs"]
mod job;
#[path = "suite/restoring.rs"]
mod restoring;
#[path = "suite/savepoints.rs"]
mod savepoints;
#[path = "suite/stores.rs"]
mod stores;
