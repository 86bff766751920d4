//! Talking to a running job from outside.
//!
//! A running job listens at a local socket. A client writes one request, a line of JSON, and reads the answers to it,
//! a line each: [`protocol`] has their forms, [`client`] asks, [`socket`] listens.

pub mod client;
pub mod protocol;
pub mod socket;
pub mod status;
