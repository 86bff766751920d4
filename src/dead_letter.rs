//! Records and rows that could not be processed, on their way to the dead-letter sink.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, StringViewArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
    record_batch::RecordBatch,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

/// Why something became a dead letter, as it is counted; its reason tells the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The record cannot be decoded.
    Decode,
    /// Its event time is missing, or cannot be meant.
    EventTime,
    /// It is in another partition than its key's.
    Partition,
    /// An expression fails on the row.
    Expression,
    /// A store refuses the row for good.
    Refused,
    /// It came too late: such letters are counted as late rows.
    Late,
}

impl Cause {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::EventTime => "event_time",
            Self::Partition => "partition",
            Self::Expression => "expression",
            Self::Refused => "refused",
            Self::Late => "late",
        }
    }
}

/// One record or row that could not be processed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The source or view where it failed.
    pub relation: Arc<str>,
    /// The record's place, such as `topic events, partition 3, offset 17`; empty for rows of views.
    pub origin: String,
    /// Why, for counting.
    pub cause: Cause,
    /// Why, for people: names the field or expression.
    pub reason: String,
    /// The original bytes of the record; for rows of views the row as JSON.
    pub payload: Vec<u8>,
}

/// The columns of the dead-letter relation, all of them text: `relation`, `origin`, `reason`, `payload` (where the bytes are
/// UTF-8, else null), `payload_base64` (where they are not).
#[must_use]
pub fn schema() -> SchemaRef {
    let text = |name, nullable| Field::new(name, DataType::Utf8View, nullable);
    Arc::new(Schema::new(vec![
        text("relation", false),
        text("origin", false),
        text("reason", false),
        text("payload", true),
        text("payload_base64", true),
    ]))
}

/// Bytes of a payload that a dead letter keeps: as JSON, where a byte may take six, still below Kafka's usual limit for a record.
const PAYLOAD_BYTES_MAX: usize = 128 * 1024;
/// Bytes of a reason or origin that a dead letter keeps.
const REASON_BYTES_MAX: usize = 8 * 1024;

/// Dead letters as rows of the relation that [`schema`] describes. Payloads over 128 KiB are cut, which the reason then tells.
#[must_use]
#[expect(
    clippy::expect_used,
    reason = "columns, types and lengths are those of the schema above"
)]
pub fn batch(letters: &[DeadLetter]) -> RecordBatch {
    let text = |values: Vec<Option<String>>| -> ArrayRef {
        Arc::new(
            values
                .iter()
                .map(Option::as_deref)
                .collect::<StringViewArray>(),
        )
    };
    let all = |value: fn(&DeadLetter) -> String| {
        text(letters.iter().map(|letter| Some(value(letter))).collect())
    };
    let payloads = |value: fn(&[u8]) -> Option<String>| {
        text(
            letters
                .iter()
                .map(|letter| value(&letter.payload))
                .collect(),
        )
    };
    let columns = vec![
        all(|letter| letter.relation.to_string()),
        all(|letter| cut(&letter.origin, REASON_BYTES_MAX).to_owned()),
        all(reason),
        payloads(as_text),
        payloads(as_base64),
    ];
    RecordBatch::try_new(schema(), columns).expect("dead letters have the form of their schema")
}

fn reason(letter: &DeadLetter) -> String {
    let reason = cut(&letter.reason, REASON_BYTES_MAX);
    if letter.payload.len() > PAYLOAD_BYTES_MAX {
        return format!(
            "{reason} (payload cut: it had {} bytes)",
            letter.payload.len()
        );
    }
    reason.to_owned()
}

fn as_text(payload: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(payload).ok()?;
    Some(cut(text, PAYLOAD_BYTES_MAX).to_owned())
}

fn as_base64(payload: &[u8]) -> Option<String> {
    match std::str::from_utf8(payload) {
        Ok(_) => None,
        Err(_) => Some(BASE64_STANDARD.encode(&payload[..payload.len().min(PAYLOAD_BYTES_MAX)])),
    }
}

fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};

    use super::{Cause, DeadLetter, batch};

    #[test]
    fn payloads_keep_their_bytes_as_text_or_base64() {
        let letter = |payload: &[u8]| DeadLetter {
            relation: "events".into(),
            origin: "partition 3, offset 17".to_owned(),
            cause: Cause::Decode,
            reason: "not JSON".to_owned(),
            payload: payload.to_vec(),
        };
        let rows = batch(&[letter(b"{\"a\":"), letter(&[0xff, 0x00])]);
        let (text, base64) = (
            rows.column(3).as_string_view(),
            rows.column(4).as_string_view(),
        );
        assert_eq!(text.value(0), "{\"a\":");
        assert!(text.is_null(1) && base64.is_null(0));
        assert_eq!(base64.value(1), "/wA=");
    }

    #[test]
    fn a_large_payload_is_cut_between_characters_and_the_reason_tells() {
        let letter = DeadLetter {
            relation: "events".into(),
            origin: String::new(),
            cause: Cause::Decode,
            reason: "too large".to_owned(),
            payload: format!("x{}", "é".repeat(100_000)).into_bytes(),
        };
        let rows = batch(&[letter]);
        assert_eq!(
            rows.column(3).as_string_view().value(0).len(),
            128 * 1024 - 1
        );
        let reason = rows.column(2).as_string_view().value(0);
        assert_eq!(reason, "too large (payload cut: it had 200001 bytes)");
    }

    #[test]
    fn no_letters_are_an_empty_batch() {
        assert_eq!(batch(&[]).num_rows(), 0);
    }
}
