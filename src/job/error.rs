//! Why a run does not begin or go on.

use std::fmt;

use crate::cluster::ConnectError;
use crate::runtime::failure::{EXIT_FAILED, EXIT_PEER_LOST};

/// A run that could not begin or go on; the message says what, where and how to mend it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct RunError {
    message: String,
    code: i32,
}

impl RunError {
    pub(super) fn of(error: impl fmt::Display) -> Self {
        Self::with_code(error, EXIT_FAILED)
    }

    pub(super) fn with_code(error: impl fmt::Display, code: i32) -> Self {
        Self {
            message: error.to_string(),
            code,
        }
    }

    pub(super) fn connecting(error: ConnectError) -> Self {
        let code = match error {
            ConnectError::Missing { .. } => EXIT_PEER_LOST,
            ConnectError::Refused(_) | ConnectError::Local(_) => EXIT_FAILED,
        };
        Self::with_code(error, code)
    }

    /// The exit code that tells what kind of error it is.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.code
    }
}
