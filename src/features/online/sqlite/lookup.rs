//! Reading from SQLite: one statement that asks every view's table for all keys.

use std::collections::HashMap;
use std::fmt::Write as _;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Row as _};

use super::super::raw::{RawRows, RowTime, hex};
use super::super::{Error, KeyGroup, Lookup, StoredRows, StoredValue, within};
use super::Database;
use crate::features::codec;
use crate::features::key::EntityKeys;
use crate::types::deadline::Deadline;
use crate::types::timestamp::Timestamp;

/// Keys per group and statement. Numbers of keys are rounded up to a power of two, so that few texts are ever prepared.
const MAX_KEYS: usize = 512;

#[derive(Debug)]
pub(super) struct SqliteLookup {
    database: Database,
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    views: Vec<View>,
    n_features: usize,
}

#[derive(Debug)]
struct View {
    name: String,
    table: String,
    features: Vec<String>,
    /// The features as a list of SQL literals.
    literals: String,
    /// Place of the first feature among the group's.
    first: usize,
    /// Place of the view among the group's.
    place: usize,
}

impl SqliteLookup {
    pub(super) fn new(database: Database, groups: &[KeyGroup]) -> Self {
        Self {
            groups: groups
                .iter()
                .map(|group| Group::new(&database, group))
                .collect(),
            database,
        }
    }

    /// Reads the `turn`th `MAX_KEYS` keys of every group.
    async fn read_turn(
        &self,
        keys: &[EntityKeys],
        positions: &Positions<'_>,
        turn: usize,
        take: &mut Take<'_>,
    ) -> Result<(), Error> {
        let mut parts: Vec<&View> = Vec::new();
        let mut owners: Vec<usize> = Vec::new();
        let mut sql = String::new();
        let mut bound: Vec<&[u8]> = Vec::new();
        for (g, group) in self.groups.iter().enumerate() {
            let wanted: Vec<&[u8]> = keys[g]
                .iter()
                .skip(turn * MAX_KEYS)
                .take(MAX_KEYS)
                .collect();
            let Some(last) = wanted.last() else { continue };
            let first_parameter = bound.len() + 1;
            bound.extend(&wanted);
            bound.resize(first_parameter - 1 + wanted.len().next_power_of_two(), last);
            for view in &group.views {
                view.put_select(&mut sql, parts.len(), first_parameter..=bound.len());
                parts.push(view);
                owners.push(g);
            }
        }
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for key in bound {
            query = query.bind(key);
        }
        let found = query.fetch_all(&self.database.readers).await;
        let found = found.map_err(|error| self.database.failed(error))?;
        for row in &found {
            let failed = |error| self.database.failed(error);
            let part: i64 = row.try_get_unchecked(0).map_err(failed)?;
            let Some(i) = usize::try_from(part).ok().filter(|&i| i < parts.len()) else {
                continue;
            };
            let key: &[u8] = row.try_get_unchecked(1).map_err(failed)?;
            let Some(position) = positions.of(owners[i], key) else {
                continue;
            };
            let stored: i64 = row.try_get_unchecked(4).map_err(failed)?;
            take(&Found {
                group: owners[i],
                position,
                view: parts[i],
                key,
                feature: row.try_get_unchecked(2).map_err(failed)?,
                bytes: row.try_get_unchecked(3).map_err(failed)?,
                event_timestamp: self.database.clock.moment(stored),
            })?;
        }
        Ok(())
    }

    /// Decodes what was found into the cells of its key.
    fn put(&self, found: &Found<'_>, cells: &mut [Option<StoredValue>]) -> Result<(), Error> {
        let value = codec::decode(found.bytes).map_err(|source| Error::Value {
            store: self.database.store.clone(),
            view: found.view.name.clone(),
            feature: found.feature.to_owned(),
            key: hex(found.key),
            source,
        })?;
        let stored = StoredValue {
            value,
            event_timestamp: found.event_timestamp,
        };
        for place in found.places() {
            cells[place] = Some(stored.clone());
        }
        Ok(())
    }

    /// Reads all keys in turns and hands on every feature that is found.
    async fn fetch(
        &self,
        keys: &[EntityKeys],
        deadline: Deadline,
        take: &mut Take<'_>,
    ) -> Result<(), Error> {
        let largest = keys.iter().map(EntityKeys::len).max().unwrap_or(0);
        within(&self.database.store, deadline, async {
            let positions = Positions::new(keys);
            for turn in 0..largest.div_ceil(MAX_KEYS) {
                self.read_turn(keys, &positions, turn, take).await?;
            }
            Ok(())
        })
        .await
    }
}

