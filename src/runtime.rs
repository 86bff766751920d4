//! The epoch machine: control records and clock, checkpoints, outboxes and deliveries.

pub mod append_outbox;
pub mod clock;
pub mod clock_operator;
pub mod commit;
pub mod context;
pub mod control;
pub mod crash;
pub mod deliver;
pub mod epoch;
pub mod failure;
pub mod fence;
pub mod local;
pub mod mutant;
pub mod outbox;
pub mod outbox_operator;
pub mod persist;
pub mod publish;
pub mod replay;
pub mod savepoints;
pub mod source_operator;
pub mod stateful;
pub mod stats;
pub mod summary;
pub mod tap;
pub mod tolerance;
pub mod upgrade;
