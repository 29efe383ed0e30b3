//! Materializing, as this surface calls it.

use super::failure::Refusal;
use crate::features::FeatureStore;
use crate::types::timestamp::Timestamp;

/// `start: None` goes on from where each view was left.
pub(super) async fn materialize(
    store: &FeatureStore,
    views: Option<&[String]>,
    start: Option<Timestamp>,
    end: Timestamp,
) -> Result<(), Refusal> {
    let Some(start) = start else {
        return Err(Refusal::text(
            "this build cannot materialize incrementally yet",
        ));
    };
    store.materialize(views, start, end, &mut |_| {}).await?;
    Ok(())
}
