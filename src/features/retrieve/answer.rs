//! What was retrieved, column by column, for a surface to write.

use std::sync::Arc;
use std::time::Duration;

use super::bind::{Bound, EchoedValues};
use super::on_demand::OnDemand;
use super::precomputed::Vectors;
use super::{Error, Retrieval, Statuses};
use crate::features::codec;
use crate::features::computed::key_value;
use crate::features::definitions::Field;
use crate::features::key::{EntityKeys, KeyType, KeyValue};
use crate::features::online::{RawRows, RowTime};
use crate::features::plan::JoinKey;
use crate::features::rows::{KeyColumn, RowKeys};
use crate::types::deadline::Deadline;
use crate::types::timestamp::Timestamp;
use crate::types::value::Value;

/// `feast.serving.FieldStatus`, with Feast's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum FieldStatus {
    Invalid = 0,
    Present = 1,
    NullValue = 2,
    NotFound = 3,
    OutsideMaxAge = 4,
}

impl FieldStatus {
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "INVALID",
            Self::Present => "PRESENT",
            Self::NullValue => "NULL_VALUE",
            Self::NotFound => "NOT_FOUND",
            Self::OutsideMaxAge => "OUTSIDE_MAX_AGE",
        }
    }
}

/// How the status of a stored value is told.
#[derive(Debug)]
pub(super) enum Rule {
    AlwaysPresent,
    PresentIfStored,
    Exact {
        read_at: Timestamp,
    },
    /// Of precomputed vectors: whether each view of each key is older than its `ttl`.
    Vectors {
        outdated: Vec<bool>,
    },
}

impl Rule {
    pub(super) fn new(statuses: Statuses, tells_missing: bool) -> Self {
        match (statuses, tells_missing) {
            (Statuses::Exact, _) => Self::Exact {
                read_at: Timestamp::now(),
            },
            (Statuses::Python, true) => Self::PresentIfStored,
            (Statuses::Python, false) => Self::AlwaysPresent,
        }
    }
}

/// The answer to one request.
#[derive(Debug)]
pub struct Answer {
    retrieval: Arc<Retrieval>,
    bound: Bound,
    keys: Vec<EntityKeys>,
    row_keys: Vec<RowKeys>,
    stored: Vec<RawRows>,
    /// For each feature of the plan: its group, its view in the group, its place in the group.
    places: Vec<Place>,
    /// For each group: its views and its features.
    shapes: Vec<(usize, usize)>,
    rule: Rule,
    computed: Vec<(String, Vec<Value>)>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    group: usize,
    view: usize,
    feature: usize,
}

/// A request column that is a part of the answer.
#[derive(Debug, Clone, Copy)]
pub enum EntityColumn<'a> {
    Keys(&'a [KeyValue]),
    Values(&'a [Value]),
}

/// One stored feature over all rows.
#[derive(Debug, Clone, Copy)]
pub struct StoredColumn<'a> {
    answer: &'a Answer,
    place: Place,
    ttl: Duration,
    pub name: &'a str,
    /// Columns of equal number have equal event timestamps.
    pub view: usize,
    feature: usize,
}

/// One stored value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell<'a> {
    /// A serialized `feast.types.Value`; empty for null.
    pub bytes: &'a [u8],
    pub status: FieldStatus,
}

impl Answer {
    pub(super) fn new(
        retrieval: &Arc<Retrieval>,
        bound: Bound,
        keys: Vec<EntityKeys>,
        row_keys: Vec<RowKeys>,
        stored: Vec<RawRows>,
        rule: Rule,
    ) -> Self {
        let plan = &retrieval.plan;
        let place = |&(group, feature): &(usize, usize)| Place {
            group,
            view: plan.groups[group].views[feature],
            feature,
        };
        let groups = plan.groups.iter();
        Self {
            places: plan.places.iter().map(place).collect(),
            shapes: groups
                .map(|group| (group.n_views, group.n_features))
                .collect(),
            retrieval: Arc::clone(retrieval),
            bound,
            keys,
            row_keys,
            stored,
            rule,
            computed: Vec::new(),
        }
    }

