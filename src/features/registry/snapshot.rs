//! The registry at one moment, with what was compiled from it.
//!
//! A snapshot never changes, so whatever is resolved against it stays right for as long as the snapshot is the current one;
//! `cached` keeps that beside the definitions it came from, and it goes when the snapshot goes.
//! Bounded: 1,024 entries per kind of entry. When a sixteenth of them is full, that sixteenth is forgotten and filled anew.
//! Not here: when a snapshot is replaced (`live`).

use std::any::{Any, TypeId};
use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, PoisonError, RwLock};

use arc_swap::ArcSwap;

use super::Registry;
use crate::types::timestamp::Timestamp;

/// The registry at one moment.
pub struct Snapshot {
    registry: Arc<Registry>,
    number: u64,
    loaded_at: Timestamp,
    /// One `Cache<K, V>` per pair of types, found by its own type.
    caches: ArcSwap<Vec<(TypeId, AnyCache)>>,
}

type AnyCache = Arc<dyn Any + Send + Sync>;

impl Snapshot {
    pub(super) fn new(registry: Registry, number: u64) -> Self {
        Self {
            registry: Arc::new(registry),
            number,
            loaded_at: Timestamp::now(),
            caches: ArcSwap::default(),
        }
    }

    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Counts the snapshots of this process from 1: two snapshots with one number are the same.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// When this content was first read.
    pub fn loaded_at(&self) -> Timestamp {
        self.loaded_at
    }

    /// What `make` makes of the registry for `key`: made once, then handed out until the snapshot is replaced.
    ///
    /// Entries of different types `V` do not meet, even under equal keys. Errors are not kept. Two callers at once may both
    /// make it; one result is kept. `V` must not hold this snapshot, or neither would ever be freed.
    pub fn cached<Q, V, E>(
        &self,
        key: &Q,
        make: impl FnOnce(&Registry) -> Result<V, E>,
    ) -> Result<Arc<V>, E>
    where
        Q: Hash + Eq + ToOwned + ?Sized,
        Q::Owned: Borrow<Q> + Hash + Eq + Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        let cache = self.cache::<Q::Owned, V>();
        if let Some(found) = cache.get(key) {
            return Ok(found);
        }
        let made = Arc::new(make(&self.registry)?);
        cache.put(key.to_owned(), Arc::clone(&made));
        Ok(made)
    }

    fn cache<K, V>(&self) -> Arc<Cache<K, V>>
    where
        K: Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        let id = TypeId::of::<Cache<K, V>>();
        loop {
            let caches = self.caches.load();
            let known = caches.iter().find(|(known, _)| *known == id);
            if let Some((_, cache)) = known
                && let Ok(cache) = Arc::clone(cache).downcast()
            {
                return cache;
            }
            let mut more = Vec::clone(&caches);
            more.push((id, Arc::new(Cache::<K, V>::default())));
            // If another caller was faster, its cache is found on the next turn.
            self.caches.compare_and_swap(&caches, Arc::new(more));
        }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("number", &self.number)
            .field("revision", &self.registry.revision)
            .field("loaded_at", &self.loaded_at)
            .finish_non_exhaustive()
    }
}

const N_SHARDS: usize = 16;
const SHARD_LIMIT: usize = 64;

/// A bounded map in shards, so that readers on many cores seldom meet.
struct Cache<K, V> {
    shards: [RwLock<HashMap<K, Arc<V>>>; N_SHARDS],
    hasher: RandomState,
}

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| RwLock::default()),
            hasher: RandomState::new(),
        }
    }
}

impl<K: Hash + Eq, V> Cache<K, V> {
    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> &RwLock<HashMap<K, Arc<V>>> {
        &self.shards[self.hasher.hash_one(key) as usize % N_SHARDS]
    }

    fn get<Q>(&self, key: &Q) -> Option<Arc<V>>
    where
        Q: Hash + Eq + ?Sized,
        K: Borrow<Q>,
    {
        let entries = self.shard(key).read();
        let entries = entries.unwrap_or_else(PoisonError::into_inner);
        entries.get(key).cloned()
    }

    fn put(&self, key: K, value: Arc<V>) {
        let entries = self.shard(&key).write();
        let mut entries = entries.unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= SHARD_LIMIT {
            entries.clear();
        }
        entries.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn snapshot() -> Snapshot {
        let registry = Registry {
            project: "p".into(),
            revision: "r".into(),
            entities: Vec::new(),
            feature_views: Vec::new(),
            on_demand_feature_views: Vec::new(),
            feature_services: Vec::new(),
            left_out: Vec::new(),
        };
        Snapshot::new(registry, 1)
    }

    #[test]
    fn an_entry_is_made_once_per_key_and_type() {
        let snapshot = snapshot();
        let mut made = 0;
        for key in ["a", "b", "a", "b"] {
            let entry = snapshot.cached(key, |registry| {
                made += 1;
                Ok::<_, Infallible>(format!("{key} of {}", registry.project))
            });
            assert_eq!(*entry.unwrap(), format!("{key} of p"));
        }
        assert_eq!(made, 2);
        let other = snapshot
            .cached("a", |_| Ok::<_, Infallible>(7_u32))
            .unwrap();
        assert_eq!(*other, 7);
    }

    #[test]
    fn an_error_is_not_kept() {
        let snapshot = snapshot();
        let failed = snapshot.cached(&1_u8, |_| Err::<String, _>("no"));
        assert_eq!(failed.unwrap_err(), "no");
        let entry = snapshot.cached(&1_u8, |_| Ok::<_, &str>("yes".to_owned()));
        assert_eq!(entry.unwrap().as_str(), "yes");
    }

    #[test]
    fn however_many_keys_there_are_only_so_many_entries_are_kept() {
        let snapshot = snapshot();
        for key in 0..20_000_u32 {
            let _ = snapshot.cached(&key, |_| Ok::<_, Infallible>(key));
        }
        let cache = snapshot.cache::<u32, u32>();
        let kept: usize = cache
            .shards
            .iter()
            .map(|shard| shard.read().unwrap().len())
            .sum();
        assert!((1..=N_SHARDS * SHARD_LIMIT).contains(&kept), "{kept}");
    }
}
