//! Compiles serving plans: a model version's inputs bound to features and request columns, by name and type.
//!
//! Runs when a version loads and for `models check`; what it refuses does not go live. Rules: docs/serving-plan.md.
//! Not here: what a plan does with a request (`call`, `assemble`).

mod error;
mod outputs;
mod selection;
mod tensors;
#[cfg(test)]
mod tests;
mod types;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use error::Error;
use futures::future::{self, BoxFuture, FutureExt};

use super::assemble::value_of;
use super::config::{Config, OnMissing, OnStale};
use super::convert::check;
use super::gate::Record;
use selection::Selected;

use super::plan::{PlannedColumn, ServingPlan, Slot, Source};
use super::scoring::Scorer;
use crate::features::{FeatureStore, OnlinePlan};
use crate::inference::Queueing;
use crate::models::{BindError, Binder, Candidate, ServedVersion, Verdict};
use crate::telemetry::metrics::Metrics;
use crate::types::names::{FeatureRef, ModelVersion};
use crate::types::value::Value;

/// Binds model versions to features as the configuration and their tags say.
pub struct PlanBinder {
    features: Option<Arc<FeatureStore>>,
    models: BTreeMap<String, Config>,
    metrics: Arc<Metrics>,
    /// Absent where there are no recorded predictions to look at.
    record: Option<Record>,
}

impl PlanBinder {
    pub fn new(
        features: Option<Arc<FeatureStore>>,
        models: BTreeMap<String, Config>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            features,
            models,
            metrics,
            record: None,
        }
    }

    /// The same, and versions are warmed up and judged by these recorded predictions.
    pub fn with_record(self, record: Record) -> Self {
        Self {
            record: Some(record),
            ..self
        }
    }
}

impl Binder for PlanBinder {
    type Plan = ServingPlan;

    fn bind(&self, candidate: &Candidate<'_>) -> Result<ServingPlan, BindError> {
        let config = self.models.get(candidate.name).cloned().unwrap_or_default();
        self.compile(candidate, &config)
            .map_err(|error| Box::new(error) as BindError)
    }

    fn queueing(&self, name: &str, version: ModelVersion) -> Queueing {
        let config = self.models.get(name);
        Queueing {
            batching: config.map(|config| config.batching).unwrap_or_default(),
            cache: config.map(|config| config.cache).unwrap_or_default(),
            metrics: self.metrics.queue(name, version),
        }
    }

    fn warm_up<'a>(&'a self, version: &'a ServedVersion<ServingPlan>) -> BoxFuture<'a, ()> {
        let config = self.models.get(&*version.name);
        let rows = config.map_or_else(
            || Config::default().warm_up_rows,
            |model| model.warm_up_rows,
        );
        match &self.record {
            Some(record) if rows > 0 => record.warm_up(version, rows).boxed(),
            _ => future::ready(()).boxed(),
        }
    }

    fn is_gated(&self, name: &str) -> bool {
        let config = self.models.get(name);
        self.record.is_some() && config.is_some_and(|config| config.gate.replay.is_some())
    }

    fn judge(
        &self,
        candidate: Arc<ServedVersion<ServingPlan>>,
        served: ModelVersion,
    ) -> BoxFuture<'static, Verdict> {
        let config = self.models.get(&*candidate.name);
        match (&self.record, config) {
            (Some(record), Some(config)) => {
                let record = record.clone();
                record.judge(config.gate.clone(), candidate, served).boxed()
            }
            _ => future::ready(Verdict::Passed("there is no gate".to_owned())).boxed(),
        }
    }
}

impl PlanBinder {
    fn compile(&self, candidate: &Candidate<'_>, config: &Config) -> Result<ServingPlan, Error> {
        let selected = Selected::of(self.features.as_deref(), candidate, config)?;
        let all = selected.as_ref().map(Selected::all).transpose()?;
        let selection = selected
            .as_ref()
            .map(|selected| selected.selection().clone());
        let mut inputs = tensors::bind(candidate, all.as_ref())?;
        let online = match (selected, all) {
            (Some(selected), Some(all)) => Some(only_used(&selected, &all, &mut inputs.columns)?),
            _ => None,
        };
        Ok(ServingPlan {
            defaults: defaults(online.as_ref(), &inputs.columns, config)?,
            on_missing: config.on_missing,
            on_stale: config.on_stale,
            slots: slots(online.as_ref(), &inputs.columns),
            outputs: outputs::names(candidate),
            graph_outputs: outputs::graph_names(candidate),
            scoring: Scorer::new(candidate.signature, candidate.graph),
            fixed_rows: inputs.fixed_rows,
            tensors: inputs.tensors,
            optional: inputs.optional,
            metrics: self.metrics.model(candidate.name, candidate.version),
            columns: inputs.columns,
            online,
            selection,
        })
    }
}