    /// Vectors have the plan's features in its order, and one group.
    pub(super) fn precomputed(
        retrieval: &Arc<Retrieval>,
        bound: Bound,
        keys: Vec<EntityKeys>,
        row_keys: Vec<RowKeys>,
        vectors: Vectors,
    ) -> Self {
        let columns = retrieval.columns.iter();
        let mut places = vec![
            Place {
                group: 0,
                view: 0,
                feature: 0
            };
            retrieval.plan.features.len()
        ];
        for column in columns {
            places[column.feature] = Place {
                group: 0,
                view: column.view,
                feature: column.feature,
            };
        }
        Self {
            shapes: vec![(retrieval.views.len(), places.len())],
            places,
            retrieval: Arc::clone(retrieval),
            bound,
            keys,
            row_keys,
            stored: vec![vectors.rows],
            rule: Rule::Vectors {
                outdated: vectors.outdated,
            },
            computed: Vec::new(),
        }
    }

    pub fn n_rows(&self) -> usize {
        self.bound.keys.n_rows
    }

    pub fn n_columns(&self) -> usize {
        self.bound.echoed.len() + self.retrieval.columns.len() + self.computed.len()
    }

    /// The entity columns, in the order they were sent.
    pub fn entities(&self) -> impl Iterator<Item = (&str, EntityColumn<'_>)> {
        self.bound.echoed.iter().map(|echoed| {
            let values = match &echoed.values {
                EchoedValues::Inferred(values) => EntityColumn::Values(values),
                EchoedValues::Key(key) => match &self.bound.keys.columns[*key] {
                    Some(KeyColumn::List(values)) => EntityColumn::Keys(values),
                    // A column of keys is a list, see `bind`.
                    Some(KeyColumn::Scalar(_)) | None => EntityColumn::Keys(&[]),
                },
            };
            (&*echoed.name, values)
        })
    }

    /// The features that were read, views in order of first reference.
    pub fn stored(&self) -> impl Iterator<Item = StoredColumn<'_>> {
        let columns = self.retrieval.columns.iter();
        columns.map(|column| self.stored_column(&column.name, column.feature, column.view))
    }

    fn stored_column<'a>(&'a self, name: &'a str, feature: usize, view: usize) -> StoredColumn<'a> {
        StoredColumn {
            answer: self,
            place: self.places[feature],
            ttl: self.retrieval.plan.features[feature].ttl,
            name,
            view,
            feature,
        }
    }

    /// The features that were computed for this request; they are always present, and at the epoch.
    pub fn computed(&self) -> impl Iterator<Item = (&str, &[Value])> {
        let columns = self.computed.iter();
        columns.map(|(name, values)| (name.as_str(), values.as_slice()))
    }

    /// Names and versions of the views that were read, each name once.
    pub fn views(&self) -> impl Iterator<Item = (&str, u32)> {
        let views = &self.retrieval.views;
        let is_first = |i: usize| !views[..i].iter().any(|view| view.name == views[i].name);
        let firsts = views.iter().enumerate().filter(move |(i, _)| is_first(*i));
        firsts.map(|(_, view)| (view.name.as_str(), view.version))
    }

    pub(super) async fn compute(
        &mut self,
        on_demand: &[OnDemand],
        deadline: Deadline,
    ) -> Result<(), Error> {
        for view in on_demand {
            let computed = view.run(self, deadline).await?;
            self.computed.extend(computed);
        }
        Ok(())
    }

    /// What on-demand views see of a feature of the plan: a missing value is null.
    pub(super) fn decoded(&self, feature: usize) -> Result<Vec<Value>, Error> {
        let column = self.stored_column("", feature, 0);
        let mut values = Vec::with_capacity(self.n_rows());
        for row in 0..self.n_rows() {
            let value = codec::decode(column.cell(row).bytes);
            values.push(value.map_err(|_| column.invalid(row))?);
        }
        Ok(values)
    }

    /// The values of an entity column in its type; `None` where it is not given.
    pub(super) fn entity_values(&self, field: &Field) -> Option<Vec<Value>> {
        let mut keys = self.retrieval.plan.join_keys.iter();
        let is_it = |key: &JoinKey| {
            key.name == field.name
                && KeyType::from_value_type(field.value_type) == Some(key.key_type)
        };
        match &self.bound.keys.columns[keys.position(is_it)?] {
            Some(KeyColumn::List(values)) => Some(values.iter().cloned().map(key_value).collect()),
            Some(KeyColumn::Scalar(_)) | None => None,
        }
    }

    /// A column of the request; `bind` has seen to it that it is there.
    pub(super) fn request_column(&self, name: &str) -> &[Value] {
        let mut fields = self.retrieval.request_data.iter();
        let position = fields.position(|field| field.name == name);
        position.map_or(&[], |position| &self.bound.request_data[position])
    }
}

