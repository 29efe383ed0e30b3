//! Reading from SQLite: one statement that asks every view's table for all keys.

use std::fmt::Write as _;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Row as _};

use super::super::tables::{Fetch, Found, Positions, Tables, Take, View};
use super::super::{Error, KeyGroup, within};
use super::Database;
use crate::features::key::EntityKeys;
use crate::types::deadline::Deadline;

/// Keys per group and statement. Numbers of keys are rounded up to a power of two, so that few texts are ever prepared.
const MAX_KEYS: usize = 512;

#[derive(Debug)]
pub(super) struct SqliteLookup {
    database: Database,
    tables: Tables,
    /// For each view of each group.
    sources: Vec<Vec<Source>>,
}

/// A view in SQL.
#[derive(Debug)]
struct Source {
    table: String,
    /// The features as a list of literals.
    literals: String,
}

impl SqliteLookup {
    pub(super) fn new(database: Database, groups: &[KeyGroup]) -> Self {
        let source = |view| Source::new(&database, view);
        let tables = Tables::new(database.store.clone(), groups);
        let sources = tables
            .groups
            .iter()
            .map(|group| group.views.iter().map(source).collect());
        Self {
            sources: sources.collect(),
            tables,
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
        for (g, group) in self.tables.groups.iter().enumerate() {
            let wanted: Vec<&[u8]> = keys[g]
                .iter()
                .skip(turn * MAX_KEYS)
                .take(MAX_KEYS)
                .collect();
            let Some(last) = wanted.last() else { continue };
            let first_parameter = bound.len() + 1;
            bound.extend(&wanted);
            bound.resize(first_parameter - 1 + wanted.len().next_power_of_two(), last);
            for (view, source) in group.views.iter().zip(&self.sources[g]) {
                source.put_select(&mut sql, parts.len(), first_parameter..=bound.len());
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
}

impl Source {
    fn new(database: &Database, view: &View) -> Self {
        let literals: Vec<String> = view
            .features
            .iter()
            .map(|feature| format!("'{}'", feature.replace('\'', "''")))
            .collect();
        Self {
            table: database.table(&view.name),
            literals: literals.join(", "),
        }
    }

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
        let Self { table, literals } = self;
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

#[async_trait]
impl Fetch for SqliteLookup {
    fn tables(&self) -> &Tables {
        &self.tables
    }

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
