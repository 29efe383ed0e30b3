//! Where the files of a version lie, as an artifact URI says, and how each kind of place is read.
//!
//! | URI | read by |
//! |---|---|
//! | `mlflow-artifacts:/path` | the tracking server's proxy |
//! | `mlflow-artifacts://host:port/path` | that server's proxy; our credentials only if it is the same host |
//! | `file:///path`, `/path` | this machine, if it is there |
//! | `s3://`, `gs://`, `az://`, `abfss://`, `wasbs://` | the store itself, with its own credentials |
//! | anything else, and what cannot be read from here | the tracking server's route for files of versions |

mod directory;
mod object;
mod proxy;
mod routed;

use std::path::PathBuf;

pub(super) use self::routed::Holder;
use super::access::unescaped;
use super::rest::Rest;
use crate::models::registry::Error;
use crate::models::registry::cache::{self, Source};
use crate::storage::{self, Options};

/// What it takes to read an artifact URI.
#[derive(Debug, Clone)]
pub(super) struct Places {
    /// The server whose proxy `mlflow-artifacts:/` means.
    pub(super) proxy: Rest,
    pub(super) stores: Stores,
}

/// How to reach object stores, read from the environment when the registry was opened.
#[derive(Debug, Clone)]
pub(in crate::models) struct Stores {
    s3: Options,
    gs: Options,
    az: Options,
}

impl Stores {
    pub(in crate::models) fn read(environment: &dyn Fn(&str) -> Option<String>) -> Self {
        let endpoint = environment("MLFLOW_S3_ENDPOINT_URL").filter(|url| !url.is_empty());
        let mut s3 = Options::read("s3://", endpoint, environment);
        if environment("MLFLOW_S3_IGNORE_TLS").is_some_and(|value| super::access::is_true(&value)) {
            s3.set("allow_invalid_certificates", "true".to_owned());
        }
        Self {
            s3,
            gs: Options::read("gs://", None, environment),
            az: Options::read("az://", None, environment),
        }
    }

    pub(in crate::models) fn of(&self, url: &str) -> &Options {
        match url.split_once("://").map_or("", |(scheme, _)| scheme) {
            "s3" | "s3a" => &self.s3,
            "gs" => &self.gs,
            _ => &self.az,
        }
    }
}

impl Places {
    /// `holder` is what the tracking server can be asked about, should the place be out of reach.
    pub(super) fn open(&self, uri: &str, holder: &Holder) -> Result<Box<dyn Source>, Error> {
        if let Some(rest) = uri.strip_prefix("mlflow-artifacts:") {
            return self.open_proxy(rest);
        }
        if let Some(path) = local_path(uri) {
            if path.is_dir() {
                return Ok(Box::new(directory::Directory::new(path)));
            }
            return self.routed(uri, holder, "a path that is not on this machine");
        }
        let url = as_object_url(uri);
        if storage::is_at(&url) {
            return match object::open(&url, self.stores.of(&url)) {
                Ok(source) => Ok(source),
                Err(object::Unopened::NotBuilt) => {
                    self.routed(uri, holder, "which needs the Cargo feature `object-store`")
                }
                Err(object::Unopened::Failed(reason)) => Err(cache::Error::Store {
                    place: uri.to_owned(),
                    reason,
                }
                .into()),
            };
        }
        self.routed(uri, holder, "a kind of place that is not supported")
    }

    /// `/path` or `//host:port/path`.
    fn open_proxy(&self, rest: &str) -> Result<Box<dyn Source>, Error> {
        let (server, path) = match rest.strip_prefix("//") {
            Some(rest) => {
                let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
                match host {
                    "" => (self.proxy.clone(), path),
                    host => (self.proxy.at(host)?, path),
                }
            }
            None => (self.proxy.clone(), rest),
        };
        Ok(Box::new(proxy::Proxy::new(server, &unescaped(path))?))
    }

    fn routed(&self, uri: &str, holder: &Holder, reason: &str) -> Result<Box<dyn Source>, Error> {
        if let Some(source) = routed::Routed::new(self.proxy.clone(), holder, uri) {
            tracing::debug!(uri, reason, "files come through the tracking server");
            return Ok(Box::new(source));
        }
        Err(cache::Error::Unsupported {
            place: uri.to_owned(),
            reason: reason.to_owned(),
        }
        .into())
    }
}

/// The path of `file:` URIs and of what is no URI at all.
pub(in crate::models) fn local_path(uri: &str) -> Option<PathBuf> {
    if let Some(rest) = uri.strip_prefix("file:") {
        // `file:///path`, `file://localhost/path`, `file:/path`.
        let path = match rest.strip_prefix("//") {
            Some(rest) => &rest[rest.find('/').unwrap_or(rest.len())..],
            None => rest,
        };
        return Some(PathBuf::from(unescaped(path)));
    }
    let is_uri = uri.split_once(':').is_some_and(|(scheme, _)| {
        let mut chars = scheme.chars();
        chars.next().is_some_and(|c| c.is_ascii_alphabetic())
            && chars.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    });
    (!is_uri && !uri.is_empty()).then(|| PathBuf::from(uri))
}

/// MLflow's names of Azure's blobs, as the store's client knows them.
pub(in crate::models) fn as_object_url(uri: &str) -> String {
    match uri.strip_prefix("wasbs://") {
        Some(rest) => format!(
            "abfss://{}",
            rest.replacen(".blob.core.windows.net", ".dfs.core.windows.net", 1)
        ),
        None => uri.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_places_are_told_from_uris() {
        for (uri, path) in [
            ("file:///a/b%20c", Some("/a/b c")),
            ("file:/a", Some("/a")),
            ("file://localhost/a", Some("/a")),
            ("/a/b", Some("/a/b")),
            ("mlruns/1", Some("mlruns/1")),
            ("s3://bucket/a", None),
            ("mlflow-artifacts:/1", None),
            ("dbfs:/x", None),
            ("", None),
        ] {
            assert_eq!(local_path(uri), path.map(PathBuf::from), "{uri}");
        }
    }

    #[test]
    fn azure_blobs_have_two_names() {
        assert_eq!(
            as_object_url("wasbs://box@account.blob.core.windows.net/a/b"),
            "abfss://box@account.dfs.core.windows.net/a/b"
        );
        assert_eq!(as_object_url("s3://b/k"), "s3://b/k");
    }
}
