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
    let mut entries: Vec<Entry> = Vec::with_capacity(count.min(decoder.remaining() / 4));
    for _ in 0..count {
        let entry = decode_entry(&mut decoder, entries.last())?;
        entries.push(entry);
    }
    decoder.end()?;
    Ok(ShardDelta {
        shard,
        drops,
        entries,
    })
}

fn decode_entry(decoder: &mut Decoder<'_>, previous: Option<&Entry>) -> Result<Entry, CodecError> {
    let at = decoder.position();
    let shared: usize = decoder.number()?;
    let (key, sub_key) = previous.map_or((&[][..], 0), |entry| (&*entry.key, entry.sub_key));
    let shared = key.get(..shared).ok_or(CodecError::OutOfRange { at })?;
    let key = SmallBytes::joined(shared, decoder.bytes()?);
    let sub_key = sub_key.wrapping_add(decoder.signed()?);
    let value = match decoder.varint()? {
        0 => None,
        length => {
            let length = usize::try_from(length - 1).map_err(|_| CodecError::OutOfRange { at })?;
            Some(decoder.take(length)?.into())
        }
    };
    Ok(Entry {
        key,
        sub_key,
        value,
    })
}
