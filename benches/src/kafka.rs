//! Kafka: topics, a producer that is as fast as it can be, and a reader of batches.

mod batches;
mod producer;
mod topics;

pub use self::{
    batches::{BatchReader, Record},
    producer::{Appended, Producer, Target},
    topics::{Timestamps, create_topic},
};
