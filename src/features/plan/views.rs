//! Views as plans and retrievals read them, and their names.

use std::time::Duration;

use super::Rules;
use crate::features::Error;
use crate::features::definitions::{DUMMY_JOIN_KEY, FeatureView, Field, OnDemandFeatureView};
use crate::features::suggest::Known;

/// A view that the online store holds: one that is materialized or pushed, or an on-demand view that is computed when it is
/// written.
#[derive(Clone, Copy)]
pub(in crate::features) struct Held<'a> {
    pub(in crate::features) name: &'a str,
    pub(in crate::features) version: u32,
    /// None for an entityless view.
    pub(in crate::features) join_keys: &'a [Field],
    pub(in crate::features) features: &'a [Field],
    pub(in crate::features) ttl: Duration,
}

/// What a name of a view stands for.
pub(super) enum View<'a> {
    Held(Held<'a>),
    /// An on-demand view that is computed when it is read.
    Computed(&'a OnDemandFeatureView),
}

/// The name under which the online store keeps a view.
pub(in crate::features) fn stored_name(view: &FeatureView, rules: Rules) -> String {
    versioned_name(&view.name, view.version, rules)
}

pub(super) fn versioned_name(name: &str, version: u32, rules: Rules) -> String {
    if rules.versioned_views && version > 0 {
        format!("{name}_v{version}")
    } else {
        name.to_owned()
    }
}

pub(in crate::features) fn held(view: &FeatureView) -> Held<'_> {
    Held {
        name: &view.name,
        version: view.version,
        join_keys: if view.entities.is_empty() {
            &[]
        } else {
            &view.join_keys
        },
        features: &view.features,
        ttl: view.ttl,
    }
}

/// An on-demand view that is kept in the online store. Its features have no age limit in Feast.
pub(in crate::features) fn held_on_demand(view: &OnDemandFeatureView) -> Result<Held<'_>, Error> {
    let view = enabled(view)?;
    let is_entityless = view.join_keys.iter().all(|key| key.name == DUMMY_JOIN_KEY);
    Ok(Held {
        name: &view.name,
        version: view.version,
        join_keys: if is_entityless { &[] } else { &view.join_keys },
        features: &view.features,
        ttl: Duration::ZERO,
    })
}

pub(super) fn enabled(view: &OnDemandFeatureView) -> Result<&OnDemandFeatureView, Error> {
    match view.disabled {
        false => Ok(view),
        true => Err(Error::NotServed {
            view: view.name.clone(),
            state: "DISABLED",
        }),
    }
}

pub(super) fn feature_of<'a>(
    view: &str,
    fields: &'a [Field],
    name: &str,
) -> Result<&'a Field, Error> {
    let found = fields.iter().find(|field| field.name == name);
    found.ok_or_else(|| {
        let names = fields.iter().map(|field| field.name.as_str());
        Error::UnknownFeature {
            view: view.to_owned(),
            feature: name.to_owned(),
            known: Known::instead_of(name, names),
        }
    })
}

/// `view@v3` pins a version; `view@latest` is `view`.
pub(super) fn split_version(name: &str) -> (&str, Option<u32>) {
    match name.rsplit_once('@') {
        Some((view, "latest")) => (view, None),
        Some((view, tag)) => match tag.strip_prefix('v').and_then(|number| number.parse().ok()) {
            Some(number) => (view, Some(number)),
            None => (name, None),
        },
        None => (name, None),
    }
}
