//! Join keys among the features of an on-demand view: a view that is written may list them in its schema, and Feast stores
//! them beside what the transformation gives. They are the input's own and never computed.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Error, Transform};
use crate::features::columns::{Column, Columns};
use crate::features::definitions::{Field, OnDemandFeatureView};
use crate::types::deadline::Deadline;

/// The features of a view that are join keys.
#[derive(Debug)]
pub(super) struct Keys(Vec<String>);

impl Keys {
    pub(super) fn of(view: &OnDemandFeatureView, input: &[Field]) -> Self {
        let is_key = |feature: &&Field| {
            let is_of_view = view.join_keys.iter().any(|key| key.name == feature.name);
            is_of_view && input.contains(feature)
        };
        let keys = view.features.iter().filter(is_key);
        Self(keys.map(|feature| feature.name.clone()).collect())
    }

    /// The view with the other features only.
    pub(super) fn computed(&self, view: &OnDemandFeatureView) -> OnDemandFeatureView {
        let mut view = view.clone();
        view.features
            .retain(|feature| !self.0.contains(&feature.name));
        view
    }

    /// The transformation that gives all features, from one that gives the others.
    pub(super) fn around(
        self,
        computed: Arc<dyn Transform>,
        view: &OnDemandFeatureView,
    ) -> Arc<dyn Transform> {
        if self.0.is_empty() {
            return computed;
        }
        Arc::new(WithKeys {
            keys: self,
            computed,
            features: view.features.clone(),
            view: view.name.clone(),
        })
    }
}

#[derive(Debug)]
struct WithKeys {
    keys: Keys,
    computed: Arc<dyn Transform>,
    /// All, in the view's order.
    features: Vec<Field>,
    view: String,
}

#[async_trait]
impl Transform for WithKeys {
    async fn run(&self, input: Columns, deadline: Deadline) -> Result<Columns, Error> {
        let n_rows = input.n_rows;
        let mut columns: Vec<Column> = Vec::with_capacity(self.features.len());
        for key in &self.keys.0 {
            match input.get(key) {
                Some(column) => columns.push(column.clone()),
                None => {
                    return Err(Error::MissingInput {
                        view: self.view.clone(),
                        column: key.clone(),
                    });
                }
            }
        }
        columns.extend(self.computed.run(input, deadline).await?.columns);
        let place = |column: &Column| {
            let mut features = self.features.iter();
            features.position(|feature| feature.name == column.name)
        };
        columns.sort_by_key(place);
        Ok(Columns::new(n_rows, columns)?)
    }
}
