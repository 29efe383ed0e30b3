//! `[serving]`: which versions of a registered model are loaded, how long one stays that nothing wants any more, and when
//! the server is ready.

mod aliases;
mod versions;
mod webhook;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::aliases::Aliases;
pub use self::versions::Versions;
pub use self::webhook::Webhook;

/// Which versions are served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The alias that a model's plain name stands for. A model without it is served at its highest version; `latest`,
    /// which MLflow allows no alias to be called, does that for all models.
    pub alias: String,
    /// Which other aliases are followed, so that what they point to is loaded: `all`, or a list.
    pub aliases: Aliases,
    /// Which versions are loaded beside those that a name stands for: `aliases` for none, `all`, or a list of
    /// `name:version`.
    pub versions: Versions,
    /// When `/readyz` says yes, once the first load of every model was tried.
    pub ready: Ready,
    /// How long a version that nothing wants any more stays loaded, so that going back to it takes no time.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub keep_previous: Duration,
    /// Most versions of one model that are kept in that way; the ones that went last stay.
    pub max_previous: usize,
    /// Deliveries by which MLflow tells of changes, at `/v1/webhooks/mlflow`.
    pub webhook: Webhook,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            alias: "champion".to_owned(),
            aliases: Aliases::default(),
            versions: Versions::default(),
            ready: Ready::default(),
            keep_previous: Duration::from_secs(600),
            max_previous: 2,
            webhook: Webhook::default(),
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
    /// Only if every name stands for a version that loaded, be it the one before.
    All,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::names::ModelVersion;

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
            ("aliases = 'x'", "`all` or a list of aliases"),
            ("alias_list = 'x'", "unknown field `alias_list`"),
            ("[webhook]\nsecret = ''", "is empty"),
        ] {
            let error = toml::from_str::<Config>(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn aliases_are_all_or_a_list() {
        for (text, follows) in [
            ("aliases = 'all'", true),
            ("aliases = ['blue', 'green']", true),
            ("aliases = ['green']", false),
            ("aliases = []", false),
        ] {
            let config: Config = toml::from_str(text).unwrap();
            assert_eq!(config.aliases.has("blue"), follows, "{text}");
            let again: Config = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
            assert_eq!(again, config);
        }
    }

    #[test]
    fn the_secret_is_nowhere_to_be_read() {
        let config: Config = toml::from_str("[webhook]\nsecret = 'k-1'").unwrap();
        assert!(!format!("{config:?}").contains("k-1"));
        assert!(!toml::to_string(&config).unwrap().contains("k-1"));
    }
}
