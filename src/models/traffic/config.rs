//! `[models.<name>.traffic]`: which versions share the calls for a model's plain name, and which run beside them unseen.
//!
//! All names in the table that are no options are aliases; each value is checked where it stands, so that a mistake is
//! told with its key.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// How the calls for the model's plain name are shared out to its aliases, and which versions run beside them unseen.
/// `name@alias` and `name:version` are not shared out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Versions that run on a copy of every answered call, after the answer; only the audit log sees what they give.
    #[schemars(with = "Aliases")]
    pub shadow: Vec<String>,
    /// How many shadow runs of the model go on at once. One more is not begun, and counted as dropped.
    pub shadow_concurrency: NonZeroUsize,
    /// Longest that a shadow run may take.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub shadow_timeout: Duration,
    /// By alias.
    #[serde(flatten)]
    #[schemars(with = "BTreeMap<String, Weight>")]
    pub weights: BTreeMap<String, u32>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            shadow: Vec::new(),
            shadow_concurrency: const { NonZeroUsize::new(4).unwrap() },
            shadow_timeout: Duration::from_secs(10),
            weights: BTreeMap::new(),
        }
    }
}

impl Config {
    /// The aliases that are named, those with a weight of zero too.
    pub fn aliases(&self) -> impl Iterator<Item = &str> {
        let aliases = self.weights.keys().chain(&self.shadow);
        aliases.map(String::as_str)
    }

    /// Whether nothing is asked for: the plain name stands for one version and nothing runs beside it.
    pub(super) fn is_empty(&self) -> bool {
        self.shadow.is_empty() && self.weights.is_empty()
    }
}

/// The weight of an alias against those of the others; they need not sum to 100. Zero is no share.
#[derive(JsonSchema)]
#[expect(
    dead_code,
    reason = "describes a weight, which is a plain number in the code"
)]
struct Weight(u32);

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ConfigVisitor)
    }
}

struct ConfigVisitor;

impl<'de> Visitor<'de> for ConfigVisitor {
    type Value = Config;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of weights by alias")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Config, A::Error> {
        let mut config = Config::default();
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "shadow" => config.shadow = map.next_value::<Aliases>()?.0,
                "shadow_concurrency" => config.shadow_concurrency = map.next_value()?,
                "shadow_timeout" => {
                    let timeout: humantime_serde::Serde<Duration> = map.next_value()?;
                    config.shadow_timeout = timeout.into_inner();
                }
                _ => {
                    let weight = map.next_value()?;
                    config.weights.insert(name, weight);
                }
            }
        }
        if !config.weights.is_empty() && config.weights.values().all(|weight| *weight == 0) {
            return Err(de::Error::custom(
                "every weight is 0; give an alias a share, or leave the weights out",
            ));
        }
        Ok(config)
    }
}

/// One alias or a list of them.
struct Aliases(Vec<String>);

impl<'de> Deserialize<'de> for Aliases {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AliasesVisitor).map(Self)
    }
}

struct AliasesVisitor;

impl<'de> Visitor<'de> for AliasesVisitor {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an alias or a list of aliases")
    }

    fn visit_str<E: de::Error>(self, alias: &str) -> Result<Vec<String>, E> {
        Ok(vec![alias.to_owned()])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<String>, A::Error> {
        let mut aliases = Vec::new();
        while let Some(alias) = seq.next_element()? {
            aliases.push(alias);
        }
        Ok(aliases)
    }
}

impl JsonSchema for Aliases {
    fn schema_name() -> Cow<'static, str> {
        "ShadowAliases".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}},
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.to_string())
    }

    #[test]
    fn aliases_stand_beside_the_options() {
        let config = parse(
            "champion = 90\nchallenger = 10\nspare = 0\nshadow = 'candidate'\nshadow_timeout = '2s'",
        )
        .unwrap();
        let weights = [("challenger", 10), ("champion", 90), ("spare", 0)];
        assert_eq!(
            config.weights,
            weights
                .map(|(alias, weight)| (alias.to_owned(), weight))
                .into()
        );
        assert_eq!(config.shadow, ["candidate"]);
        assert_eq!(config.shadow_timeout, Duration::from_secs(2));
        let again = parse(&toml::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
        assert_eq!(parse("shadow = ['a', 'b']").unwrap().shadow, ["a", "b"]);
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn a_weight_that_is_none_is_told() {
        for (text, part) in [
            ("champion = -1", "invalid value: integer `-1`, expected u32"),
            ("champion = 0.5", "invalid type: floating point `0.5`"),
            ("champion = 'all'", "invalid type: string"),
            ("champion = 0\nchallenger = 0", "every weight is 0"),
            ("champion = 1\nshadow = 3", "an alias or a list of aliases"),
            ("shadow_concurrency = 0", "nonzero"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
