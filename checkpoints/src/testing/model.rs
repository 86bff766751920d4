//! State as a plain map: what restoring must give.

use std::collections::BTreeMap;

use super::Rng;
use crate::{
    ids::{OperatorId, Shard},
    restore::Restored,
    section::{Entry, ShardDelta, SubKeyRange},
    shard_range::ShardRange,
    small_bytes::SmallBytes,
    state_file::StateFileError,
};

type Place = (OperatorId, Shard, SmallBytes, i64);

/// The entries of all operators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    entries: BTreeMap<Place, SmallBytes>,
}

const OPERATORS: u64 = 3;
const SHARDS_USED: u64 = 8;
const KEYS: u64 = 6;
const SUB_KEYS: u64 = 10;

impl Model {
    /// Applies one delta.
    pub fn apply(&mut self, operator: &OperatorId, delta: &ShardDelta) {
        self.entries.retain(|(of, shard, _, sub_key), _| {
            let dropped = delta
                .drops
                .iter()
                .any(|range| (range.start..range.end).contains(sub_key));
            !(of == operator && *shard == delta.shard && dropped)
        });
        for entry in &delta.entries {
            let place = (
                operator.clone(),
                delta.shard,
                entry.key.clone(),
                entry.sub_key,
            );
            match &entry.value {
                Some(value) => self.entries.insert(place, value.clone()),
                None => self.entries.remove(&place),
            };
        }
    }

    /// The state that a restored checkpoint holds, put together from ranges of shards as several workers would.
    ///
    /// # Errors
    /// [`StateFileError`] if a section is malformed.
    pub fn restored(restored: &Restored, workers: usize) -> Result<Self, StateFileError> {
        let mut model = Self::default();
        for worker in 0..workers {
            let shards = ShardRange::owned_by(worker, workers);
            for operator in (0..OPERATORS).map(operator) {
                for delta in restored.deltas(&operator, shards) {
                    model.apply(&operator, &delta?);
                }
            }
        }
        Ok(model)
    }

    /// Random deltas for the shards that a worker owns, small enough that entries are overwritten, removed and dropped
    /// often. Applied to this model as well.
    pub fn change(&mut self, rng: &mut Rng, shards: ShardRange) -> Vec<(OperatorId, ShardDelta)> {
        let mut deltas = Vec::new();
        for _ in 0..=rng.below(4) {
            let operator = operator(rng.below(OPERATORS));
            // Spread over all shards, so that every worker owns some.
            let shard = Shard((rng.below(SHARDS_USED) * 1024 / SHARDS_USED) as u16);
            let already = deltas.iter().any(|(of, delta): &(OperatorId, ShardDelta)| {
                *of == operator && delta.shard == shard
            });
            if already || !shards.contains(shard) {
                continue;
            }
            let delta = random_delta(rng, shard);
            self.apply(&operator, &delta);
            deltas.push((operator, delta));
        }
        deltas
    }
}

fn operator(number: u64) -> OperatorId {
    OperatorId(format!("view_{number}/state"))
}

fn random_delta(rng: &mut Rng, shard: Shard) -> ShardDelta {
    let mut drops = Vec::new();
    if rng.percent(20) {
        let start = rng.below(SUB_KEYS) as i64;
        drops.push(SubKeyRange {
            start,
            end: start + rng.below(4) as i64,
        });
    }
    let mut entries = BTreeMap::new();
    for _ in 0..rng.below(5) {
        let key = SmallBytes::from(format!("user {}", rng.below(KEYS)).into_bytes());
        let value = (!rng.percent(25)).then(|| rng.next_u64().to_le_bytes().into());
        entries.insert((key, rng.below(SUB_KEYS) as i64), value);
    }
    ShardDelta {
        shard,
        drops,
        entries: entries
            .into_iter()
            .map(|((key, sub_key), value)| Entry {
                key,
                sub_key,
                value,
            })
            .collect(),
    }
}
