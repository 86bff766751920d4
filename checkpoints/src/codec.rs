//! The binary vocabulary of everything durable: little-endian integers, varints and length-prefixed bytes.
//!
//! - `varint`: LEB128, at most ten bytes, the shortest form only, so that each number has one encoding.
//! - signed varint: zigzag (`0, -1, 1, -2, ...` become `0, 1, 2, 3, ...`), then varint.
//! - `bytes`: a varint length, then the bytes; `text` likewise, UTF-8.
//!
//! The forms are pinned by golden tests. [`Decoder`] never panics and never allocates more than its input holds.

/// Why bytes could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The input is shorter than what it announces.
    #[error("unexpected end at byte {at}")]
    UnexpectedEnd {
        /// Position from the start of the decoded bytes.
        at: usize,
    },
    /// A varint is longer than ten bytes, larger than 64 bits or not in its shortest form.
    #[error("malformed varint at byte {at}")]
    Varint {
        /// Position from the start of the decoded bytes.
        at: usize,
    },
    /// A number is outside the range of its field.
    #[error("number out of range at byte {at}")]
    OutOfRange {
        /// Position from the start of the decoded bytes.
        at: usize,
    },
    /// A text is not UTF-8.
    #[error("text is not UTF-8 at byte {at}")]
    Utf8 {
        /// Position from the start of the decoded bytes.
        at: usize,
    },
    /// Bytes follow the last field.
    #[error("{count} bytes left over")]
    Trailing {
        /// How many.
        count: usize,
    },
}

