//! Which versions of a model are wanted, and what its names stand for: the registry's word, read as the settings say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::catalog::Serving;
use super::config::Config;
use super::registry::{self, RegisteredModel};
use crate::types::names::ModelVersion;

/// The settings for all models, and those for single ones.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    pub config: Config,
    /// By the model's name.
    pub models: BTreeMap<String, Choice>,
}

/// What one model's plain name stands for, where that is not as for all others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Comes before any alias.
    pub version: Option<ModelVersion>,
    /// In place of `serving.alias`.
    pub alias: Option<String>,
    /// Aliases that are followed whatever `serving.aliases` says, for the model's traffic needs them.
    pub followed: Vec<String>,
}

impl Policy {
    /// What the plain name stands for: the version that the settings name, else that of the serving alias, else the highest.
    pub(super) fn serving(
        &self,
        name: &str,
        model: &RegisteredModel,
    ) -> Result<Serving, registry::Error> {
        let choice = self.models.get(name);
        if let Some(version) = choice.and_then(|choice| choice.version) {
            return Ok(Serving {
                version,
                alias: None,
            });
        }
        let alias = self.alias(name);
        if let Some(version) = model.aliases.get(alias) {
            return Ok(Serving {
                version: *version,
                alias: Some(Arc::from(alias)),
            });
        }
        match model.versions.last_key_value() {
            Some((version, _)) => Ok(Serving {
                version: *version,
                alias: None,
            }),
            None => Err(registry::Error::NoVersion {
                model: name.to_owned(),
            }),
        }
    }

    /// The alias that the plain name stands for.
    fn alias(&self, name: &str) -> &str {
        let own = self
            .models
            .get(name)
            .and_then(|choice| choice.alias.as_ref());
        own.unwrap_or(&self.config.alias)
    }

    /// Whether what the alias points to is loaded.
    pub(super) fn follows(&self, name: &str, alias: &str) -> bool {
        let choice = self.models.get(name);
        self.config.aliases.has(alias)
            || alias == self.alias(name)
            || choice.is_some_and(|choice| choice.followed.iter().any(|own| own == alias))
    }

    /// Every version that is loaded: of the plain name, of the aliases that are followed, and those asked for by number.
    pub(super) fn wanted(
        &self,
        name: &str,
        model: &RegisteredModel,
        serving: &Serving,
    ) -> BTreeSet<ModelVersion> {
        let mut wanted = BTreeSet::from([serving.version]);
        for (alias, version) in &model.aliases {
            if self.follows(name, alias) {
                wanted.insert(*version);
            }
        }
        match self.config.versions.listed(name) {
            Some(versions) => wanted.extend(versions),
            None => wanted.extend(model.versions.keys()),
        }
        wanted
    }
}

impl From<Config> for Policy {
    fn from(config: Config) -> Self {
        Self {
            config,
            models: BTreeMap::new(),
        }
    }
}
