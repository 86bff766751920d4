//! HEAD: the one object that says which manifest counts and who holds the job.

use std::{thread, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    ids::{Epoch, Generation},
    sealed::{self, SealError},
    store::{CheckpointStore, StoreError, SwapError},
};

/// The content of HEAD. No two swaps ever write the same content: a process writes each epoch once, and `holder` differs
/// between processes. So reading HEAD again tells whether a swap of unknown outcome has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The claim of the process that holds the job.
    pub generation: Generation,
    /// The epoch of the manifest; 0 without one.
    pub epoch: Epoch,
    /// The name of the manifest that counts; `None` before the first checkpoint.
    pub manifest: Option<String>,
    /// Who holds the job, for people, and unique.
    pub holder: String,
}

/// What a swap compares: names one content of HEAD. Local: a hash of the bytes; S3: the entity tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(pub String);

impl Head {
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, StoreError> {
        sealed::seal(self).map_err(Self::damaged)
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        sealed::unseal(bytes).map_err(Self::damaged)
    }

    fn damaged(error: SealError) -> StoreError {
        StoreError::determinate("read", crate::paths::HEAD, error)
    }
}

/// How often a swap of unknown outcome is tried again.
const ATTEMPTS: u32 = 6;
/// Before the second attempt; grows with each one.
const PAUSE: Duration = Duration::from_millis(10);

/// Swaps HEAD and finds out what happened where the store cannot tell.
///
/// After an error that leaves the outcome open, HEAD is read again. If it is the new content, the swap has succeeded. If it still
/// is the expected one, the request may yet arrive, so the very same swap is sent again: at most one of them can match.
/// The same is asked after a refusal, because a client below may have repeated a request whose answer was lost.
///
/// # Errors
/// [`SwapError::Lost`] if HEAD has become something else; [`SwapError::Store`] if the outcome stays unknown or the
/// store is out of reach.
pub fn swap(
    store: &dyn CheckpointStore,
    expected: Option<&Tag>,
    new: &Head,
) -> Result<Tag, SwapError> {
    let mut outcome = store.swap_head(expected, new);
    for attempt in 0..ATTEMPTS {
        match &outcome {
            Err(SwapError::Lost { .. } | SwapError::Store(StoreError::Indeterminate { .. })) => {}
            Ok(_) | Err(SwapError::Store(_)) => return outcome,
        }
        if attempt > 0 {
            thread::sleep(PAUSE * attempt);
        }
        let observed = match store.head() {
            Ok(observed) => observed,
            Err(_) => continue,
        };
        match resolve(observed, expected, new) {
            Resolution::Won(tag) => return Ok(tag),
            Resolution::Lost(current) => return Err(SwapError::Lost { current }),
            Resolution::Open => outcome = store.swap_head(expected, new),
        }
    }
    outcome
}

/// What HEAD, read after a swap of unknown outcome, says about it.
#[derive(Debug, PartialEq, Eq)]
enum Resolution {
    Won(Tag),
    Lost(Option<Head>),
    Open,
}

fn resolve(observed: Option<(Head, Tag)>, expected: Option<&Tag>, new: &Head) -> Resolution {
    match observed {
        Some((head, tag)) if head == *new => Resolution::Won(tag),
        observed if observed.as_ref().map(|(_, tag)| tag) == expected => Resolution::Open,
        observed => Resolution::Lost(observed.map(|(head, _)| head)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(epoch: u64, holder: &str) -> Head {
        Head {
            generation: Generation(1),
            epoch: Epoch(epoch),
            manifest: None,
            holder: holder.to_owned(),
        }
    }

    #[test]
    fn reading_head_again_tells_whether_a_swap_happened() {
        let (old, mine, other) = (head(1, "me"), head(2, "me"), head(2, "other"));
        let tag = |name: &str| Tag(name.to_owned());
        let seen = |head: &Head, name| Some((head.clone(), tag(name)));
        let expected = tag("old");
        let check = |observed, outcome| {
            assert_eq!(resolve(observed, Some(&expected), &mine), outcome);
        };
        check(seen(&mine, "new"), Resolution::Won(tag("new")));
        check(seen(&old, "old"), Resolution::Open);
        check(seen(&other, "new"), Resolution::Lost(Some(other.clone())));
        check(None, Resolution::Lost(None));
        assert_eq!(resolve(None, None, &mine), Resolution::Open);
    }

    #[test]
    fn a_damaged_head_is_refused() {
        let bytes = head(7, "host 1").to_bytes().unwrap();
        assert_eq!(Head::from_bytes(&bytes).unwrap(), head(7, "host 1"));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Head::from_bytes(&damaged).is_err(), "bit {bit}");
        }
    }
}
