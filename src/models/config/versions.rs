//! `serving.versions`: which versions are loaded beside those that a name stands for.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::types::names::{ModelRef, ModelVersion, VersionSelector};

/// Which versions are loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Versions {
    #[default]
    Aliases,
    All,
    Listed(Vec<(String, ModelVersion)>),
}

impl Versions {
    /// The versions of one model that are wanted whatever the aliases say; `None` for all.
    pub(in crate::models) fn listed<'a>(&'a self, model: &'a str) -> Option<Vec<ModelVersion>> {
        match self {
            Self::Aliases => Some(Vec::new()),
            Self::All => None,
            Self::Listed(pairs) => {
                let of_model = pairs.iter().filter(|(name, _)| name == model);
                Some(of_model.map(|(_, version)| *version).collect())
            }
        }
    }
}

impl Versions {
    /// The models of the list, if it is one.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let pairs = match self {
            Self::Listed(pairs) => &pairs[..],
            Self::Aliases | Self::All => &[],
        };
        pairs.iter().map(|(name, _)| name.as_str())
    }
}

impl Serialize for Versions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Aliases => serializer.serialize_str("aliases"),
            Self::All => serializer.serialize_str("all"),
            Self::Listed(pairs) => serializer.collect_seq(
                pairs
                    .iter()
                    .map(|(name, version)| format!("{name}:{version}")),
            ),
        }
    }
}

impl<'de> Deserialize<'de> for Versions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VersionsVisitor)
    }
}

struct VersionsVisitor;

impl<'de> Visitor<'de> for VersionsVisitor {
    type Value = Versions;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`aliases`, `all` or a list of `name:version`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Versions, E> {
        match text {
            "aliases" => Ok(Versions::Aliases),
            "all" => Ok(Versions::All),
            other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Versions, A::Error> {
        let mut pairs = Vec::new();
        while let Some(text) = seq.next_element::<String>()? {
            let reference: ModelRef = text.parse().map_err(de::Error::custom)?;
            match reference.version {
                VersionSelector::Version(version) => pairs.push((reference.name, version)),
                VersionSelector::Serving | VersionSelector::Alias(_) => {
                    return Err(de::Error::custom(format!(
                        "`{text}` names no version; write `name:version`"
                    )));
                }
            }
        }
        Ok(Versions::Listed(pairs))
    }
}

impl JsonSchema for Versions {
    fn schema_name() -> Cow<'static, str> {
        "Versions".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {"type": "string", "enum": ["aliases", "all"]},
                {"type": "array", "items": {"type": "string", "pattern": "^.+:[0-9]+$"}},
            ]
        })
    }
}
