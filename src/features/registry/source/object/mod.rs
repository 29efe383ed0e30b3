//! A registry in an object store: `s3://`, `gs://`, `az://`.
//!
//! Written under the condition that the object is still the one that was read; another writer's change is read again and kept.
//! Credentials come from the environment variables that the store's own tools use; files under the home directory are not
//! looked at.

#[cfg(test)]
#[cfg(feature = "object-store")]
mod tests;

use std::fmt;

use super::Store;
use crate::features::registry::Error;
use crate::features::repo::{Problem, note_left_over};
use crate::features::settings::Settings;

/// Where the object is and how to get at it.
#[derive(Clone)]
pub(in crate::features) struct Config {
    url: String,
    /// Names as in the environment, with their values.
    #[cfg_attr(
        not(feature = "object-store"),
        expect(dead_code, reason = "only the client reads them")
    )]
    options: Vec<(String, String)>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The options are credentials.
        f.debug_struct("Config")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Schemes, and the variables that tell how to reach their stores.
const STORES: [(&[&str], &[&str]); 3] = [
    (
        &["s3", "s3a"],
        &[
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "AWS_DEFAULT_REGION",
            "AWS_REGION",
            "AWS_ENDPOINT",
            "AWS_ENDPOINT_URL",
            "AWS_ENDPOINT_URL_S3",
            "AWS_ENDPOINT_URL_STS",
            "AWS_ALLOW_HTTP",
            "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
            "AWS_SKIP_SIGNATURE",
            "AWS_METADATA_ENDPOINT",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_ROLE_ARN",
            "AWS_ROLE_SESSION_NAME",
            "AWS_REQUEST_PAYER",
            "AWS_SERVER_SIDE_ENCRYPTION",
            "AWS_SSE_KMS_KEY_ID",
        ],
    ),
    (
        &["gs"],
        &[
            "GOOGLE_SERVICE_ACCOUNT",
            "GOOGLE_SERVICE_ACCOUNT_PATH",
            "GOOGLE_SERVICE_ACCOUNT_KEY",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "GOOGLE_BASE_URL",
            "GOOGLE_SKIP_SIGNATURE",
            "GOOGLE_ALLOW_HTTP",
        ],
    ),
    (
        &["az", "abfs", "abfss", "https"],
        &[
            "AZURE_STORAGE_ACCOUNT_NAME",
            "AZURE_STORAGE_ACCOUNT_KEY",
            "AZURE_STORAGE_ACCESS_KEY",
            "AZURE_STORAGE_SAS_TOKEN",
            "AZURE_STORAGE_ENDPOINT",
            "AZURE_STORAGE_USE_EMULATOR",
            "AZURE_CLIENT_ID",
            "AZURE_CLIENT_SECRET",
            "AZURE_TENANT_ID",
            "AZURE_AUTHORITY_HOST",
            "AZURE_FEDERATED_TOKEN_FILE",
            "AZURE_MSI_ENDPOINT",
            "AZURE_ALLOW_HTTP",
        ],
    ),
];

/// Feast's `s3_additional_kwargs`, as far as they say how an object is kept.
const S3_ARGUMENTS: [(&str, &str); 2] = [
    ("ServerSideEncryption", "AWS_SERVER_SIDE_ENCRYPTION"),
    ("SSEKMSKeyId", "AWS_SSE_KMS_KEY_ID"),
];

/// Whether `path` is a URL of an object store.
pub(in crate::features::registry) fn is_at(path: &str) -> bool {
    match path.split_once("://") {
        // Feast's Azure registry is named by its blob's own address.
        Some(("https", rest)) => rest
            .split('/')
            .next()
            .is_some_and(|host| host.ends_with(".blob.core.windows.net")),
        Some((scheme, _)) => STORES.iter().any(|(schemes, _)| schemes.contains(&scheme)),
        None => false,
    }
}

impl Config {
    /// Takes the keys that bear on object stores, and the environment's say.
    pub(in crate::features::registry) fn read(
        url: &str,
        settings: &mut Settings,
        environment: &dyn Fn(&str) -> Option<String>,
        notes: &mut Vec<String>,
    ) -> Result<Self, Problem> {
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
        let mut options = Vec::new();
        for (_, names) in STORES
            .iter()
            .filter(|(schemes, _)| schemes.contains(&scheme))
        {
            for name in *names {
                options.extend(environment(name).map(|value| ((*name).to_owned(), value)));
            }
        }
        let endpoint = settings.text("s3_endpoint")?;
        if scheme.starts_with("s3") {
            // Feast's own variable counts for nothing but the registry, and so before the others.
            if let Some(endpoint) = endpoint.or_else(|| environment("FEAST_S3_ENDPOINT_URL")) {
                options.push(("AWS_ENDPOINT_URL_S3".to_owned(), endpoint));
            }
            let is_plain = |(name, value): &(String, String)| {
                name.starts_with("AWS_ENDPOINT") && value.starts_with("http://")
            };
            if options.iter().any(is_plain) && environment("AWS_ALLOW_HTTP").is_none() {
                options.push(("AWS_ALLOW_HTTP".to_owned(), "true".to_owned()));
            }
        }
        if let Some(arguments) = settings.take("s3_additional_kwargs") {
            let mut arguments = Settings::new("registry.s3_additional_kwargs", arguments)?;
            for (argument, option) in S3_ARGUMENTS {
                let value = arguments.text(argument)?;
                options.extend(value.map(|value| (option.to_owned(), value)));
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
            let url = url::Url::parse(&config.url).map_err(|error| refused(error.to_string()))?;
            let options = config.options.iter().cloned();
            let (store, path) = object_store::parse_url_opts(&url, options)
                .map_err(|error| refused(error.to_string()))?;
            Ok(Self {
                store: store.into(),
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
