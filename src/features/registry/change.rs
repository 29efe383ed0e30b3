//! Changes a view in the bytes of a registry and leaves every other byte as it is.
//!
//! Feast 0.67 (`apply_materialization`, `apply_feature_view`) parses the registry and writes it anew; what its version does
//! not know is kept only as far as its protobuf library keeps it. Here fields are cut out and put in on the wire:
//! * materialized: the interval is appended, the state becomes AVAILABLE_ONLINE, the view's `last_updated_timestamp` is now, and
//!   the view goes to the end of the registry's list of its kind;
//! * a state alone is set in place;
//! * the registry gets a new `version_id` and `last_updated`.
//! Fields that occur more than once where one is expected are merged, as protobuf readers do.

use uuid::Uuid;

use super::Error;
use super::objects::text_at;
use super::source::ViewChange;
use crate::features::codec::wire::{
    Content, Reader, WireError, put_bytes, put_message, put_tag, put_varint,
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
    let changed = in_view(fields.0[at].bytes(), change, now).map_err(|source| Error::Object {
        kind: "feature view",
        name: view.to_owned(),
        reason: source.to_string(),
    })?;
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

/// The bytes of a feature view or stream feature view, changed.
pub(super) fn in_view(
    bytes: &[u8],
    change: ViewChange,
    now: Timestamp,
) -> Result<Vec<u8>, WireError> {
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
    let nanos = timestamp.as_micros().rem_euclid(1_000_000) * 1_000;
    put_message(out, field, |out| {
        for (field, number) in [(1, timestamp.as_seconds()), (2, nanos)] {
            if number != 0 {
                put_tag(out, field, 0);
                put_varint(out, number as u64);
            }
        }
    });
}

/// A message as its fields stand on the wire.
struct Fields<'a>(Vec<Field<'a>>);

#[derive(Clone, Copy)]
struct Field<'a> {
    number: u32,
    /// Tag, length and content.
    whole: &'a [u8],
    content: Content<'a>,
}

impl<'a> Field<'a> {
    /// The content of a message, text or bytes; nothing for a number.
    fn bytes(&self) -> &'a [u8] {
        self.content.bytes(self.number).unwrap_or_default()
    }
}

impl<'a> Fields<'a> {
    fn split(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let mut fields = Vec::new();
        loop {
            let before = reader.rest();
            let Some((number, content)) = reader.field()? else {
                return Ok(Self(fields));
            };
            let whole = &before[..before.len() - reader.rest().len()];
            fields.push(Field {
                number,
                whole,
                content,
            });
        }
    }

    fn position(&self, number: u32, is_it: impl Fn(&[u8]) -> bool) -> Option<usize> {
        let mut fields = self.0.iter();
        fields.position(|field| field.number == number && is_it(field.bytes()))
    }

    /// `whole` stands in place of the first field of this number and all others of it go; empty removes the field.
    fn set(&mut self, number: u32, whole: &'a [u8]) {
        let at = self.0.iter().position(|field| field.number == number);
        self.0.retain(|field| field.number != number);
        let at = at.unwrap_or_else(|| self.end_of(number));
        self.insert(at, number, whole);
    }

    /// `whole` comes behind the last field of this number.
    fn append(&mut self, number: u32, whole: &'a [u8]) {
        let last = self.0.iter().rposition(|field| field.number == number);
        let at = last.map_or_else(|| self.end_of(number), |last| last + 1);
        self.insert(at, number, whole);
    }

    fn insert(&mut self, at: usize, number: u32, whole: &'a [u8]) {
        let content = Content::Bytes(&[]);
        self.0.insert(
            at,
            Field {
                number,
                whole,
                content,
            },
        );
    }

    /// Where a field of this number would stand among fields in order.
    fn end_of(&self, number: u32) -> usize {
        let before = self.0.iter().rposition(|field| field.number <= number);
        before.map_or(0, |before| before + 1)
    }

    fn join(&self) -> Vec<u8> {
        let parts: Vec<&[u8]> = self.0.iter().map(|field| field.whole).collect();
        parts.concat()
    }
}
