//! What whole-system tests are made of: servers, input, job files, and the process under test.
//!
//! Nothing here knows what a right answer is; that is the tests' business. Everything that a test starts is stopped when
//! its value is dropped, also when the test fails.
#![allow(dead_code, reason = "a vocabulary: not every test uses every word")]

pub mod certificates;
pub mod checkpoints;
pub mod collector;
pub mod consumer_groups;
pub mod crew;
pub mod dynamodb;
pub mod eventually;
pub mod input;
pub mod jobfile;
pub mod kafka;
pub mod kafka_broker;
pub mod machines;
pub mod metrics;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod random;
pub mod redis;
pub mod redis_server;
pub mod s3;
pub mod server;
pub mod services;
pub mod throttle;
