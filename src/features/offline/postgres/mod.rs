//! Tables and queries in Postgres.
//!
//! The database chooses the newest rows and sends them as a binary `COPY`, which is decoded as it comes: nothing is held but
//! a batch. Rows that are equally new count in the order in which the database reads them, as for Feast.
//! Point-in-time joins are done by the database, too (`history`).
//! Names are used as Feast uses them: a table as it is written, columns in quotes, `db_schema` as the search path.

#[cfg(feature = "postgres")]
mod copy;
#[cfg(feature = "postgres")]
mod decode;
#[cfg(feature = "postgres")]
mod entities;
#[cfg(feature = "postgres")]
mod history;
#[cfg(feature = "postgres")]
mod query;
#[cfg(feature = "postgres")]
mod sql;
#[cfg(test)]
#[cfg(all(feature = "postgres", feature = "test-services"))]
mod tests;

use async_trait::async_trait;

use super::history::{Joined, PointInTime};
use super::pull::{Latest, PullLatest};
use super::{Error, OfflineStore};
pub(super) use crate::features::postgres::Config;

#[derive(Debug)]
pub(super) struct PostgresStore {
    config: Config,
    #[cfg(feature = "postgres")]
    statement: Statement,
}

/// Which of the two statements joins.
#[cfg(feature = "postgres")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Statement {
    /// The one that the planner estimates to be.
    #[default]
    Cheapest,
    #[cfg(test)]
    Lateral,
    #[cfg(test)]
    Window,
}

/// Reaches out to nothing. Fails where `offline_store` is not Postgres.
pub(super) fn connect(config: Option<&Config>, pull: &PullLatest) -> Result<PostgresStore, Error> {
    match config {
        Some(config) => Ok(PostgresStore {
            config: config.clone(),
            #[cfg(feature = "postgres")]
            statement: Statement::default(),
        }),
        None => Err(Error::Settings {
            view: pull.view.clone(),
            problem: "`offline_store.type` is not `postgres`".to_owned(),
        }),
    }
}

#[cfg(feature = "postgres")]
#[async_trait]
impl OfflineStore for PostgresStore {
    async fn pull_latest(&self, pull: PullLatest) -> Result<Latest, Error> {
        copy::pull_latest(&self.config, pull).await
    }

    async fn point_in_time(&self, join: PointInTime) -> Result<Joined, Error> {
        history::point_in_time(&self.config, self.statement, join).await
    }
}

#[cfg(not(feature = "postgres"))]
#[async_trait]
impl OfflineStore for PostgresStore {
    async fn pull_latest(&self, pull: PullLatest) -> Result<Latest, Error> {
        Err(self.not_built(&pull))
    }

    async fn point_in_time(&self, join: PointInTime) -> Result<Joined, Error> {
        Err(self.not_built(&join.view))
    }
}

#[cfg(not(feature = "postgres"))]
impl PostgresStore {
    fn not_built(&self, pull: &PullLatest) -> Error {
        let place = self.config.place();
        pull.unsupported(format!(
            "a source in {place} (built without feature `postgres`)"
        ))
    }
}

#[cfg(feature = "postgres")]
pub(super) use self::query::entity_rows;

/// The rows of a query.
#[cfg(not(feature = "postgres"))]
pub(super) async fn entity_rows(_: &Config, _: &str) -> Result<super::Entities, Error> {
    Err(Error::NoEntityDatabase {
        problem: "this is built without feature `postgres`".to_owned(),
    })
}
