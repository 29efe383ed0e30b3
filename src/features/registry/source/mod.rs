//! Where a registry lies: it is read whole, and a view's state and watermark are written back into it.
//!
//! Not here: what is made of the objects (`read`), how the bytes of one change (`change`), when it is read again (`live`).

mod file;
pub(super) mod object;
pub(super) mod remote;
pub(super) mod sql;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::config::{Config, Place};
use super::{Error, Registry};
use crate::features::definitions::ViewState;
use crate::types::timestamp::Timestamp;

/// What happened to a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewChange {
    /// Its state alone, as Feast sets it while a materialization runs.
    State(ViewState),
    /// All rows with `start <= event timestamp <= end` are in the online store: the interval joins the view's own, and the
    /// view is available online.
    Materialized { start: Timestamp, end: Timestamp },
}

/// Changes whenever a registry's file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    modified: std::time::SystemTime,
    length: u64,
    /// Another one after each rename.
    inode: u64,
}

/// Every kind of place can do this.
#[async_trait]
trait Store: Send + Sync + fmt::Debug {
    /// The definitions of `project` as they are now. Cancel safe.
    async fn load(&self, project: &str) -> Result<Registry, Error>;

    /// Writes one change of one view and leaves every other byte of the objects as it is. Either all of it is written or
    /// nothing. Changes of others, made at the same time, are kept. Not cancel safe.
    async fn record(&self, project: &str, view: &str, change: ViewChange) -> Result<(), Error>;

    /// A cheap look at whether the registry was replaced; `None` where that cannot be seen.
    async fn mark(&self) -> Option<Mark>;

    /// What and where it is, without secrets.
    fn describe(&self) -> &str;
}

/// One project's registry, wherever it lies. Clones share connections.
#[derive(Debug, Clone)]
pub struct RegistrySource {
    store: Arc<dyn Store>,
    project: Arc<str>,
}

impl RegistrySource {
    /// Nothing is reached out to before the first read.
    pub fn open(config: &Config, project: &str) -> Result<Self, Error> {
        let store: Arc<dyn Store> = match &config.place {
            Place::File(path) => Arc::new(file::open(path)),
            Place::Object(config) => object::open(config)?,
            Place::Sql(config) => Arc::new(sql::open(config)?),
            Place::Remote(config) => Arc::new(remote::open(config)?),
        };
        Ok(Self {
            store,
            project: project.into(),
        })
    }

    /// Reads the registry. Cancel safe.
    pub async fn load(&self) -> Result<Registry, Error> {
        self.store.load(&self.project).await
    }

    /// Writes one change of one view. Not cancel safe: it may be written although nobody heard of it.
    pub async fn record(&self, view: &str, change: ViewChange) -> Result<(), Error> {
        self.store.record(&self.project, view, change).await
    }

    pub(super) async fn mark(&self) -> Option<Mark> {
        self.store.mark().await
    }

    pub fn describe(&self) -> &str {
        self.store.describe()
    }
}
