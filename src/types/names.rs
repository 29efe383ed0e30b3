//! Names that users write, parsed once: `model`, `model@alias`, `model:version`, `view:feature`.

use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The number of a registered model version, as MLflow counts: from 1, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModelVersion(pub u64);

impl fmt::Display for ModelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An item that stands twice in what a caller wrote. Looked for pair by pair while that is cheaper than hashing.
pub fn repeated<T: Copy + Eq + Hash>(items: impl ExactSizeIterator<Item = T> + Clone) -> Option<T> {
    if items.len() <= 16 {
        let mut rest = items.clone().enumerate();
        let found = rest.find(|(at, item)| items.clone().take(*at).any(|other| other == *item));
        return found.map(|(_, item)| item);
    }
    let mut seen = HashSet::with_capacity(items.len());
    items.into_iter().find(|item| !seen.insert(*item))
}

/// Which version of a model a caller wants.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum VersionSelector {
    /// The serving alias, else the highest version.
    Serving,
    Alias(String),
    Version(ModelVersion),
}

/// A model as a caller names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelRef {
    pub name: String,
    pub version: VersionSelector,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a model reference: {reason}")]
pub struct ModelRefError {
    pub text: String,
    pub reason: &'static str,
}

impl FromStr for ModelRef {
    type Err = ModelRefError;

    fn from_str(text: &str) -> Result<Self, ModelRefError> {
        let error = |reason| ModelRefError {
            text: text.to_owned(),
            reason,
        };
        let (name, version) = if let Some((name, alias)) = text.split_once('@') {
            if alias.is_empty() {
                return Err(error("nothing follows the `@`; write `name@alias`"));
            }
            (name, VersionSelector::Alias(alias.to_owned()))
        } else if let Some((name, version)) = text.split_once(':') {
            let number = version
                .parse()
                .map_err(|_| error("a version is a whole number; write `name:3`"))?;
            (name, VersionSelector::Version(ModelVersion(number)))
        } else {
            (text, VersionSelector::Serving)
        };
        if name.is_empty() {
            return Err(error("the name is empty"));
        }
        Ok(Self {
            name: name.to_owned(),
            version,
        })
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            VersionSelector::Serving => f.write_str(&self.name),
            VersionSelector::Alias(alias) => write!(f, "{}@{alias}", self.name),
            VersionSelector::Version(version) => write!(f, "{}:{version}", self.name),
        }
    }
}

/// A feature as Feast writes it: `view:feature`. The view may be named by its projection alias.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FeatureRef {
    pub view: String,
    pub feature: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a feature reference; write `view:feature`")]
pub struct FeatureRefError(pub String);

impl FromStr for FeatureRef {
    type Err = FeatureRefError;

    fn from_str(text: &str) -> Result<Self, FeatureRefError> {
        match text.split_once(':') {
            Some((view, feature)) if !view.is_empty() && !feature.is_empty() => Ok(Self {
                view: view.to_owned(),
                feature: feature.to_owned(),
            }),
            _ => Err(FeatureRefError(text.to_owned())),
        }
    }
}

impl fmt::Display for FeatureRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.view, self.feature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_references_round_trip() {
        for text in [
            "driver_ranking",
            "driver_ranking@champion",
            "driver_ranking:12",
        ] {
            assert_eq!(text.parse::<ModelRef>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_malformed_model_reference_says_what_to_write() {
        for (text, part) in [
            ("m@", "name@alias"),
            ("m:x", "whole number"),
            ("", "empty"),
            ("@a", "empty"),
        ] {
            let error = text.parse::<ModelRef>().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_feature_reference_needs_both_parts() {
        assert_eq!("v:f".parse::<FeatureRef>().unwrap().to_string(), "v:f");
        for text in ["v", ":f", "v:"] {
            assert!(text.parse::<FeatureRef>().is_err(), "{text}");
        }
    }
}
