//! What Kafka's clients of sources and sinks share: their log, and the first question to the brokers.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
    metadata::Metadata,
};

/// How long brokers that refuse the client are asked before it is told: others of them may be right.
const REFUSED_AFTER: Duration = Duration::from_secs(2);
/// How long to look for what the client has to say after a question without an answer.
const LISTEN: Duration = Duration::from_millis(50);
/// What a client says at once at most: each of its brokers may have failed a few times.
const EVENTS_MAX: usize = 100;

/// Hands the client's own messages to the log, and keeps the last reason for a connection that failed.
#[derive(Default)]
pub(crate) struct ClientLog {
    last: Mutex<Option<Reason>>,
}

/// Why a connection failed, in librdkafka's words: they hold no secrets.
#[derive(Clone, Debug)]
struct Reason {
    text: String,
    /// It does not go away by itself: a certificate or a password is wrong.
    refused: bool,
}

impl ClientLog {
    fn last(&self) -> std::sync::MutexGuard<'_, Option<Reason>> {
        // Whoever panics here leaves nothing half done.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for ClientLog {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level as i32, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        // That all brokers are down says less than why each of them is.
        if code != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.last() = Some(Reason {
                text: reason.to_owned(),
                refused: matches!(
                    code,
                    Some(
                        RDKafkaErrorCode::SSL
                            | RDKafkaErrorCode::Authentication
                            | RDKafkaErrorCode::SaslAuthenticationFailed
                            | RDKafkaErrorCode::UnsupportedSASLMechanism
                    )
                ),
            });
        }
        log_line(
            RDKafkaLogLevel::Error as i32,
            "ERROR",
            &format!("{error}: {reason}"),
        );
    }
}

impl ConsumerContext for ClientLog {}

/// Why there was no answer.
#[derive(Debug)]
pub(crate) struct Unanswered {
    pub(crate) error: KafkaError,
    reason: Option<Reason>,
}

impl Unanswered {
    /// Whether a certificate or a password is wrong, on either side.
    pub(crate) fn is_refusal(&self) -> bool {
        self.reason.as_ref().is_some_and(|reason| reason.refused)
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { error, reason } = self;
        match reason {
            Some(Reason {
                text,
                refused: true,
            }) => write!(
                f,
                "{text} (TLS and SASL are set by `properties`, such as `ssl.ca.location` and `sasl.password`)"
            ),
            Some(Reason { text, .. }) => write!(f, "{error}: {text}"),
            None => error.fmt(f),
        }
    }
}

/// Asks the brokers about a topic. No partition may be assigned to the consumer: its messages would be lost.
///
/// # Errors
/// If no broker has answered in time, or after [`REFUSED_AFTER`] if one has refused the client, with the client's reason.
pub(crate) fn topic_metadata(
    consumer: &BaseConsumer<ClientLog>,
    topic: &str,
    limit: Duration,
) -> Result<Metadata, Unanswered> {
    let first = limit.min(REFUSED_AFTER);
    let answer = ask(consumer, topic, first);
    match answer {
        Err(unanswered) if !unanswered.is_refusal() => ask(consumer, topic, limit - first),
        answer => answer,
    }
}

fn ask(
    consumer: &BaseConsumer<ClientLog>,
    topic: &str,
    limit: Duration,
) -> Result<Metadata, Unanswered> {
    let answer = consumer.client().fetch_metadata(Some(topic), limit);
    if answer.is_err() {
        // Reasons arrive as events, one by one.
        let mut events = 0;
        while events < EVENTS_MAX && consumer.poll(LISTEN).is_some() {
            events += 1;
        }
    }
    let mut last = consumer.context().last();
    match answer {
        Ok(metadata) => {
            *last = None;
            Ok(metadata)
        }
        Err(error) => Err(Unanswered {
            error,
            reason: last.clone(),
        }),
    }
}

/// An unreachable broker is not an error of the job, but people should know: warnings, one per interval at most.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

struct LogLimit {
    last: Option<Instant>,
    suppressed: u64,
}

static LOG_LIMIT: Mutex<LogLimit> = Mutex::new(LogLimit {
    last: None,
    suppressed: 0,
});

pub(crate) fn log_line(level: i32, facility: &str, message: &str) {
    if level > RDKafkaLogLevel::Warning as i32 {
        tracing::debug!(target: "tidewright::kafka", facility, "{message}");
        return;
    }
    // A panic while logging leaves nothing half done.
    let mut limit = LOG_LIMIT.lock().unwrap_or_else(PoisonError::into_inner);
    if limit.last.is_some_and(|last| last.elapsed() < LOG_INTERVAL) {
        limit.suppressed += 1;
        return;
    }
    let suppressed = std::mem::take(&mut limit.suppressed);
    limit.last = Some(Instant::now());
    tracing::warn!(target: "tidewright::kafka", facility, suppressed, "{message}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unanswered(events: &[(RDKafkaErrorCode, &str)]) -> Unanswered {
        let log = ClientLog::default();
        for (code, reason) in events {
            log.error(KafkaError::Global(*code), reason);
        }
        let reason = log.last().clone();
        Unanswered {
            error: KafkaError::MetadataFetch(RDKafkaErrorCode::BrokerTransportFailure),
            reason,
        }
    }

    #[test]
    fn a_refusal_is_told_and_outlives_that_all_brokers_are_down() {
        let refused = unanswered(&[
            (RDKafkaErrorCode::Authentication, "Invalid username"),
            (RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down"),
        ]);
        let text = refused.to_string();
        assert!(refused.is_refusal(), "{text}");
        assert!(
            text.starts_with("Invalid username (") && text.contains("`properties`"),
            "{text}"
        );
    }

    #[test]
    fn a_broker_that_is_away_is_no_refusal() {
        let code = RDKafkaErrorCode::BrokerTransportFailure;
        let away = unanswered(&[(code, "Connection refused")]);
        assert!(!away.is_refusal());
        assert!(away.to_string().ends_with(": Connection refused"), "{away}");
        assert!(!unanswered(&[]).is_refusal());
    }
}
