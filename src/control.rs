//! Talking to a running job from outside.

pub mod socket;
