//! Tidewright: a stream processor that keeps customer profiles current.
//!
//! The machine in pipeline order: source, decode, route, operators, sink. `dataflow` is the only module that knows
//! every stage.

pub mod cli;
pub mod cluster;
pub mod control;
pub mod dataflow;
pub mod dead_letter;
pub mod decode;
pub mod diff;
pub mod job;
mod kafka_client;
pub mod metrics;
mod pem;
pub mod place;
pub mod resident;
pub mod runtime;
pub mod sink;
pub mod source;
pub mod state;
mod telemetry;
