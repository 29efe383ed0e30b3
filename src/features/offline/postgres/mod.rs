//! Tables and queries in Postgres.
//!
//! The database chooses the newest rows and sends them as a binary `COPY`, which is decoded as it comes: nothing is held but
//! a batch. Rows that are equally new count in the order in which the database reads them, as for Feast.
//! Names are used as Feast uses them: a table as it is written, columns in quotes, `db_schema` as the search path.

#[cfg(feature = "postgres")]
mod copy;
#[cfg(feature = "postgres")]
mod decode;
#[cfg(feature = "postgres")]
mod sql;
#[cfg(test)]
#[cfg(all(feature = "postgres", feature = "test-services"))]
mod tests;

use async_trait::async_trait;

use super::pull::{Latest, PullLatest};
use super::{Error, OfflineStore};
pub(super) use crate::features::postgres::Config;

#[derive(Debug)]
pub(super) struct PostgresStore {
    config: Config,
}

/// Reaches out to nothing. Fails where `offline_store` is not Postgres.
pub(super) fn connect(config: Option<&Config>, pull: &PullLatest) -> Result<PostgresStore, Error> {
    match config {
        Some(config) => Ok(PostgresStore {
            config: config.clone(),
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
}

#[cfg(not(feature = "postgres"))]
#[async_trait]
impl OfflineStore for PostgresStore {
    async fn pull_latest(&self, pull: PullLatest) -> Result<Latest, Error> {
        let place = self.config.place();
        Err(pull.unsupported(format!(
            "a source in {place} (built without feature `postgres`)"
        )))
    }
}
