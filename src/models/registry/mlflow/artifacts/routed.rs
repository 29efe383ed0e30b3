//! Files through the tracking server, wherever it keeps them: it lists a logged model's or a run's files, and hands out
//! those of a registered version.
//!
//! For artifact stores that only the server can reach.

use async_trait::async_trait;

use super::proxy::{Answer, opened};
use crate::models::registry::Error;
use crate::models::registry::cache::{Opened, RemoteFile, Source, check_path, too_many};
use crate::models::registry::mlflow::rest::Rest;
use crate::types::names::ModelVersion;

const ROUTE: &str = "model-versions/get-artifact";

/// What the files of a version belong to.
#[derive(Debug, Clone, Default)]
pub(in crate::models::registry::mlflow) struct Holder {
    pub(in crate::models::registry::mlflow) version: Option<(String, ModelVersion)>,
    /// `m-` and 32 digits.
    pub(in crate::models::registry::mlflow) model_id: Option<String>,
}

pub(super) struct Routed {
    server: Rest,
    name: String,
    version: String,
    model_id: String,
    uri: String,
}

impl Routed {
    /// `None` where the server has no route for the files.
    pub(super) fn new(server: Rest, holder: &Holder, uri: &str) -> Option<Self> {
        let (name, version) = holder.version.clone()?;
        Some(Self {
            server,
            name,
            version: version.to_string(),
            model_id: holder.model_id.clone()?,
            uri: uri.to_owned(),
        })
    }
}

#[async_trait]
impl Source for Routed {
    fn place(&self) -> String {
        format!("{} through {}", self.uri, self.server.origin())
    }

    async fn list(&self, max_files: usize) -> Result<Vec<RemoteFile>, Error> {
        let route = format!(
            "api/2.0/mlflow/logged-models/{}/artifacts/directories",
            self.model_id
        );
        let mut files = Vec::new();
        let mut directories = vec![String::new()];
        let mut n_listed = 0;
        while let Some(directory) = directories.pop() {
            n_listed += 1;
            let query = [("artifact_directory_path", directory.as_str())];
            let answer: Answer = match directory.as_str() {
                "" => self.server.get(&route, &[]).await?,
                _ => self.server.get(&route, &query).await?,
            };
            for entry in answer.files {
                check_path(&self.place(), &entry.path)?;
                // Paths are relative to the model's root. One that is not below the directory would lead in circles.
                let is_below = directory.is_empty()
                    || entry
                        .path
                        .strip_prefix(&directory)
                        .is_some_and(|path| path.starts_with('/'));
                if entry.is_dir && is_below {
                    directories.push(entry.path);
                } else if !entry.is_dir {
                    files.push(RemoteFile {
                        path: entry.path,
                        size: entry.file_size,
                    });
                }
                if files.len() + directories.len() + n_listed > max_files {
                    return Err(too_many(&self.place(), max_files));
                }
            }
        }
        Ok(files)
    }

    async fn open(&self, path: &str, from: u64) -> Result<Opened, Error> {
        let query = [
            ("name", self.name.as_str()),
            ("version", self.version.as_str()),
            ("path", path),
        ];
        let download = self.server.download(ROUTE, &query, from).await?;
        Ok(opened(download))
    }
}