/// What is done with each found feature.
type Take<'a> = dyn FnMut(&Found<'_>) -> Result<(), Error> + Send + 'a;

/// One feature of one key, as the database has it.
struct Found<'a> {
    group: usize,
    /// Of the key among its group's.
    position: usize,
    view: &'a View,
    key: &'a [u8],
    feature: &'a str,
    bytes: &'a [u8],
    event_timestamp: Timestamp,
}

impl Found<'_> {
    /// Where the feature stands among its group's: twice where it is selected twice.
    fn places(&self) -> impl Iterator<Item = usize> {
        let features = self.view.features.iter().enumerate();
        features.filter_map(|(i, feature)| (feature == self.feature).then_some(self.view.first + i))
    }
}

impl Group {
    fn new(database: &Database, group: &KeyGroup) -> Self {
        let mut views = Vec::new();
        let mut n_features = 0;
        for view in &group.views {
            let literals: Vec<String> = view
                .features
                .iter()
                .map(|feature| format!("'{}'", feature.replace('\'', "''")))
                .collect();
            views.push(View {
                name: view.name.clone(),
                table: database.table(&view.name),
                features: view.features.clone(),
                literals: literals.join(", "),
                first: n_features,
                place: views.len(),
            });
            n_features += view.features.len();
        }
        Self { views, n_features }
    }
}

impl View {
    /// Appends the view's part of the statement. Names are quoted by SQL's rules and keys are parameters.
    fn put_select(
        &self,
        sql: &mut String,
        part: usize,
        parameters: std::ops::RangeInclusive<usize>,
    ) {
        if !sql.is_empty() {
            sql.push_str(" UNION ALL ");
        }
        let Self {
            table, literals, ..
        } = self;
        let _ = write!(
            sql,
            "SELECT {part}, entity_key, feature_name, value, event_ts FROM {table} \
             WHERE feature_name IN ({literals}) AND entity_key IN ("
        );
        for parameter in parameters.clone() {
            let comma = if parameter == *parameters.start() {
                ""
            } else {
                ", "
            };
            let _ = write!(sql, "{comma}?{parameter}");
        }
        sql.push(')');
    }
}

/// Where each key stands among its group's.
struct Positions<'a> {
    groups: Vec<HashMap<&'a [u8], usize>>,
}

impl<'a> Positions<'a> {
    fn new(keys: &'a [EntityKeys]) -> Self {
        let groups = keys
            .iter()
            .map(|keys| keys.iter().enumerate().map(|(i, key)| (key, i)).collect());
        Self {
            groups: groups.collect(),
        }
    }

    fn of(&self, group: usize, key: &[u8]) -> Option<usize> {
        self.groups[group].get(key).copied()
    }
}

#[async_trait]
impl Lookup for SqliteLookup {
    async fn read(
        &self,
        keys: &[EntityKeys],
        deadline: Deadline,
    ) -> Result<Vec<StoredRows>, Error> {
        let groups = self.groups.iter().zip(keys);
        let mut answer: Vec<StoredRows> = groups
            .map(|(group, keys)| vec![None; keys.len() * group.n_features])
            .collect();
        self.fetch(keys, deadline, &mut |found| {
            let first = found.position * self.groups[found.group].n_features;
            self.put(found, &mut answer[found.group][first..])
        })
        .await?;
        Ok(answer)
    }

    async fn read_raw(
        &self,
        keys: &[EntityKeys],
        deadline: Deadline,
    ) -> Result<Vec<RawRows>, Error> {
        let groups = self.groups.iter().zip(keys);
        let mut answer: Vec<RawRows> = groups
            .map(|(group, keys)| RawRows::absent(keys.len(), group.views.len(), group.n_features))
            .collect();
        self.fetch(keys, deadline, &mut |found| {
            let group = &self.groups[found.group];
            let rows = &mut answer[found.group];
            for place in found.places() {
                rows.values[found.position * group.n_features + place] = Some(found.bytes.to_vec());
            }
            rows.times[found.position * group.views.len() + found.view.place] =
                RowTime::At(found.event_timestamp);
            Ok(())
        })
        .await?;
        Ok(answer)
    }
}
