//! Features: Feast's registry and online store, read in one round trip per request.
//!
//! `FeatureStore` is the only way in. A selection of features is compiled once into an `OnlinePlan`; `online` then needs no
//! name and no registry. The registry is an immutable snapshot that `refresh` replaces.
//! Not here: models, request formats.

mod arrays;
pub mod codec;
pub mod columns;
mod computed;
mod convert;
pub mod definitions;
mod delete;
mod error;
pub mod historical;
pub mod key;
mod materialize;
mod murmur;
mod offline;
pub mod online;
mod plan;
mod postgres;
mod python;
pub mod registry;
pub mod repo;
pub mod retrieve;
mod rows;
mod settings;
mod suggest;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod transform;
mod vectors;
pub mod verify;
pub mod write;
mod written;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::computed::RequestData;
pub(crate) use self::convert::strict_cast;
pub use self::delete::DroppedView;
pub use self::error::Error;
use self::key::EntityKeys;
pub use self::materialize::{
    Error as MaterializeError, MaterializedView, OnProgress, Progress, Stage,
};
pub use self::offline::Options as OfflineOptions;
pub use self::offline::cluster;
use self::online::OnlineStore;
pub use self::plan::{JoinKey, OnlinePlan, PlannedFeature, RequestField, Selection};
use self::registry::Live;
use self::repo::Repo;
pub use self::retrieve::{InvalidValues, Statuses, ValueError, request_value};
pub use self::rows::{EntityRows, KeyColumn};
pub use self::suggest::Known;
use self::transform::{OnDemandConfig, Transforms};
use crate::types::deadline::Deadline;
use crate::types::feature::FeatureRows;
use crate::types::names::FeatureRef;
use crate::types::timestamp::Timestamp;

/// Where features come from: a Feast feature repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Directory of the Feast feature repository.
    pub repo: PathBuf,
    /// Its settings file, relative to the repository. It decides registry and online store, as in Feast.
    pub feature_store_yaml: PathBuf,
    /// Longest wait for one read of the online store. A read of more than 1,000 entity keys may take that long for each
    /// thousand, within the time-out of the request.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub timeout: Duration,
    /// Which statuses Feast's feature-server API gives: `python`, as Feast's Python server, or `exact`.
    pub statuses: Statuses,
    /// What Feast's feature-server API does about stored bytes that are not a feature value: `null` answers that value with
    /// null and status `INVALID` and logs it, `error` fails the request. A prediction fails in any case.
    pub invalid_values: InvalidValues,
    /// Address of Feast's transformation server (`feast serve_transformations`), `host:port`, which computes on-demand
    /// feature views of `mode="pandas"`. Absent: `feature_server.transformation_service_endpoint` of the settings file.
    pub transformation_service: Option<String>,
    /// On-demand feature views that are computed here, in SQL, by their names.
    pub on_demand: BTreeMap<String, OnDemandConfig>,
    /// The check for train/serve skew that the server does by itself.
    pub verify: verify::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            repo: PathBuf::from("feature_repo"),
            feature_store_yaml: PathBuf::from("feature_store.yaml"),
            timeout: Duration::from_millis(500),
            statuses: Statuses::default(),
            invalid_values: InvalidValues::default(),
            transformation_service: None,
            on_demand: BTreeMap::new(),
            verify: verify::Config::default(),
        }
    }
}

impl Config {
    /// Whether nobody has said which repository; then there may be none.
    pub fn is_default_repo(&self) -> bool {
        let defaults = Self::default();
        self.repo == defaults.repo && self.feature_store_yaml == defaults.feature_store_yaml
    }
}

/// A Feast project, open for reading and materializing. Clones share everything.
#[derive(Debug, Clone)]
pub struct FeatureStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    repo: Repo,
    timeout: Duration,
    registry: Live,
    online: Arc<dyn OnlineStore>,
    statuses: Statuses,
    invalid_values: InvalidValues,
    transforms: Transforms,
}

/// What was opened, for a person to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    pub project: String,
    pub online_store: String,
    pub registry: String,
    /// Settings that have no effect here, one sentence each.
    pub notes: Vec<String>,
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "feature project: {}, online store: {}, registry: {}",
            self.project, self.online_store, self.registry
        )
    }
}

impl FeatureStore {
    /// Reads the repository's settings and registry. The online store is not reached out to; `ping` does that.
    pub async fn open(
        config: &Config,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        Self::open_with(config, &OfflineOptions::default(), environment).await
    }

