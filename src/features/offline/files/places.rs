//! Where a file source is: a path on this machine or an address in an object store.

use std::error::Error as StdError;
use std::path::{Path as LocalPath, PathBuf};
use std::sync::Arc;

use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::object_store::ObjectStore;
use datafusion::object_store::path::Path;

use super::super::Error;
use super::super::pull::PullLatest;
use crate::features::definitions::SourceKind;

/// A file or directory, before it is looked at.
#[derive(Debug)]
pub(in super::super) struct Place {
    /// As errors name it.
    pub(in super::super) text: String,
    pub(in super::super) url: ObjectStoreUrl,
    /// Where in the store.
    pub(in super::super) path: Path,
    /// Where the store's server is, if the source has one of its own.
    #[cfg(feature = "cluster")]
    pub(in super::super) server: Option<String>,
    /// `None` for this machine, whose store DataFusion knows already.
    pub(in super::super) store: Option<Arc<dyn ObjectStore>>,
}

impl Place {
    /// Reaches out to nothing but the local file system.
    pub(in super::super) fn of(pull: &PullLatest, directory: &LocalPath) -> Result<Self, Error> {
        let SourceKind::File { uri, s3_endpoint } = &pull.source.kind else {
            return Err(pull.unsupported("a source that is not a file".to_owned()));
        };
        let (scheme, rest) = match uri.split_once("://") {
            None => return local(pull, directory.join(uri)),
            Some(("file", path)) => return local(pull, PathBuf::from(path)),
            Some(parts) => parts,
        };
        let place = remote_place(scheme, rest, uri, s3_endpoint.as_deref());
        place.map_err(|unopened| match unopened {
            Unopened::Unsupported(what) => pull.unsupported(format!("a source {what}")),
            Unopened::Unreadable(source) => pull.unreadable(uri, source),
        })
    }

    /// A file that is no view's: an absolute path or an address in an object store.
    #[cfg(feature = "cluster")]
    pub(in super::super) fn at(
        uri: &str,
        s3_endpoint: Option<&str>,
    ) -> Result<Self, Box<dyn StdError + Send + Sync>> {
        match uri.split_once("://") {
            None => Ok(Self {
                text: uri.to_owned(),
                url: ObjectStoreUrl::local_filesystem(),
                path: Path::from_absolute_path(uri)?,
                server: None,
                store: None,
            }),
            Some((scheme, rest)) => {
                remote_place(scheme, rest, uri, s3_endpoint).map_err(|unopened| match unopened {
                    Unopened::Unsupported(what) => {
                        format!("this build knows no place {what}").into()
                    }
                    Unopened::Unreadable(source) => source,
                })
            }
        }
    }
}

/// Why an object store cannot be opened.
enum Unopened {
    /// This build knows no store `at ...`.
    Unsupported(String),
    Unreadable(Box<dyn StdError + Send + Sync>),
}

fn remote_place(
    scheme: &str,
    rest: &str,
    uri: &str,
    s3_endpoint: Option<&str>,
) -> Result<Place, Unopened> {
    let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
    let store = remote(scheme, uri, s3_endpoint)?;
    let url = ObjectStoreUrl::parse(format!("{scheme}://{bucket}"));
    Ok(Place {
        url: url.map_err(|error| Unopened::Unreadable(error.into()))?,
        path: Path::from(path),
        text: uri.to_owned(),
        #[cfg(feature = "cluster")]
        server: s3_endpoint
            .filter(|server| !server.is_empty())
            .map(str::to_owned),
        store: Some(store),
    })
}

fn local(pull: &PullLatest, path: PathBuf) -> Result<Place, Error> {
    let text = path.display().to_string();
    // The path in the store is absolute and free of links and dots.
    let path = fs_err::canonicalize(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => pull.missing(&text),
        _ => pull.unreadable(&text, error),
    })?;
    let path = Path::from_absolute_path(&path).map_err(|error| pull.unreadable(&text, error))?;
    Ok(Place {
        text,
        url: ObjectStoreUrl::local_filesystem(),
        path,
        #[cfg(feature = "cluster")]
        server: None,
        store: None,
    })
}

/// The client of an object store; credentials come from the variables that its own tools use.
#[cfg(feature = "object-store")]
fn remote(
    scheme: &str,
    uri: &str,
    s3_endpoint: Option<&str>,
) -> Result<Arc<dyn ObjectStore>, Unopened> {
    use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
    use object_store::azure::MicrosoftAzureBuilder;
    use object_store::gcp::GoogleCloudStorageBuilder;

    let failed = |error: object_store::Error| Unopened::Unreadable(error.into());
    let store: Arc<dyn ObjectStore> = match scheme {
        "s3" | "s3a" => {
            let mut builder = AmazonS3Builder::from_env().with_url(uri);
            if let Some(endpoint) = s3_endpoint.filter(|endpoint| !endpoint.is_empty()) {
                builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
            }
            // An endpoint that is named without TLS is meant so.
            for key in [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint] {
                let endpoint = builder.get_config_value(&key);
                if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
                    builder = builder.with_allow_http(true);
                }
            }
            Arc::new(builder.build().map_err(failed)?)
        }
        "gs" => {
            let builder = GoogleCloudStorageBuilder::from_env().with_url(uri);
            Arc::new(builder.build().map_err(failed)?)
        }
        "az" | "abfs" | "abfss" => {
            let builder = MicrosoftAzureBuilder::from_env().with_url(uri);
            Arc::new(builder.build().map_err(failed)?)
        }
        other => return Err(Unopened::Unsupported(format!("at {other}://"))),
    };
    Ok(store)
}

#[cfg(not(feature = "object-store"))]
fn remote(
    scheme: &str,
    _uri: &str,
    _s3_endpoint: Option<&str>,
) -> Result<Arc<dyn ObjectStore>, Unopened> {
    Err(Unopened::Unsupported(format!(
        "at {scheme}:// (built without feature `object-store`)"
    )))
}
