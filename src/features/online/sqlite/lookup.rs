//! Reading from SQLite: one statement that asks every view's table for all keys.

use std::collections::HashMap;
use std::fmt::Write as _;

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _};

use super::super::{Error, KeyGroup, Lookup, StoredRows, StoredValue, within};
use super::Database;
use crate::features::codec;
use crate::features::key::EntityKeys;
use crate::types::deadline::Deadline;

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
        answer: &mut [StoredRows],
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
            let group = &self.groups[owners[i]];
            let key: &[u8] = row.try_get_unchecked(1).map_err(failed)?;
            if let Some(position) = positions.of(owners[i], key) {
                let cells = &mut answer[owners[i]][position * group.n_features..];
                self.put(row, parts[i], cells)?;
            }
        }
        Ok(())
    }

    /// Decodes one found row into the cells of its key.
    fn put(
        &self,
        row: &SqliteRow,
        view: &View,
        cells: &mut [Option<StoredValue>],
    ) -> Result<(), Error> {
        let failed = |error| self.database.failed(error);
        let name: &str = row.try_get_unchecked(2).map_err(failed)?;
        let bytes: &[u8] = row.try_get_unchecked(3).map_err(failed)?;
        let stored: i64 = row.try_get_unchecked(4).map_err(failed)?;
        let value = codec::decode(bytes).map_err(|source| Error::Value {
            store: self.database.store.clone(),
            view: view.name.clone(),
            feature: name.to_owned(),
            source,
        })?;
        let stored = StoredValue {
            value,
            event_timestamp: self.database.clock.moment(stored),
        };
        for (i, feature) in view.features.iter().enumerate() {
            if feature == name {
                cells[view.first + i] = Some(stored.clone());
            }
        }
        Ok(())
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
        let mut answer = Vec::with_capacity(self.groups.len());
        let mut n_turns = 0;
        for (group, keys) in self.groups.iter().zip(keys) {
            answer.push(vec![None; keys.len() * group.n_features]);
            n_turns = n_turns.max(keys.len().div_ceil(MAX_KEYS));
        }
        within(&self.database.store, deadline, async {
            let positions = Positions::new(keys);
            for turn in 0..n_turns {
                self.read_turn(keys, &positions, turn, &mut answer).await?;
            }
            Ok(())
        })
        .await?;
        Ok(answer)
    }
}