impl<'a> StoredColumn<'a> {
    /// Which of its group's keys belongs to a row; `None` where the group was not read.
    fn key(&self, row: usize) -> Option<usize> {
        match &self.answer.row_keys[self.place.group] {
            RowKeys::Skipped => None,
            RowKeys::One => Some(0),
            RowKeys::Own => Some(row),
            RowKeys::Shared(owners) => Some(owners[row]),
        }
    }

    fn time(&self, key: usize) -> RowTime {
        let (n_views, _) = self.answer.shapes[self.place.group];
        self.answer.stored[self.place.group].times[key * n_views + self.place.view]
    }

    /// The event timestamp of the row that the value is from; the epoch where there is none.
    pub fn event_timestamp(&self, row: usize) -> Timestamp {
        match self.key(row).map(|key| self.time(key)) {
            Some(RowTime::At(timestamp)) => timestamp,
            Some(RowTime::Absent | RowTime::Invalid(_)) | None => Timestamp::EPOCH,
        }
    }

    /// The value of a row. Whether its bytes are a value is for the reader to find out, unless that decides the status.
    pub fn cell(&self, row: usize) -> Cell<'a> {
        let Some(key) = self.key(row) else {
            return self.missing();
        };
        let (_, n_features) = self.answer.shapes[self.place.group];
        let stored = &self.answer.stored[self.place.group];
        let stored = &stored.values[key * n_features + self.place.feature];
        let Some(bytes) = stored else {
            return self.missing();
        };
        match &self.answer.rule {
            Rule::AlwaysPresent | Rule::PresentIfStored => Cell {
                bytes,
                status: FieldStatus::Present,
            },
            Rule::Exact { read_at } => self.exact(bytes, self.time(key), *read_at),
            Rule::Vectors { outdated } => {
                let (n_views, _) = self.answer.shapes[self.place.group];
                let status = match outdated[key * n_views + self.place.view] {
                    true => FieldStatus::OutsideMaxAge,
                    false => FieldStatus::Present,
                };
                Cell { bytes, status }
            }
        }
    }

    fn missing(&self) -> Cell<'a> {
        let status = match self.answer.rule {
            Rule::AlwaysPresent => FieldStatus::Present,
            Rule::PresentIfStored | Rule::Exact { .. } | Rule::Vectors { .. } => {
                FieldStatus::NotFound
            }
        };
        Cell { bytes: &[], status }
    }

    fn exact(&self, bytes: &'a [u8], time: RowTime, read_at: Timestamp) -> Cell<'a> {
        let timestamp = match time {
            RowTime::At(timestamp) => timestamp,
            // A value without a row is none.
            RowTime::Absent => return self.missing(),
            RowTime::Invalid(_) => {
                return Cell {
                    bytes: &[],
                    status: FieldStatus::Invalid,
                };
            }
        };
        let is_too_old = !self.ttl.is_zero() && timestamp.age_at(read_at) > self.ttl;
        let status = match codec::is_null(bytes) {
            Ok(true) => FieldStatus::NullValue,
            Ok(false) if is_too_old => FieldStatus::OutsideMaxAge,
            Ok(false) | Err(_) => FieldStatus::Present,
        };
        Cell { bytes, status }
    }

    /// The failure of a row whose bytes are no value.
    pub fn invalid(&self, row: usize) -> Error {
        let planned = &self.answer.retrieval.plan.features[self.feature];
        let key = self
            .key(row)
            .map(|key| self.answer.keys[self.place.group].get(key));
        Error::Stored {
            view: planned.view.clone(),
            feature: planned.feature.clone(),
            key: super::super::online::hex(key.unwrap_or_default()),
        }
    }
}
