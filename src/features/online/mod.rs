//! The online store: the newest feature values of every entity, read by entity key.
//!
//! Each backend keeps Feast 0.67's own layout, so that Feast reads what we write and we read what Feast wrote.
//! Not here: which views a request needs and its keys (`plan`), what a missing value means (`FeatureStore`).

mod breaker;
#[cfg(test)]
mod contract;
#[cfg(feature = "postgres")]
mod postgres;
mod raw;
mod redis;
mod sqlite;
mod tables;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_yaml_ng::{Mapping, Value as Yaml};

pub(super) use self::raw::hex;
pub use self::raw::{RawRows, RowTime};
use super::codec::WireError;
use super::key::{EntityKeys, KeyLayout};
use super::repo::Problem;
use super::settings::wrong;
use crate::error::{ErrorClass, Failure};
use crate::types::deadline::Deadline;
use crate::types::timestamp::Timestamp;
use crate::types::value::Value;

/// Views that are read by the same entity keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyGroup {
    pub views: Vec<StoredView>,
}

impl KeyGroup {
    pub fn n_features(&self) -> usize {
        self.views.iter().map(|view| view.features.len()).sum()
    }
}

/// A view as a store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredView {
    /// The view's own name, never its alias; with `_v{N}` behind it where views are versioned.
    pub name: String,
    pub features: Vec<String>,
}

/// A stored value, null included, with its row's event timestamp.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredValue {
    pub value: Value,
    pub event_timestamp: Timestamp,
}

/// The answer for one key group: for each key, each feature of each view in the group's order; `None` where nothing is stored.
pub type StoredRows = Vec<Option<StoredValue>>;

/// One row to write.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub key: Vec<u8>,
    /// One per feature of the view, in its order.
    pub values: Vec<Value>,
    pub event_timestamp: Timestamp,
    pub created_timestamp: Option<Timestamp>,
}

/// What every online store can do. The contract suite checks each sentence.
#[async_trait]
pub trait OnlineStore: Send + Sync + fmt::Debug {
    /// Compiles a read once. Does no I/O and succeeds whether or not the views were ever written.
    fn prepare(&self, groups: &[KeyGroup]) -> Arc<dyn Lookup>;

    /// Stores rows in their order and returns how many it stored: a store may pass over a row that is not newer than what it
    /// has. A row is replaced as a whole, nulls included. Not cancel safe: a part of the rows may be stored.
    async fn write(&self, view: &StoredView, rows: &[Row]) -> Result<usize, Error>;

    /// Deletes what the store has of a view whose keys `keys` makes, and returns of how many entity keys. Other views and other
    /// projects keep what they have, also under the same entity keys. May be repeated. Not cancel safe.
    async fn delete_view(&self, view: &StoredView, keys: &KeyLayout) -> Result<usize, Error>;

    /// Reaches out to the store and comes back.
    async fn ping(&self, deadline: Deadline) -> Result<(), Error>;

    /// What and where the store is, without secrets.
    fn describe(&self) -> &str;
}

/// A compiled read.
#[async_trait]
pub trait Lookup: Send + Sync + fmt::Debug {
    /// Reads all groups in one round trip. `keys` has the keys of each prepared group, in the same order; a group without keys
    /// is left out of the read. The answer has one item per group, of `keys[g].len() * n_features` values. Cancel safe.
    async fn read(&self, keys: &[EntityKeys], deadline: Deadline)
    -> Result<Vec<StoredRows>, Error>;

    /// The same read, with the values left as the bytes that the store holds. Bytes that are no value are no error here.
    async fn read_raw(
        &self,
        keys: &[EntityKeys],
        deadline: Deadline,
    ) -> Result<Vec<RawRows>, Error>;
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error("online store {store} did not answer within {waited:?}")]
    Timeout { store: Arc<str>, waited: Duration },
    #[error(
        "online store {store} has stopped answering: requests to it fail at once, and one at a time asks whether it answers again"
    )]
    NotAnswering { store: Arc<str> },
    #[error("online store {store} cannot be reached")]
    Unreachable {
        store: Arc<str>,
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    #[error("online store {store} refused: {message}")]
    Refused { store: Arc<str>, message: String },
    #[error("online store {store} does not exist yet: nothing was materialized")]
    Missing { store: Arc<str> },
    #[error("online store {store} has no table for feature view `{view}`")]
    NotMaterialized { store: Arc<str>, view: String },
    #[error(
        "online store {store} holds bytes for `{view}:{feature}` under entity key {key} that are not a feature value"
    )]
    Value {
        store: Arc<str>,
        view: String,
        feature: String,
        /// In hexadecimal.
        key: String,
        #[source]
        source: WireError,
    },
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Timeout { .. }
            | Self::NotAnswering { .. }
            | Self::Unreachable { .. }
            | Self::Refused { .. }
            | Self::Missing { .. }
            | Self::NotMaterialized { .. } => ErrorClass::Unavailable,
            Self::Value { .. } => ErrorClass::Internal,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Timeout { .. } => "online_store_timeout",
            Self::NotAnswering { .. } => "online_store_not_answering",
            Self::Unreachable { .. } => "online_store_unreachable",
            Self::Refused { .. } => "online_store_refused",
            Self::Missing { .. } => "online_store_missing",
            Self::NotMaterialized { .. } => "feature_view_not_materialized",
            Self::Value { .. } => "online_value_invalid",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Timeout { .. } => {
                Some("raise `features.timeout`, or look at the store's load".to_owned())
            }
            Self::NotAnswering { .. } => Some(
                "it takes connections and says nothing: look at the store's process and at its host"
                    .to_owned(),
            ),
            Self::Unreachable { .. } | Self::Refused { .. } => Some(
                "check `online_store` in feature_store.yaml, and that the store runs".to_owned(),
            ),
            Self::Missing { .. } | Self::NotMaterialized { .. } => {
                Some("run `terrarium features materialize`, or `feast materialize`".to_owned())
            }
            Self::Value { .. } => {
                Some("another program may have written them; materialize the view anew".to_owned())
            }
        }
    }
}

