//! A replay into live stores: what they may show already, and the deliveries that wait until the replay has got there.
//!
//! A run that begins before the offsets that were delivered makes older values again on its way. Keyed sinks are *held*
//! until a durable checkpoint covers those offsets: their outboxes coalesce until then, so that the first value that leaves
//! is at least as new as what the store has. What is awaited stands in each of the replay's own checkpoints, so that a crash
//! in the middle of it changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU64, Ordering},
};

use serde::{Deserialize, Serialize};
use tidewright_checkpoints::Epoch;
use tidewright_checkpoints::manifest::Manifest;
use tidewright_checkpoints::restore::Restored;
use tidewright_jobs::plan::Plan;

use super::mutant::Mutant;

/// The key of awaited positions in [`Manifest::extra`].
const AWAITED: &str = "awaited";

/// What a checkpoint of a replay still waited for is of no interest where other stores are written.
pub fn forget(manifest: &mut Manifest) {
    manifest.extra.remove(AWAITED);
}

/// How far each split must have been read: by source and split name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Positions(BTreeMap<String, BTreeMap<String, Position>>);

/// How far one split must have been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    split: u32,
    offset: i64,
}

impl Positions {
    /// The offsets that a checkpoint has read to.
    fn read_by(manifest: &Manifest) -> Self {
        let sources = manifest.sources.iter().map(|(source, splits)| {
            let position =
                |(name, split): (&String, &tidewright_checkpoints::manifest::SplitState)| {
                    let (split, offset) = (split.split, split.offset);
                    (name.clone(), Position { split, offset })
                };
            (source.clone(), splits.iter().map(position).collect())
        });
        Self(sources.collect())
    }

    /// What a checkpoint of a replay still waited for.
    fn awaited_by(manifest: &Manifest) -> Result<Option<Self>, String> {
        let Some(found) = manifest.extra.get(AWAITED) else {
            return Ok(None);
        };
        serde_json::from_value(found.clone())
            .map(Some)
            .map_err(|error| {
                format!(
                    "the checkpoint of epoch {} does not tell what its replay waited for: {error}",
                    manifest.epoch
                )
            })
    }

    /// Takes the farther position of each split.
    fn merge(&mut self, other: Self) {
        for (source, splits) in other.0 {
            let mine = self.0.entry(source).or_default();
            for (name, position) in splits {
                let there = mine.entry(name).or_insert(position);
                there.offset = there.offset.max(position.offset);
            }
        }
    }

    /// The positions of sources that the plan has, by the source's place in it.
    #[must_use]
    pub fn by_split(&self, plan: &Plan) -> Vec<(usize, u32, i64)> {
        let mut positions = Vec::new();
        for (source, plan) in plan.sources.iter().enumerate() {
            let splits = self.0.get(&plan.name).into_iter().flatten();
            positions.extend(splits.map(|(_, at)| (source, at.split, at.offset)));
        }
        positions
    }

    fn is_empty(&self) -> bool {
        self.0.values().all(BTreeMap::is_empty)
    }
}

/// Holds back the deliveries of keyed sinks until a replay has caught up.
#[derive(Debug)]
pub struct Hold {
    /// The epoch at which the positions were reached; [`WAITING`] before that.
    reached_at: AtomicU64,
    awaited: Positions,
}

const WAITING: u64 = u64::MAX;

impl Hold {
    /// What a run has to wait for that starts from `restored`, while `latest` is the checkpoint whose offsets the stores
    /// may show and the run does not start from it (`None` if it does). Sources in `reread` are read again from before
    /// `restored`.
    ///
    /// # Errors
    /// If a checkpoint of an earlier replay is not understood.
    pub fn of(
        restored: Option<&Restored>,
        latest: Option<&Manifest>,
        reread: &BTreeSet<String>,
    ) -> Result<Self, String> {
        let mut awaited = Positions::default();
        if let Some(latest) = latest {
            awaited.merge(Positions::read_by(latest));
        }
        let started_from = restored.map(|restored| &restored.manifest);
        if let Some(restored) = started_from {
            let mut again = Positions::read_by(restored);
            again.0.retain(|source, _| reread.contains(source));
            awaited.merge(again);
        }
        for manifest in latest.into_iter().chain(started_from) {
            awaited.merge(Positions::awaited_by(manifest)?.unwrap_or_default());
        }
        let nothing = awaited.is_empty() || Mutant::Hold.is_asked_for();
        let reached_at = AtomicU64::new(if nothing { 0 } else { WAITING });
        Ok(Self {
            reached_at,
            awaited,
        })
    }

    /// What is awaited.
    #[must_use]
    pub fn awaited(&self) -> &Positions {
        &self.awaited
    }

