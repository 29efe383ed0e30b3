//! Writing and materializing, as this surface calls them.

use serde_json::Value;

use super::failure::Refusal;
use crate::features::FeatureStore;
use crate::types::timestamp::Timestamp;

pub(super) struct Frame {
    pub(super) columns: Vec<(String, Vec<Value>)>,
}

#[derive(Clone, Copy)]
pub(super) enum PushTarget {
    Online,
    Offline,
    OnlineAndOffline,
}

pub(super) fn target(text: &str) -> Option<PushTarget> {
    match text {
        "online" => Some(PushTarget::Online),
        "offline" => Some(PushTarget::Offline),
        "online_and_offline" => Some(PushTarget::OnlineAndOffline),
        _ => None,
    }
}

#[expect(clippy::unused_async, reason = "the write is")]
pub(super) async fn push(
    _store: &FeatureStore,
    _source: &str,
    frame: Frame,
    _to: PushTarget,
) -> Result<(), Refusal> {
    write(&frame)
}

#[expect(clippy::unused_async, reason = "the write is")]
pub(super) async fn write_to_online_store(
    _store: &FeatureStore,
    _view: &str,
    frame: Frame,
) -> Result<(), Refusal> {
    write(&frame)
}

fn write(frame: &Frame) -> Result<(), Refusal> {
    let n_columns = frame.columns.len();
    if n_columns == 0 {
        return Ok(());
    }
    Err(Refusal::text("this build cannot write features yet"))
}

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
