//! Joins on a Ballista cluster: file sources that one machine would take too long for.
//!
//! ```text
//! client      entity rows -> a file in the staging place; the files of the view are listed     chain, staging
//!             a logical plan with both                                                         node
//! scheduler   shuffles by key on both sides, a join per partition, rows in order               plan
//! executors   read the source in pieces, join, sort                                            rows, as_of
//! client      rows as they come, in the order of the entity rows                               job
//! ```
//! What is found is what the store of files finds, bit for bit: rows are chosen by the same operator (`asof`), and where they
//! are equally new by their place in the source, which travels with them.
//! Definitions travel in the plan, so that executors need none; plans of another version of Terrarium are refused.
//! Not here: the newest row of every key (`pull_latest` reads on this machine), what is in Postgres, who starts the
//! processes (`cli`).

#[cfg(feature = "cluster")]
mod as_of;
#[cfg(feature = "cluster")]
mod chain;
#[cfg(feature = "cluster")]
mod codec;
#[cfg(feature = "cluster")]
mod job;
#[cfg(feature = "cluster")]
mod node;
#[cfg(feature = "cluster")]
mod plan;
#[cfg(feature = "cluster")]
mod rows;
mod settings;
#[cfg(feature = "cluster")]
mod staging;
#[cfg(feature = "cluster")]
mod stores;
#[cfg(test)]
#[cfg(feature = "cluster")]
mod tests;
#[cfg(feature = "cluster")]
mod wire;

use std::path::{Path, PathBuf};
#[cfg(feature = "cluster")]
use std::sync::Arc;

use async_trait::async_trait;

#[cfg(feature = "cluster")]
pub(crate) use self::chain::{Chain, Then, plain_type};
#[cfg(feature = "cluster")]
pub(crate) use self::codec::{LogicalCodec, Nodes, PhysicalCodec};
#[cfg(feature = "cluster")]
pub(crate) use self::plan::{session, shuffled_by, sorted};
pub use self::settings::{Config, Scheduler};
#[cfg(feature = "cluster")]
pub(crate) use self::stores::Stores;
#[cfg(feature = "cluster")]
pub(super) use self::stores::url as store_url;
#[cfg(feature = "cluster")]
pub(crate) use self::wire::Envelope;
use super::files::{self, FileStore};
use super::history::{Joined, PointInTime};
use super::pull::{Latest, PullLatest};
use super::{Error, OfflineStore};

#[derive(Debug)]
pub(super) struct ClusterStore {
    #[cfg_attr(
        not(feature = "cluster"),
        expect(dead_code, reason = "there is nothing to reach it with")
    )]
    config: Config,
    #[cfg_attr(
        not(feature = "cluster"),
        expect(dead_code, reason = "there is nothing to reach it with")
    )]
    directory: PathBuf,
    files: FileStore,
}

/// Relative paths start at `directory`.
pub(super) fn connect(config: &Config, directory: &Path) -> ClusterStore {
    ClusterStore {
        config: config.clone(),
        directory: directory.to_owned(),
        files: files::connect(directory),
    }
}

#[async_trait]
impl OfflineStore for ClusterStore {
    async fn pull_latest(&self, pull: PullLatest) -> Result<Latest, Error> {
        self.files.pull_latest(pull).await
    }

    #[cfg(feature = "cluster")]
    async fn point_in_time(&self, join: PointInTime) -> Result<Joined, Error> {
        let chain = Chain {
            config: self.config.clone(),
            directory: self.directory.clone(),
            entities: join.entities.clone(),
            carried: Vec::new(),
            joins: vec![join],
            then: None,
            codec: Arc::new(LogicalCodec::default()),
        };
        chain.begin()
    }

    #[cfg(not(feature = "cluster"))]
    async fn point_in_time(&self, join: PointInTime) -> Result<Joined, Error> {
        let what = "to be joined on a cluster (built without feature `cluster`)";
        Err(join.view.unsupported(what.to_owned()))
    }
}
