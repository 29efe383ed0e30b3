//! Reading from Postgres: one statement that asks every view's table for all keys.

use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use futures::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::super::tables::{Fetch, Found, Positions, Tables, Take, View};
use super::super::{Error, KeyGroup};
use super::Database;
use super::moment::Moment;
use super::pool::{Trouble, Work};
use crate::features::key::EntityKeys;
use crate::types::deadline::Deadline;
use crate::types::timestamp::Timestamp;

#[derive(Debug)]
pub(super) struct PostgresLookup {
    database: Arc<Database>,
    tables: Tables,
    /// The same text for any number of keys. A group's keys are one parameter, a view's features another.
    statement: Arc<str>,
    /// Of each part of the statement: its group, and its view there.
    parts: Vec<(usize, usize)>,
}

impl PostgresLookup {
    pub(super) fn new(database: Arc<Database>, groups: &[KeyGroup]) -> Self {
        let tables = Tables::new(database.store.clone(), groups);
        let mut statement = String::new();
        let mut parts = Vec::new();
        for (g, group) in tables.groups.iter().enumerate() {
            for (v, view) in group.views.iter().enumerate() {
                let union = if parts.is_empty() { "" } else { " UNION ALL " };
                let (part, table) = (parts.len(), database.table(&view.name));
                let (keys, features) = (g + 1, groups.len() + part + 1);
                let _ = write!(
                    statement,
                    "{union}SELECT {part}, entity_key, feature_name, value, event_ts FROM {table} \
                     WHERE entity_key = ANY(${keys}) AND feature_name = ANY(${features})"
                );
                parts.push((g, v));
            }
        }
        Self {
            database,
            tables,
            statement: statement.into(),
            parts,
        }
    }

    fn view(&self, part: usize) -> &View {
        let (group, view) = self.parts[part];
        &self.tables.groups[group].views[view]
    }
}

struct Read<'a> {
    lookup: &'a PostgresLookup,
    keys: Vec<Vec<&'a [u8]>>,
    positions: Positions<'a>,
    take: &'a mut Take<'a>,
}

#[async_trait]
impl Work for Read<'_> {
    type Output = ();

    async fn run(&mut self, connection: &mut PgConnection) -> Result<(), Trouble> {
        let lookup = self.lookup;
        let mut query = sqlx::query(AssertSqlSafe(lookup.statement.clone()));
        for keys in &self.keys {
            query = query.bind(keys);
        }
        for part in 0..lookup.parts.len() {
            query = query.bind(&lookup.view(part).features);
        }
        let mut rows = query.fetch(connection);
        loop {
            let row = rows.try_next().await.map_err(|error| {
                let views = (0..lookup.parts.len()).map(|part| lookup.view(part).name.as_str());
                lookup.database.not_materialized(error, views)
            })?;
            let Some(row) = row else { return Ok(()) };
            let part: i32 = row.try_get_unchecked(0)?;
            let part = usize::try_from(part).unwrap_or(usize::MAX);
            let key: &[u8] = row.try_get_unchecked(1)?;
            let Some(&(group, _)) = lookup.parts.get(part) else {
                continue;
            };
            let Some(position) = self.positions.of(group, key) else {
                continue;
            };
            let bytes: Option<&[u8]> = row.try_get_unchecked(3)?;
            (self.take)(&Found {
                group,
                position,
                view: lookup.view(part),
                key,
                feature: row.try_get_unchecked(2)?,
                bytes: bytes.unwrap_or_default(),
                event_timestamp: event_timestamp(&row)?,
            })?;
        }
    }
}

/// Feast always writes one; a row of somebody else may lack it.
fn event_timestamp(row: &PgRow) -> Result<Timestamp, sqlx::Error> {
    let stored: Option<Moment> = row.try_get_unchecked(4)?;
    Ok(stored.map_or(Timestamp::EPOCH, |Moment(moment)| moment))
}

#[async_trait]
impl Fetch for PostgresLookup {
    fn tables(&self) -> &Tables {
        &self.tables
    }

    async fn fetch(
        &self,
        keys: &[EntityKeys],
        deadline: Deadline,
        take: &mut Take<'_>,
    ) -> Result<(), Error> {
        if self.parts.is_empty() || keys.iter().all(EntityKeys::is_empty) {
            return Ok(());
        }
        let mut read = Read {
            lookup: self,
            keys: keys.iter().map(|keys| keys.iter().collect()).collect(),
            positions: Positions::new(keys),
            take,
        };
        self.database.run(&mut read, deadline).await
    }
}
