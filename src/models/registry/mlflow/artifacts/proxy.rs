//! Files through an MLflow server's artifact proxy.
//!
//! A listing names what lies in one directory, relative to it; one that does not exist is an empty listing.

use async_trait::async_trait;
use serde::Deserialize;

use crate::models::registry::Error;
use crate::models::registry::cache::{
    self, Opened, Pieces, RemoteFile, Source, check_path, too_many,
};
use crate::models::registry::mlflow::rest::{Download, Rest};

const ROUTE: &str = "api/2.0/mlflow-artifacts/artifacts";
/// Directories within directories.
const MAX_DEPTH: usize = 32;

pub(super) struct Proxy {
    server: Rest,
    /// Below the artifact root, without slashes at its ends.
    root: String,
}

#[derive(Deserialize)]
pub(super) struct Answer {
    #[serde(default)]
    pub(super) files: Vec<Named>,
}

#[derive(Deserialize)]
pub(super) struct Named {
    pub(super) path: String,
    #[serde(default)]
    pub(super) is_dir: bool,
    #[serde(default)]
    pub(super) file_size: Option<u64>,
}

impl Proxy {
    pub(super) fn new(server: Rest, path: &str) -> Result<Self, Error> {
        let root = path.trim_matches('/').to_owned();
        check_path(server.origin(), &root)?;
        Ok(Self { server, root })
    }
}

#[async_trait]
impl Source for Proxy {
    fn place(&self) -> String {
        format!("{}/{ROUTE}/{}", self.server.origin(), self.root)
    }

    async fn list(&self, max_files: usize) -> Result<Vec<RemoteFile>, Error> {
        let mut files = Vec::new();
        // Relative to the root; empty for the root itself.
        let mut directories = vec![(String::new(), 0)];
        while let Some((directory, depth)) = directories.pop() {
            let path = match directory.as_str() {
                "" => self.root.clone(),
                below => format!("{}/{below}", self.root),
            };
            let answer: Answer = self.server.get(ROUTE, &[("path", &path)]).await?;
            for entry in answer.files {
                let path = match directory.as_str() {
                    "" => entry.path,
                    above => format!("{above}/{}", entry.path),
                };
                check_path(&self.place(), &path)?;
                if entry.is_dir && depth >= MAX_DEPTH {
                    return Err(too_deep(&self.place(), path));
                }
                if entry.is_dir {
                    directories.push((path, depth + 1));
                } else {
                    files.push(RemoteFile {
                        path,
                        size: entry.file_size,
                    });
                }
                if files.len() + directories.len() > max_files {
                    return Err(too_many(&self.place(), max_files));
                }
            }
        }
        Ok(files)
    }

    async fn open(&self, path: &str, from: u64) -> Result<Opened, Error> {
        let path = format!("{ROUTE}/{}/{path}", self.root);
        let download = self.server.download(&path, &[], from).await?;
        Ok(opened(download))
    }
}

fn too_deep(place: &str, path: String) -> Error {
    let error = cache::Error::Refused {
        place: place.to_owned(),
        path,
        reason: "directories are nested too deeply",
    };
    error.into()
}

pub(super) fn opened(download: Download) -> Opened {
    Opened {
        start: download.start,
        size: download.size,
        etag: download.etag.clone(),
        pieces: Box::new(download),
    }
}

#[async_trait]
impl Pieces for Download {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        Download::next(self).await
    }
}
