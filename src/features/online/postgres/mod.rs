//! Postgres, in Feast's layout: one table per view, one row per entity key and feature.
//!
//! ```text
//! table   "{project}_{view}", index "{table}_ek" on entity_key
//! row     entity_key (no project), feature_name, value: feast.types.Value, empty for null,
//!         value_text: numbers, booleans and text as Python writes them, event_ts, created_ts: timestamptz
//! ```
//! A read is one statement for all views, prepared once per connection: one round trip. A row is replaced even by an older
//! one: that is Feast's rule for Postgres. Tables that `feast apply` did not make are made by the first write.
//!
//! ```text
//! lookup, write    what is asked of the database
//!   pool           over which connection; again where it was lost; what if the server hangs
//! config, moment   Feast's settings; timestamptz on the wire
//! ```

mod config;
mod lookup;
mod moment;
mod pool;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::PgConnection;
use sqlx::postgres::PgDatabaseError;

pub(super) use self::config::Config;
use self::lookup::PostgresLookup;
use self::pool::{Pool, Trouble, Work};
use super::breaker::Breaker;
use super::tables::quoted;
use super::{Error, KeyGroup, Lookup, OnlineStore, Row, StoredView, within};
use crate::features::key::KeyLayout;
use crate::types::deadline::Deadline;

/// Postgres cuts names after so many bytes.
const LONGEST_NAME: usize = 63;
const UNDEFINED_TABLE: &str = "42P01";

#[derive(Debug)]
pub(super) struct PostgresStore(Arc<Database>);

#[derive(Debug)]
struct Database {
    store: Arc<str>,
    project: String,
    /// Where tables are made.
    schema: String,
    pool: Pool,
    breaker: Breaker,
}

pub(super) fn connect(config: &Config, project: &str) -> PostgresStore {
    PostgresStore(Arc::new(Database {
        store: config.place.as_str().into(),
        project: project.to_owned(),
        schema: config.schema.clone(),
        pool: Pool::new(config.options.clone(), config.max_connections),
        breaker: Breaker::default(),
    }))
}

#[async_trait]
impl OnlineStore for PostgresStore {
    fn prepare(&self, groups: &[KeyGroup]) -> Arc<dyn Lookup> {
        Arc::new(PostgresLookup::new(self.0.clone(), groups))
    }

    async fn write(&self, view: &StoredView, rows: &[Row]) -> Result<usize, Error> {
        write::write(&self.0, view, rows).await
    }

    async fn delete_view(&self, view: &StoredView, _keys: &KeyLayout) -> Result<usize, Error> {
        write::delete_view(&self.0, view).await
    }

    async fn ping(&self, deadline: Deadline) -> Result<(), Error> {
        self.0.run(&mut Ping, deadline).await
    }

    fn describe(&self) -> &str {
        &self.0.store
    }
}

struct Ping;

#[async_trait]
impl Work for Ping {
    type Output = ();

    async fn run(&mut self, connection: &mut PgConnection) -> Result<(), Trouble> {
        sqlx::query("SELECT 1").execute(connection).await?;
        Ok(())
    }
}

impl Database {
    /// Does the work over a connection of the pool, by the deadline.
    async fn run<W: Work>(&self, work: &mut W, deadline: Deadline) -> Result<W::Output, Error> {
        let Some(_admitted) = self.breaker.admit() else {
            let store = self.store.clone();
            return Err(Error::NotAnswering { store });
        };
        let outcome = within(&self.store, deadline, async {
            self.pool.run(work).await.map_err(|trouble| match trouble {
                Trouble::Database(error) => self.failed(error),
                Trouble::Store(error) => error,
            })
        })
        .await;
        match &outcome {
            Err(Error::Timeout { waited, .. }) => {
                self.breaker.timed_out(*waited);
                // Those that nobody uses may hang as well: a firewall may have dropped them all.
                self.pool.forget_idle();
            }
            // Nobody was there to answer.
            Err(Error::Unreachable { .. }) => {}
            _ => self.breaker.answered(),
        }
        outcome
    }

    fn table_name(&self, view: &str) -> String {
        format!("{}_{view}", self.project)
    }

    /// The view's table, quoted for SQL.
    fn table(&self, view: &str) -> String {
        quoted(&self.table_name(view))
    }

    fn failed(&self, error: sqlx::Error) -> Error {
        let store = self.store.clone();
        match &error {
            sqlx::Error::Database(reported) if !pool::is_lost(&error) => {
                let message = reported.message().to_owned();
                Error::Refused { store, message }
            }
            _ => {
                let source = Arc::new(error);
                Error::Unreachable { store, source }
            }
        }
    }

    /// Says which view's table is missing, if that is the trouble.
    fn not_materialized<'a>(
        &self,
        error: sqlx::Error,
        views: impl Iterator<Item = &'a str>,
    ) -> Trouble {
        if !is(&error, UNDEFINED_TABLE) {
            return error.into();
        }
        let message = error.to_string();
        // The server's language is unknown; the name stands in it all the same. One name may be the beginning of another.
        let named = views.filter(|view| message.contains(&cut(&self.table_name(view))));
        match named.max_by_key(|view| view.len()) {
            Some(view) => Trouble::Store(Error::NotMaterialized {
                store: self.store.clone(),
                view: view.to_owned(),
            }),
            None => error.into(),
        }
    }
}

/// Whether the database reported this SQLSTATE.
fn is(error: &sqlx::Error, code: &str) -> bool {
    let reported = error.as_database_error();
    let reported = reported.and_then(|reported| reported.try_downcast_ref::<PgDatabaseError>());
    reported.is_some_and(|reported| reported.code() == code)
}

/// A name as Postgres keeps it.
fn cut(name: &str) -> String {
    let mut end = name.len().min(LONGEST_NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}