/// Where settings are read, as far as it bears on them.
pub(super) struct Place<'a> {
    /// Relative paths start here.
    pub(super) directory: &'a Path,
    /// The process's `TZ`, if it is set.
    pub(super) time_zone: Option<String>,
}

/// Which store, as `online_store` of feature_store.yaml says.
#[derive(Debug, Clone)]
pub enum Config {
    Sqlite(sqlite::Config),
    Redis(Box<redis::Config>),
    #[cfg(feature = "postgres")]
    Postgres(Box<postgres::Config>),
}

impl Config {
    /// Reads a mapping with a `type`, the bare name of a type, or nothing (SQLite).
    pub(super) fn read(
        value: Option<Yaml>,
        place: &Place<'_>,
        notes: &mut Vec<String>,
    ) -> Result<Self, Problem> {
        let mut entries = match value {
            None => Mapping::new(),
            Some(Yaml::Null) => {
                return Err(Problem::Invalid(
                    "`online_store` is null: there is nothing to read features from".to_owned(),
                ));
            }
            Some(name @ Yaml::String(_)) => Mapping::from_iter([("type".into(), name)]),
            Some(Yaml::Mapping(entries)) => entries,
            Some(other) => return Err(wrong("online_store", "a name or a mapping", &other).into()),
        };
        let kind = match entries.remove("type") {
            None => "sqlite".to_owned(),
            Some(Yaml::String(kind)) => kind,
            Some(other) => return Err(wrong("online_store.type", "text", &other).into()),
        };
        match kind.as_str() {
            "sqlite" => sqlite::Config::read(entries, place, notes).map(Self::Sqlite),
            "redis" => redis::Config::read(entries, notes)
                .map(Box::new)
                .map(Self::Redis),
            #[cfg(feature = "postgres")]
            "postgres" => postgres::Config::read(entries, notes)
                .map(Box::new)
                .map(Self::Postgres),
            #[cfg(not(feature = "postgres"))]
            "postgres" => Err(Problem::Unsupported(
                "`online_store.type: postgres` (built without feature `postgres`)".to_owned(),
            )),
            other => Err(Problem::Unsupported(format!(
                "`online_store.type: {other}`"
            ))),
        }
    }

    /// Whether the store is a file on this machine.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            Self::Redis(_) => false,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => false,
        }
    }

    /// Whether Feast's own code for this store tells a missing entity from a null: its stores with tables answer `NOT_FOUND`,
    /// its Redis store `PRESENT`.
    pub fn tells_missing(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            Self::Redis(_) => false,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => true,
        }
    }

    /// Whether rows leave the store by themselves some time after they were written.
    pub fn expires_rows(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Redis(config) => config.expires_rows(),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => false,
        }
    }

    /// Opens the store of `project`. Nothing is reached out to before the first read, write or ping.
    pub fn connect(&self, project: &str) -> Arc<dyn OnlineStore> {
        match self {
            Self::Sqlite(config) => Arc::new(sqlite::connect(config, project)),
            Self::Redis(config) => Arc::new(redis::connect(config, project)),
            #[cfg(feature = "postgres")]
            Self::Postgres(config) => Arc::new(postgres::connect(config, project)),
        }
    }
}

/// Waits for `work` until the deadline.
async fn within<T>(
    store: &Arc<str>,
    deadline: Deadline,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let started = tokio::time::Instant::now();
    if deadline.is_past() {
        let (store, waited) = (store.clone(), Duration::ZERO);
        return Err(Error::Timeout { store, waited });
    }
    match tokio::time::timeout_at(deadline.instant(), work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::Timeout {
            store: store.clone(),
            waited: Duration::from_millis(started.elapsed().as_millis() as u64),
        }),
    }
}
