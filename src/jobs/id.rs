//! A job's id.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use super::Error;

/// Longest id that we accept from a caller, in bytes.
const MAX_BYTES: usize = 512;

/// Names a job, in all queues of one Redis database. Any text: arq's own are 32 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(Arc<str>);

impl JobId {
    /// A caller's id: not empty and at most 512 bytes.
    pub fn new(text: &str) -> Result<Self, Error> {
        if text.is_empty() || text.len() > MAX_BYTES {
            return Err(Error::IdInvalid {
                n_bytes: text.len(),
                limit: MAX_BYTES,
            });
        }
        Ok(Self(text.into()))
    }

    /// An id that no other job has, in arq's form.
    pub fn random() -> Self {
        Self(Uuid::now_v7().simple().to_string().into())
    }

    /// An id that is in a queue, whoever put it there.
    pub(super) fn stored(text: &str) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_any_text_of_a_sensible_length() {
        for text in ["a", "with space:and colon", "ключ", &"x".repeat(512)] {
            assert_eq!(JobId::new(text).unwrap().as_str(), text);
        }
        for text in ["", &"x".repeat(513)] {
            assert!(matches!(JobId::new(text), Err(Error::IdInvalid { .. })));
        }
    }

    #[test]
    fn a_random_id_looks_like_arqs() {
        let id = JobId::random();
        assert_eq!(id.as_str().len(), 32);
        assert!(id.as_str().bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(id, JobId::random());
    }
}
