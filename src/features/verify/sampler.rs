//! The check that a server does by itself, again and again.
//!
//! One run at a time, view by view, each until the next run is due: what takes longer is given up and counted as a failure.
//! Requests are not held up: reading sources is on threads of its own, and the online store is asked for a few keys at once.
//! The log has numbers and names, never values.

use tokio::time::{Instant, MissedTickBehavior};

use super::{Config, Error, Report, Request, Scope, ViewReport, select};
use crate::error::{Failure, with_causes};
use crate::features::FeatureStore;
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::FeatureSkewMetrics;
use crate::types::timestamp::Timestamp;

impl FeatureStore {
    /// Verifies all views that are online until `shutdown`, the first time after `every`; never where that is zero.
    pub fn verify_regularly(
        &self,
        config: &Config,
        metrics: FeatureSkewMetrics,
        shutdown: &Shutdown,
    ) {
        if config.every.is_zero() {
            return;
        }
        let (store, config, stop) = (self.clone(), config.clone(), shutdown.clone());
        shutdown.spawn("feature verification", async move {
            let mut ticks = tokio::time::interval(config.every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            // The first is at once.
            ticks.tick().await;
            let verify = async {
                loop {
                    let due = ticks.tick().await;
                    let report = store.verify_until(&config, due + config.every).await;
                    tell(&report, &metrics);
                }
            };
            tokio::select! {
                () = stop.stopped() => {}
                () = verify => {}
            }
        });
    }

    async fn verify_until(&self, config: &Config, end: Instant) -> Report {
        let request = Request {
            scope: Scope::All,
            sample: config.sample,
            // Other keys each time.
            seed: Timestamp::now().as_micros().unsigned_abs(),
            tolerance: 0.0,
            entities: None,
        };
        let selected = select::all(&self.registry());
        let mut views = Vec::with_capacity(selected.targets.len());
        for target in selected.targets {
            let verified = self.verify_view(&target, &request);
            let outcome = match tokio::time::timeout_at(end, verified).await {
                Ok(outcome) => outcome,
                Err(_) => Err(Error::TimedOut {
                    limit: config.every,
                }
                .into()),
            };
            let view = target.view.name;
            views.push(ViewReport { view, outcome });
        }
        Report {
            views,
            not_verified: selected.not_verified,
        }
    }
}

fn tell(report: &Report, metrics: &FeatureSkewMetrics) {
    for (view, skew) in report.verified() {
        metrics.not_online(view, skew.n_not_online);
        for feature in &skew.features {
            let (n_compared, n_mismatched) = (feature.n_compared, feature.n_mismatched);
            metrics.compared(view, &feature.feature, n_compared, n_mismatched);
        }
    }
    for (view, error) in report.failed() {
        metrics.failed(view);
        let code = error.code();
        tracing::warn!(view, code, "not verified: {}", with_causes(error));
    }
    metrics.set_run_at(Timestamp::now());
    let (n_compared, n_mismatched) = (report.n_compared(), report.n_mismatched());
    if n_mismatched == 0 {
        tracing::debug!(n_compared, "online and offline features are equal");
        return;
    }
    let differ = report.features().filter(|(_, own)| own.n_mismatched > 0);
    let differ = differ.map(|(view, own)| format!("`{view}:{}` {}", own.feature, own.n_mismatched));
    let differ: Vec<String> = differ.collect();
    tracing::warn!(
        n_compared,
        n_mismatched,
        "online and offline features differ: {}",
        differ.join(", ")
    );
}
