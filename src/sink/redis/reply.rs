//! What Redis answers, sorted by what is to be done about it.

use redis::{ErrorKind, RedisError, Value};

use crate::sink::SinkError;

/// The answer to one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Written.
    Written,
    /// This version or a newer one of the same generation is stored.
    AlreadyThere,
    /// The key holds something else than a hash: of this type.
    WrongType(String),
    /// A greater generation has written: this version.
    Fenced(String),
    /// The key is another job's, or nobody's if empty.
    Foreign(String),
    /// The server could not do it.
    Error {
        /// Redis' code, the first word of its message.
        code: String,
        /// The rest of its message.
        detail: String,
    },
}

impl Reply {
    /// Reads the answer of the script.
    pub(super) fn of(answer: Value) -> Self {
        match answer {
            Value::Int(1) => Self::Written,
            Value::Int(0) => Self::AlreadyThere,
            Value::ServerError(error) => Self::Error {
                code: error.code().to_owned(),
                detail: error.details().unwrap_or_default().to_owned(),
            },
            Value::Array(parts) => Self::of_reason(&parts),
            other => Self::unexpected(&other),
        }
    }

    fn of_reason(parts: &[Value]) -> Self {
        let text = |at: usize| match parts.get(at) {
            Some(Value::BulkString(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            Some(Value::SimpleString(text)) => text.clone(),
            _ => String::new(),
        };
        match text(0).as_str() {
            "wrongtype" => Self::WrongType(text(1)),
            "fenced" => Self::Fenced(text(1)),
            "foreign" => Self::Foreign(text(1)),
            _ => Self::unexpected(&Value::Array(parts.to_vec())),
        }
    }

    fn unexpected(answer: &Value) -> Self {
        Self::Error {
            code: "ERR".to_owned(),
            detail: format!("unexpected answer {answer:?}"),
        }
    }
}

/// Whether the server does not know the script: it was restarted, or told to forget.
pub(super) fn is_noscript(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.code() == "NOSCRIPT")
}

/// An error answer to a row.
pub(super) fn of_server_error(place: &str, code: &str, detail: &str) -> SinkError {
    let message = format!("{place}: {code} {detail}");
    match code {
        // The server is loading, failing over, out of memory or cannot persist: it may be mended while we wait.
        "LOADING" | "READONLY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "NOREPLICAS"
        | "BUSY" | "OOM" | "MISCONF" | "NOSCRIPT" | "UNBLOCKED" => SinkError::Transient(message),
        "MOVED" | "ASK" | "CROSSSLOT" => SinkError::Fatal(format!(
            "{message}. This is a node of a Redis Cluster, which this sink does not support"
        )),
        _ => SinkError::Fatal(message),
    }
}

/// An error of the connection, or of a command outside the pipeline.
pub(super) fn of_error(place: &str, error: &RedisError) -> SinkError {
    match error.kind() {
        ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig => {
            SinkError::Fatal(format!("{place}: {error}"))
        }
        ErrorKind::Server(_) | ErrorKind::Extension => of_server_error(
            place,
            error.code().unwrap_or("ERR"),
            error.detail().unwrap_or_default(),
        ),
        _ => SinkError::Transient(format!("{place}: {error}")),
    }
}