    /// No completed epoch has reached the positions.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.reached_at.load(Ordering::Relaxed) == WAITING
    }

    /// The positions are reached in this completed epoch, or were before.
    pub fn release(&self, epoch: Epoch) {
        self.reached_at.fetch_min(epoch.0, Ordering::Relaxed);
    }

    /// Results up to this epoch may be sent: they are as new as what was sent before.
    #[must_use]
    pub fn allows(&self, epoch: Epoch) -> bool {
        let reached_at = self.reached_at.load(Ordering::Relaxed);
        reached_at != WAITING && reached_at <= epoch.0
    }

    /// Notes in a checkpoint's manifest what is still awaited at its epoch.
    pub fn note(&self, epoch: Epoch, extra: &mut BTreeMap<String, serde_json::Value>) {
        if !self.allows(epoch)
            && let Ok(awaited) = serde_json::to_value(&self.awaited)
        {
            extra.insert(AWAITED.to_owned(), awaited);
        }
    }
}

#[cfg(test)]
mod tests {
    use tidewright_checkpoints::Generation;
    use tidewright_checkpoints::manifest::{CheckpointKind, MANIFEST_VERSION, SplitState};

    use super::*;

    /// A manifest that has read partition 0 of `events` to `offset`.
    fn manifest(epoch: u64, offset: i64) -> Manifest {
        let split = SplitState {
            split: 0,
            offset,
            watermark: 0,
            idle: false,
            finished: false,
        };
        Manifest {
            format_version: MANIFEST_VERSION,
            job: "job".to_owned(),
            generation: Generation(1),
            epoch: Epoch(epoch),
            kind: CheckpointKind::Periodic,
            created_ms: 0,
            workers: 1,
            files: Vec::new(),
            sources: [("events".to_owned(), [("0".to_owned(), split)].into())].into(),
            watermarks: BTreeMap::new(),
            operators: BTreeMap::new(),
            delivered: BTreeMap::new(),
            extra: BTreeMap::new(),
        }
    }

    fn restored(manifest: Manifest) -> Restored {
        Restored {
            name: "manifests/1-1.json".to_owned(),
            manifest,
            files: Vec::new(),
        }
    }

    fn waiting(restored: Option<&Restored>, latest: Option<&Manifest>) -> Result<Hold, String> {
        Hold::of(restored, latest, &BTreeSet::new())
    }

    fn awaited_offset(hold: &Hold) -> i64 {
        hold.awaited.0["events"]["0"].offset
    }

    #[test]
    fn a_run_from_the_latest_checkpoint_holds_nothing_back() {
        for restored in [None, Some(restored(manifest(5, 10)))] {
            let hold = waiting(restored.as_ref(), None).unwrap();
            assert!(!hold.is_on() && hold.allows(Epoch(1)));
            let mut extra = BTreeMap::new();
            hold.note(Epoch(1), &mut extra);
            assert!(extra.is_empty());
        }
    }

    #[test]
    fn deliveries_wait_for_a_durable_epoch_that_has_reached_the_positions() {
        let hold = waiting(None, Some(&manifest(5, 10))).unwrap();
        assert!(hold.is_on() && !hold.allows(Epoch(u64::MAX)));
        hold.release(Epoch(7));
        hold.release(Epoch(9));
        assert!(!hold.is_on() && !hold.allows(Epoch(6)) && hold.allows(Epoch(7)));
    }

    #[test]
    fn a_replay_that_crashes_goes_on_waiting() {
        let hold = waiting(None, Some(&manifest(5, 10))).unwrap();
        let mut crashed = manifest(6, 3);
        hold.note(Epoch(6), &mut crashed.extra);
        let again = waiting(Some(&restored(crashed.clone())), None).unwrap();
        assert_eq!(awaited_offset(&again), 10);
        // Another replay, begun in the middle of the first: what the first one waited for is what the stores show.
        let other = waiting(None, Some(&crashed)).unwrap();
        assert_eq!(awaited_offset(&other), 10);
        again.release(Epoch(8));
        let mut done = manifest(8, 12);
        again.note(Epoch(8), &mut done.extra);
        assert!(done.extra.is_empty());
    }

    #[test]
    fn a_source_that_is_read_again_is_awaited_where_the_checkpoint_was() {
        let restored = restored(manifest(5, 10));
        let reread = |source: &str| {
            let sources = BTreeSet::from([source.to_owned()]);
            Hold::of(Some(&restored), None, &sources).unwrap()
        };
        assert_eq!(awaited_offset(&reread("events")), 10);
        assert!(!reread("profiles").is_on());
    }

    #[test]
    fn awaited_positions_that_are_not_understood_are_an_error() {
        let mut odd = manifest(6, 3);
        odd.extra.insert(AWAITED.to_owned(), "soon".into());
        assert!(waiting(Some(&restored(odd)), None).is_err());
    }
}
