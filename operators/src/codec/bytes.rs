//! Integers of variable length, and a reader that never reads past the end.

use super::CodecError;

/// Appends LEB128.
#[inline]
pub(crate) fn write_unsigned(value: u128, into: &mut Vec<u8>) {
    // Nearly all are counts and lengths of one byte, and nearly all others fit into one register.
    match u64::try_from(value) {
        Ok(value @ ..0x80) => into.push(value as u8),
        Ok(value) => write_register(value, into),
        Err(_) => {
            into.push((value as u8) | 0x80);
            write_unsigned(value >> 7, into);
        }
    }
}

fn write_register(mut value: u64, into: &mut Vec<u8>) {
    while value >= 0x80 {
        into.push((value as u8) | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

/// Appends zigzag LEB128.
#[inline]
pub(crate) fn write_signed(value: i128, into: &mut Vec<u8>) {
    write_unsigned(((value << 1) ^ (value >> 127)).cast_unsigned(), into);
}

const TOO_SHORT: CodecError = CodecError::Malformed("the bytes end too early");

/// Reads bytes from front to back.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], CodecError> {
        let Some((head, rest)) = self.rest.split_at_checked(length) else {
            return Err(TOO_SHORT);
        };
        self.rest = rest;
        Ok(head)
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(TOO_SHORT);
        };
        self.rest = rest;
        Ok(*head)
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, CodecError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn boolean(&mut self) -> Result<bool, CodecError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(CodecError::Malformed("a boolean that is neither 0 nor 1")),
        }
    }

    /// LEB128 in its shortest form only, so that equal values have equal bytes.
    #[inline]
    pub(crate) fn unsigned(&mut self) -> Result<u128, CodecError> {
        // Nearly all are counts and lengths of one byte.
        match self.rest {
            [only @ ..0x80, rest @ ..] => {
                self.rest = rest;
                Ok((*only).into())
            }
            _ => self.longer(),
        }
    }

    fn longer(&mut self) -> Result<u128, CodecError> {
        let mut value = 0u128;
        let mut shift = 0u32;
        loop {
            let byte = self.byte()?;
            let bits = u128::from(byte & 0x7f);
            if shift > 126 || (shift == 126 && bits > 3) {
                return Err(CodecError::Malformed("an integer of more than 128 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(CodecError::Malformed("an integer that is not shortest"));
                }
                return Ok(value);
            }
            shift += 7;
        }
    }

    #[inline]
    pub(crate) fn signed(&mut self) -> Result<i128, CodecError> {
        let value = self.unsigned()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// A zigzag integer that has to fit a narrower type.
    pub(crate) fn integer<T: TryFrom<i128>>(&mut self) -> Result<T, CodecError> {
        T::try_from(self.signed()?)
            .map_err(|_| CodecError::Malformed("an integer out of its type's range"))
    }

    #[inline]
    pub(crate) fn length(&mut self) -> Result<usize, CodecError> {
        usize::try_from(self.unsigned()?).map_err(|_| CodecError::Malformed("an impossible length"))
    }

    /// A LEB128 number of rows.
    pub(crate) fn count(&mut self) -> Result<i64, CodecError> {
        i64::try_from(self.unsigned()?).map_err(|_| CodecError::Malformed("an impossible count"))
    }

    #[inline]
    pub(crate) fn text(&mut self, length: usize) -> Result<&'a str, CodecError> {
        std::str::from_utf8(self.take(length)?)
            .map_err(|_| CodecError::Malformed("text that is not UTF-8"))
    }

    /// Nothing may be left.
    pub(crate) fn finish(self) -> Result<(), CodecError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(CodecError::Malformed("bytes behind the last value"))
        }
    }
}
