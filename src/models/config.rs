//! `[serving]`: which versions of a registered model are loaded, and when the server is ready.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::types::names::{ModelRef, ModelVersion, VersionSelector};

/// Which versions are served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The alias that a model's plain name stands for. A model without it is served at its highest version.
    pub alias: String,
    /// Which versions are loaded beside the one that the plain name stands for: `aliases` for all that an alias points
    /// to, `all`, or a list of `name:version` in addition to those of `aliases`.
    pub versions: Versions,
    /// When `/readyz` says yes, once the first load of every model was tried.
    pub ready: Ready,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            alias: "champion".to_owned(),
            versions: Versions::default(),
            ready: Ready::default(),
        }
    }
}

/// When the server counts as ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ready {
    /// Whatever loaded is served; what did not is listed as degraded.
    #[default]
    Any,
    /// Only if every wanted version loaded.
    All,
}

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
    pub(super) fn listed<'a>(&'a self, model: &'a str) -> Option<Vec<ModelVersion>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_a_word_or_a_list() {
        for (text, wanted) in [
            ("versions = 'aliases'", Versions::Aliases),
            ("versions = 'all'", Versions::All),
            (
                "versions = ['a:1', 'b:12']",
                Versions::Listed(vec![
                    ("a".to_owned(), ModelVersion(1)),
                    ("b".to_owned(), ModelVersion(12)),
                ]),
            ),
        ] {
            let config: Config = toml::from_str(text).unwrap();
            assert_eq!(config.versions, wanted);
            let again: Config = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
            assert_eq!(again, config);
        }
    }

    #[test]
    fn a_version_that_is_none_is_an_error_that_says_what_to_write() {
        for (text, part) in [
            ("versions = 'some'", "`aliases`, `all` or a list"),
            ("versions = ['a']", "names no version"),
            ("versions = ['a@b']", "names no version"),
            ("versions = ['a:b']", "whole number"),
            ("ready = 'some'", "unknown variant `some`"),
            ("aliases = 'x'", "unknown field `aliases`"),
        ] {
            let error = toml::from_str::<Config>(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
