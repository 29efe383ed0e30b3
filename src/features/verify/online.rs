//! Rows of the online store as they are stored, each with its own event timestamp.

use super::report::Side;
use super::sample::SampledKey;
use crate::features::codec;
use crate::features::key::EntityKeys;
use crate::features::online::{self, KeyGroup, RawRows, RowTime, StoredView, hex};
use crate::features::{Error, FeatureStore};
use crate::types::deadline::Deadline;
use crate::types::timestamp::Timestamp;

/// Keys that are read at once, so that requests have their turn between.
const KEYS_AT_ONCE: usize = 256;

/// What is stored under one key.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct OnlineRow {
    pub(super) event_timestamp: Timestamp,
    /// One per feature of the view that was asked for.
    pub(super) values: Vec<Side>,
}

impl FeatureStore {
    /// One item per key; `None` where the store has no row. A view that nothing was ever written of has none.
    pub(super) async fn online_rows(
        &self,
        view: StoredView,
        keys: &[SampledKey],
    ) -> Result<Vec<Option<OnlineRow>>, Error> {
        let n_features = view.features.len();
        let lookup = self.0.online.prepare(&[KeyGroup {
            views: vec![view.clone()],
        }]);
        let mut rows = Vec::with_capacity(keys.len());
        for some in keys.chunks(KEYS_AT_ONCE) {
            let n_bytes = some.iter().map(|key| key.bytes.len()).sum();
            let mut entity_keys = EntityKeys::with_capacity(some.len(), n_bytes);
            for key in some {
                entity_keys.push_with(|out| out.extend_from_slice(&key.bytes));
            }
            let deadline = Deadline::after(self.time_for(some.len()));
            match lookup.read_raw(&[entity_keys], deadline).await {
                Ok(groups) => {
                    for stored in groups {
                        self.decode(&view, some, n_features, &stored, &mut rows)?;
                    }
                }
                Err(online::Error::NotMaterialized { .. }) => {
                    rows.extend(some.iter().map(|_| None));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(rows)
    }

    fn decode(
        &self,
        view: &StoredView,
        keys: &[SampledKey],
        n_features: usize,
        stored: &RawRows,
        rows: &mut Vec<Option<OnlineRow>>,
    ) -> Result<(), Error> {
        for (i, (time, key)) in stored.times.iter().zip(keys).enumerate() {
            let values = &stored.values[i * n_features..(i + 1) * n_features];
            rows.push(match time {
                RowTime::Absent => None,
                RowTime::At(event_timestamp) => Some(OnlineRow {
                    event_timestamp: *event_timestamp,
                    values: values.iter().map(|bytes| side(bytes.as_deref())).collect(),
                }),
                RowTime::Invalid(source) => {
                    return Err(Error::Online(online::Error::Value {
                        store: self.0.online.describe().into(),
                        view: view.name.clone(),
                        feature: "event timestamp".to_owned(),
                        key: hex(&key.bytes),
                        source: *source,
                    }));
                }
            });
        }
        Ok(())
    }
}

fn side(bytes: Option<&[u8]>) -> Side {
    match bytes.map(codec::decode) {
        None => Side::Missing,
        Some(Ok(value)) => Side::Value(value),
        Some(Err(_)) => Side::Invalid,
    }
}
