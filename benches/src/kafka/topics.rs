//! Makes the workload's topics.

use std::time::Duration;

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    types::RDKafkaErrorCode,
};

use crate::{Result, workload::PARTITIONS};

const TIMEOUT: Duration = Duration::from_secs(30);

/// What a record's Kafka timestamp is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamps {
    /// What the producer says.
    Given,
    /// When the broker appended it.
    OfAppend,
}

/// Creates a topic of the workload's partitions; `false` if it was there already.
///
/// # Errors
/// If the broker does not answer or refuses.
pub fn create_topic(brokers: &str, name: &str, timestamps: Timestamps) -> Result<bool> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .create()?;
    let kind = match timestamps {
        Timestamps::Given => "CreateTime",
        Timestamps::OfAppend => "LogAppendTime",
    };
    let topic = NewTopic::new(name, PARTITIONS.cast_signed(), TopicReplication::Fixed(1))
        .set("message.timestamp.type", kind)
        // The events' own times are in the past.
        .set("retention.ms", "-1");
    let options = AdminOptions::new()
        .operation_timeout(Some(TIMEOUT))
        .request_timeout(Some(TIMEOUT));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    for created in runtime.block_on(admin.create_topics([&topic], &options))? {
        match created {
            Ok(_) => {}
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => return Ok(false),
            Err((name, error)) => return Err(format!("cannot create topic {name}: {error}").into()),
        }
    }
    Ok(true)
}
