//! What has been read and can't change, or is kept until a resync.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// A map of at most so many entries; the least recently used half goes when it is full.
#[derive(Debug)]
pub(super) struct Kept<K, V> {
    most: usize,
    entries: Mutex<Entries<K, V>>,
}

#[derive(Debug)]
struct Entries<K, V> {
    by_key: BTreeMap<K, (u64, V)>,
    uses: u64,
}

impl<K: Ord + Clone, V: Clone> Kept<K, V> {
    /// An empty one.
    pub(super) fn new(most: usize) -> Self {
        Self { most, entries: Mutex::new(Entries { by_key: BTreeMap::new(), uses: 0 }) }
    }

    /// What is kept for the key.
    pub(super) fn get(&self, key: &K) -> Option<V> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let Entries { by_key, uses } = &mut *entries;
        let (used, value) = by_key.get_mut(key)?;
        *uses += 1;
        *used = *uses;
        Some(value.clone())
    }

    /// Keeps a value.
    pub(super) fn put(&self, key: K, value: V) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.uses += 1;
        let now = entries.uses;
        entries.by_key.insert(key, (now, value));
        if entries.by_key.len() > self.most {
            let mut uses: Vec<u64> = entries.by_key.values().map(|(used, _)| *used).collect();
            uses.sort_unstable();
            let median = uses.get(uses.len() / 2).copied().unwrap_or_default();
            entries.by_key.retain(|_, (used, _)| *used >= median);
        }
    }

    /// Keeps what is there for the key no longer.
    pub(super) fn remove(&self, key: &K) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).by_key.remove(key);
    }

    /// Keeps nothing any more.
    pub(super) fn clear(&self) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).by_key.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_go() {
        let kept = Kept::new(4);
        for key in 0..4 {
            kept.put(key, key);
        }
        assert_eq!(kept.get(&0), Some(0));
        kept.put(4, 4);
        assert_eq!((kept.get(&0), kept.get(&4)), (Some(0), Some(4)));
        assert_eq!((kept.get(&1), kept.get(&2)), (None, None));
    }
}
