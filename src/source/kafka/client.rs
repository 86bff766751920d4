//! The Kafka client's settings.

use std::{
    ffi::{CStr, c_char, c_int},
    time::Duration,
};

use rdkafka::{
    ClientConfig, bindings::rd_kafka_t, config::RDKafkaLogLevel, consumer::BaseConsumer,
    error::KafkaError,
};
use tidewright_jobs::job::KafkaSourceConfig;

use crate::kafka_client::{ClientLog, log_line};

/// How long to wait for an answer of the brokers when opening a source.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Settings that exactly-once rests on, and why.
const FIXED: [(&str, &str, &str); 5] = [
    (
        "enable.auto.commit",
        "false",
        "offsets are committed after the checkpoint that covers them",
    ),
    (
        "enable.auto.offset.store",
        "false",
        "offsets are committed after the checkpoint that covers them",
    ),
    (
        "auto.offset.reset",
        "error",
        "offsets out of range must stop the job, not move it",
    ),
    (
        "isolation.level",
        "read_committed",
        "records of aborted transactions must not count",
    ),
    (
        "enable.partition.eof",
        "true",
        "the end of a partition is known from its broker only",
    ),
];

/// Settings that have a place of their own in the job file.
const ELSEWHERE: [(&str, &str); 3] = [
    ("bootstrap.servers", "brokers"),
    ("metadata.broker.list", "brokers"),
    ("group.id", "group"),
];

/// The default of a second makes a replay six times slower.
const FETCH_QUEUE_BACKOFF_MS: &str = "5";

pub(super) type Consumer = BaseConsumer<ClientLog>;

/// The settings of a source's clients: ours, then the user's.
///
/// # Errors
/// If the user sets what must not be set.
pub(super) fn settings(config: &KafkaSourceConfig, group: &str) -> Result<ClientConfig, String> {
    let mut settings = ClientConfig::new();
    settings
        .set("fetch.queue.backoff.ms", FETCH_QUEUE_BACKOFF_MS)
        .set("client.id", format!("tidewright-{group}"));
    for (name, value) in &config.properties {
        if let Some((_, fixed, reason)) = FIXED.iter().find(|(fixed, ..)| fixed == name)
            && fixed != value
        {
            return Err(format!(
                "property `{name}` is always `{fixed}`: {reason}; leave it out"
            ));
        }
        if let Some((_, key)) = ELSEWHERE.iter().find(|(elsewhere, _)| elsewhere == name) {
            return Err(format!(
                "property `{name}` is set by the source's `{key}`; leave it out"
            ));
        }
        settings.set(name, value);
    }
    for (name, value, _) in FIXED {
        settings.set(name, value);
    }
    settings
        .set("bootstrap.servers", &config.brokers)
        .set("group.id", group)
        .set_log_level(RDKafkaLogLevel::Warning);
    Ok(settings)
}

/// # Errors
/// If the settings are not ones that the client knows.
pub(super) fn connect(settings: &ClientConfig) -> Result<Consumer, String> {
    settings
        .create_with_context(ClientLog::default())
        .map_err(|error| match error {
            // The value may be a secret.
            KafkaError::ClientConfig(_, reason, name, _) => format!("property `{name}`: {reason}"),
            other => other.to_string(),
        })
}

/// The client's messages while a batch is taken, when it bypasses [`ClientLog`].
///
/// # Safety
/// `facility` and `message` must be null or NUL-terminated strings.
pub(super) unsafe extern "C" fn log_callback(
    _client: *const rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    message: *const c_char,
) {
    let text = |pointer: *const c_char| {
        if pointer.is_null() {
            return String::new();
        }
        // SAFETY: not null, and NUL-terminated by this function's contract.
        unsafe { CStr::from_ptr(pointer) }
            .to_string_lossy()
            .into_owned()
    };
    log_line(level, &text(facility), &text(message));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str) -> Result<ClientConfig, String> {
        let config = KafkaSourceConfig {
            brokers: "localhost:9092".into(),
            topic: "events".into(),
            start: Default::default(),
            group: None,
            partitioned_by: None,
            properties: [(name.to_owned(), value.to_owned())].into(),
        };
        settings(&config, "job")
    }

    #[test]
    fn properties_of_the_user_win_over_defaults() {
        let settings = with("fetch.queue.backoff.ms", "50").unwrap();
        assert_eq!(settings.get("fetch.queue.backoff.ms"), Some("50"));
        assert_eq!(settings.get("isolation.level"), Some("read_committed"));
        assert_eq!(settings.get("group.id"), Some("job"));
    }

    #[test]
    fn properties_that_exactly_once_rests_on_are_refused_with_the_reason() {
        let error = with("auto.offset.reset", "earliest").unwrap_err();
        assert!(
            error.contains("auto.offset.reset") && error.contains("stop the job"),
            "{error}"
        );
        assert!(with("auto.offset.reset", "error").is_ok());
        let error = with("group.id", "mine").unwrap_err();
        assert!(error.contains("`group`"), "{error}");
    }

    #[test]
    fn a_misspelt_property_is_named_without_its_value() {
        let error = connect(&with("sasl.pasword", "hush").unwrap())
            .err()
            .unwrap();
        assert!(
            error.contains("sasl.pasword") && !error.contains("hush"),
            "{error}"
        );
    }
}
