//! A selection as it is read from the views' sources, for a training set.
//!
//! Names, versions, aliases and collisions are those of serving. A view need not be online, and an on-demand view is computed
//! whether or not it is also written to the online store.

use super::resolve::{Draft, Kind, Purpose, label};
use super::{Error, Naming, Wanted};
use crate::features::FeatureStore;
use crate::features::definitions::{FeatureView, Field, OnDemandFeatureView};
use crate::features::registry::Registry;

/// What is read and computed.
#[derive(Debug)]
pub(in crate::features) struct History<'a> {
    /// In order of first selection.
    pub(in crate::features) views: Vec<HistoryView<'a>>,
    pub(in crate::features) on_demand: Vec<HistoryOnDemand<'a>>,
}

#[derive(Debug)]
pub(in crate::features) struct HistoryView<'a> {
    pub(in crate::features) view: &'a FeatureView,
    /// The alias where it has one.
    pub(in crate::features) effective: String,
    pub(in crate::features) join_key_map: &'a [(String, String)],
    /// In order of selection, with what they are called in the result: those that are selected and those that selected
    /// on-demand views are computed from.
    pub(in crate::features) features: Vec<(Field, String)>,
}

#[derive(Debug)]
pub(in crate::features) struct HistoryOnDemand<'a> {
    pub(in crate::features) view: &'a OnDemandFeatureView,
    /// The selected features, with what they are called in the result.
    pub(in crate::features) features: Vec<(Field, String)>,
}

pub(in crate::features) fn resolve<'a>(
    store: &'a FeatureStore,
    registry: &'a Registry,
    wanted: &Wanted,
    naming: Naming,
) -> Result<History<'a>, Error> {
    let (draft, _) = Draft::of(store, registry, wanted, naming, Purpose::History)?;
    let labelled = |effective: &str, names: &[String], fields: &[Field]| {
        let of = |name: &String| {
            let field = fields.iter().find(|field| field.name == *name)?;
            Some((field.clone(), label(effective, name, naming)))
        };
        names.iter().filter_map(of).collect::<Vec<_>>()
    };
    let mut views = Vec::new();
    for &position in &draft.order {
        let usable = &draft.usable[position];
        let Kind::Stored { view, join_key_map } = &usable.kind else {
            continue;
        };
        // On-demand views are computed here, so that a stored one is a view of the registry.
        let Some(view) = registry.feature_view(view.name) else {
            continue;
        };
        views.push(HistoryView {
            view,
            effective: usable.effective.clone(),
            join_key_map,
            features: labelled(&usable.effective, &usable.read, &view.features),
        });
    }
    let mut on_demand = Vec::new();
    for usable in &draft.usable {
        if let Kind::Computed(view) = &usable.kind
            && !usable.requested.is_empty()
        {
            let features = labelled(&usable.effective, &usable.requested, &view.features);
            on_demand.push(HistoryOnDemand { view, features });
        }
    }
    Ok(History { views, on_demand })
}
