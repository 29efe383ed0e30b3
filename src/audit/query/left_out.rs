//! What was left out of the tables because it is no event: how much, and where the first of it is.

use std::sync::{Arc, Mutex, PoisonError};

/// Clones count together.
#[derive(Debug, Clone, Default)]
pub struct LeftOut(Arc<Mutex<(u64, String)>>);

impl LeftOut {
    #[cfg_attr(
        not(feature = "datafusion"),
        expect(dead_code, reason = "nothing is read")
    )]
    pub(super) fn add(&self, place: impl FnOnce() -> String) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.0 == 0 {
            told.1 = place();
        }
        told.0 += 1;
    }

    /// As a sentence; `None` if nothing was.
    pub fn told(&self) -> Option<String> {
        let (n, first) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told = || format!("left out {n} that are no audit events, the first at {first}");
        (*n > 0).then(told)
    }
}
