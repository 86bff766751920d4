//! What librdkafka's errors mean.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::sink::SinkError;

/// Sorts an error. Fenced means that the broker has given this transactional id to a later producer.
pub(super) fn of(place: &str, doing: &str, error: &KafkaError) -> SinkError {
    sorted(error, format!("{place}: {doing}: {}", describe(error)))
}

/// An error with a message of its own.
pub(super) fn sorted(error: &KafkaError, message: String) -> SinkError {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        Some(
            Code::Fenced
            | Code::ProducerFenced
            | Code::InvalidProducerEpoch
            | Code::FencedInstanceId,
        ) => SinkError::Fenced(message),
        Some(
            Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::InvalidTransactionTimeout
            | Code::UnsupportedVersion,
        ) => SinkError::Fatal(message),
        _ => SinkError::Transient(message),
    }
}

/// An error's text; librdkafka's own, more telling one for transactions.
fn describe(error: &KafkaError) -> String {
    match error {
        KafkaError::Transaction(error) => error.string(),
        other => other.to_string(),
    }
}
