//! Decoding: JSON records straight into Arrow columns, only the fields that the job uses.
//!
//! [`Decoder`] is driven by a schema known at run time. Nothing is built per record: a serde visitor writes each value
//! into its column's builder while sonic-rs parses, and the order of the fields is predicted from the record
//! before, so that a name costs one comparison instead of a hash.

mod column;
mod json;
mod number;
#[cfg(test)]
mod tests;
mod visitor;

pub use json::Decoder;

/// A record that does not have the form that the schema asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(String);

/// Messages quote what was found; a long value must not become a long message.
const MESSAGE_CHARS_MAX: usize = 300;

impl DecodeError {
    pub(crate) fn new(message: &str) -> Self {
        Self(message.chars().take(MESSAGE_CHARS_MAX).collect())
    }
}
