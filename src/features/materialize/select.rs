//! Which views, and which range of each.

use std::time::Duration;

use super::Error;
use crate::features::definitions::FeatureView;
use crate::features::offline::PullLatest;
use crate::features::registry::Registry;
use crate::features::suggest::Known;
use crate::types::timestamp::Timestamp;

/// How far an incremental run goes back for a view that has no `ttl` and was never materialized.
const FIRST_TIME: Duration = Duration::from_secs(52 * 7 * 24 * 60 * 60);

/// The range that was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Window {
    Between {
        start: Timestamp,
        end: Timestamp,
    },
    /// From each view's watermark.
    SinceLast {
        end: Timestamp,
        now: Timestamp,
    },
}

/// One view to materialize.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) view: FeatureView,
    pub(super) pull: PullLatest,
}

/// One per named view in the order of names, else per view that is online and enabled in the order of the registry.
pub(super) fn jobs(
    registry: &Registry,
    names: Option<&[String]>,
    window: Window,
) -> Result<Vec<Job>, Error> {
    if let Window::Between { start, end } = window
        && end < start
    {
        return Err(Error::EmptyRange { start, end });
    }
    let mut jobs = Vec::new();
    for view in views(registry, names)? {
        let (start, end) = window.of(view)?;
        let pull = PullLatest::of(view, start, end)?;
        let view = view.clone();
        jobs.push(Job { view, pull });
    }
    Ok(jobs)
}

impl Window {
    fn of(self, view: &FeatureView) -> Result<(Timestamp, Timestamp), Error> {
        let (start, end) = match self {
            Self::Between { start, end } => (start, end),
            Self::SinceLast { end, now } => (since(view, now), end),
        };
        match end < start {
            true => Err(Error::EmptyRange { start, end }),
            false => Ok((start, end)),
        }
    }
}

/// Where an incremental run begins.
fn since(view: &FeatureView, now: Timestamp) -> Timestamp {
    let ends = view.materialized.iter().map(|(_, end)| *end);
    let back = match view.ttl {
        Duration::ZERO => FIRST_TIME,
        ttl => ttl,
    };
    let back = i64::try_from(back.as_micros()).unwrap_or(i64::MAX);
    let first = Timestamp::from_micros(now.as_micros().saturating_sub(back));
    ends.max().unwrap_or(first)
}

fn views<'a>(
    registry: &'a Registry,
    names: Option<&[String]>,
) -> Result<Vec<&'a FeatureView>, Error> {
    let all = &registry.feature_views;
    let Some(names) = names else {
        let served = all.iter().filter(|view| view.online && !view.disabled);
        return Ok(served.collect());
    };
    let mut views: Vec<&FeatureView> = Vec::with_capacity(names.len());
    for name in names {
        let Some(view) = registry.feature_view(name) else {
            return Err(unknown(registry, name));
        };
        if !view.online {
            let view = name.clone();
            return Err(Error::NotOnline { view });
        }
        if !views.iter().any(|known| known.name == *name) {
            views.push(view);
        }
    }
    Ok(views)
}

fn unknown(registry: &Registry, name: &str) -> Error {
    let view = name.to_owned();
    if registry.on_demand_feature_view(name).is_some() {
        let what = "a function in place of a source (on-demand feature view)".to_owned();
        return Error::Unsupported { view, what };
    }
    let names = registry.feature_views.iter().map(|view| view.name.as_str());
    Error::UnknownView {
        view,
        project: registry.project.clone(),
        known: Known::instead_of(name, names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::definitions::{ViewKind, ViewState};

    fn view(ttl: Duration, ends: &[i64]) -> FeatureView {
        let interval = |&end: &i64| (Timestamp::EPOCH, Timestamp::from_seconds(end));
        FeatureView {
            name: "v".into(),
            kind: ViewKind::Batch,
            entities: Vec::new(),
            join_keys: Vec::new(),
            features: Vec::new(),
            ttl,
            online: true,
            disabled: false,
            state: ViewState::Unspecified,
            version: 0,
            batch_source: None,
            stream_source: None,
            materialized: ends.iter().map(interval).collect(),
            description: String::new(),
        }
    }

    #[test]
    fn an_incremental_run_begins_at_the_greatest_end_then_by_ttl_then_a_year_back() {
        let now = Timestamp::from_seconds(1_000_000_000);
        let hour = Duration::from_secs(3_600);
        assert_eq!(
            since(&view(hour, &[500, 900, 700]), now),
            Timestamp::from_seconds(900)
        );
        assert_eq!(
            since(&view(hour, &[]), now),
            Timestamp::from_seconds(999_996_400)
        );
        assert_eq!(
            since(&view(Duration::ZERO, &[]), now),
            Timestamp::from_seconds(968_550_400)
        );
    }

    #[test]
    fn an_incremental_run_that_ends_before_the_watermark_is_refused() {
        let now = Timestamp::from_seconds(1_000_000_000);
        let end = Timestamp::from_seconds(899);
        let window = Window::SinceLast { end, now };
        assert!(window.of(&view(Duration::ZERO, &[900])).is_err());
    }
}
