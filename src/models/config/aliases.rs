//! `serving.aliases`: which aliases are followed beside the one that decides what the plain name stands for.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Which aliases are followed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Aliases {
    #[default]
    All,
    Listed(Vec<String>),
}

impl Aliases {
    pub fn has(&self, alias: &str) -> bool {
        match self {
            Self::All => true,
            Self::Listed(aliases) => aliases.iter().any(|listed| listed == alias),
        }
    }
}

impl Serialize for Aliases {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("all"),
            Self::Listed(aliases) => serializer.collect_seq(aliases),
        }
    }
}

impl<'de> Deserialize<'de> for Aliases {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AliasesVisitor)
    }
}

struct AliasesVisitor;

impl<'de> Visitor<'de> for AliasesVisitor {
    type Value = Aliases;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`all` or a list of aliases")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Aliases, E> {
        match text {
            "all" => Ok(Aliases::All),
            other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Aliases, A::Error> {
        let mut aliases = Vec::new();
        while let Some(alias) = seq.next_element()? {
            aliases.push(alias);
        }
        Ok(Aliases::Listed(aliases))
    }
}

impl JsonSchema for Aliases {
    fn schema_name() -> Cow<'static, str> {
        "Aliases".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {"type": "string", "enum": ["all"]},
                {"type": "array", "items": {"type": "string"}},
            ]
        })
    }
}
