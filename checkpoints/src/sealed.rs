//! Documents with a checksum line: one line of JSON, then `crc32c:` and the checksum of that line in eight hex digits.
//!
//! A person reads them with `head -1 FILE | jq`; a flipped bit or a missing end is found before JSON is parsed.

use serde::{Serialize, de::DeserializeOwned};

/// Why a document cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The checksum line is missing or differs from the content.
    #[error("its checksum does not match: the document is damaged or incomplete")]
    Checksum,
    /// The checksum matches, but the content is not the expected document.
    #[error("its content is not understood: {0}")]
    Content(#[from] serde_json::Error),
}

fn checksum_line(json: &[u8]) -> String {
    format!("\ncrc32c:{:08x}\n", crc32c::crc32c(json))
}

/// The document as bytes.
///
/// # Errors
/// [`SealError::Content`] if the document has no JSON form.
pub fn seal(document: &impl Serialize) -> Result<Vec<u8>, SealError> {
    let mut bytes = serde_json::to_vec(document)?;
    let line = checksum_line(&bytes);
    bytes.extend_from_slice(line.as_bytes());
    Ok(bytes)
}

/// The document in the bytes, once their checksum has been verified.
///
/// # Errors
/// [`SealError`].
pub fn unseal<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, SealError> {
    let line_bytes = checksum_line(&[]).len();
    let (json, line) = bytes
        .split_at_checked(bytes.len().saturating_sub(line_bytes))
        .ok_or(SealError::Checksum)?;
    if line != checksum_line(json).as_bytes() {
        return Err(SealError::Checksum);
    }
    Ok(serde_json::from_slice(json)?)
}