    /// The same, with a say in where joins are done.
    pub async fn open_with(
        config: &Config,
        offline: &OfflineOptions,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let load = match config.is_default_repo() {
            true => Repo::load_default,
            false => Repo::load,
        };
        let mut repo = load(&config.repo, &config.feature_store_yaml, environment)?;
        repo.offline_store = repo.offline_store.with_options(offline);
        let registry = Live::open(&repo.registry, &repo.project).await?;
        let online = repo.online_store.connect(&repo.project);
        let transforms = Transforms::open(config, &repo);
        Ok(Self(Arc::new(Inner {
            repo,
            timeout: config.timeout,
            registry,
            online,
            statuses: config.statuses,
            invalid_values: config.invalid_values,
            transforms,
        })))
    }

    pub fn project(&self) -> &str {
        &self.0.repo.project
    }

    pub fn describe(&self) -> Description {
        let registry = self.registry();
        let n_views = registry.feature_views.len();
        Description {
            project: self.project().to_owned(),
            online_store: self.0.online.describe().to_owned(),
            registry: format!("{} ({n_views} feature views)", self.0.registry.describe()),
            notes: self.0.repo.notes.clone(),
        }
    }

    /// Compiles a selection against the registry as it is now. Does no I/O.
    pub fn plan(&self, selection: &Selection) -> Result<OnlinePlan, Error> {
        self.plan_where(selection, &|_| true)
    }

    /// The same for those of the selected features that are wanted; the rest is checked and not read. Views go by their
    /// aliases.
    pub fn plan_where(
        &self,
        selection: &Selection,
        wanted: &dyn Fn(&FeatureRef) -> bool,
    ) -> Result<OnlinePlan, Error> {
        let registry = self.registry();
        let against = plan::Against {
            registry: &registry,
            rules: plan::Rules::of(&self.0.repo),
            store: &*self.0.online,
            transforms: &self.0.transforms,
        };
        plan::compile(against, selection, wanted)
    }

    /// Whether the online store is a file on this machine: then a missing one will not come back by itself.
    pub fn is_local(&self) -> bool {
        self.0.repo.online_store.is_local()
    }

    /// Reads the plan's features of all rows in one round trip; every distinct entity key is read once.
    ///
    /// `keys.columns` has one item per join key of the plan. Features of which a key is absent are `not_found`. On-demand
    /// features are computed without request data; `online_with` takes it. Cancel safe.
    pub async fn online(
        &self,
        plan: &OnlinePlan,
        keys: &EntityRows,
        deadline: Deadline,
    ) -> Result<FeatureRows, Error> {
        match &plan.on_demand {
            None => self.read(plan, keys, deadline).await,
            // On the heap, so that reads of other plans are no larger for it.
            Some(_) => {
                let none = RequestData::default();
                Box::pin(self.online_with(plan, keys, &none, deadline)).await
            }
        }
    }

    /// Reads the features of a plan that computes none.
    async fn read(
        &self,
        plan: &OnlinePlan,
        keys: &EntityRows,
        deadline: Deadline,
    ) -> Result<FeatureRows, Error> {
        keys.check(plan)?;
        let read_at = Timestamp::now();
        let (entity_keys, rows) = rows::entity_keys(plan, keys);
        let n_keys: usize = entity_keys.iter().map(EntityKeys::len).sum();
        let limit = deadline.at_most(self.time_for(n_keys));
        let stored = match plan.lookup.read(&entity_keys, limit).await {
            Err(online::Error::Timeout { .. }) if deadline.is_past() => {
                let store = self.0.online.describe().to_owned();
                return Err(Error::DeadlineExceeded { store });
            }
            outcome => outcome?,
        };
        Ok(rows::feature_rows(
            plan,
            keys.n_rows,
            &rows,
            stored,
            read_at,
        ))
    }

    /// The configured time-out for each thousand keys begun.
    fn time_for(&self, n_keys: usize) -> Duration {
        let times = u32::try_from(n_keys.div_ceil(1_000)).unwrap_or(u32::MAX);
        self.0.timeout.saturating_mul(times.max(1))
    }

    /// Reaches out to the online store.
    pub async fn ping(&self) -> Result<(), Error> {
        self.0.online.ping(Deadline::after(self.0.timeout)).await?;
        Ok(())
    }
}
