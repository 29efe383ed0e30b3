//! `[models.<name>.gate]`: what a newer version must show before the model's plain name moves to it.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// Recorded predictions are replayed on a newer version before the model's plain name moves to it; one that answers too
/// differently stays out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "GateConfig")]
pub struct Config {
    /// How far back recorded predictions are taken. Without it nothing is judged.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "Option<String>", extend("format" = "duration"))]
    pub replay: Option<Duration>,
    /// Largest share of rows in which a label, a count or any other value that is no floating-point number is another one, or
    /// that the newer version does not answer at all.
    pub max_flip_rate: Option<Share>,
    /// Largest change of a floating-point output that `change_quantile` of the rows stay within.
    pub max_change: Option<f64>,
    /// The share of rows that `max_change` is for; 1 for every single row.
    pub change_quantile: Share,
    /// With fewer recorded rows the version passes unjudged.
    pub min_rows: NonZeroUsize,
    /// The newest so many rows are replayed.
    pub max_rows: NonZeroUsize,
    /// Longest that reading and replaying may take. What was replayed by then is judged.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            replay: None,
            max_flip_rate: None,
            max_change: None,
            change_quantile: Share(0.99),
            min_rows: const { NonZeroUsize::new(100).unwrap() },
            max_rows: const { NonZeroUsize::new(10_000).unwrap() },
            timeout: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// Errors, with a sentence, for options that do not go together.
    fn check(&self) -> Result<(), &'static str> {
        let has_limit = self.max_flip_rate.is_some() || self.max_change.is_some();
        match (self.replay, has_limit) {
            (Some(_), false) => {
                Err("`replay` alone judges nothing: set `max_flip_rate` or `max_change`")
            }
            (None, true) => {
                Err("a limit without `replay` judges nothing: set `replay`, such as \"1h\"")
            }
            _ if self
                .max_change
                .is_some_and(|change| change.is_nan() || change < 0.0) =>
            {
                Err("`max_change` is a number from 0")
            }
            _ if self.min_rows > self.max_rows => {
                Err("`min_rows` is above `max_rows`, so that no version would ever be judged")
            }
            _ => Ok(()),
        }
    }
}

/// Deserializes options that go together.
pub(in crate::predict) fn checked<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Config, D::Error> {
    let config = Config::deserialize(deserializer)?;
    config.check().map_err(D::Error::custom)?;
    Ok(config)
}

/// A part of a whole, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize)]
pub struct Share(f64);

impl Share {
    pub fn get(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let share = f64::deserialize(deserializer)?;
        match (0.0..=1.0).contains(&share) {
            true => Ok(Self(share)),
            false => Err(D::Error::custom("a share is a number from 0 to 1")),
        }
    }
}

impl JsonSchema for Share {
    fn schema_name() -> Cow<'static, str> {
        "Share".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0, "maximum": 1 })
    }
}

#[cfg(test)]
mod tests {
    use crate::predict::Config;

    #[test]
    fn mistakes_are_named_with_what_to_write() {
        for (text, part) in [
            ("replay = '1h'", "set `max_flip_rate` or `max_change`"),
            ("max_flip_rate = 0.1", "set `replay`"),
            ("replay = '1h'\nmax_flip_rate = 2", "from 0 to 1"),
            ("replay = '1h'\nmax_change = -1", "a number from 0"),
            (
                "replay = '1h'\nmax_change = 1\nmin_rows = 9\nmax_rows = 3",
                "above `max_rows`",
            ),
            ("replay = '1h'\nmax_change = 1\nmin_rows = 0", "nonzero"),
            ("replay = 'now'\nmax_change = 1", "expected a duration"),
            ("replays = '1h'", "unknown field `replays`"),
        ] {
            let error = toml::from_str::<Config>(&format!("[gate]\n{text}")).unwrap_err();
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_gate_is_read_back_as_it_was_written() {
        let text =
            "[gate]\nreplay = '1h'\nmax_flip_rate = 0.02\nmax_change = 1\nchange_quantile = 1";
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(config.gate.max_flip_rate.map(super::Share::get), Some(0.02));
        let again: Config = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
    }
}
