//! The encoding of one section: a shard delta without its shard, which stands in the file's footer.
//!
//! ```text
//! varint number of drops, each: signed start, signed end
//! varint number of entries, each:
//!     varint bytes shared with the previous key, bytes rest of the key
//!     signed difference to the previous sub-key (wrapping)
//!     varint 0 for a tombstone, else 1 + length of the value, and the value
//! ```
//!
//! Sorted entries come out small; unsorted ones are correct as well.

use crate::{
    codec::{CodecError, Decoder, put_bytes, put_signed, put_varint},
    ids::Shard,
    section::{Entry, ShardDelta, SubKeyRange},
    small_bytes::SmallBytes,
};

/// Appends the encoded delta.
pub(super) fn encode(delta: &ShardDelta, out: &mut Vec<u8>) {
    put_varint(out, delta.drops.len() as u64);
    for range in &delta.drops {
        put_signed(out, range.start);
        put_signed(out, range.end);
    }
    put_varint(out, delta.entries.len() as u64);
    let (mut key, mut sub_key) = (&[][..], 0i64);
    for entry in &delta.entries {
        let shared = shared_prefix(key, &entry.key);
        put_varint(out, shared as u64);
        put_bytes(out, &entry.key[shared..]);
        put_signed(out, entry.sub_key.wrapping_sub(sub_key));
        encode_value(entry.value.as_deref(), out);
        (key, sub_key) = (&entry.key, entry.sub_key);
    }
}

fn encode_value(value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        None => put_varint(out, 0),
        Some(value) => {
            put_varint(out, value.len() as u64 + 1);
            out.extend_from_slice(value);
        }
    }
}

fn shared_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Decodes what [`encode`] wrote.
pub(super) fn decode(shard: Shard, bytes: &[u8]) -> Result<ShardDelta, CodecError> {
    let mut entries = Vec::new();
    let drops = decode_into(&mut entries, bytes, |_| true)?;
    Ok(ShardDelta {
        shard,
        drops,
        entries,
    })
}

/// Appends those entries whose sub-keys are wanted, without a copy of others' values, and returns the drops.
pub(super) fn decode_into(
    entries: &mut Vec<Entry>,
    bytes: &[u8],
    wanted: impl Fn(i64) -> bool,
) -> Result<Vec<SubKeyRange>, CodecError> {
    let mut decoder = Decoder::new(bytes);
    let count = decoder.count()?;
    let mut drops = Vec::with_capacity(count);
    for _ in 0..count {
        drops.push(SubKeyRange {
            start: decoder.signed()?,
            end: decoder.signed()?,
        });
    }
    let count = decoder.count()?;
    // An entry takes at least four bytes, and far more in memory: reserve for what can really follow.
    entries.reserve(count.min(decoder.remaining() / 4));
    let first = entries.len();
    // The key and sub-key of the entry before, if it wasn't wanted.
    let mut skipped: Option<(SmallBytes, i64)> = None;
    for _ in 0..count {
        let (key, sub_key) = match (&skipped, entries[first..].last()) {
            (Some((key, sub_key)), _) => (key, *sub_key),
            (None, Some(before)) => (&before.key, before.sub_key),
            (None, None) => (&SmallBytes::default(), 0),
        };
        let (key, sub_key) = decode_place(&mut decoder, key, sub_key)?;
        let value = decode_value(&mut decoder)?;
        if wanted(sub_key) {
            skipped = None;
            entries.push(Entry {
                key,
                sub_key,
                value: value.map(SmallBytes::from),
            });
        } else {
            skipped = Some((key, sub_key));
        }
    }
    decoder.end()?;
    Ok(drops)
}

fn decode_place(
    decoder: &mut Decoder<'_>,
    key: &[u8],
    sub_key: i64,
) -> Result<(SmallBytes, i64), CodecError> {
    let at = decoder.position();
    let shared: usize = decoder.number()?;
    let shared = key.get(..shared).ok_or(CodecError::OutOfRange { at })?;
    let key = SmallBytes::joined(shared, decoder.bytes()?);
    Ok((key, sub_key.wrapping_add(decoder.signed()?)))
}

fn decode_value<'a>(decoder: &mut Decoder<'a>) -> Result<Option<&'a [u8]>, CodecError> {
    let at = decoder.position();
    match decoder.varint()? {
        0 => Ok(None),
        length => {
            let length = usize::try_from(length - 1).map_err(|_| CodecError::OutOfRange { at })?;
            decoder.take(length).map(Some)
        }
    }
}
