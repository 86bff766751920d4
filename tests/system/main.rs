//! Whole-system tests: the built binary, on real servers.
//!
//! `scripts/test.sh --test system` starts the servers and runs them; a test whose server is absent says so and is skipped,
//! unless `TIDEWRIGHT_TEST_REQUIRE_SERVICES=1`.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests stop at the first surprise"
)]

mod arbitrary;
mod cluster;
mod crash_points;
mod dead_letters;
mod delivery;
mod demo;
mod exactly_once;
mod formats;
mod harness;
mod harness_works;
mod kafka_tls;
mod metrics;
mod mistakes;
mod mutants;
mod oracle;
mod outage;
mod prometheus;
mod rebuild;
mod redis_tls;
mod replay;
mod rescale;
mod restore;
mod savepoints;
mod serve;
mod shop;
mod spilling;
mod state;
mod tap;
mod telemetry;
mod top;
mod upgrade;
mod zombies;
