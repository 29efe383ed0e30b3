//! Which version each row of a call falls to.
//!
//! The key of a row is the entity key over the model's join keys, in Feast's serialization version 3 whatever the
//! repository's is; of join keys that the request leaves out, because it overrides their features, the others make the
//! key. Without any entity the request id is the key: the whole call falls to one version.
//! Not here: what a key means for the shares (`models/traffic`).

use std::borrow::Cow;

use super::Traffic;
use crate::features::key::{KeyError, KeyLayout, KeyType, KeyValue, KeyVersion};
use crate::predict::ServingPlan;
use crate::predict::given::Values;
use crate::types::prediction::Layout;
use crate::types::request::{Cells, ColumnPlace, PredictRequest, RequestColumns};

/// Who answers a call; places are those of the traffic's variants.
#[derive(Debug)]
pub(super) enum Route<'a> {
    One(usize),
    Several(Shared<'a>),
}

/// A call whose rows fall on several versions.
#[derive(Debug)]
pub(super) struct Shared<'a> {
    /// What is shared out, as the main version understands it.
    pub(super) columns: Cow<'a, RequestColumns>,
    /// What the protocol's answer looks like.
    pub(super) layout: Layout,
    /// In ascending order of their places; two at least.
    pub(super) parts: Vec<Part>,
}

/// The rows that one variant answers.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) place: usize,
    /// In ascending order; never empty.
    pub(super) rows: Vec<usize>,
}

pub(super) fn route<'a>(traffic: &Traffic, request: &'a PredictRequest) -> Route<'a> {
    if let Some(only) = traffic.only() {
        return Route::One(only);
    }
    let plan = &traffic.variant(traffic.main()).version.plan;
    // What the main version refuses, it says why.
    let Ok(given) = plan.given(request) else {
        return Route::One(traffic.main());
    };
    let Values::Columns(columns) = given.values else {
        return by_request_id(traffic, request);
    };
    match Keys::of(plan, &columns) {
        Ok(Some(keys)) => {
            // A graph of a fixed number of rows takes a call as one piece.
            let n_keys = match plan.fixed_rows {
                Some(_) => 1,
                None => keys.n_keys(),
            };
            let parts = choose_each(traffic, &keys, n_keys);
            match &parts[..] {
                [one] => Route::One(one.place),
                _ => Route::Several(Shared {
                    columns,
                    layout: given.layout,
                    parts,
                }),
            }
        }
        Ok(None) => by_request_id(traffic, request),
        // The main version refuses such a key, and says which.
        Err(_) => Route::One(traffic.main()),
    }
}

fn by_request_id(traffic: &Traffic, request: &PredictRequest) -> Route<'static> {
    Route::One(traffic.choose(request.context.request_id.as_bytes()))
}

fn choose_each(traffic: &Traffic, keys: &Keys, n_keys: usize) -> Vec<Part> {
    let mut bytes = Vec::new();
    let mut choose = |row| {
        bytes.clear();
        keys.layout
            .encode(|column| keys.value(column, row), &mut bytes);
        traffic.choose(&bytes)
    };
    let mut parts: Vec<Part> = Vec::new();
    for row in 0..n_keys {
        let place = choose(row);
        match parts.binary_search_by_key(&place, |part| part.place) {
            Ok(found) => parts[found].rows.push(row),
            Err(at) => parts.insert(
                at,
                Part {
                    place,
                    rows: vec![row],
                },
            ),
        }
    }
    parts
}

/// The entity keys of a request, as far as they choose a version.
struct Keys {
    layout: KeyLayout,
    /// One for each join key of the layout: a value for each row, or one for all rows.
    columns: Vec<Vec<KeyValue>>,
}

impl Keys {
    /// `None` for a request that gives no entity.
    fn of(plan: &ServingPlan, given: &RequestColumns) -> Result<Option<Self>, KeyError> {
        let mut names = Vec::new();
        let mut columns = Vec::new();
        for (name, key_type) in join_keys(plan) {
            let mut given = given.columns().iter();
            let given =
                given.find(|column| column.name == name && column.place != ColumnPlace::Inputs);
            if let Some(column) = given {
                names.push(name);
                columns.push(convert(&column.cells, key_type)?);
            }
        }
        let layout = KeyLayout::new(KeyVersion::V3, &names);
        Ok((!names.is_empty()).then_some(Self { layout, columns }))
    }

    /// How many keys differ from row to row; one if all rows have the same.
    fn n_keys(&self) -> usize {
        self.columns.iter().map(Vec::len).max().unwrap_or(1)
    }

    fn value(&self, column: usize, row: usize) -> &KeyValue {
        let values = &self.columns[column];
        values.get(row).unwrap_or(&values[0])
    }
}

fn convert(cells: &Cells, key_type: KeyType) -> Result<Vec<KeyValue>, KeyError> {
    match cells {
        Cells::Scalar(cell) => Ok(vec![key_type.convert(cell)?]),
        Cells::List(cells) => cells.iter().map(|cell| key_type.convert(cell)).collect(),
    }
}

/// The plan's join keys, each name once: of two types the one that comes first by its name, whatever the order of views.
fn join_keys(plan: &ServingPlan) -> Vec<(&str, KeyType)> {
    let keys = plan.online.iter().flat_map(|online| &online.join_keys);
    let mut keys: Vec<(&str, KeyType)> =
        keys.map(|key| (key.name.as_str(), key.key_type)).collect();
    keys.sort_by_key(|(name, key_type)| (*name, key_type.name()));
    keys.dedup_by_key(|(name, _)| *name);
    keys
}
