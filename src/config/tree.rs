//! Values from several sources merged into one tree: tables merge, of anything else the later source wins.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::key::Key;

/// Where the value of an option comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    File {
        path: PathBuf,
        /// Where the key stands, counted from 1.
        line: usize,
        column: usize,
    },
    Variable(String),
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, .. } => path.display().fmt(f),
            Self::Variable(name) => f.write_str(name),
            Self::Flag => f.write_str("--set"),
        }
    }
}

impl Origin {
    /// For the beginning of an error message about `key`.
    pub(super) fn place(&self, key: &Key) -> String {
        match self {
            Self::File { path, line, column } => format!("{}:{line}:{column}", path.display()),
            Self::Flag => format!("--set {key}"),
            Self::Default | Self::Variable(_) => self.to_string(),
        }
    }
}

/// One value as one source gives it. Never a table, unless an empty one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Given {
    pub(super) key: Key,
    pub(super) value: toml::Value,
    pub(super) origin: Origin,
}

/// What all sources together give.
#[derive(Debug, Default)]
pub(super) struct Tree(BTreeMap<Key, Given>);

impl Tree {
    pub(super) fn set(&mut self, given: Given) {
        let is_table = given.value.is_table();
        if is_table && self.0.keys().any(|key| key.is_within(&given.key)) {
            return;
        }
        self.0
            .retain(|key, _| !key.is_within(&given.key) && !given.key.is_within(key));
        self.0.insert(given.key.clone(), given);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Given> {
        self.0.values()
    }

    /// The first value at or below a key.
    pub(super) fn first_within(&self, key: &Key) -> Option<&Given> {
        self.iter().find(|given| given.key.is_within(key))
    }

    /// Where the value of an option comes from; items of lists come from where the list does.
    pub(super) fn origin(&self, key: &Key) -> Origin {
        let given = self.iter().find(|given| key.is_within(&given.key));
        given.map_or(Origin::Default, |given| given.origin.clone())
    }

    pub(super) fn to_table(&self) -> toml::Table {
        let mut table = toml::Table::new();
        for given in self.iter() {
            insert(&mut table, given.key.segments(), given.value.clone());
        }
        table
    }
}

impl Given {
    /// A table that holds nothing but this value.
    pub(super) fn alone(&self) -> toml::Table {
        let mut table = toml::Table::new();
        insert(&mut table, self.key.segments(), self.value.clone());
        table
    }

    /// The values inside, where this is a table.
    pub(super) fn leaves(self) -> Vec<Self> {
        match self.value {
            toml::Value::Table(table) if !table.is_empty() => {
                let below = table.into_iter().map(|(name, value)| Self {
                    key: self.key.child(&name),
                    value,
                    origin: self.origin.clone(),
                });
                below.flat_map(Self::leaves).collect()
            }
            _ => vec![self],
        }
    }
}

/// A table or nothing stands at every key above the value: `Tree::set` keeps it so.
fn insert(table: &mut toml::Table, segments: &[String], value: toml::Value) {
    let [name, below @ ..] = segments else {
        return;
    };
    if below.is_empty() {
        table.insert(name.clone(), value);
        return;
    }
    let inner = table
        .entry(name.clone())
        .or_insert_with(|| toml::Value::Table(toml::Table::new()));
    if let toml::Value::Table(inner) = inner {
        insert(inner, below, value);
    }
}
