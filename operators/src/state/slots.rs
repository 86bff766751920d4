//! Keys, interned to slots.

use hashbrown::HashTable;
use tidewright_checkpoints::SmallBytes;
use tidewright_checkpoints::small_bytes::equal;

use super::spill::residents::Residents;
use super::{EntryId, SlotId};

/// A key's sub-keys with their entries, ascending. Most keys have one.
#[derive(Debug, Default)]
pub(super) enum SubKeys {
    #[default]
    None,
    One((i64, EntryId)),
    Many(Vec<(i64, EntryId)>),
}

impl SubKeys {
    pub(super) fn all(&self) -> &[(i64, EntryId)] {
        match self {
            Self::None => &[],
            Self::One(only) => std::slice::from_ref(only),
            Self::Many(many) => many,
        }
    }

    #[inline]
    pub(super) fn find(&self, sub_key: i64) -> Option<EntryId> {
        match self {
            Self::None => None,
            Self::One((only, entry)) => (*only == sub_key).then_some(*entry),
            Self::Many(many) => match many.last() {
                // Time moves on: the last pane or tile is the one that most rows fall into.
                Some((last, entry)) if *last == sub_key => Some(*entry),
                _ => {
                    let found = many.binary_search_by_key(&sub_key, |(sub_key, _)| *sub_key);
                    found.ok().map(|position| many[position].1)
                }
            },
        }
    }

    /// Adds a sub-key that is not there.
    pub(super) fn insert(&mut self, sub_key: i64, entry: EntryId) {
        match self {
            Self::None => *self = Self::One((sub_key, entry)),
            Self::One(only) => {
                let mut many = vec![*only, (sub_key, entry)];
                many.sort_unstable_by_key(|(sub_key, _)| *sub_key);
                *self = Self::Many(many);
            }
            Self::Many(many) => {
                let position = many.partition_point(|(other, _)| *other < sub_key);
                many.insert(position, (sub_key, entry));
            }
        }
    }

    pub(super) fn remove(&mut self, sub_key: i64) {
        match self {
            Self::None => {}
            Self::One((only, _)) => {
                if *only == sub_key {
                    *self = Self::None;
                }
            }
            Self::Many(many) => {
                if let Ok(position) = many.binary_search_by_key(&sub_key, |(other, _)| *other) {
                    many.remove(position);
                }
                if many.is_empty() {
                    *self = Self::None;
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.all().is_empty()
    }
}

/// A key and its entries.
#[derive(Debug)]
pub(super) struct Slot {
    /// Short ones in place: a look-up then touches one cache line.
    pub(super) key: SmallBytes,
    pub(super) hash: u64,
    pub(super) sub_keys: SubKeys,
    pub(super) pinned: bool,
    used: bool,
}

/// All keys.
#[derive(Debug, Default)]
pub(super) struct Slots {
    table: HashTable<SlotId>,
    slots: Vec<Slot>,
    vacant: Vec<SlotId>,
    heap: usize,
    /// Where keys may go to disk: which of them are in memory.
    pub(super) residents: Option<Box<Residents>>,
}

/// Bytes of a key in memory besides its long parts: its slot, and its place in the table at seven eighths.
pub(super) const BYTES_PER_SLOT: usize = size_of::<Slot>() + 2 * size_of::<SlotId>();

/// Shards, and so workers, are told apart by the top bits of the hash, which the table uses as well: within a worker
/// they hardly differ. A multiplication carries the lower bits up (Knuth's, by the golden ratio).
fn table_hash(hash: u64) -> u64 {
    hash.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Slots {
    #[inline]
    pub(super) fn find(&self, key: &[u8], hash: u64) -> Option<SlotId> {
        let is_it = |slot: &SlotId| {
            let slot = &self.slots[*slot as usize];
            slot.hash == hash && equal(&slot.key, key)
        };
        self.table.find(table_hash(hash), is_it).copied()
    }

    /// The slot of a key, made if there is none.
    #[inline]
    pub(super) fn intern(&mut self, key: &[u8], hash: u64) -> SlotId {
        match self.find(key, hash) {
            Some(slot) => slot,
            None => self.make(key, hash),
        }
    }

    fn make(&mut self, key: &[u8], hash: u64) -> SlotId {
        let new = Slot {
            key: key.into(),
            hash,
            sub_keys: SubKeys::None,
            pinned: false,
            used: true,
        };
        self.heap += new.key.heap();
        let slot = match self.vacant.pop() {
            Some(slot) => {
                self.slots[slot as usize] = new;
                slot
            }
            None => {
                self.slots.push(new);
                (self.slots.len() - 1) as SlotId
            }
        };
        let slots = &self.slots;
        let rehash = |slot: &SlotId| table_hash(slots[*slot as usize].hash);
        self.table.insert_unique(table_hash(hash), slot, rehash);
        if let Some(residents) = &mut self.residents {
            residents.came(slot, hash);
        }
        slot
    }

    #[inline]
    pub(super) fn get(&self, slot: SlotId) -> &Slot {
        &self.slots[slot as usize]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, slot: SlotId) -> &mut Slot {
        &mut self.slots[slot as usize]
    }

    /// Forgets a key that has no entries and isn't pinned.
    pub(super) fn evict_if_unused(&mut self, id: SlotId) {
        let slot = &mut self.slots[id as usize];
        if !slot.used || slot.pinned || !slot.sub_keys.is_empty() {
            return;
        }
        slot.used = false;
        if let Some(residents) = &mut self.residents {
            residents.left(id, &slot.key, slot.hash);
        }
        self.heap -= slot.key.heap();
        slot.key = SmallBytes::default();
        let hash = table_hash(slot.hash);
        if let Ok(found) = self.table.find_entry(hash, |other| *other == id) {
            found.remove();
        }
        self.vacant.push(id);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = SlotId> {
        self.table.iter().copied()
    }

    /// The number of keys.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    /// Bytes of keys that have an allocation of their own.
    pub(super) fn heap(&self) -> usize {
        self.heap
    }

    pub(super) fn bound(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn bytes(&self) -> usize {
        let table = self.table.capacity() * (size_of::<SlotId>() + 1);
        table + self.slots.capacity() * size_of::<Slot>() + self.heap
    }
}
