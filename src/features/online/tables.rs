//! What stores with a table per view have in common: each row found is one feature of one entity key.
//!
//! Not here: the statements that find them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::raw::{RawRows, RowTime, hex};
use super::{Error, KeyGroup, Lookup, StoredRows, StoredValue};
use crate::features::codec;
use crate::features::key::EntityKeys;
use crate::features::python;
use crate::types::deadline::Deadline;
use crate::types::timestamp::Timestamp;
use crate::types::value::Value;

/// The views of a read, and where their features stand in the answer.
#[derive(Debug)]
pub(super) struct Tables {
    store: Arc<str>,
    pub(super) groups: Vec<Group>,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) views: Vec<View>,
    n_features: usize,
}

#[derive(Debug)]
pub(super) struct View {
    pub(super) name: String,
    pub(super) features: Vec<String>,
    /// Place of the first feature among the group's.
    first: usize,
    /// Place of the view among the group's.
    place: usize,
}

/// One feature of one key, as the database has it.
pub(super) struct Found<'a> {
    pub(super) group: usize,
    /// Of the key among its group's.
    pub(super) position: usize,
    pub(super) view: &'a View,
    pub(super) key: &'a [u8],
    pub(super) feature: &'a str,
    pub(super) bytes: &'a [u8],
    pub(super) event_timestamp: Timestamp,
}

/// What is done with each found feature.
pub(super) type Take<'a> = dyn FnMut(&Found<'_>) -> Result<(), Error> + Send + 'a;

/// A read of such tables. It is a `Lookup` by that alone.
#[async_trait]
pub(super) trait Fetch: Send + Sync + fmt::Debug {
    fn tables(&self) -> &Tables;

    /// Hands on every feature of these keys that is found.
    async fn fetch(
        &self,
        keys: &[EntityKeys],
        deadline: Deadline,
        take: &mut Take<'_>,
    ) -> Result<(), Error>;
}

#[async_trait]
impl<F: Fetch> Lookup for F {
    async fn read(
        &self,
        keys: &[EntityKeys],
        deadline: Deadline,
    ) -> Result<Vec<StoredRows>, Error> {
        let mut answer = self.tables().nothing(keys);
        self.fetch(keys, deadline, &mut |found| {
            self.tables().put(found, &mut answer)
        })
        .await?;
        Ok(answer)
    }

    async fn read_raw(
        &self,
        keys: &[EntityKeys],
        deadline: Deadline,
    ) -> Result<Vec<RawRows>, Error> {
        let mut answer = self.tables().nothing_raw(keys);
        self.fetch(keys, deadline, &mut |found| {
            self.tables().put_raw(found, &mut answer);
            Ok(())
        })
        .await?;
        Ok(answer)
    }
}

impl Tables {
    pub(super) fn new(store: Arc<str>, groups: &[KeyGroup]) -> Self {
        let groups = groups.iter().map(Group::new).collect();
        Self { store, groups }
    }

    /// The answer while nothing was found.
    pub(super) fn nothing(&self, keys: &[EntityKeys]) -> Vec<StoredRows> {
        let groups = self.groups.iter().zip(keys);
        groups
            .map(|(group, keys)| vec![None; keys.len() * group.n_features])
            .collect()
    }

    /// The same with the values as bytes.
    pub(super) fn nothing_raw(&self, keys: &[EntityKeys]) -> Vec<RawRows> {
        let groups = self.groups.iter().zip(keys);
        groups
            .map(|(group, keys)| RawRows::absent(keys.len(), group.views.len(), group.n_features))
            .collect()
    }

    /// Decodes what was found into the answer.
    pub(super) fn put(&self, found: &Found<'_>, answer: &mut [StoredRows]) -> Result<(), Error> {
        let value = codec::decode(found.bytes).map_err(|source| Error::Value {
            store: self.store.clone(),
            view: found.view.name.clone(),
            feature: found.feature.to_owned(),
            key: hex(found.key),
            source,
        })?;
        let stored = StoredValue {
            value,
            event_timestamp: found.event_timestamp,
        };
        let first = found.position * self.groups[found.group].n_features;
        for place in found.places() {
            answer[found.group][first + place] = Some(stored.clone());
        }
        Ok(())
    }

    pub(super) fn put_raw(&self, found: &Found<'_>, answer: &mut [RawRows]) {
        let group = &self.groups[found.group];
        let rows = &mut answer[found.group];
        for place in found.places() {
            rows.values[found.position * group.n_features + place] = Some(found.bytes.to_vec());
        }
        rows.times[found.position * group.views.len() + found.view.place] =
            RowTime::At(found.event_timestamp);
    }
}

impl Group {
    fn new(group: &KeyGroup) -> Self {
        let mut views = Vec::new();
        let mut n_features = 0;
        for view in &group.views {
            views.push(View {
                name: view.name.clone(),
                features: view.features.clone(),
                first: n_features,
                place: views.len(),
            });
            n_features += view.features.len();
        }
        Self { views, n_features }
    }
}

impl Found<'_> {
    /// Where the feature stands among its group's: twice where it is selected twice.
    fn places(&self) -> impl Iterator<Item = usize> {
        let features = self.view.features.iter().enumerate();
        features.filter_map(|(i, feature)| (feature == self.feature).then_some(self.view.first + i))
    }
}

/// Where each key stands among its group's.
pub(super) struct Positions<'a> {
    groups: Vec<HashMap<&'a [u8], usize>>,
}

impl<'a> Positions<'a> {
    pub(super) fn new(keys: &'a [EntityKeys]) -> Self {
        let groups = keys
            .iter()
            .map(|keys| keys.iter().enumerate().map(|(i, key)| (key, i)).collect());
        Self {
            groups: groups.collect(),
        }
    }

    pub(super) fn of(&self, group: usize, key: &[u8]) -> Option<usize> {
        self.groups[group].get(key).copied()
    }
}

/// A name in double quotes, a double quote within doubled.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Feast's `value_text`: scalars as Python writes them.
pub(super) fn value_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Int32(number) => Some(number.to_string()),
        Value::Int64(number) => Some(number.to_string()),
        Value::Float(number) => Some(python::float_repr(f64::from(*number))),
        Value::Double(number) => Some(python::float_repr(*number)),
        Value::Bool(value) => Some(python::bool_str(*value).to_owned()),
        _ => None,
    }
}
