//! Feature services with `precompute_online`: all their features of one entity key in one stored vector.
//!
//! Stored by Feast 0.67 under the view `__precomputed__{service}`, feature `vector`: bytes that hold a
//! `feast.core.PrecomputedFeatureVector`, whose features are called `view__feature`. Its key is that of the service's first
//! view. A request for which one vector is missing or out of shape is answered from the views; Feast answers it with an error.

use std::time::Duration;

use super::Error;
use super::Naming;
use super::resolve::label;
use crate::features::codec::wire::{Reader, WireError};
use crate::features::codec::{Scalar, decode_timestamp, scalar};
use crate::features::definitions::{Field, ValueType};
use crate::features::online::{OnlineStore, RawRows, RowTime};
use crate::features::plan::{Held, OnlinePlan, Rules, SelectedView, compile_views};
use crate::features::registry::Registry;
use crate::features::vectors::{VECTOR, view_name};
use crate::types::timestamp::Timestamp;

/// How a service's vectors are read.
#[derive(Debug)]
pub(super) struct Precomputed {
    pub(super) plan: OnlinePlan,
    /// For each of the plan's join keys, which join key of the service's own plan it is.
    pub(super) keys: Vec<usize>,
    /// `view__feature` of each feature, in the order of the service's own plan.
    names: Vec<String>,
    /// Name and limit of each view, in the same order.
    views: Vec<(String, Duration)>,
}

/// What was read, in the form that a store gives.
#[derive(Debug)]
pub(super) struct Vectors {
    pub(super) rows: RawRows,
    /// For each key, each view.
    pub(super) outdated: Vec<bool>,
}

impl Precomputed {
    /// `None` for a service without features.
    pub(super) fn compile(
        registry: &Registry,
        rules: Rules,
        store: &dyn OnlineStore,
        service: &str,
        selected: &[SelectedView<'_>],
    ) -> Result<Option<Self>, Error> {
        let Some(first) = selected.first() else {
            return Ok(None);
        };
        let name = view_name(service);
        let field = Field {
            name: VECTOR.to_owned(),
            value_type: ValueType::Bytes,
        };
        let vector = SelectedView {
            view: Held {
                name: &name,
                version: 0,
                join_keys: first.view.join_keys,
                features: std::slice::from_ref(&field),
                ttl: Duration::ZERO,
            },
            effective_name: &name,
            join_key_map: first.join_key_map,
            features: &[VECTOR.to_owned()],
        };
        let plan = compile_views(registry, rules, store, &[vector])?;
        let mut names = Vec::new();
        let mut views = Vec::new();
        for view in selected {
            views.push((view.effective_name.to_owned(), view.view.ttl));
            let features = view.features.iter();
            names.extend(features.map(|name| label(view.effective_name, name, Naming::Full)));
        }
        Ok(Some(Self {
            // The first view's join keys are the first of the service's plan.
            keys: (0..plan.join_keys.len()).collect(),
            plan,
            names,
            views,
        }))
    }

    /// Takes the vectors of all keys apart; `None` if one is missing or holds other features.
    pub(super) fn rows(&self, stored: &[RawRows], now: Timestamp) -> Option<Vectors> {
        let stored = stored.first()?;
        let mut vectors = Vectors {
            rows: RawRows::default(),
            outdated: Vec::new(),
        };
        for bytes in &stored.values {
            let Ok(Some(Scalar::Bytes(bytes))) = scalar(bytes.as_deref()?) else {
                return None;
            };
            self.take(&Vector::decode(bytes).ok()?, now, &mut vectors)?;
        }
        Some(vectors)
    }

    fn take(&self, vector: &Vector<'_>, now: Timestamp, vectors: &mut Vectors) -> Option<()> {
        if vector.names.len() != self.names.len() || vector.values.len() != self.names.len() {
            return None;
        }
        for (i, name) in self.names.iter().enumerate() {
            // Nearly always in the same order.
            let place = match vector.names.get(i) {
                Some(stored) if stored == name => i,
                _ => vector.names.iter().position(|stored| stored == name)?,
            };
            vectors
                .rows
                .values
                .push(Some(vector.values[place].to_vec()));
        }
        for (name, ttl) in &self.views {
            let time = vector.times.iter().find(|(view, _)| view == name);
            let age = time.map(|(_, time)| time.age_at(now));
            let is_outdated = !ttl.is_zero() && age.is_some_and(|age| age > *ttl);
            vectors.outdated.push(is_outdated);
            vectors.rows.times.push(RowTime::At(vector.computed_at));
        }
        Some(())
    }
}

/// `feast.core.PrecomputedFeatureVector`, borrowed from its bytes.
struct Vector<'a> {
    names: Vec<&'a str>,
    values: Vec<&'a [u8]>,
    times: Vec<(&'a str, Timestamp)>,
    computed_at: Timestamp,
}

impl<'a> Vector<'a> {
    fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut vector = Self {
            names: Vec::new(),
            values: Vec::new(),
            times: Vec::new(),
            computed_at: Timestamp::EPOCH,
        };
        let mut reader = Reader::new(bytes);
        while let Some((field, content)) = reader.field()? {
            match field {
                1 => vector.names.push(content.text(field)?),
                2 => vector.values.push(content.bytes(field)?),
                3 => vector.times.push(view_time(content.bytes(field)?)?),
                4 => vector.computed_at = decode_timestamp(content.bytes(field)?)?,
                _ => {}
            }
        }
        Ok(vector)
    }
}

/// `feast.core.FeatureViewTimestamp`.
fn view_time(bytes: &[u8]) -> Result<(&str, Timestamp), WireError> {
    let mut view = "";
    let mut time = Timestamp::EPOCH;
    let mut reader = Reader::new(bytes);
    while let Some((field, content)) = reader.field()? {
        match field {
            1 => view = content.text(field)?,
            2 => time = decode_timestamp(content.bytes(field)?)?,
            _ => {}
        }
    }
    Ok((view, time))
}
