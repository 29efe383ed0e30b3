//! The offline store: where feature views have their history, read as Arrow batches.
//!
//! One trait, a backend per kind of source. `Offline` holds the settings and picks the backend of a source:
//! Parquet files go to DataFusion (without the feature `datafusion` to a reader that holds the range in memory), joins of them
//! to a Ballista cluster where one is configured, tables and queries to Postgres.
//! Not here: what is done with the rows (`materialize`, `historical`).

mod asof;
mod canonical;
pub mod cluster;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod contract_history;
mod direct;
mod entities;
mod error;
mod files;
mod history;
mod postgres;
mod pull;
mod pump;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_yaml_ng::{Mapping, Value as Yaml};

pub use self::entities::Entities;
pub(super) use self::entities::Spool;
pub(super) use self::error::{Error, wrong_type, wrong_value};
pub(super) use self::history::{Created, Joined, PointInTime, feature_array, utc_micros};
pub(super) use self::pull::{Column, Latest, Meter, PullLatest};
use super::definitions::SourceKind;
use super::repo::Problem;
use super::settings::{Settings, wrong};

/// Rows of a batch, unless they are very wide.
const BATCH_ROWS: usize = 8_192;

/// What every offline store can do. The contract suite checks each sentence.
#[async_trait]
pub(super) trait OfflineStore: Send + Sync + fmt::Debug {
    /// The newest row of every entity key whose event timestamp lies in the range, both ends included.
    ///
    /// Keys are equal when their values are, in the types of the view's join keys. The newest row has the greatest (event
    /// timestamp, created timestamp); a missing created timestamp is older than any; of equal rows it is the first in the
    /// source. Times are cut to microseconds before they are compared; naive times are UTC. Rows without an event timestamp
    /// are passed over; a null join key is an error.
    ///
    /// Batches have the columns of `PullLatest::position`. No entity key comes twice; the order is the store's. Memory is
    /// bounded, whatever the number of rows, except where a store says otherwise. Dropping the stream ends the work.
    async fn pull_latest(&self, pull: PullLatest) -> Result<Latest, Error>;

    /// For every entity row the newest row of its key whose event timestamp is not later than its time and not older than
    /// `ttl` before it, both ends included; nulls where there is none.
    ///
    /// Keys, times and what is the newest row: as in `pull_latest`, but that a null join key, in the source or of an entity
    /// row, equals nothing. A row whose features are null is a row like any other. `created` says whether rows count that
    /// were created after the time.
    ///
    /// Batches are as `Joined` says: one row for each entity row, in their order, however often a key and time come. Memory
    /// is bounded, whatever the number of rows, except where a store says otherwise. Dropping the stream ends the work.
    async fn point_in_time(&self, join: PointInTime) -> Result<Joined, Error>;
}

/// Where the work of the offline store is done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// On a cluster. Absent: in this process.
    pub cluster: Option<cluster::Config>,
}

/// The offline stores of a repository.
#[derive(Debug, Clone)]
pub struct Config {
    /// Relative paths of file sources start here.
    directory: PathBuf,
    postgres: Option<postgres::Config>,
    cluster: Option<cluster::Config>,
}

impl Config {
    /// Reads `offline_store` of feature_store.yaml: a mapping with a `type`, the bare name of a type, or nothing. The file
    /// stores of Feast have no settings; those that this build cannot read are left alone until a view needs them.
    pub(super) fn read(value: Option<Yaml>, directory: &Path) -> Result<Self, Problem> {
        let mut entries = match value {
            None | Some(Yaml::Null | Yaml::String(_)) => Mapping::new(),
            Some(Yaml::Mapping(entries)) => entries,
            Some(other) => return Err(wrong("offline_store", "a name or a mapping", &other).into()),
        };
        let is_postgres = matches!(
            entries.remove("type"),
            Some(Yaml::String(kind)) if kind == "postgres" || kind.ends_with(".PostgreSQLOfflineStore")
        );
        let postgres = match is_postgres {
            true => {
                let mut settings = Settings::new("offline_store", Yaml::Mapping(entries))?;
                Some(postgres::Config::take("offline_store", &mut settings)?)
            }
            false => None,
        };
        Ok(Self {
            directory: directory.to_owned(),
            postgres,
            cluster: None,
        })
    }

    pub(super) fn with_options(self, options: &Options) -> Self {
        Self {
            cluster: options.cluster.clone(),
            ..self
        }
    }

    #[cfg(feature = "cluster")]
    pub(super) fn cluster(&self) -> Option<&cluster::Config> {
        self.cluster.as_ref()
    }

    /// Starts reading from the store that holds the pull's source.
    pub(super) async fn pull_latest(&self, pull: PullLatest) -> Result<Latest, Error> {
        self.store_of(&pull)?.pull_latest(pull).await
    }

    /// Starts joining in the store that holds the view's source.
    pub(super) async fn point_in_time(&self, join: PointInTime) -> Result<Joined, Error> {
        self.store_of(&join.view)?.point_in_time(join).await
    }

    /// The rows of a query in the Postgres of `offline_store`. It may only read.
    pub(super) async fn query_entities(&self, query: &str) -> Result<Entities, Error> {
        match &self.postgres {
            Some(config) => postgres::entity_rows(config, query).await,
            None => Err(Error::NoEntityDatabase {
                problem: "`offline_store.type` is not `postgres`".to_owned(),
            }),
        }
    }

    fn store_of(&self, pull: &PullLatest) -> Result<Box<dyn OfflineStore>, Error> {
        Ok(match (&pull.source.kind, &self.cluster) {
            (SourceKind::File { .. }, Some(cluster)) => {
                Box::new(cluster::connect(cluster, &self.directory))
            }
            (SourceKind::File { .. }, None) if files::IS_BUILT => {
                Box::new(files::connect(&self.directory))
            }
            (SourceKind::File { .. }, None) => Box::new(direct::connect(&self.directory)),
            (SourceKind::Postgres { .. }, _) => {
                Box::new(postgres::connect(self.postgres.as_ref(), pull)?)
            }
            (SourceKind::Other(kind), _) => {
                let what = format!("a source of kind {kind}");
                return Err(pull.unsupported(what));
            }
        })
    }
}