/// The plan without the features that no column takes; the columns' features are renumbered accordingly.
fn only_used(
    selected: &Selected<'_>,
    all: &OnlinePlan,
    columns: &mut [PlannedColumn],
) -> Result<OnlinePlan, Error> {
    let mut used = vec![false; all.features.len()];
    for column in columns.iter() {
        if let Source::Feature(feature) = column.source {
            used[feature] = true;
        }
    }
    for column in columns {
        if let Source::Feature(feature) = &mut column.source {
            *feature = used[..*feature].iter().filter(|used| **used).count();
        }
    }
    let names = all.features.iter().zip(&used).filter(|(_, used)| **used);
    let names: Vec<FeatureRef> = names
        .map(|(feature, _)| FeatureRef {
            view: feature.view.clone(),
            feature: feature.feature.clone(),
        })
        .collect();
    selected.only(&names)
}

/// The configured defaults by feature; every name must mean a feature, and a policy that needs one must find it.
fn defaults(
    online: Option<&OnlinePlan>,
    columns: &[PlannedColumn],
    config: &Config,
) -> Result<Vec<Option<Value>>, Error> {
    let features = online.map_or(&[][..], |online| &online.features);
    let mut defaults = vec![None; features.len()];
    for (name, cell) in &config.defaults {
        let mut found = false;
        for (feature, default) in features.iter().zip(&mut defaults) {
            if selection::is_named(feature, name) {
                *default = Some(value_of(cell));
                found = true;
            }
        }
        if !found {
            return Err(Error::DefaultUnknown { name: name.clone() });
        }
    }
    for column in columns {
        if let Source::Feature(feature) = column.source
            && let Some(default) = &defaults[feature]
        {
            check(default, column.declared).map_err(|actual| Error::DefaultType {
                feature: format!("{}:{}", features[feature].view, features[feature].feature),
                wanted: column.declared,
                actual,
            })?;
        }
    }
    if config.on_missing == OnMissing::Default || config.on_stale == OnStale::Default {
        for (feature, default) in features.iter().zip(&defaults) {
            if default.is_none() {
                return Err(Error::DefaultMissing {
                    feature: format!("{}:{}", feature.view, feature.feature),
                });
            }
        }
    }
    Ok(defaults)
}

/// What each name that a request may use feeds.
fn slots(online: Option<&OnlinePlan>, columns: &[PlannedColumn]) -> HashMap<String, Slot> {
    let mut slots: HashMap<String, Slot> = HashMap::new();
    let request_data = online.map_or(&[][..], |online| &online.request_data);
    for (index, field) in request_data.iter().enumerate() {
        let slot = slots.entry(field.name.clone()).or_default();
        slot.request_data = Some(index);
    }
    for (index, column) in columns.iter().enumerate() {
        let slot = slots.entry(column.name.clone()).or_default();
        slot.declared = Some(column.declared);
        match column.source {
            Source::Request | Source::JoinKey => slot.columns.push(index),
            // What is computed from the request is given in each call, and cannot mean a feature as well.
            Source::Feature(_) if slot.request_data.is_some() => {}
            // The column's own name overrides its feature.
            Source::Feature(feature) => slot.features.push(feature),
        }
    }
    let Some(online) = online else { return slots };
    for (index, key) in online.join_keys.iter().enumerate() {
        slots
            .entry(key.name.clone())
            .or_default()
            .join_keys
            .push(index);
    }
    for (index, feature) in online.features.iter().enumerate() {
        let alone = online
            .features
            .iter()
            .filter(|other| other.feature == feature.feature)
            .count()
            == 1;
        let short = alone.then(|| feature.feature.clone());
        for name in short
            .into_iter()
            .chain([format!("{}__{}", feature.view, feature.feature)])
        {
            let slot = slots.entry(name).or_default();
            // A name that already means a column, a key or request data keeps that meaning.
            if slot.columns.is_empty()
                && slot.join_keys.is_empty()
                && slot.request_data.is_none()
                && !slot.features.contains(&index)
            {
                slot.features.push(index);
                let takes = |column: &&PlannedColumn| column.source == Source::Feature(index);
                slot.declared = columns.iter().find(takes).map(|column| column.declared);
            }
        }
    }
    slots
}
