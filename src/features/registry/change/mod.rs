//! Changes a view in the bytes of a registry and leaves every other byte as it is.
//!
//! Feast 0.67 (`apply_materialization`, `apply_feature_view`) parses the registry and writes it anew; what its version does
//! not know is kept only as far as its protobuf library keeps it. Here fields are cut out and put in on the wire:
//! * materialized: the interval is appended, the state becomes AVAILABLE_ONLINE, the view's `last_updated_timestamp` is now, and
//!   the view goes to the end of the registry's list of its kind;
//! * a state alone is set in place;
//! * the registry gets a new `version_id` and `last_updated`.
//!
//! Fields that occur more than once where one is expected are merged, as protobuf readers do.

mod fields;
#[cfg(test)]
mod tests;

use uuid::Uuid;

use self::fields::{Field, Fields};
use super::Error;
use super::objects::text_at;
use super::source::ViewChange;
use crate::features::codec::wire::{
    Content, WireError, put_bytes, put_message, put_tag, put_varint,
};
use crate::features::definitions::ViewState;
use crate::types::timestamp::Timestamp;

/// Field numbers of `feast.core.Registry`.
mod registry {
    pub(super) const VERSION_ID: u32 = 4;
    pub(super) const LAST_UPDATED: u32 = 5;
    pub(super) const FEATURE_VIEWS: u32 = 6;
    pub(super) const ON_DEMAND_FEATURE_VIEWS: u32 = 8;
    pub(super) const STREAM_FEATURE_VIEWS: u32 = 14;
}

/// Field numbers of `feast.core.FeatureView` and `feast.core.StreamFeatureView`.
mod view {
    pub(super) const META: u32 = 2;
}

/// Field numbers of `feast.core.FeatureViewMeta`.
mod meta {
    pub(super) const LAST_UPDATED_TIMESTAMP: u32 = 2;
    pub(super) const MATERIALIZATION_INTERVALS: u32 = 3;
    pub(super) const STATE: u32 = 6;
}

/// The bytes of a registry with one view changed. `origin` names the registry in errors.
pub(super) fn in_registry(
    bytes: &[u8],
    project: &str,
    view: &str,
    change: ViewChange,
    now: Timestamp,
    origin: &str,
) -> Result<Vec<u8>, Error> {
    let invalid = |source| Error::Decode {
        origin: origin.to_owned(),
        source,
    };
    let fields = Fields::split(bytes).map_err(invalid)?;
    let is_it = |object: &[u8]| {
        text_at(object, &[1, 1]) == Some(view) && text_at(object, &[1, 2]) == Some(project)
    };
    let find = |number| fields.position(number, is_it);
    let found = find(registry::FEATURE_VIEWS).or_else(|| find(registry::STREAM_FEATURE_VIEWS));
    let Some(at) = found else {
        if find(registry::ON_DEMAND_FEATURE_VIEWS).is_some() {
            return Err(Error::NotMaterialized {
                view: view.to_owned(),
            });
        }
        return Err(Error::UnknownView {
            view: view.to_owned(),
            project: project.to_owned(),
            origin: origin.to_owned(),
        });
    };
    let number = fields.0[at].number;
    let changed = in_object(fields.0[at].bytes(), view, change, now)?;
    let mut changed_field = Vec::with_capacity(changed.len() + 8);
    put_bytes(&mut changed_field, number, &changed);

    let moves = matches!(change, ViewChange::Materialized { .. });
    let last_of_kind = fields.0.iter().rposition(|field| field.number == number);
    let goes_behind = if moves {
        last_of_kind.unwrap_or(at)
    } else {
        at
    };
    let mut edited = Fields(Vec::with_capacity(fields.0.len() + 2));
    for (i, field) in fields.0.iter().enumerate() {
        if i != at {
            edited.0.push(*field);
        }
        if i == goes_behind {
            edited.0.push(Field {
                number,
                whole: &changed_field,
                content: Content::Bytes(&changed),
            });
        }
    }
    let mut version = Vec::new();
    put_bytes(
        &mut version,
        registry::VERSION_ID,
        Uuid::now_v7().to_string().as_bytes(),
    );
    let mut updated = Vec::new();
    put_timestamp(&mut updated, registry::LAST_UPDATED, now);
    edited.set(registry::VERSION_ID, &version);
    edited.set(registry::LAST_UPDATED, &updated);
    Ok(edited.join())
}

/// The bytes of a feature view or stream feature view, changed. `view` names it in errors.
pub(super) fn in_object(
    bytes: &[u8],
    view: &str,
    change: ViewChange,
    now: Timestamp,
) -> Result<Vec<u8>, Error> {
    in_view(bytes, change, now).map_err(|source| Error::Object {
        kind: "feature view",
        name: view.to_owned(),
        reason: source.to_string(),
    })
}

fn in_view(bytes: &[u8], change: ViewChange, now: Timestamp) -> Result<Vec<u8>, WireError> {
    let mut fields = Fields::split(bytes)?;
    // Several metas count as one whose bytes follow each other.
    let mut meta = Vec::new();
    for field in fields.0.iter().filter(|field| field.number == view::META) {
        meta.extend_from_slice(field.content.bytes(view::META)?);
    }
    let mut edited = Vec::new();
    put_bytes(&mut edited, view::META, &in_meta(&meta, change, now)?);
    fields.set(view::META, &edited);
    Ok(fields.join())
}

fn in_meta(bytes: &[u8], change: ViewChange, now: Timestamp) -> Result<Vec<u8>, WireError> {
    let mut fields = Fields::split(bytes)?;
    let (mut updated, mut interval, mut state) = (Vec::new(), Vec::new(), Vec::new());
    let new_state = match change {
        ViewChange::State(state) => state,
        ViewChange::Materialized { start, end } => {
            put_timestamp(&mut updated, meta::LAST_UPDATED_TIMESTAMP, now);
            fields.set(meta::LAST_UPDATED_TIMESTAMP, &updated);
            put_message(&mut interval, meta::MATERIALIZATION_INTERVALS, |out| {
                put_timestamp(out, 1, start);
                put_timestamp(out, 2, end);
            });
            fields.append(meta::MATERIALIZATION_INTERVALS, &interval);
            ViewState::AvailableOnline
        }
    };
    // Zero is what an absent number means.
    if new_state.number() != 0 {
        put_tag(&mut state, meta::STATE, 0);
        put_varint(&mut state, new_state.number() as u64);
    }
    fields.set(meta::STATE, &state);
    Ok(fields.join())
}

fn put_timestamp(out: &mut Vec<u8>, field: u32, timestamp: Timestamp) {
    put_message(out, field, |out| put_moment(out, timestamp));
}

/// The content of a `google.protobuf.Timestamp`.
pub(super) fn put_moment(out: &mut Vec<u8>, moment: Timestamp) {
    let nanos = moment.as_micros().rem_euclid(1_000_000) * 1_000;
    for (field, number) in [(1, moment.as_seconds()), (2, nanos)] {
        if number != 0 {
            put_tag(out, field, 0);
            put_varint(out, number as u64);
        }
    }
}
