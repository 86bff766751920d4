//! Claiming a job: from then on this process, and no other, may publish checkpoints and write to its sinks.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    process,
};

use crate::{
    head::{self, Head, Tag},
    ids::{Epoch, Generation},
    paths,
    store::{CheckpointStore, StoreError, SwapError},
};

/// Who claims the job, and how.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// This process, for people and unique: see [`unique_holder`].
    pub holder: String,
    /// The wall clock, milliseconds since 1970.
    pub now_ms: u64,
    /// Claim the job even if the store has manifests but no HEAD: only if somebody said from which manifest to start, or that
    /// the job starts from nothing.
    pub accept_missing_head: bool,
}

/// A claim that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// HEAD as this process wrote it. Its manifest and epoch are those of the process before.
    pub head: Head,
    /// What the next swap has to expect.
    pub tag: Tag,
}

impl Claimed {
    /// The generation of this process.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.head.generation
    }
}

/// Everything that the decision depends on.
#[derive(Clone, Debug)]
pub struct ClaimFacts<'a> {
    /// HEAD as just read.
    pub observed: Option<&'a (Head, Tag)>,
    /// The generation in HEAD when this claim began, if HEAD has been read before.
    pub seen_first: Option<Generation>,
    /// The newest manifest in the store; only looked for if there is no HEAD.
    pub newest_manifest: Option<&'a str>,
    /// The request.
    pub request: &'a ClaimRequest,
}

/// What to do about a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimDecision {
    /// Swap HEAD.
    Swap {
        /// The tag to expect.
        expected: Option<Tag>,
        /// The new HEAD.
        new: Head,
    },
    /// Another process has claimed the job since this claim began: leave it to that one.
    GiveWay {
        /// HEAD of the other process.
        other: Head,
    },
    /// HEAD is gone although there were checkpoints: never start from nothing by accident.
    RefuseMissingHead {
        /// The newest manifest there is.
        newest_manifest: String,
    },
}

/// Decides about a claim. Pure.
///
/// The new generation is greater than all before it, also if the store was wiped: at least the wall clock.
#[must_use]
pub fn decide_claim(facts: &ClaimFacts<'_>) -> ClaimDecision {
    let request = facts.request;
    let claim = |previous: Generation, epoch, manifest| Head {
        generation: Generation(previous.0.saturating_add(1).max(request.now_ms)),
        epoch,
        manifest,
        holder: request.holder.clone(),
    };
    match (facts.observed, facts.newest_manifest) {
        (Some((head, _)), _) if facts.seen_first.is_some_and(|seen| seen != head.generation) => {
            ClaimDecision::GiveWay {
                other: head.clone(),
            }
        }
        (Some((head, tag)), _) => ClaimDecision::Swap {
            expected: Some(tag.clone()),
            new: claim(head.generation, head.epoch, head.manifest.clone()),
        },
        (None, Some(newest)) if !request.accept_missing_head => ClaimDecision::RefuseMissingHead {
            newest_manifest: newest.to_owned(),
        },
        (None, newest) => {
            let origin = newest.and_then(paths::origin);
            let previous = origin.map_or(Generation(0), |(generation, _)| generation);
            ClaimDecision::Swap {
                expected: None,
                new: claim(previous, Epoch(0), None),
            }
        }
    }
}

/// Why a job could not be claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another process was faster.
    #[error("the job is held by {} (generation {})", .0.holder, .0.generation)]
    Taken(Head),
    /// HEAD is gone although there were checkpoints.
    #[error(
        "the checkpoint store {location} has no HEAD but holds checkpoints, the newest is {newest_manifest}: \
         restore from it by its name, or start from nothing with --restore none"
    )]
    MissingHead {
        /// The store.
        location: String,
        /// The newest manifest there is.
        newest_manifest: String,
    },
    /// The holder publishes faster than this claim gets through.
    #[error("HEAD moved during each of {0} attempts to claim the job")]
    Contended(u32),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

const ATTEMPTS: u32 = 100;

