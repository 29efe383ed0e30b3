//! A registry in an object store: `s3://`, `gs://`, `az://`.
//!
//! Written under the condition that the object is still the one that was read; another writer's change is read again and kept.
//! How a store is reached: `storage`.

#[cfg(test)]
#[cfg(feature = "object-store")]
mod tests;

use super::Store;
use crate::features::registry::Error;
use crate::features::repo::{Problem, note_left_over};
use crate::features::settings::Settings;
use crate::storage::Options;

/// Where the object is and how to get at it.
#[derive(Debug, Clone)]
pub(in crate::features) struct Config {
    url: String,
    #[cfg_attr(
        not(feature = "object-store"),
        expect(dead_code, reason = "only the client reads them")
    )]
    options: Options,
}

/// Feast's `s3_additional_kwargs`, as far as they say how an object is kept.
const S3_ARGUMENTS: [(&str, &str); 2] = [
    ("ServerSideEncryption", "AWS_SERVER_SIDE_ENCRYPTION"),
    ("SSEKMSKeyId", "AWS_SSE_KMS_KEY_ID"),
];

impl Config {
    /// Takes the keys that bear on object stores, and the environment's say.
    pub(in crate::features::registry) fn read(
        url: &str,
        settings: &mut Settings,
        environment: &dyn Fn(&str) -> Option<String>,
        notes: &mut Vec<String>,
    ) -> Result<Self, Problem> {
        // Feast's own variable counts for nothing but the registry, and so before the others.
        let endpoint = settings.text("s3_endpoint")?;
        let endpoint = endpoint.or_else(|| environment("FEAST_S3_ENDPOINT_URL"));
        let mut options = Options::read(url, endpoint, environment);
        if let Some(arguments) = settings.take("s3_additional_kwargs") {
            let mut arguments = Settings::new("registry.s3_additional_kwargs", arguments)?;
            for (argument, option) in S3_ARGUMENTS {
                if let Some(value) = arguments.text(argument)? {
                    options.set(option, value);
                }
            }
            note_left_over(&arguments, notes);
        }
        Ok(Self {
            url: url.to_owned(),
            options,
        })
    }
}

#[cfg(not(feature = "object-store"))]
pub(super) fn open(config: &Config) -> Result<std::sync::Arc<dyn Store>, Error> {
    Err(Error::NotBuilt {
        origin: config.url.clone(),
        feature: "object-store",
    })
}

#[cfg(feature = "object-store")]
pub(super) fn open(config: &Config) -> Result<std::sync::Arc<dyn Store>, Error> {
    Ok(std::sync::Arc::new(client::ObjectFile::open(config)?))
}

#[cfg(feature = "object-store")]
mod client {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use async_trait::async_trait;
    use object_store::path::Path;
    use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, UpdateVersion};

    use super::super::{Mark, Store, ViewChange};
    use super::{Config, Error};
    use crate::features::registry::{Registry, change};
    use crate::shutdown::run_blocking;
    use crate::storage;
    use crate::types::timestamp::Timestamp;

    /// Longest time for which a change gives way to others.
    const PATIENCE: Duration = Duration::from_secs(20);

    #[derive(Debug)]
    pub(super) struct ObjectFile {
        store: Arc<dyn ObjectStore>,
        path: Path,
        url: String,
    }

    impl ObjectFile {
        pub(super) fn open(config: &Config) -> Result<Self, Error> {
            let refused = |message: String| Error::Refused {
                origin: config.url.clone(),
                message,
            };
            let opened = storage::open(&config.url, &config.options);
            let (store, path) = opened.map_err(refused)?;
            Ok(Self {
                store,
                path,
                url: config.url.clone(),
            })
        }

        async fn read(&self) -> Result<(Vec<u8>, UpdateVersion), Error> {
            let failed = |error| self.failed(error);
            let found = self.store.get(&self.path).await.map_err(failed)?;
            let version = UpdateVersion {
                e_tag: found.meta.e_tag.clone(),
                version: found.meta.version.clone(),
            };
            let bytes = found.bytes().await.map_err(failed)?;
            Ok((bytes.to_vec(), version))
        }

        fn failed(&self, error: object_store::Error) -> Error {
            let origin = self.url.clone();
            match &error {
                object_store::Error::NotFound { .. } => Error::Missing { origin },
                object_store::Error::PermissionDenied { .. }
                | object_store::Error::Unauthenticated { .. } => Error::Refused {
                    origin,
                    message: error.to_string(),
                },
                _ => Error::Unreachable {
                    origin,
                    source: Arc::new(error),
                },
            }
        }
    }

    #[async_trait]
    impl Store for ObjectFile {
        async fn load(&self, project: &str) -> Result<Registry, Error> {
            let (bytes, _) = self.read().await?;
            let (project, url) = (project.to_owned(), self.url.clone());
            run_blocking(move || Registry::decode(&bytes, &project, &url))
                .await
                .map_err(Error::Panicked)?
        }

        async fn record(&self, project: &str, view: &str, change: ViewChange) -> Result<(), Error> {
            let started = Instant::now();
            let mut pause = Duration::from_millis(20);
            while started.elapsed() < PATIENCE {
                let (bytes, version) = self.read().await?;
                let now = Timestamp::now();
                let changed = change::in_registry(&bytes, project, view, change, now, &self.url)?;
                let options = PutOptions::from(PutMode::Update(version));
                let put = self.store.put_opts(&self.path, changed.into(), options);
                match put.await {
                    Ok(_) => return Ok(()),
                    Err(object_store::Error::Precondition { .. }) => {}
                    Err(object_store::Error::NotImplemented { .. }) => {
                        return Err(Error::CannotRecord {
                            origin: self.url.clone(),
                            reason: "the store has no conditional writes",
                        });
                    }
                    Err(error) => return Err(self.failed(error)),
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
            Err(Error::Contended {
                origin: self.url.clone(),
                waited: PATIENCE,
            })
        }

        async fn mark(&self) -> Option<Mark> {
            None
        }

        fn describe(&self) -> &str {
            &self.url
        }
    }

    #[cfg(test)]
    impl ObjectFile {
        pub(super) fn of(store: Arc<dyn ObjectStore>, path: &str) -> Self {
            Self {
                store,
                path: Path::from(path),
                url: format!("memory:///{path}"),
            }
        }
    }
}
