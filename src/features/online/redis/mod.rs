//! Redis, in Feast's layout: one hash per project and entity key, shared by all views with these join keys.
//!
//! ```text
//! key     entity key bytes, then the project name
//! field   murmur3_32("{view}:{feature}"), 4 bytes little endian  ->  feast.types.Value, empty for null
//! field   "_ts:{view}"                                           ->  google.protobuf.Timestamp, empty for the epoch
//! ```
//! A read is one `HMGET` per entity key for all its views, all of them in one pipeline (in a cluster one per master). A write is
//! a script, so that the look at the stored timestamp and the write are one step: two writers cannot make a row older.
//!
//! ```text
//! lookup, write, delete    what is sent
//!   client                 to whom: one server, or all of a cluster; again while one fails over
//!     cluster              which node has which key
//!       connection         one connection that comes back by itself; breaker: what if it hangs
//!         dial             how it is made; sentinels are asked where the master is
//! config, options, tls     what Feast's settings come to
//! ```

mod client;
mod cluster;
mod config;
mod connection;
mod delete;
mod dial;
mod lookup;
mod options;
#[cfg(test)]
mod tests;
mod tls;
mod write;

use std::sync::Arc;

use async_trait::async_trait;

use self::client::Client;
use self::cluster::Cluster;
pub(super) use self::config::Config;
use self::config::Deployment;
use self::connection::Connection;
use self::dial::Target;
use self::lookup::RedisLookup;
use super::{Error, KeyGroup, Lookup, OnlineStore, Row, StoredView};
use crate::features::key::KeyLayout;
use crate::features::murmur::murmur3_32;
use crate::types::deadline::Deadline;
use crate::workers::PerWorker;

#[derive(Debug)]
pub(super) struct RedisStore {
    store: Arc<str>,
    project: Arc<str>,
    config: Config,
    reads: Arc<Client>,
    /// Apart from reads, so that a batch of writes does not hold up a request.
    writes: Client,
}

pub(super) fn connect(config: &Config, project: &str) -> RedisStore {
    let store: Arc<str> = config.describe().into();
    RedisStore {
        reads: Arc::new(client(config, &store)),
        writes: client(config, &store),
        store,
        project: project.into(),
        config: config.clone(),
    }
}

fn client(config: &Config, store: &Arc<str>) -> Client {
    let access = &config.access;
    let target = match &config.deployment {
        Deployment::Cluster(nodes) => {
            return Client::Cluster(Cluster::new(store.clone(), nodes, access));
        }
        Deployment::Single(address) => Target::node(address, access),
        Deployment::Sentinel(sentinels) => Ok(Target::master(sentinels, access)),
    };
    Client::Node(PerWorker::new(|| {
        Connection::new(store.clone(), target.clone(), access.answer_timeout)
    }))
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
        write::write(self, view, rows).await
    }

    async fn delete_view(&self, view: &StoredView, keys: &KeyLayout) -> Result<usize, Error> {
        delete::delete_view(self, view, keys).await
    }

    async fn ping(&self, deadline: Deadline) -> Result<(), Error> {
        self.reads.ping(deadline).await
    }

    fn describe(&self) -> &str {
        &self.store
    }
}

/// The key of a hash.
fn full_key(key: &[u8], project: &str) -> Vec<u8> {
    [key, project.as_bytes()].concat()
}

/// The hash field of a feature.
fn feature_field(view: &str, feature: &str) -> [u8; 4] {
    murmur3_32(format!("{view}:{feature}").as_bytes()).to_le_bytes()
}

/// The hash field of a view's event timestamp.
fn timestamp_field(view: &str) -> Vec<u8> {
    format!("_ts:{view}").into_bytes()
}
