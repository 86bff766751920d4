//! Bytes that need no allocation of their own while they are few.

use std::{borrow::Borrow, cmp::Ordering, fmt, hash, ops::Deref, sync::Arc};

/// The most bytes that are kept in place: with their length and the enum's tag they fill three machine words.
const INLINE: usize = 22;

/// A byte string like `Box<[u8]>`; up to 22 bytes live in place.
///
/// Most keys and values of keyed state are that short, and a checkpoint of a busy job has tens of thousands of them.
#[derive(Clone)]
pub struct SmallBytes(Repr);

#[derive(Clone)]
enum Repr {
    Short {
        length: u8,
        bytes: [u8; INLINE],
    },
    Long(Box<[u8]>),
    /// Many bytes, of which their maker keeps the same copy.
    Shared(Arc<Vec<u8>>),
}

impl SmallBytes {
    /// The bytes.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Repr::Short { length, bytes } => &bytes[..usize::from(*length)],
            Repr::Long(bytes) => bytes,
            Repr::Shared(bytes) => bytes,
        }
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn heap(&self) -> usize {
        match &self.0 {
            Repr::Short { .. } => 0,
            Repr::Long(bytes) => bytes.len(),
            Repr::Shared(bytes) => bytes.len(),
        }
    }

    /// The first `shared` of these bytes, then `rest`.
    #[must_use]
    pub(crate) fn joined(shared: &[u8], rest: &[u8]) -> Self {
        let length = shared.len() + rest.len();
        if length > INLINE {
            return Self(Repr::Long([shared, rest].concat().into()));
        }
        let mut bytes = [0; INLINE];
        bytes[..shared.len()].copy_from_slice(shared);
        bytes[shared.len()..length].copy_from_slice(rest);
        Self(Repr::Short {
            length: length as u8,
            bytes,
        })
    }
}

/// Whether two byte strings are equal. Those of up to 16 bytes, so most keys and names, without a call: by their first and
/// their last words, which may overlap.
#[inline]
#[must_use]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    if a.len() > 16 {
        return a == b;
    }
    if let (Some(first), Some(last)) = (a.first_chunk::<8>(), a.last_chunk::<8>()) {
        return b.first_chunk() == Some(first) && b.last_chunk() == Some(last);
    }
    if let (Some(first), Some(last)) = (a.first_chunk::<4>(), a.last_chunk::<4>()) {
        return b.first_chunk() == Some(first) && b.last_chunk() == Some(last);
    }
    a.iter().zip(b).all(|(a, b)| a == b)
}

impl Default for SmallBytes {
    fn default() -> Self {
        Self::joined(&[], &[])
    }
}

impl Deref for SmallBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Borrow<[u8]> for SmallBytes {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl AsRef<[u8]> for SmallBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<&[u8]> for SmallBytes {
    #[inline]
    fn from(bytes: &[u8]) -> Self {
        let mut inline = [0; INLINE];
        let length = bytes.len();
        // Copies of fixed sizes, which may overlap, cost no call.
        match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
            (Some(first), Some(last)) if length <= 16 => {
                inline[..8].copy_from_slice(first);
                inline[length - 8..length].copy_from_slice(last);
                Self(Repr::Short {
                    length: length as u8,
                    bytes: inline,
                })
            }
            _ => Self::joined(bytes, &[]),
        }
    }
}

impl<const N: usize> From<[u8; N]> for SmallBytes {
    fn from(bytes: [u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

impl From<Vec<u8>> for SmallBytes {
    fn from(bytes: Vec<u8>) -> Self {
        match bytes.len() {
            0..=INLINE => bytes.as_slice().into(),
            _ => Self(Repr::Long(bytes.into())),
        }
    }
}

impl From<Box<[u8]>> for SmallBytes {
    fn from(bytes: Box<[u8]>) -> Self {
        match bytes.len() {
            0..=INLINE => bytes.as_ref().into(),
            _ => Self(Repr::Long(bytes)),
        }
    }
}

impl From<Arc<Vec<u8>>> for SmallBytes {
    fn from(bytes: Arc<Vec<u8>>) -> Self {
        Self(Repr::Shared(bytes))
    }
}

impl PartialEq for SmallBytes {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for SmallBytes {}

impl PartialOrd for SmallBytes {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SmallBytes {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

/// As the slice's, so that a map can be asked with a slice.
impl hash::Hash for SmallBytes {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl fmt::Debug for SmallBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn they_are_no_larger_than_three_words() {
        assert_eq!(size_of::<SmallBytes>(), 24);
        assert_eq!(size_of::<Option<SmallBytes>>(), 24);
    }

    proptest! {
        #[test]
        fn they_behave_as_their_slices(
            a in proptest::collection::vec(any::<u8>(), 0..40),
            b in proptest::collection::vec(any::<u8>(), 0..40),
            cut in 0usize..40,
        ) {
            let cut = cut.min(a.len());
            let small = SmallBytes::joined(&a[..cut], &a[cut..]);
            prop_assert_eq!(&*small, &a[..]);
            prop_assert_eq!(&small, &SmallBytes::from(a.clone()));
            prop_assert_eq!(&small, &SmallBytes::from(a.clone().into_boxed_slice()));
            prop_assert_eq!(&small, &SmallBytes::from(Arc::new(a.clone())));
            prop_assert_eq!(small.heap(), if a.len() > INLINE { a.len() } else { 0 });
            let other = SmallBytes::from(&b[..]);
            prop_assert_eq!(small.cmp(&other), a.cmp(&b));
            prop_assert_eq!(small == other, a == b);
            prop_assert_eq!(equal(&a, &b), a == b);
            prop_assert!(equal(&a, &a.clone()));
            for place in 0..a.len() {
                let mut changed = a.clone();
                changed[place] ^= 1;
                prop_assert!(!equal(&a, &changed));
            }
            let map = std::collections::HashSet::from([small]);
            prop_assert!(map.contains(&a[..]));
        }
    }
}
