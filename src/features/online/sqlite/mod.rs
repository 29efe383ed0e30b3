//! SQLite, in Feast's layout: one table per view, one row per entity key and feature.
//!
//! ```text
//! table   "{project}_{view}", index "{table}_ek" on entity_key
//! row     entity_key (no project), feature_name, value: feast.types.Value, empty for null,
//!         value_text: numbers, booleans and text as Python writes them, event_ts, created_ts: whole seconds (see `clock`)
//! ```
//! A read is one statement for all views. Reads go over read-only connections, writes over one of their own, each batch in a
//! transaction. A row is replaced even by an older one: that is Feast's rule for SQLite.

mod clock;
mod config;
mod lookup;
#[cfg(test)]
mod tests;
mod write;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use self::clock::Clock;
pub(super) use self::config::Config;
use self::lookup::SqliteLookup;
use super::tables::quoted;
use super::{Error, KeyGroup, Lookup, OnlineStore, Row, StoredView, within};
use crate::features::key::KeyLayout;
use crate::types::deadline::Deadline;

/// Each costs a thread once it is used.
const MAX_READERS: u32 = 4;
const REOPEN_AFTER: Duration = Duration::from_secs(60);
/// How long a write waits for another program that is writing.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct SqliteStore {
    database: Database,
    writer: SqlitePool,
}

/// What reading needs.
#[derive(Debug, Clone)]
struct Database {
    store: Arc<str>,
    path: PathBuf,
    project: Arc<str>,
    clock: Clock,
    readers: SqlitePool,
}

pub(super) fn connect(config: &Config, project: &str) -> SqliteStore {
    let options = SqliteConnectOptions::new().filename(&config.path);
    let database = Database {
        store: format!("sqlite at {}", config.path.display()).into(),
        path: config.path.clone(),
        project: project.into(),
        clock: Clock::new(config.time_zone.clone()),
        readers: SqlitePoolOptions::new()
            .max_connections(MAX_READERS)
            // The file is here; there is no network that could have dropped the connection.
            .test_before_acquire(false)
            // A file that was deleted and made anew is found in a while.
            .max_lifetime(REOPEN_AFTER)
            .connect_lazy_with(options.clone().read_only(true)),
    };
    let writer = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(WRITE_PATIENCE)
        .connect_lazy_with(options.create_if_missing(true).busy_timeout(WRITE_PATIENCE));
    SqliteStore { database, writer }
}

#[async_trait]
impl OnlineStore for SqliteStore {
    fn prepare(&self, groups: &[KeyGroup]) -> Arc<dyn Lookup> {
        Arc::new(SqliteLookup::new(self.database.clone(), groups))
    }

    async fn write(&self, view: &StoredView, rows: &[Row]) -> Result<usize, Error> {
        write::write(&self.writer, &self.database, view, rows).await
    }

    async fn delete_view(&self, view: &StoredView, _keys: &KeyLayout) -> Result<usize, Error> {
        write::delete_view(&self.writer, &self.database, view).await
    }

    async fn ping(&self, deadline: Deadline) -> Result<(), Error> {
        let query = sqlx::query("SELECT 1").execute(&self.database.readers);
        within(&self.database.store, deadline, async {
            query.await.map_err(|error| self.database.failed(error))?;
            Ok(())
        })
        .await
    }

    fn describe(&self) -> &str {
        &self.database.store
    }
}

impl Database {
    /// The view's table, quoted for SQL.
    fn table(&self, view: &str) -> String {
        quoted(&format!("{}_{view}", self.project))
    }

    fn failed(&self, error: sqlx::Error) -> Error {
        let store = self.store.clone();
        let sqlx::Error::Database(reported) = &error else {
            let source = Arc::new(error);
            return Error::Unreachable { store, source };
        };
        if let Some(table) = reported.message().strip_prefix("no such table: ") {
            let prefix = format!("{}_", self.project);
            let view = table.strip_prefix(&prefix).unwrap_or(table).to_owned();
            return Error::NotMaterialized { store, view };
        }
        if !self.path.exists() {
            return Error::Missing { store };
        }
        let message = reported.message().to_owned();
        Error::Refused { store, message }
    }
}
