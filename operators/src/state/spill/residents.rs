//! Which keys are in memory, in the order of their hashes, and which of them were used of late.

use hashbrown::HashSet;
use tidewright_checkpoints::{SHARDS, Shard};

use super::store::{Place, place_of};
use crate::state::SlotId;

/// The most keys that one sweep looks at, about.
const VISITS_MAX: usize = 1 << 16;

/// What is known of a key in memory besides its entries.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::state) struct Resident {
    /// The round in which it was last asked for.
    round: u32,
    /// Where it stands in its shard's list.
    position: u32,
    /// Asked for since the last sweep.
    used: bool,
    /// The store has it, perhaps as it was before.
    pub(in crate::state) stored: bool,
    /// It differs from what the store has.
    pub(in crate::state) modified: bool,
}

/// All keys in memory.
///
/// They are swept shard by shard: those that go to disk together are neighbours there, several on each page. A key that
/// was used since the last sweep gets a second chance.
#[derive(Debug)]
pub(in crate::state) struct Residents {
    slots: Vec<Resident>,
    shards: Vec<Vec<SlotId>>,
    /// The shard that is swept next.
    hand: usize,
    round: u32,
    /// Places of keys that are gone, but not yet from the store.
    pub(in crate::state) gone: HashSet<Place>,
}

impl Default for Residents {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            shards: vec![Vec::new(); usize::from(SHARDS)],
            hand: 0,
            round: 1,
            gone: HashSet::new(),
        }
    }
}

impl Residents {
    /// A key came into memory, as new.
    pub(in crate::state) fn came(&mut self, slot: SlotId, hash: u64) {
        let index = slot as usize;
        if self.slots.len() <= index {
            self.slots.resize(index + 1, Resident::default());
        }
        let shard = &mut self.shards[usize::from(Shard::of_hash(hash).0)];
        self.slots[index] = Resident {
            round: self.round,
            position: shard.len() as u32,
            used: true,
            stored: false,
            modified: true,
        };
        shard.push(slot);
    }

    /// A key left memory: for the store, or for good.
    pub(in crate::state) fn left(&mut self, slot: SlotId, key: &[u8], hash: u64) {
        let resident = self.slots[slot as usize];
        let shard = &mut self.shards[usize::from(Shard::of_hash(hash).0)];
        shard.swap_remove(resident.position as usize);
        if let Some(moved) = shard.get(resident.position as usize) {
            self.slots[*moved as usize].position = resident.position;
        }
        if resident.stored {
            self.gone.insert(place_of(key, hash));
        }
    }

    /// Begins a round: what is asked for in it stays until the next one begins.
    pub(in crate::state) fn begin_round(&mut self, round: u32) {
        self.round = round;
    }

    pub(in crate::state) fn next_round(&mut self) {
        self.round = self.round.wrapping_add(1);
    }

    /// A key is asked for.
    pub(in crate::state) fn ask(&mut self, slot: SlotId) {
        let resident = &mut self.slots[slot as usize];
        resident.round = self.round;
        resident.used = true;
    }

    /// A key came from the store. If nobody asked for it, it may leave at once.
    pub(in crate::state) fn came_back(&mut self, slot: SlotId, asked: bool) {
        let round = if asked {
            self.round
        } else {
            self.round.wrapping_sub(1)
        };
        let resident = &mut self.slots[slot as usize];
        resident.round = round;
        resident.used = asked;
        resident.stored = true;
        resident.modified = false;
    }

    pub(in crate::state) fn get(&self, slot: SlotId) -> Resident {
        self.slots[slot as usize]
    }

    pub(in crate::state) fn get_mut(&mut self, slot: SlotId) -> &mut Resident {
        &mut self.slots[slot as usize]
    }

    /// Goes on round the shards, twice at most, and offers every key that was not used of late once, until `take` has said
    /// at the end of a shard that it has enough, or for as long as one call may take.
    pub(in crate::state) fn sweep(&mut self, mut take: impl FnMut(SlotId) -> bool) {
        let (mut enough, mut visited) = (false, 0);
        for _ in 0..2 * self.shards.len() {
            visited += self.shards[self.hand].len();
            for slot in &self.shards[self.hand] {
                let resident = &mut self.slots[*slot as usize];
                if resident.round == self.round || std::mem::take(&mut resident.used) {
                    continue;
                }
                // Not to be offered again on the second way round.
                resident.used = true;
                enough = take(*slot);
            }
            self.hand = (self.hand + 1) % self.shards.len();
            if enough || visited >= VISITS_MAX {
                return;
            }
        }
    }

    /// Bytes that a key in memory costs here.
    pub(in crate::state) const BYTES_PER_SLOT: usize = size_of::<Resident>() + size_of::<SlotId>();
}
