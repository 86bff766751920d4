//! Reading the state of a job that need not run: from a savepoint, or from a job's checkpoint store. Changes nothing.

pub mod inspect;
pub mod open;
pub mod row;

pub use self::open::{Opened, open};

/// State that cannot be read; the message says what, where and how to mend it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StateError(String);

impl StateError {
    fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}
