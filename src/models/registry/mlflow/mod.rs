//! A model registry that is an MLflow server: listed over REST, files fetched into the cache.
//!
//! A listing takes two paged calls, whatever the number of models: registered models with their aliases, then versions. The
//! order matters: a version is there before an alias points to it.
//! A version whose files are in the cache is not asked for again, unless the last listing tells that the number stands for
//! another version by now (a model that was deleted and registered anew counts from 1).
//! Prompts, which MLflow keeps as registered models, are left out, and so are names with `@` or `:`, which no request can name.
//! Not here: where files lie (`artifacts`), how they are kept (`cache`), how calls are made (`rest`).

mod access;
mod artifacts;
mod config;
mod listing;
mod locate;
mod rest;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use self::access::Access;
use self::artifacts::Places;
pub(in crate::models) use self::artifacts::{Stores, as_object_url, local_path};
pub(super) use self::config::Config;
use self::listing::{Known, Versions};
pub(in crate::models) use self::rest::{Rest, Upload};
use super::cache::{Cache, Entry, Limits};
use super::{Error, Listing, ModelRegistry, named_directory};
use crate::types::model_uri::ModelUri;
use crate::types::names::ModelVersion;

/// Where most routes stand.
const API: &str = "api/2.0/mlflow";

pub(super) struct MlflowRegistry {
    rest: Rest,
    places: Places,
    cache: Cache,
    /// The last listing, if there was one.
    versions: Mutex<Option<Arc<Versions>>>,
}

/// A client of the configured server. Nothing is reached out to yet.
pub(super) fn open(
    config: &Config,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Rest, Error> {
    let address = config.address(environment)?;
    let access = Access::read(environment)?;
    Rest::connect(&address, access, config.patience(environment)?)
}

impl MlflowRegistry {
    /// Nothing is reached out to before the first listing.
    pub(super) fn connect(
        config: &Config,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let rest = open(config, environment)?;
        let tracking = environment("MLFLOW_TRACKING_URI");
        // Where registry and tracking server differ, the latter is the one with the proxy.
        let proxy = match tracking.filter(|uri| config.uri.is_none() && uri.starts_with("http")) {
            Some(uri) => Rest::connect(
                &uri,
                Access::read(environment)?,
                config.patience(environment)?,
            )?,
            None => rest.clone(),
        };
        let limits = Limits {
            max_size: config.max_size,
            max_files: config.max_files,
        };
        let id = format!(
            "{}\n{}",
            rest.origin(),
            rest.workspace().unwrap_or_default()
        );
        Ok(Self {
            cache: Cache::new(&config.cache, &id, limits),
            places: Places {
                proxy,
                stores: Stores::read(environment),
            },
            rest,
            versions: Mutex::default(),
        })
    }

    fn listed(&self) -> Option<Arc<Versions>> {
        let versions = self.versions.lock();
        versions.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is known of a version, asked for if the last listing does not have it.
    async fn known(&self, model: &str, version: ModelVersion) -> Result<Known, Error> {
        let listed = self.listed();
        let known = listed.and_then(|versions| versions.get(model, version).cloned());
        match known {
            Some(known) if known.is_ready() => Ok(known),
            // It may have become ready since.
            _ => listing::version(&self.rest, model, version).await,
        }
    }

    /// Fetches what a URI names and no registered version.
    async fn fetch_other(&self, uri: &ModelUri) -> Result<PathBuf, Error> {
        // Logged files do not change, so the name says it all.
        let (entry, identity) = (Entry::Other(uri.to_string()), uri.to_string());
        if let Some(files) = self.cache.find(&entry, Some(&identity)).await? {
            return Ok(files);
        }
        let place = locate::place(&self.rest, &identity).await?;
        let source = self.places.open(&place.uri, &place.holder)?;
        self.cache.fetch(&entry, &identity, &*source).await
    }
}

#[async_trait]
impl ModelRegistry for MlflowRegistry {
    fn location(&self) -> String {
        match self.rest.workspace() {
            Some(workspace) => format!("{} (workspace {workspace})", self.rest.origin()),
            None => self.rest.origin().to_owned(),
        }
    }

    async fn list(&self) -> Result<Vec<Listing>, Error> {
        let (listings, versions) = listing::read(&self.rest).await?;
        let mut listed = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        *listed = Some(Arc::new(versions));
        Ok(listings)
    }

    async fn directory(&self, model: &str, version: ModelVersion) -> Result<PathBuf, Error> {
        let entry = Entry::Version(model.to_owned(), version);
        let listed = self.listed();
        let identity = match &listed {
            // The registry was not reached yet: what is here is what was good last time.
            None => None,
            Some(versions) => versions
                .get(model, version)
                .map(|known| known.identity.clone()),
        };
        let may_be_here = listed.is_none() || identity.is_some();
        if may_be_here && let Some(files) = self.cache.find(&entry, identity.as_deref()).await? {
            return Ok(files);
        }
        let known = self.known(model, version).await?;
        if !known.is_ready() {
            return Err(known.not_ready(model, version));
        }
        let place = locate::version(&self.rest, model, version, &known).await?;
        let source = self.places.open(&place.uri, &place.holder)?;
        self.cache.fetch(&entry, &known.identity, &*source).await
    }

    async fn directory_of(&self, uri: &ModelUri) -> Result<PathBuf, Error> {
        match uri {
            ModelUri::Version { .. } | ModelUri::Alias { .. } | ModelUri::Latest { .. } => {
                named_directory(self, uri).await
            }
            ModelUri::Stage { name, stage } => {
                let version = listing::newest_in_stage(&self.rest, name, stage).await?;
                self.directory(name, version).await
            }
            ModelUri::Logged { .. } | ModelUri::Run { .. } => self.fetch_other(uri).await,
        }
    }

    async fn retain(&self, kept: &[(String, ModelVersion)]) -> Result<(), Error> {
        self.cache.collect(kept).await
    }
}
