//! The keys that an epoch touches.

use hashbrown::HashTable;

/// A touched key, and what is remembered of it.
#[derive(Debug)]
pub(crate) struct TouchedKey<V> {
    pub(crate) key: Box<[u8]>,
    pub(crate) hash: u64,
    pub(crate) remembered: V,
}

/// Keys in the order of their first touch, each with what is remembered of it, such as the row before the
/// epoch.
#[derive(Debug)]
pub(crate) struct TouchedKeys<V> {
    positions: HashTable<usize>,
    keys: Vec<TouchedKey<V>>,
    taken: usize,
}

impl<V> Default for TouchedKeys<V> {
    fn default() -> Self {
        Self {
            positions: HashTable::new(),
            keys: Vec::new(),
            taken: 0,
        }
    }
}

impl<V: Default> TouchedKeys<V> {
    /// What is remembered of a key; at its first touch, what `before` gives. `hash` is the key's.
    pub(crate) fn touch(&mut self, key: &[u8], hash: u64, before: impl FnOnce() -> V) -> &mut V {
        let keys = &mut self.keys;
        let known = self
            .positions
            .find(hash, |&position| *keys[position].key == *key)
            .copied();
        let position = known.unwrap_or_else(|| {
            let position = keys.len();
            keys.push(TouchedKey {
                key: key.into(),
                hash,
                remembered: before(),
            });
            self.positions
                .insert_unique(hash, position, |&position| keys[position].hash);
            position
        });
        &mut self.keys[position].remembered
    }

    /// Takes at most `limit` keys; forgets all once they are taken.
    pub(crate) fn take(&mut self, limit: usize) -> Vec<TouchedKey<V>> {
        let end = self.keys.len().min(self.taken + limit);
        let taken = self.keys[self.taken..end]
            .iter_mut()
            .map(|touched| TouchedKey {
                key: std::mem::take(&mut touched.key),
                hash: touched.hash,
                remembered: std::mem::take(&mut touched.remembered),
            });
        let taken = taken.collect();
        self.taken = end;
        if self.is_empty() {
            self.clear();
        }
        taken
    }

    /// Whether no key waits to be taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.taken == self.keys.len()
    }

    pub(crate) fn clear(&mut self) {
        self.positions.clear();
        self.keys.clear();
        self.taken = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_remembers_its_first_touch_and_keys_come_in_that_order() {
        let mut touched = TouchedKeys::default();
        // Hashes that collide: keys are told apart by their bytes.
        for (key, value) in [("b", 1), ("a", 2), ("b", 3), ("c", 4)] {
            touched.touch(key.as_bytes(), 7, || value);
        }
        let taken = std::iter::from_fn(|| {
            let taken = touched.take(2);
            (!taken.is_empty()).then(|| taken.iter().map(|key| key.remembered).collect::<Vec<_>>())
        });
        assert_eq!(taken.collect::<Vec<_>>(), [vec![1, 2], vec![4]]);
        assert!(touched.is_empty());
        assert_eq!(*touched.touch(b"a", 7, || 5), 5);
    }
}
