//! Compiled retrievals of one registry snapshot, by the text that asked for them.
//!
//! Bounded: where one would be too many, all are dropped. A hundred different selections are many; a caller that invents
//! new ones all the time must not fill the memory.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::{Naming, Retrieval};
use crate::features::registry::Registry;

const MAX_KEPT: usize = 1_024;
/// A longer text is not kept.
const MAX_TEXT: usize = 64 * 1024;

#[derive(Debug, Default)]
pub(in crate::features) struct Cache(RwLock<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// Keeps the snapshot alive, so that no other one can have its address.
    registry: Option<Arc<Registry>>,
    short: HashMap<Box<str>, Arc<Retrieval>>,
    full: HashMap<Box<str>, Arc<Retrieval>>,
}

impl Kept {
    fn is_of(&self, registry: &Arc<Registry>) -> bool {
        let kept = self.registry.as_ref();
        kept.is_some_and(|kept| Arc::ptr_eq(kept, registry))
    }
}

impl Cache {
    pub(super) fn get(
        &self,
        registry: &Arc<Registry>,
        text: &str,
        naming: Naming,
    ) -> Option<Arc<Retrieval>> {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if !kept.is_of(registry) {
            return None;
        }
        let retrievals = match naming {
            Naming::Short => &kept.short,
            Naming::Full => &kept.full,
        };
        retrievals.get(text).cloned()
    }

    pub(super) fn put(
        &self,
        registry: &Arc<Registry>,
        text: &str,
        naming: Naming,
        retrieval: Arc<Retrieval>,
    ) {
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if !kept.is_of(registry) {
            *kept = Kept {
                registry: Some(Arc::clone(registry)),
                ..Kept::default()
            };
        }
        if text.len() > MAX_TEXT {
            return;
        }
        if kept.short.len() + kept.full.len() >= MAX_KEPT {
            kept.short.clear();
            kept.full.clear();
        }
        let retrievals = match naming {
            Naming::Short => &mut kept.short,
            Naming::Full => &mut kept.full,
        };
        retrievals.insert(text.into(), retrieval);
    }
}
