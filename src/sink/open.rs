//! From a sink's configuration to its writer.

use tidewright_jobs::job::SinkConfig;

use super::{
    AppendWriter, KeyedWriter, SinkContext, SinkError, blackhole::BlackholeWriter,
    dynamodb::DynamodbWriter, embedded::EmbeddedWriter, files::FilesWriter, kafka::KafkaWriter,
    redis::RedisWriter, stdout::StdoutWriter,
};

/// A sink's writer. Its kind decides which outbox the sink has.
pub enum Writer {
    /// Writes rows by key.
    Keyed(Box<dyn KeyedWriter>),
    /// Appends rows.
    Append(Box<dyn AppendWriter>),
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Keyed(_) => "Writer::Keyed",
            Self::Append(_) => "Writer::Append",
        })
    }
}

/// The writer of a sink. Connects to nothing: a store that is down is the driver's matter.
///
/// # Errors
/// [`SinkError::Fatal`] if the configuration is wrong, or does not fit the relation.
pub fn open(config: &SinkConfig, context: &SinkContext) -> Result<Writer, SinkError> {
    context.check_types()?;
    Ok(match config {
        SinkConfig::Redis(config) => Writer::Keyed(Box::new(RedisWriter::new(config, context)?)),
        SinkConfig::Dynamodb(config) => {
            Writer::Keyed(Box::new(DynamodbWriter::new(config, context)?))
        }
        SinkConfig::Embedded(config) => {
            Writer::Keyed(Box::new(EmbeddedWriter::new(config, context)?))
        }
        SinkConfig::Kafka(config) => Writer::Append(Box::new(KafkaWriter::new(config, context)?)),
        SinkConfig::Files(config) => Writer::Append(Box::new(FilesWriter::new(config, context)?)),
        SinkConfig::Stdout(_) if context.table => {
            Writer::Keyed(Box::new(StdoutWriter::new(context)))
        }
        SinkConfig::Stdout(_) => Writer::Append(Box::new(StdoutWriter::new(context))),
        SinkConfig::Blackhole(_) if context.table => Writer::Keyed(Box::new(BlackholeWriter)),
        SinkConfig::Blackhole(_) => Writer::Append(Box::new(BlackholeWriter)),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidewright_jobs::job::SinkConfig;

    use super::{Writer, open};
    use crate::sink::{SinkError, testing::context};

    fn check(config: serde_json::Value, table: bool, expected: Result<&str, &str>) {
        let config: SinkConfig = serde_json::from_value(config).unwrap();
        let mut context = context("job");
        context.table = table;
        match (open(&config, &context), expected) {
            (Ok(Writer::Keyed(_)), Ok("keyed")) | (Ok(Writer::Append(_)), Ok("append")) => {}
            (Err(SinkError::Fatal(message)), Err(part)) => {
                assert!(message.contains(part), "{message}");
                assert!(!message.contains("secret"), "{message}");
            }
            (result, expected) => panic!("{config:?}: {result:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_sink_opens_without_its_store() {
        let nowhere = "redis://127.0.0.1:1";
        check(
            json!({"redis": {"url": nowhere, "key": "p:{user_id}"}}),
            true,
            Ok("keyed"),
        );
        check(
            json!({"dynamodb": {"table": "t", "endpoint": "http://127.0.0.1:1"}}),
            true,
            Ok("keyed"),
        );
        check(
            json!({"kafka": {"brokers": "127.0.0.1:1", "topic": "t"}}),
            false,
            Ok("append"),
        );
        check(
            json!({"files": {"path": "/nowhere/x.jsonl"}}),
            false,
            Ok("append"),
        );
        check(
            json!({"embedded": {"path": "/nowhere/x.redb"}}),
            true,
            Ok("keyed"),
        );
        check(json!({"stdout": {}}), false, Ok("append"));
        check(json!({"stdout": {}}), true, Ok("keyed"));
        check(json!({"blackhole": {}}), true, Ok("keyed"));
    }

    #[test]
    fn a_wrong_configuration_is_told_at_once() {
        let url = "redis://127.0.0.1:1";
        check(
            json!({"redis": {"url": url, "key": "p"}}),
            true,
            Err("lacks the key column user_id"),
        );
        check(
            json!({"redis": {"url": url, "key": "{user_id}", "ttl": "soon"}}),
            true,
            Err("is not a time"),
        );
        check(
            json!({"redis": {"url": "http://:secret@h", "key": "{user_id}"}}),
            true,
            Err("not usable"),
        );
        check(
            json!({"kafka": {"brokers": "h:1", "topic": "t"}}),
            true,
            Err("is a table"),
        );
        check(json!({"kafka": {"topic": "t"}}), false, Err("no brokers"));
    }
}
