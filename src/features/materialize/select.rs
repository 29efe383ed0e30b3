//! Which views, and which range of each.

use std::time::Duration;

use super::Error;
use super::on_demand::OnDemandJob;
use crate::error::Failure;
use crate::features;
use crate::features::definitions::{FeatureView, OnDemandFeatureView};
use crate::features::offline::PullLatest;
use crate::features::plan::Rules;
use crate::features::registry::Registry;
use crate::features::suggest::Known;
use crate::features::transform::Transforms;
use crate::types::timestamp::Timestamp;

/// How far an incremental run goes back for a view that has no `ttl` and was never materialized.
pub(super) const FIRST_TIME: Duration = Duration::from_secs(52 * 7 * 24 * 60 * 60);

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
pub(super) enum Job {
    View(Box<ViewJob>),
    OnDemand(Box<OnDemandJob>),
}

/// A view whose rows are written as they are.
#[derive(Debug)]
pub(super) struct ViewJob {
    pub(super) view: FeatureView,
    pub(super) pull: PullLatest,
}

/// What views are looked up in and compiled by.
#[derive(Clone, Copy)]
pub(super) struct Against<'a> {
    pub(super) registry: &'a Registry,
    pub(super) transforms: &'a Transforms,
    pub(super) rules: Rules,
}

/// One per named view in the order of names, else per view that is online and enabled in the order of the registry, with the
/// on-demand views that are kept in the online store behind the others. Of these a run for all leaves out, and logs, what
/// cannot be computed or materialized: nobody has asked for it by name.
pub(super) fn jobs(
    against: Against<'_>,
    names: Option<&[String]>,
    window: Window,
) -> Result<Vec<Job>, features::Error> {
    if let Window::Between { start, end } = window
        && end < start
    {
        return Err(Error::EmptyRange { start, end }.into());
    }
    let registry = against.registry;
    let mut jobs = Vec::new();
    let Some(names) = names else {
        for view in &registry.feature_views {
            if view.online && !view.disabled {
                jobs.push(of_view(view, window)?);
            }
        }
        for view in &registry.on_demand_feature_views {
            if view.write_to_online_store && !view.disabled {
                match of_on_demand(against, view, window) {
                    Ok(job) => jobs.push(job),
                    Err(error) => {
                        let (view, code) = (&view.name, error.code());
                        tracing::warn!(view, code, %error, "on-demand feature view is not materialized");
                    }
                }
            }
        }
        return Ok(jobs);
    };
    for (i, name) in names.iter().enumerate() {
        if names[..i].contains(name) {
            continue;
        }
        if let Some(view) = registry.on_demand_feature_view(name) {
            jobs.push(of_on_demand(against, view, window)?);
            continue;
        }
        let Some(view) = registry.feature_view(name) else {
            return Err(unknown(registry, name).into());
        };
        if !view.online {
            let view = name.clone();
            return Err(Error::NotOnline { view }.into());
        }
        jobs.push(of_view(view, window)?);
    }
    Ok(jobs)
}

fn of_view(view: &FeatureView, window: Window) -> Result<Job, Error> {
    let (start, end) = window.of(view)?;
    let pull = PullLatest::of(view, start, end)?;
    let view = view.clone();
    Ok(Job::View(Box::new(ViewJob { view, pull })))
}

fn of_on_demand(
    against: Against<'_>,
    view: &OnDemandFeatureView,
    window: Window,
) -> Result<Job, features::Error> {
    let Against {
        registry,
        transforms,
        rules,
    } = against;
    let job = OnDemandJob::of(registry, transforms, view, window, rules)?;
    Ok(Job::OnDemand(Box::new(job)))
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

    /// The range of an on-demand view, which has no watermark: an incremental run goes so far back from its end.
    pub(super) fn of_computed(self, back: Duration) -> Result<(Timestamp, Timestamp), Error> {
        let (start, end) = match self {
            Self::Between { start, end } => (start, end),
            Self::SinceLast { end, .. } => (before(end, back), end),
        };
        match end < start {
            true => Err(Error::EmptyRange { start, end }),
            false => Ok((start, end)),
        }
    }
}

/// So long before a moment.
pub(super) fn before(moment: Timestamp, back: Duration) -> Timestamp {
    let back = i64::try_from(back.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(moment.as_micros().saturating_sub(back))
}

/// Where an incremental run begins.
fn since(view: &FeatureView, now: Timestamp) -> Timestamp {
    let ends = view.materialized.iter().map(|(_, end)| *end);
    let back = match view.ttl {
        Duration::ZERO => FIRST_TIME,
        ttl => ttl,
    };
    ends.max().unwrap_or_else(|| before(now, back))
}

fn unknown(registry: &Registry, name: &str) -> Error {
    let view = name.to_owned();
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
