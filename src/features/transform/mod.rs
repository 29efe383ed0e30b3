//! On-demand feature views: features that are computed from other features and from what the request brings.
//!
//! A view is computed in one of three ways, the first that applies: the SQL that `[features.on_demand.<view>]` declares; its
//! own Substrait plan (`mode="substrait"`); Feast's transformation server (`mode="pandas"`). A transformation gives one row
//! for each row of its input, in the same order, and a row never depends on the others.
//! Not here: reading what a view is computed from (`retrieve`, `plan`), views that are computed when they are written (`plan`: they
//! are read like any other).

mod compiled;
mod error;
mod inputs;
mod keys;
mod native;
mod service;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(super) use self::compiled::{CompiledView, InputValues};
pub use self::error::Error;
pub use self::inputs::{Inputs, SourceInput};
use super::columns::Columns;
use super::definitions::{Field, OnDemandFeatureView, Transformation};
use super::registry::Registry;
use super::repo::Repo;
use super::{Config, FeatureStore};
use crate::types::deadline::Deadline;

/// How one on-demand feature view is computed here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnDemandConfig {
    /// A query over the table `input`, which has the entity columns, the request data and the source features, each as
    /// `feature` and as `view__feature`. It gives one row per row of `input`, and the view's features as columns.
    pub sql: String,
}

/// A compiled on-demand feature view.
#[async_trait]
pub trait Transform: Send + Sync + fmt::Debug {
    /// Computes all features of the view, in its order, for all rows. `input` has the columns that the view was compiled
    /// for, in any order; more are ignored. Cancel safe.
    async fn run(&self, input: Columns, deadline: Deadline) -> Result<Columns, Error>;
}

/// The ways to compute on-demand feature views. Clones share everything.
#[derive(Debug, Clone)]
pub struct Transforms {
    declared: Arc<BTreeMap<String, OnDemandConfig>>,
    service: service::Service,
}

impl Transforms {
    /// Reaches out to nothing.
    pub fn open(config: &Config, repo: &Repo) -> Self {
        let endpoint = config
            .transformation_service
            .as_ref()
            .or(repo.transformation_service.as_ref());
        Self {
            declared: Arc::new(config.on_demand.clone()),
            service: service::Service::new(endpoint.cloned(), &repo.project),
        }
    }

    /// SQL for views by their names, and no transformation server.
    #[cfg(test)]
    pub(in crate::features) fn declaring(queries: &[(&str, &str)]) -> Self {
        let declared = queries.iter().map(|&(view, sql)| {
            let sql = sql.to_owned();
            (view.to_owned(), OnDemandConfig { sql })
        });
        Self {
            declared: Arc::new(declared.collect()),
            service: service::Service::new(None, "test"),
        }
    }

    /// Compiles a view for an input of these columns (`Inputs::fields`). Takes milliseconds; what it gives is meant to be
    /// kept.
    pub fn compile(
        &self,
        view: &OnDemandFeatureView,
        input: &[Field],
    ) -> Result<Arc<dyn Transform>, Error> {
        let keys = keys::Keys::of(view, input);
        let computed = keys.computed(view);
        Ok(keys.around(self.compile_computed(&computed, input)?, view))
    }

    fn compile_computed(
        &self,
        view: &OnDemandFeatureView,
        input: &[Field],
    ) -> Result<Arc<dyn Transform>, Error> {
        if let Some(declared) = self.declared.get(&view.name) {
            return native::sql(&declared.sql, view, input);
        }
        match &view.transformation {
            Transformation::Pandas { .. } => self.service.compile(view, input),
            Transformation::Substrait { plan } => native::substrait(plan, view, input),
            Transformation::Python { .. } | Transformation::Other(_) => Err(Error::no_way(view)),
        }
    }

    /// The SQL that is declared for a view.
    pub fn declared_sql(&self, view: &str) -> Option<&str> {
        self.declared
            .get(view)
            .map(|declared| declared.sql.as_str())
    }

    /// What Feast's transformation server says about itself; `None` if none is configured. Cancel safe.
    pub async fn describe_service(&self, deadline: Deadline) -> Result<Option<String>, Error> {
        self.service.describe(deadline).await
    }

    /// What is wrong with the views of a registry that are computed when they are read, and with what is declared for views.
    pub fn check(&self, registry: &Registry) -> Vec<Error> {
        let mut errors = Vec::new();
        for view in &registry.on_demand_feature_views {
            let compiled =
                Inputs::of(view, registry).and_then(|inputs| self.compile(view, &inputs.fields));
            errors.extend(compiled.err());
        }
        for name in self.declared.keys() {
            if registry.on_demand_feature_view(name).is_none() {
                let views = registry.on_demand_feature_views.iter();
                errors.push(Error::UnknownView {
                    view: name.clone(),
                    known: super::suggest::Known::instead_of(
                        name,
                        views.map(|view| view.name.as_str()),
                    ),
                });
            }
        }
        errors
    }
}

impl FeatureStore {
    /// The ways to compute on-demand feature views.
    pub fn transforms(&self) -> &Transforms {
        &self.0.transforms
    }

    /// What is wrong with the on-demand feature views as they are now, one error for each; nothing is called.
    pub fn check_on_demand(&self) -> Vec<super::Error> {
        let errors = self.transforms().check(&self.registry());
        errors.into_iter().map(super::Error::from).collect()
    }
}
