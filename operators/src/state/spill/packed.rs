//! A key's entries as the bytes that are kept on disk. Read by the process that wrote them, never later.
//!
//! First the sub-key at which the key is wanted (8 bytes), then per entry: the sub-key and the length of the value (8 and 4 bytes, little endian), then the value as in checkpoints.

use crate::codec::CodecError;

/// A key without entries, which is wanted at this sub-key.
pub(super) fn start(wake: i64) -> Vec<u8> {
    wake.to_le_bytes().into()
}

/// The sub-key at which a key is wanted.
pub(super) fn wake(bytes: &[u8]) -> i64 {
    let wake = bytes.first_chunk::<8>();
    wake.map_or(i64::MIN, |wake| i64::from_le_bytes(*wake))
}

/// Appends an entry whose value `encode` writes.
pub(super) fn push(into: &mut Vec<u8>, sub_key: i64, encode: impl FnOnce(&mut Vec<u8>)) {
    into.extend_from_slice(&sub_key.to_le_bytes());
    let length_at = into.len();
    into.extend_from_slice(&[0; 4]);
    encode(into);
    let length = (into.len() - length_at - 4) as u32;
    into[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
}

/// The entries, in the order in which they were pushed.
pub(super) fn entries(bytes: &[u8]) -> impl Iterator<Item = Result<(i64, &[u8]), CodecError>> {
    let mut bytes = bytes.get(size_of::<i64>()..).unwrap_or_default();
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let Some((sub_key, value, rest)) = split(bytes) else {
            bytes = &[];
            return Some(Err(CodecError::Malformed("a damaged key on disk")));
        };
        bytes = rest;
        Some(Ok((sub_key, value)))
    })
}

fn split(bytes: &[u8]) -> Option<(i64, &[u8], &[u8])> {
    let (sub_key, rest) = bytes.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((i64::from_le_bytes(*sub_key), value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_and_damage_is_found() {
        let mut bytes = start(-9);
        for (sub_key, value) in [(-5, &b""[..]), (7, b"value")] {
            push(&mut bytes, sub_key, |into| into.extend_from_slice(value));
        }
        let read: Vec<_> = entries(&bytes).map(Result::unwrap).collect();
        assert_eq!(wake(&bytes), -9);
        assert_eq!(read, [(-5, &b""[..]), (7, b"value")]);
        assert!(entries(&bytes[..bytes.len() - 1]).any(|entry| entry.is_err()));
    }
}
