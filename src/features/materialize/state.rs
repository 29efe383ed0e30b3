//! What the registry says of a view while it is materialized and after.

use super::select::ViewJob;
use crate::features::FeatureStore;
use crate::features::definitions::ViewState;
use crate::features::registry::source::ViewChange;

/// What the view goes back to if its materialization fails.
#[derive(Debug, Clone, Copy)]
pub(super) enum Before {
    /// A view that never was in a state is served throughout, as by Feast, and nothing is recorded before the end.
    NoState,
    State(ViewState),
}

impl FeatureStore {
    pub(super) async fn begin(&self, job: &ViewJob) -> Result<Before, crate::features::Error> {
        match job.view.state {
            ViewState::Unspecified => Ok(Before::NoState),
            // Of another run, or of one that was interrupted.
            ViewState::Materializing => Ok(Before::State(ViewState::Generated)),
            state => {
                let materializing = ViewChange::State(ViewState::Materializing);
                self.record(&job.view.name, materializing).await?;
                Ok(Before::State(state))
            }
        }
    }

    pub(super) async fn finish(&self, job: &ViewJob) -> Result<(), crate::features::Error> {
        let (start, end) = (job.pull.start, job.pull.end);
        let watermark = ViewChange::Materialized { start, end };
        self.record(&job.view.name, watermark).await
    }

    /// After a failure. A view that another run has made available meanwhile stays so.
    pub(super) async fn go_back(&self, job: &ViewJob, before: Before) {
        let Before::State(state) = before else {
            return;
        };
        let view = &job.view.name;
        let outcome = async {
            self.refresh().await?;
            let now = self.registry().feature_view(view).map(|view| view.state);
            if now == Some(ViewState::Materializing) {
                self.record(view, ViewChange::State(state)).await?;
            }
            Ok::<_, crate::features::Error>(())
        };
        if let Err(error) = outcome.await {
            // The run's own error is what the caller hears.
            tracing::warn!(view, %error, "feature view stays MATERIALIZING in the registry");
        }
    }
}
