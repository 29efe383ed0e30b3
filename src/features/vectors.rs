//! Vectors of feature services with `precompute_online`, made anew for the entity keys whose rows are written.
//!
//! Feast 0.67 makes all vectors of a service anew after a push and after a materialization of one of its views, on Redis
//! only, where it can find the entity keys; other stores never have any. Here only the keys that were written are done, which
//! leaves the same values under less work, and after `write-to-online-store` too, after which Feast leaves them outdated.
//! A service whose views have different join keys, or that has on-demand views, gets none (Feast writes nulls, and nothing).
//! A failure is logged and does not fail the write, as in Feast: the rows themselves are written.
//! Not here: reading vectors (`retrieve`).

use std::sync::Arc;

use super::codec::encode_timestamp;
use super::codec::wire::{put_bytes, put_message};
use super::definitions::{FeatureService, FeatureView};
use super::key::EntityKeys;
use super::online::{KeyGroup, Lookup, RawRows, Row, RowTime, StoredView};
use super::plan::{Rules, stored_name};
use super::registry::Registry;
use super::{Error, FeatureStore};
use crate::error::Failure;
use crate::types::deadline::Deadline;
use crate::types::timestamp::Timestamp;
use crate::types::value::Value;

/// The one feature of a vector's view.
pub(super) const VECTOR: &str = "vector";

/// The view that a service's vectors are stored as.
pub(super) fn view_name(service: &str) -> String {
    format!("__precomputed__{service}")
}

/// The services whose vectors the rows of a view are a part of. Made once per view that is written.
#[derive(Debug, Clone)]
pub(super) struct Affected(Arc<[Service]>);

/// How a service's vectors are made.
#[derive(Debug)]
struct Service {
    name: String,
    lookup: Arc<dyn Lookup>,
    /// `view__feature` of each feature, the view by its alias.
    features: Vec<String>,
    /// The alias of each view.
    views: Vec<String>,
    stored: StoredView,
}

impl FeatureStore {
    /// The services that have precomputed vectors with features of the view.
    pub(super) fn affected_vectors(&self, registry: &Registry, view: &FeatureView) -> Affected {
        if self.0.repo.online_store.tells_missing() {
            return Affected(Arc::new([]));
        }
        let services = registry.feature_services.iter();
        let services = services.filter(|service| {
            let mut projections = service.projections.iter();
            service.precompute_online && projections.any(|own| own.view == view.name)
        });
        let services = services.filter_map(|service| self.vectors_of(registry, service));
        Affected(services.collect())
    }

    fn vectors_of(&self, registry: &Registry, service: &FeatureService) -> Option<Service> {
        let rules = Rules::of(&self.0.repo);
        let mut join_keys = None;
        let mut group = KeyGroup { views: Vec::new() };
        let (mut features, mut views) = (Vec::new(), Vec::new());
        for projection in &service.projections {
            let view = registry.feature_view(&projection.view)?;
            let mut keys = view.join_keys.clone();
            keys.sort_by(|one, other| one.name.cmp(&other.name));
            if *join_keys.get_or_insert_with(|| keys.clone()) != keys {
                return None;
            }
            let name = projection.effective_name();
            let own = projection.features.iter();
            features.extend(own.clone().map(|field| format!("{name}__{}", field.name)));
            views.push(name.to_owned());
            group.views.push(StoredView {
                name: stored_name(view, rules),
                features: own.map(|field| field.name.clone()).collect(),
            });
        }
        Some(Service {
            lookup: self.0.online.prepare(&[group]),
            name: service.name.clone(),
            features,
            views,
            stored: StoredView {
                name: view_name(&service.name),
                features: vec![VECTOR.to_owned()],
            },
        })
    }

    /// Makes the vectors of the keys anew.
    pub(super) async fn renew_vectors(&self, affected: &Affected, rows: &[Row]) {
        if affected.0.is_empty() || rows.is_empty() {
            return;
        }
        let mut keys =
            EntityKeys::with_capacity(rows.len(), rows.iter().map(|row| row.key.len()).sum());
        for row in rows {
            keys.push_with(|bytes| bytes.extend_from_slice(&row.key));
        }
        keys.deduplicate();
        let keys = [keys];
        for service in affected.0.iter() {
            let deadline = Deadline::after(self.time_for(keys[0].len()));
            let outcome = self.write_vectors(service, &keys, deadline).await;
            if let Err(error) = outcome {
                let (service, code) = (&service.name, error.code());
                tracing::warn!(service, code, %error, "precomputed vectors are outdated");
            }
        }
    }

    async fn write_vectors(
        &self,
        service: &Service,
        keys: &[EntityKeys; 1],
        deadline: Deadline,
    ) -> Result<(), Error> {
        let read = service.lookup.read_raw(keys, deadline).await;
        let read = read?.pop().unwrap_or_default();
        let now = Timestamp::now();
        let rows = keys[0].iter().enumerate().map(|(i, key)| Row {
            key: key.to_vec(),
            values: vec![Value::Bytes(service.vector(&read, i, now))],
            event_timestamp: now,
            created_timestamp: None,
        });
        let rows: Vec<Row> = rows.collect();
        self.0.online.write(&service.stored, &rows).await?;
        Ok(())
    }
}

impl Service {
    /// A `feast.core.PrecomputedFeatureVector` of the `i`th key.
    fn vector(&self, read: &RawRows, i: usize, now: Timestamp) -> Vec<u8> {
        let mut out = Vec::new();
        for name in &self.features {
            put_bytes(&mut out, 1, name.as_bytes());
        }
        let n_features = self.features.len();
        for value in &read.values[i * n_features..(i + 1) * n_features] {
            put_bytes(&mut out, 2, value.as_deref().unwrap_or_default());
        }
        let n_views = self.views.len();
        let times = &read.times[i * n_views..(i + 1) * n_views];
        for (view, time) in self.views.iter().zip(times) {
            if let RowTime::At(time) = time {
                put_message(&mut out, 3, |out| {
                    put_bytes(out, 1, view.as_bytes());
                    put_message(out, 2, |out| encode_timestamp(*time, out));
                });
            }
        }
        put_message(&mut out, 4, |out| encode_timestamp(now, out));
        out
    }
}
