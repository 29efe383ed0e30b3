//! What the registry and the settings want of one model.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::load::Tags;
use crate::error::Failure;
use crate::models::catalog::Serving;
use crate::models::error::LoadError;
use crate::models::policy::Policy;
use crate::models::registry::{self, RegisteredModel};
use crate::types::names::ModelVersion;

/// The newest word on a model that could be understood.
pub(super) struct Wish {
    pub(super) registered: RegisteredModel,
    /// What the plain name should stand for; else why the registry could never say.
    pub(super) serving: Result<Serving, Arc<LoadError>>,
    /// Every version that should be loaded.
    pub(super) wanted: BTreeSet<ModelVersion>,
    /// The aliases that are followed.
    pub(super) followed: BTreeSet<Arc<str>>,
    /// Why the registry's newest entry could not be followed, if it could not.
    pub(super) trouble: Option<Arc<LoadError>>,
}

impl Wish {
    /// Takes an entry of the registry; one that is in error leaves what was wanted `before`.
    pub(super) fn new(
        policy: &Policy,
        name: &str,
        listed: Result<RegisteredModel, registry::Error>,
        before: Option<&Self>,
    ) -> Self {
        match listed.and_then(|model| Ok((policy.serving(name, &model)?, model))) {
            Ok((serving, registered)) => {
                let aliases = registered.aliases.keys();
                let followed = aliases.filter(|alias| policy.follows(name, alias));
                Self {
                    wanted: policy.wanted(name, &registered, &serving),
                    followed: followed.map(|alias| Arc::from(alias.as_str())).collect(),
                    serving: Ok(serving),
                    registered,
                    trouble: None,
                }
            }
            Err(error) => Self::in_trouble(name, error, before),
        }
    }

    fn in_trouble(name: &str, error: registry::Error, before: Option<&Self>) -> Self {
        let known = before.and_then(|before| {
            let failure = match &before.serving {
                Ok(_) => before.trouble.as_ref()?,
                Err(failure) => failure,
            };
            Some(failure.to_string())
        });
        let is_new = known.is_none_or(|known| known != error.to_string());
        if is_new {
            let hint = error.hint();
            tracing::error!(model = name, %error, code = error.code(), hint, "the model's registry entry cannot be followed");
        }
        let failure = Arc::new(LoadError::Registry(error));
        match before {
            Some(before) if before.serving.is_ok() => Self {
                registered: before.registered.clone(),
                serving: before.serving.clone(),
                wanted: before.wanted.clone(),
                followed: before.followed.clone(),
                trouble: Some(failure),
            },
            _ => Self {
                registered: RegisteredModel::default(),
                serving: Err(failure),
                wanted: BTreeSet::new(),
                followed: BTreeSet::new(),
                trouble: None,
            },
        }
    }

    pub(super) fn tags(&self, version: ModelVersion) -> Tags {
        let tags = self.registered.versions.get(&version);
        tags.cloned().unwrap_or_default()
    }

    /// Whether the other says the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let text = |failure: &Option<Arc<LoadError>>| failure.as_ref().map(ToString::to_string);
        let serving = |wish: &Self| match &wish.serving {
            Ok(serving) => Ok(serving.clone()),
            Err(failure) => Err(failure.to_string()),
        };
        self.registered == other.registered
            && serving(self) == serving(other)
            && text(&self.trouble) == text(&other.trouble)
    }
}
