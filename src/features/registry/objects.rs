//! A registry taken apart into its objects, each still as bytes.
//!
//! Where a registry is kept in pieces (tables, answers of a server), the pieces are put together here; only then does each
//! become a definition, one by one, so that one that does not decode takes no other down with it.

use std::borrow::Cow;
use std::fmt;

use crate::features::codec::wire::{Reader, WireError};

/// The kinds of object that serving needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    Entity,
    FeatureView,
    StreamFeatureView,
    OnDemandFeatureView,
    FeatureService,
}

impl ObjectKind {
    /// In Feast's words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Entity => "entity",
            Self::FeatureView => "feature view",
            Self::StreamFeatureView => "stream feature view",
            Self::OnDemandFeatureView => "on-demand feature view",
            Self::FeatureService => "feature service",
        }
    }

    /// By its field number in `feast.core.Registry`.
    pub(super) fn from_field(field: u32) -> Option<Self> {
        match field {
            1 => Some(Self::Entity),
            6 => Some(Self::FeatureView),
            7 => Some(Self::FeatureService),
            8 => Some(Self::OnDemandFeatureView),
            14 => Some(Self::StreamFeatureView),
            _ => None,
        }
    }

    /// The field number of `project` in the object's spec.
    fn project_field(self) -> u32 {
        match self {
            Self::Entity => 9,
            Self::FeatureView
            | Self::StreamFeatureView
            | Self::OnDemandFeatureView
            | Self::FeatureService => 2,
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One object's message.
pub(super) struct Object<'a> {
    pub(super) kind: ObjectKind,
    pub(super) bytes: Cow<'a, [u8]>,
    /// Where it is known from beside the message.
    pub(super) project: Option<String>,
    pub(super) name: Option<String>,
}

impl Object<'_> {
    /// The project it belongs to, as far as can be seen.
    pub(super) fn project(&self) -> Option<&str> {
        let path = [1, self.kind.project_field()];
        let known = self.project.as_deref();
        known.or_else(|| text_at(&self.bytes, &path))
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.name
            .as_deref()
            .or_else(|| text_at(&self.bytes, &[1, 1]))
    }
}

/// A whole registry.
#[derive(Default)]
pub(super) struct Objects<'a> {
    pub(super) revision: String,
    /// Every project that the registry mentions, in order of appearance.
    pub(super) projects: Vec<String>,
    pub(super) objects: Vec<Object<'a>>,
}

impl<'a> Objects<'a> {
    /// From the bytes of a `feast.core.Registry`.
    pub(super) fn of_registry(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut found = Self::default();
        let mut view_projects = Vec::new();
        let mut reader = Reader::new(bytes);
        while let Some((field, content)) = reader.field()? {
            if let Some(kind) = ObjectKind::from_field(field) {
                let object = Object {
                    kind,
                    bytes: Cow::Borrowed(content.bytes(field)?),
                    project: None,
                    name: None,
                };
                if kind == ObjectKind::FeatureView {
                    view_projects.extend(object.project().map(str::to_owned));
                }
                found.objects.push(object);
                continue;
            }
            match field {
                4 => content.text(field)?.clone_into(&mut found.revision),
                // Project metadata, and projects.
                15 => found.add_project(text_at(content.bytes(field)?, &[1])),
                17 => found.add_project(text_at(content.bytes(field)?, &[1, 1])),
                _ => {}
            }
        }
        for project in &view_projects {
            found.add_project(Some(project));
        }
        Ok(found)
    }

    pub(super) fn add_project(&mut self, name: Option<&str>) {
        if let Some(name) = name.filter(|name| !name.is_empty())
            && !self.projects.iter().any(|known| known == name)
        {
            self.projects.push(name.to_owned());
        }
    }
}

/// The text that a path of field numbers leads to. As protobuf merges, the last occurrence counts. Damage ends the search.
pub(super) fn text_at<'a>(bytes: &'a [u8], path: &[u32]) -> Option<&'a str> {
    let (field, inner) = path.split_first()?;
    let mut found = None;
    let mut reader = Reader::new(bytes);
    while let Ok(Some((number, content))) = reader.field() {
        if number != *field {
            continue;
        }
        let here = match inner {
            [] => content.text(number).ok(),
            _ => content
                .bytes(number)
                .ok()
                .and_then(|bytes| text_at(bytes, inner)),
        };
        found = here.or(found);
    }
    found
}