/// Appends an unsigned varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed varint (zigzag).
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Appends bytes with their length before them.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a little-endian `u16`.
pub fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a little-endian `u32`.
pub fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a little-endian `u64`.
pub fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Reads what the `put` functions wrote, checking every bound.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes have been read.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// [`CodecError::UnexpectedEnd`].
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], CodecError> {
        if count > self.remaining() {
            return Err(CodecError::UnexpectedEnd { at: self.at });
        }
        let taken = &self.bytes[self.at..self.at + count];
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// A little-endian `u16`.
    ///
    /// # Errors
    /// [`CodecError::UnexpectedEnd`].
    pub fn u16(&mut self) -> Result<u16, CodecError> {
        self.array().map(u16::from_le_bytes)
    }

    /// A little-endian `u32`.
    ///
    /// # Errors
    /// [`CodecError::UnexpectedEnd`].
    pub fn u32(&mut self) -> Result<u32, CodecError> {
        self.array().map(u32::from_le_bytes)
    }

    /// A little-endian `u64`.
    ///
    /// # Errors
    /// [`CodecError::UnexpectedEnd`].
    pub fn u64(&mut self) -> Result<u64, CodecError> {
        self.array().map(u64::from_le_bytes)
    }

    /// An unsigned varint.
    ///
    /// # Errors
    /// [`CodecError::UnexpectedEnd`] or [`CodecError::Varint`].
    pub fn varint(&mut self) -> Result<u64, CodecError> {
        let start = self.at;
        let malformed = CodecError::Varint { at: start };
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array::<1>()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return Err(malformed);
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                let shortest = byte != 0 || shift == 0;
                return if shortest { Ok(value) } else { Err(malformed) };
            }
        }
        Err(malformed)
    }

    /// An unsigned varint that fits the given type.
    ///
    /// # Errors
    /// As [`Self::varint`], or [`CodecError::OutOfRange`].
    pub fn number<T: TryFrom<u64>>(&mut self) -> Result<T, CodecError> {
        let at = self.at;
        T::try_from(self.varint()?).map_err(|_| CodecError::OutOfRange { at })
    }

    /// How many items follow, each of at least one byte: never more than there are bytes left.
    ///
    /// # Errors
    /// As [`Self::varint`], or [`CodecError::UnexpectedEnd`] if so many items cannot follow.
    pub fn count(&mut self) -> Result<usize, CodecError> {
        let count: usize = self.number()?;
        if count > self.remaining() {
            return Err(CodecError::UnexpectedEnd { at: self.at });
        }
        Ok(count)
    }

    /// A signed varint (zigzag).
    ///
    /// # Errors
    /// As [`Self::varint`].
    pub fn signed(&mut self) -> Result<i64, CodecError> {
        let coded = self.varint()?;
        Ok((coded >> 1) as i64 ^ -((coded & 1) as i64))
    }

    /// Bytes with their length before them.
    ///
    /// # Errors
    /// As [`Self::varint`].
    pub fn bytes(&mut self) -> Result<&'a [u8], CodecError> {
        let length = self.number()?;
        self.take(length)
    }

    /// A text with its length before it.
    ///
    /// # Errors
    /// As [`Self::bytes`], or [`CodecError::Utf8`].
    pub fn text(&mut self) -> Result<&'a str, CodecError> {
        let at = self.at;
        std::str::from_utf8(self.bytes()?).map_err(|_| CodecError::Utf8 { at })
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// [`CodecError::Trailing`].
    pub fn end(&self) -> Result<(), CodecError> {
        match self.remaining() {
            0 => Ok(()),
            count => Err(CodecError::Trailing { count }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::{Shard, key_hash};

    fn varint(value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, value);
        out
    }

    fn signed(value: i64) -> Vec<u8> {
        let mut out = Vec::new();
        put_signed(&mut out, value);
        out
    }

    #[test]
    fn the_written_form_of_numbers_never_changes() {
        assert_eq!(varint(0), [0]);
        assert_eq!(varint(127), [0x7f]);
        assert_eq!(varint(300), [0xac, 0x02]);
        assert_eq!(
            varint(u64::MAX),
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]
        );
        assert_eq!(signed(-1), [1]);
        assert_eq!(signed(1), [2]);
        assert_eq!(signed(-65), [0x81, 0x01]);
        assert_eq!(signed(i64::MIN), varint(u64::MAX));
    }

    #[test]
    fn the_hash_and_shard_of_a_key_never_change() {
        let golden = [
            (&b""[..], 0x2d06_8005_38d3_94c2, 180),
            (&b"u0000042"[..], 0x62da_06d0_ad4a_232e, 395),
            (&[0xff; 32][..], 0x36f6_a79e_eaf6_03f2, 219),
        ];
        for (key, hash, shard) in golden {
            assert_eq!(key_hash(key), hash, "{key:?}: {:#x}", key_hash(key));
            assert_eq!(Shard::of_key(key), Shard(shard), "{key:?}");
            assert_eq!(u64::from(shard), hash >> 54);
        }
    }

    #[test]
    fn longer_forms_of_a_number_are_refused() {
        for bytes in [
            &[0x80, 0x00][..],
            &[0xff, 0x80, 0x00],
            &[0xff; 10],
            &[0xff; 11],
        ] {
            assert!(matches!(
                Decoder::new(bytes).varint(),
                Err(CodecError::Varint { at: 0 })
            ));
        }
        assert_eq!(
            Decoder::new(&[0x80]).varint(),
            Err(CodecError::UnexpectedEnd { at: 1 })
        );
    }

    #[test]
    fn a_length_beyond_the_input_is_an_error() {
        let mut bytes = varint(u64::MAX);
        bytes.extend([1, 2, 3]);
        assert!(Decoder::new(&bytes).bytes().is_err());
        assert!(Decoder::new(&bytes).count().is_err());
    }

    proptest! {
        #[test]
        fn what_is_put_is_read_again(value: u64, number: i64, bytes: Vec<u8>, text: String) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            put_signed(&mut out, number);
            put_bytes(&mut out, &bytes);
            put_bytes(&mut out, text.as_bytes());
            put_u64(&mut out, value);
            let mut decoder = Decoder::new(&out);
            prop_assert_eq!(decoder.varint(), Ok(value));
            prop_assert_eq!(decoder.signed(), Ok(number));
            prop_assert_eq!(decoder.bytes(), Ok(&bytes[..]));
            prop_assert_eq!(decoder.text(), Ok(&text[..]));
            prop_assert_eq!(decoder.u64(), Ok(value));
            prop_assert_eq!(decoder.end(), Ok(()));
        }

        #[test]
        fn no_input_makes_the_decoder_panic(bytes: Vec<u8>) {
            let mut decoder = Decoder::new(&bytes);
            let _ = (decoder.varint(), decoder.bytes(), decoder.signed(), decoder.text(), decoder.count());
        }
    }
}
