//! One view from end to end: keys, online rows, offline rows, comparison.

use std::sync::Arc;

use super::Request;
use super::compare::{self, Row};
use super::offline::{Asked, OfflineRow};
use super::online::OnlineRow;
use super::report::ViewSkew;
use super::select::Target;
use crate::features::definitions::FeatureView;
use crate::features::key::KeyLayout;
use crate::features::materialize;
use crate::features::offline::{Error as OfflineError, PullLatest};
use crate::features::online::StoredView;
use crate::features::plan::{Rules, stored_name};
use crate::features::{Error, FeatureStore};
use crate::types::timestamp::Timestamp;

const SECOND: i64 = 1_000_000;

impl FeatureStore {
    pub(super) async fn verify_view(
        &self,
        target: &Target,
        request: &Request,
    ) -> Result<ViewSkew, Error> {
        let view = &target.view;
        let rules = Rules::of(&self.0.repo);
        let pull = Arc::new(pull_of(target)?);
        let names: Vec<&str> = pull
            .keys
            .iter()
            .map(|key| key.field.name.as_str())
            .collect();
        let layout = match names.is_empty() {
            true => KeyLayout::entityless(rules.key_version),
            false => KeyLayout::new(rules.key_version, &names),
        };
        let keys = self.sampled_keys(&pull, layout, request).await?;
        let stored = StoredView {
            name: stored_name(view, rules),
            features: target
                .features
                .iter()
                .map(|field| field.name.clone())
                .collect(),
        };
        let online = self.online_rows(stored, &keys).await?;

        let whens = self.whens(view, &online);
        let asked = keys.iter().zip(&whens).filter_map(|(key, when)| {
            let time = when.as_ref()?.joined;
            Some(Asked { key, time })
        });
        let asked: Vec<Asked<'_>> = asked.collect();
        // With what `end_of_second` adds; `is_fresh` takes it back. What was materialized is online whatever its age.
        let ttl = ttl_of(view).map(|ttl| ttl.saturating_add(SECOND));
        let ttl = ttl.filter(|_| online.iter().all(Option::is_some));
        let found = self.offline_rows(&pull, ttl, &asked).await?;

        let mut found = found.into_iter();
        let mut rows = Vec::with_capacity(keys.len());
        for ((key, online), when) in keys.iter().zip(online).zip(whens) {
            let offline = when.and_then(|when| {
                let row = found.next().flatten()?;
                let counts = match &online {
                    Some(_) => is_fresh(view, &row, when.own),
                    None => is_materialized(view, &row),
                };
                counts.then_some(row)
            });
            rows.push(Row {
                key,
                online,
                offline,
            });
        }
        Ok(compare::rows(&pull, rows, request.tolerance))
    }

    /// Which keys are looked for in the source, and when: at the time of their online rows; those that have none, where the
    /// store should have one, at the end of what was materialized.
    fn whens(&self, view: &FeatureView, online: &[Option<OnlineRow>]) -> Vec<Option<When>> {
        let expected = match self.0.repo.online_store.expires_rows() {
            true => None,
            false => materialized_until(view),
        };
        let when = |row: &Option<OnlineRow>| match row {
            Some(row) => Some(When {
                own: row.event_timestamp,
                joined: end_of_second(row.event_timestamp),
            }),
            None => expected.map(|end| When {
                own: end,
                joined: end,
            }),
        };
        online.iter().map(when).collect()
    }
}

/// When a key is looked for.
#[derive(Debug, Clone, Copy)]
struct When {
    own: Timestamp,
    joined: Timestamp,
}

/// All times, and only the features that are wanted.
fn pull_of(target: &Target) -> Result<PullLatest, Error> {
    let all = (
        Timestamp::from_micros(i64::MIN),
        Timestamp::from_micros(i64::MAX),
    );
    let mut pull = PullLatest::of(&target.view, all.0, all.1).map_err(offline)?;
    let is_wanted = |name: &str| target.features.iter().any(|field| field.name == name);
    pull.features.retain(|column| is_wanted(&column.field.name));
    Ok(pull)
}

/// A time of a whole second may have been cut by its store: then the source row is somewhere in that second.
fn end_of_second(time: Timestamp) -> Timestamp {
    let micros = time.as_micros();
    match micros.rem_euclid(SECOND) {
        0 => Timestamp::from_micros(micros.saturating_add(SECOND - 1)),
        _ => time,
    }
}

/// Whether a source row is no older than the view's `ttl` at that time.
fn is_fresh(view: &FeatureView, row: &OfflineRow, time: Timestamp) -> bool {
    let oldest = ttl_of(view).map(|ttl| time.as_micros().saturating_sub(ttl));
    oldest.is_none_or(|oldest| row.event_timestamp.as_micros() >= oldest)
}

/// Up to when the online store must have the view's rows.
fn materialized_until(view: &FeatureView) -> Option<Timestamp> {
    view.materialized.iter().map(|(_, end)| *end).max()
}

/// Whether a source row lies in a range that was materialized.
fn is_materialized(view: &FeatureView, row: &OfflineRow) -> bool {
    let mut ranges = view.materialized.iter();
    ranges.any(|(start, end)| (*start..=*end).contains(&row.event_timestamp))
}

/// In microseconds; `None` is any age.
fn ttl_of(view: &FeatureView) -> Option<i64> {
    let ttl = i64::try_from(view.ttl.as_micros()).unwrap_or(i64::MAX);
    Some(ttl).filter(|&ttl| ttl > 0)
}

/// An error of a view's source.
pub(super) fn offline(error: OfflineError) -> Error {
    materialize::Error::Offline(error).into()
}
