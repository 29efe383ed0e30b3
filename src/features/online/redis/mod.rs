//! Redis, in Feast's layout: one hash per project and entity key, shared by all views with these join keys.
//!
//! ```text
//! key     entity key bytes, then the project name
//! field   murmur3_32("{view}:{feature}"), 4 bytes little endian  ->  feast.types.Value, empty for null
//! field   "_ts:{view}"                                           ->  google.protobuf.Timestamp, empty for the epoch
//! ```
//! A read is one `HMGET` per entity key for all its views, all of them in one pipeline. A write is one script per batch, so
//! that the look at the stored timestamp and the write are one step: two writers cannot make a row older.
//! Not here: Sentinel, Cluster and TLS, which `Config::read` refuses by name.

mod config;
mod connection;
mod lookup;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;

use async_trait::async_trait;

pub(super) use self::config::Config;
use self::connection::Connection;
use self::lookup::RedisLookup;
use super::{Error, KeyGroup, Lookup, OnlineStore, Row, StoredView};
use crate::features::murmur::murmur3_32;
use crate::types::deadline::Deadline;

#[derive(Debug)]
pub(super) struct RedisStore {
    store: Arc<str>,
    project: Arc<str>,
    config: Config,
    reads: Arc<Connection>,
    /// Apart from reads, so that a batch of writes does not hold up a request.
    writes: Connection,
}

pub(super) fn connect(config: &Config, project: &str) -> RedisStore {
    let store: Arc<str> = format!("redis at {}", config.place()).into();
    RedisStore {
        reads: Arc::new(Connection::new(store.clone(), config.connection_info())),
        writes: Connection::new(store.clone(), config.connection_info()),
        store,
        project: project.into(),
        config: config.clone(),
    }
}

#[async_trait]
impl OnlineStore for RedisStore {
    fn prepare(&self, groups: &[KeyGroup]) -> Arc<dyn Lookup> {
        Arc::new(RedisLookup::new(
            self.reads.clone(),
            &self.store,
            &self.project,
            groups,
        ))
    }

    async fn write(&self, view: &StoredView, rows: &[Row]) -> Result<usize, Error> {
        write::write(&self.writes, &self.config, &self.project, view, rows).await
    }

    async fn ping(&self, deadline: Deadline) -> Result<(), Error> {
        self.reads.one(&redis::cmd("PING"), deadline).await?;
        Ok(())
    }

    fn describe(&self) -> &str {
        &self.store
    }
}

/// The hash field of a feature.
fn feature_field(view: &str, feature: &str) -> [u8; 4] {
    murmur3_32(format!("{view}:{feature}").as_bytes()).to_le_bytes()
}

/// The hash field of a view's event timestamp.
fn timestamp_field(view: &str) -> Vec<u8> {
    format!("_ts:{view}").into_bytes()
}
