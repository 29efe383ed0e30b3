//! Where a file source is: a path on this machine or an address in an object store.

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
pub(super) struct Place {
    /// As errors name it.
    pub(super) text: String,
    pub(super) url: ObjectStoreUrl,
    /// Where in the store.
    pub(super) path: Path,
    /// `None` for this machine, whose store DataFusion knows already.
    pub(super) store: Option<Arc<dyn ObjectStore>>,
}

impl Place {
    /// Reaches out to nothing but the local file system.
    pub(super) fn of(pull: &PullLatest, directory: &LocalPath) -> Result<Self, Error> {
        let SourceKind::File { uri, s3_endpoint } = &pull.source.kind else {
            return Err(pull.unsupported("a source that is not a file".to_owned()));
        };
        let (scheme, rest) = match uri.split_once("://") {
            None => return local(pull, directory.join(uri)),
            Some(("file", path)) => return local(pull, PathBuf::from(path)),
            Some(parts) => parts,
        };
        let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
        let store = remote(pull, scheme, uri, s3_endpoint.as_deref())?;
        let url = format!("{scheme}://{bucket}");
        Ok(Self {
            url: ObjectStoreUrl::parse(&url).map_err(|error| pull.unreadable(uri, error))?,
            path: Path::from(path),
            text: uri.clone(),
            store: Some(store),
        })
    }
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
        store: None,
    })
}

/// The client of an object store; credentials come from the variables that its own tools use.
#[cfg(feature = "object-store")]
fn remote(
    pull: &PullLatest,
    scheme: &str,
    uri: &str,
    s3_endpoint: Option<&str>,
) -> Result<Arc<dyn ObjectStore>, Error> {
    use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
    use object_store::azure::MicrosoftAzureBuilder;
    use object_store::gcp::GoogleCloudStorageBuilder;

    let failed = |error: object_store::Error| pull.unreadable(uri, error);
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
        other => return Err(pull.unsupported(format!("a source at {other}://"))),
    };
    Ok(store)
}

#[cfg(not(feature = "object-store"))]
fn remote(
    pull: &PullLatest,
    scheme: &str,
    _uri: &str,
    _s3_endpoint: Option<&str>,
) -> Result<Arc<dyn ObjectStore>, Error> {
    Err(pull.unsupported(format!(
        "a source at {scheme}:// (built without feature `object-store`)"
    )))
}
