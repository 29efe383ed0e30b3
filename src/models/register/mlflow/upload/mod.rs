//! Where a server wants the files of a model, and how they get there.
//!
//! | URI | |
//! |---|---|
//! | `mlflow-artifacts:/path` | `PUT` through the tracking server; `mlflow-artifacts://host:port/path` through another one |
//! | `file:///path`, `/path` | a directory that this machine and the server share |
//! | `s3://`, `gs://`, `az://` | the object store itself, with the credentials of this environment |

#[cfg(feature = "object-store")]
mod object;

use std::path::PathBuf;
use std::sync::Arc;

use crate::models::register::package::{Content, File};
use crate::models::register::{Error, Progress};
use crate::models::registry::{Rest, Stores, Upload, as_object_url, local_path};
use crate::shutdown::run_blocking;
use crate::storage;

const PROXY: &str = "api/2.0/mlflow-artifacts/artifacts";

pub(super) struct Place {
    uri: String,
    kind: Kind,
}

enum Kind {
    Proxy {
        rest: Rest,
        path: String,
    },
    Directory(PathBuf),
    #[cfg(feature = "object-store")]
    Objects(object::Objects),
}

impl Place {
    pub(super) fn parse(rest: &Rest, stores: &Stores, uri: &str) -> Result<Self, Error> {
        let unsupported = |reason: &str| Error::Store {
            uri: uri.to_owned(),
            reason: reason.to_owned(),
        };
        let url = as_object_url(uri);
        let kind = if let Some(path) = uri.strip_prefix("mlflow-artifacts:") {
            proxy(rest, path).map_err(Error::step("uploading"))?
        } else if let Some(path) = local_path(uri) {
            if !path.is_absolute() {
                return Err(unsupported(
                    "this path begins where the server was started, which is not known here",
                ));
            }
            Kind::Directory(path)
        } else if storage::is_at(&url) {
            objects(&url, stores).map_err(|reason| unsupported(&reason))?
        } else {
            return Err(unsupported(
                "files cannot be written to this kind of place from here",
            ));
        };
        Ok(Self {
            uri: uri.to_owned(),
            kind,
        })
    }

    pub(super) fn is_on_this_machine(&self) -> bool {
        matches!(self.kind, Kind::Directory(_))
    }

    /// Takes the files in their order. One that is there already is replaced.
    pub(super) async fn take(&self, files: &[File], progress: &Progress) -> Result<(), Error> {
        let n_bytes = files.iter().map(|file| file.n_bytes).sum();
        let mut n_before = 0;
        for file in files {
            progress.uploading(&file.path, n_before, n_bytes);
            match &self.kind {
                Kind::Proxy { rest, path } => {
                    let told = progress.clone();
                    let name = file.path.clone();
                    let sent = move |n_sent| told.uploading(&name, n_before + n_sent, n_bytes);
                    let upload = match &file.content {
                        Content::At(place) => Upload::File(place),
                        Content::Text(text) => Upload::Text(text),
                    };
                    let path = format!("{PROXY}/{path}/{}", file.path);
                    let put = rest.put(&path, upload, &(Arc::new(sent) as _)).await;
                    put.map_err(|error| self.failed(file, &error))?;
                }
                #[cfg(feature = "object-store")]
                Kind::Objects(objects) => {
                    let told = |n_sent| progress.uploading(&file.path, n_before + n_sent, n_bytes);
                    let put = objects.put(file, &told).await;
                    put.map_err(|error| self.failed(file, &error))?;
                }
                Kind::Directory(directory) => {
                    let (directory, file) = (directory.clone(), file.clone());
                    let name = file.clone();
                    match run_blocking(move || file.write_below(&directory)).await {
                        Ok(written) => written.map_err(|error| self.failed(&name, &error))?,
                        Err(_) => return Err(Error::Stopped),
                    }
                }
            }
            n_before += file.n_bytes;
        }
        progress.uploading("", n_bytes, n_bytes);
        Ok(())
    }

    fn failed(&self, file: &File, error: &dyn std::error::Error) -> Error {
        Error::Upload {
            file: file.path.clone(),
            uri: self.uri.clone(),
            reason: error.to_string(),
        }
    }
}

#[cfg(feature = "object-store")]
fn objects(url: &str, stores: &Stores) -> Result<Kind, String> {
    let (store, prefix) = storage::open(url, stores.of(url))?;
    Ok(Kind::Objects(object::Objects::new(store, prefix)))
}

#[cfg(not(feature = "object-store"))]
fn objects(_: &str, _: &Stores) -> Result<Kind, String> {
    Err("this build has no object stores (Cargo feature `object-store`)".to_owned())
}

/// `/path`, `///path` or `//host:port/path`.
fn proxy(rest: &Rest, path: &str) -> Result<Kind, crate::models::registry::Error> {
    let (rest, path) = match path.strip_prefix("//") {
        Some(rest_of) if !rest_of.starts_with('/') => {
            let (authority, path) = rest_of.split_once('/').unwrap_or((rest_of, ""));
            (rest.at(authority)?, path)
        }
        _ => (rest.clone(), path),
    };
    Ok(Kind::Proxy {
        rest,
        path: path.trim_matches('/').to_owned(),
    })
}