/// Claims the job. Whoever held it before is fenced from the moment this returns.
///
/// A running holder moves HEAD with each checkpoint, so the swap is tried again as long as nobody else claims.
///
/// # Errors
/// [`ClaimError`]; the job is not claimed then.
pub fn claim(store: &dyn CheckpointStore, request: &ClaimRequest) -> Result<Claimed, ClaimError> {
    let mut seen_first = None;
    for _ in 0..ATTEMPTS {
        let observed = store.head()?;
        let newest_manifest = match observed {
            Some(_) => None,
            None => newest_manifest(store)?,
        };
        let decision = decide_claim(&ClaimFacts {
            observed: observed.as_ref(),
            seen_first,
            newest_manifest: newest_manifest.as_deref(),
            request,
        });
        match decision {
            ClaimDecision::Swap { expected, new } => {
                match head::swap(store, expected.as_ref(), &new) {
                    Ok(tag) => return Ok(Claimed { head: new, tag }),
                    Err(SwapError::Lost { .. }) => {}
                    Err(SwapError::Store(error)) => return Err(error.into()),
                }
            }
            ClaimDecision::GiveWay { other } => return Err(ClaimError::Taken(other)),
            ClaimDecision::RefuseMissingHead { newest_manifest } => {
                return Err(ClaimError::MissingHead {
                    location: store.location(),
                    newest_manifest,
                });
            }
        }
        seen_first = Some(observed.map_or(Generation(0), |(head, _)| head.generation));
    }
    Err(ClaimError::Contended(ATTEMPTS))
}

/// The manifest of the greatest epoch in the store.
pub(crate) fn newest_manifest(store: &dyn CheckpointStore) -> Result<Option<String>, StoreError> {
    let listed = store.list(paths::MANIFESTS)?;
    let known = listed
        .into_iter()
        .filter(|listed| paths::origin(&listed.name).is_some());
    let newest = known.max_by_key(|listed| {
        paths::origin(&listed.name).map(|(generation, epoch)| (epoch, generation))
    });
    Ok(newest.map(|listed| listed.name))
}

/// Makes a description of this process unique, as HEAD needs it.
#[must_use]
pub fn unique_holder(description: &str) -> String {
    // The standard library's hasher is seeded by the operating system: random enough to tell processes apart.
    let nonce = RandomState::new().build_hasher().finish();
    format!("{description} (pid {}, {nonce:016x})", process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(now_ms: u64, accept_missing_head: bool) -> ClaimRequest {
        ClaimRequest {
            holder: "me".to_owned(),
            now_ms,
            accept_missing_head,
        }
    }

    fn other(generation: u64) -> (Head, Tag) {
        let head = Head {
            generation: Generation(generation),
            epoch: Epoch(7),
            manifest: Some("manifests/5-7.json".to_owned()),
            holder: "other".to_owned(),
        };
        (head, Tag("t".to_owned()))
    }

    fn decide(
        observed: Option<(Head, Tag)>,
        seen_first: Option<u64>,
        newest_manifest: Option<&str>,
        request: &ClaimRequest,
    ) -> ClaimDecision {
        decide_claim(&ClaimFacts {
            observed: observed.as_ref(),
            seen_first: seen_first.map(Generation),
            newest_manifest,
            request,
        })
    }

    fn generation(decision: ClaimDecision) -> u64 {
        match decision {
            ClaimDecision::Swap { new, .. } => new.generation.0,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_claim_has_a_greater_generation_than_all_before_and_keeps_the_manifest() {
        let decision = decide(Some(other(5)), None, None, &request(3, false));
        let expected = Head {
            generation: Generation(6),
            holder: "me".to_owned(),
            ..other(5).0
        };
        assert_eq!(
            decision,
            ClaimDecision::Swap {
                expected: Some(other(5).1),
                new: expected
            }
        );
        assert_eq!(
            generation(decide(Some(other(5)), None, None, &request(100, false))),
            100
        );
        assert_eq!(
            generation(decide(None, None, None, &request(100, false))),
            100
        );
    }

    #[test]
    fn a_claim_goes_on_while_the_holder_publishes_but_gives_way_to_another_claim() {
        let request = request(100, false);
        assert_eq!(
            generation(decide(Some(other(5)), Some(5), None, &request)),
            100
        );
        let decision = decide(Some(other(6)), Some(5), None, &request);
        assert_eq!(decision, ClaimDecision::GiveWay { other: other(6).0 });
        let decision = decide(Some(other(6)), Some(0), None, &request);
        assert_eq!(decision, ClaimDecision::GiveWay { other: other(6).0 });
    }

    #[test]
    fn checkpoints_without_head_are_never_taken_for_an_empty_store() {
        let newest = "manifests/200-7.json";
        let decision = decide(None, None, Some(newest), &request(100, false));
        assert_eq!(
            decision,
            ClaimDecision::RefuseMissingHead {
                newest_manifest: newest.to_owned()
            }
        );
        assert_eq!(
            generation(decide(None, None, Some(newest), &request(100, true))),
            201
        );
    }

    #[test]
    fn two_holders_are_never_the_same() {
        assert_ne!(unique_holder("host"), unique_holder("host"));
    }
}
