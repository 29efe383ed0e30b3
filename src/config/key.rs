//! The place of an option in the tree: `http.listen`.

use std::fmt;

/// Names from the root of the tree down.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Vec<String>);

impl Key {
    pub fn segments(&self) -> &[String] {
        &self.0
    }

    pub fn child(&self, name: &str) -> Self {
        let mut segments = self.0.clone();
        segments.push(name.to_owned());
        Self(segments)
    }

    /// This key's first `n` segments.
    pub fn prefix(&self, n: usize) -> Self {
        Self(self.0.iter().take(n).cloned().collect())
    }

    /// Whether this is `other` or lies below it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl From<Vec<String>> for Key {
    fn from(segments: Vec<String>) -> Self {
        Self(segments)
    }
}

impl fmt::Display for Key {
    /// As TOML writes a dotted key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            f.write_str(&quoted_if_needed(segment))?;
        }
        Ok(())
    }
}

/// A name as TOML writes it in a key.
pub(super) fn quoted_if_needed(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(bare) {
        return name.to_owned();
    }
    toml::Value::from(name).to_string()
}
