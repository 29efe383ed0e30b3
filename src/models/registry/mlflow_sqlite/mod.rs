//! MLflow's own SQLite database, read without a server: what `mlflow.db` of a fresh MLflow is.
//!
//! Opened read-only for each listing, with patience for a writer's locks; all tables are read in one transaction.
//! Databases from before workspaces lack that column, and have one of everything.
//! A deleted version stays as a row, in the stage `Deleted_Internal` and without its source.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};

use super::{
    Error, Listing, ModelRegistry, RegisteredModel, is_model_name, moved, named_directory,
};
use crate::shutdown::run_blocking;
use crate::types::model_uri::ModelUri;
use crate::types::names::ModelVersion;

/// How long a writer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
const DEFAULT_WORKSPACE: &str = "default";

/// The SQLite database of an MLflow without a server, read only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The file.
    pub path: PathBuf,
    /// The directory of artifacts, where it was moved. Without it `mlruns` and `mlartifacts` beside the file, else the place
    /// that is written in the database.
    pub artifacts: Option<PathBuf>,
    /// How often the database is looked at for changes. Zero for never.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub poll: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: PathBuf::from("mlflow.db"),
            artifacts: None,
            poll: Duration::from_secs(10),
        }
    }
}

pub(super) struct MlflowSqlite {
    path: PathBuf,
    roots: Vec<PathBuf>,
    workspace: String,
    options: SqliteConnectOptions,
}

impl MlflowSqlite {
    pub(super) fn connect(config: &Config, environment: &dyn Fn(&str) -> Option<String>) -> Self {
        let beside = config.path.parent().unwrap_or(Path::new(""));
        let roots = match &config.artifacts {
            Some(root) => vec![root.clone()],
            None => vec![beside.join("mlruns"), beside.join("mlartifacts")],
        };
        let workspace = environment("MLFLOW_WORKSPACE").filter(|name| !name.is_empty());
        Self {
            path: config.path.clone(),
            roots,
            workspace: workspace.unwrap_or_else(|| DEFAULT_WORKSPACE.to_owned()),
            options: SqliteConnectOptions::new()
                .filename(&config.path)
                .read_only(true)
                .busy_timeout(PATIENCE),
        }
    }

    async fn open(&self) -> Result<Database, Error> {
        if !self.path.is_file() {
            return Err(Error::Missing {
                path: self.path.clone(),
            });
        }
        let opened = async {
            let mut connection = self.options.connect().await?;
            let has_workspaces: bool = sqlx::query_scalar(
                "SELECT COUNT(*) > 0 FROM pragma_table_info('registered_models') WHERE name = 'workspace'",
            )
            .fetch_one(&mut connection)
            .await?;
            Ok(Database {
                connection,
                workspace: has_workspaces.then(|| self.workspace.clone()),
            })
        };
        opened.await.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &sqlx::Error) -> Error {
        Error::Unreadable {
            reason: format!("{}: {error}", self.path.display()),
        }
    }

    /// Looks for directories off the async workers.
    async fn find(&self, locations: Vec<String>) -> Result<Option<PathBuf>, Error> {
        let roots = self.roots.clone();
        let found = run_blocking(move || {
            let locations: Vec<&str> = locations.iter().map(String::as_str).collect();
            moved::find(&locations, &roots)
        });
        found.await.map_err(|_| Error::Stopping)
    }
}

#[async_trait]
impl ModelRegistry for MlflowSqlite {
    fn location(&self) -> String {
        format!("MLflow database {}", self.path.display())
    }

    async fn list(&self) -> Result<Vec<Listing>, Error> {
        let mut database = self.open().await?;
        let read = database.list().await;
        read.map_err(|error| self.failed(&error))
    }

    async fn directory(&self, model: &str, version: ModelVersion) -> Result<PathBuf, Error> {
        let mut database = self.open().await?;
        let stored = database.version(model, version).await;
        let stored = stored.map_err(|error| self.failed(&error))?;
        let stored = stored.ok_or_else(|| Error::UnknownVersion {
            model: model.to_owned(),
            version,
        })?;
        if stored.status != "READY" {
            return Err(Error::NotReady {
                model: model.to_owned(),
                version,
                status: stored.status,
                message: stored.status_message,
            });
        }
        let place = stored.locations.first().cloned();
        let found = self.find(stored.locations).await?;
        found.ok_or_else(|| Error::FilesElsewhere {
            model: model.to_owned(),
            version,
            place: place.unwrap_or_else(|| "no place".to_owned()),
        })
    }

    async fn directory_of(&self, uri: &ModelUri) -> Result<PathBuf, Error> {
        match uri {
            ModelUri::Logged { .. } | ModelUri::Run { .. } => {
                let mut locations = vec![uri.to_string()];
                if let ModelUri::Logged { model_id, path } = uri {
                    let mut database = self.open().await?;
                    let stored = database.logged_model(model_id).await;
                    let stored = stored.map_err(|error| self.failed(&error))?;
                    locations.extend(stored.map(|location| match path.as_str() {
                        "" => location,
                        path => format!("{location}/{path}"),
                    }));
                }
                let found = self.find(locations).await?;
                found.ok_or_else(|| Error::UnknownUri {
                    uri: uri.to_string(),
                    reason: "its files are not beside the database".to_owned(),
                })
            }
            _ => named_directory(self, uri).await,
        }
    }
}

/// An open database.
struct Database {
    connection: SqliteConnection,
    /// `None` where there are none.
    workspace: Option<String>,
}

/// A version's row, as far as its files are concerned.
struct StoredVersion {
    status: String,
    status_message: String,
    /// The most telling first.
    locations: Vec<String>,
}

impl Database {
    /// `{w}` in the text becomes the condition on the workspace.
    fn sql(&self, text: &str) -> AssertSqlSafe<String> {
        let condition = match &self.workspace {
            // Bound as the first parameter.
            Some(_) => "workspace = ?1",
            None => "?1 IS NULL",
        };
        AssertSqlSafe(text.replace("{w}", condition))
    }

    async fn list(&mut self) -> Result<Vec<Listing>, sqlx::Error> {
        let models = self.sql("SELECT name FROM registered_models WHERE {w} ORDER BY name");
        let versions = self.sql(
            "SELECT name, version FROM model_versions \
             WHERE {w} AND COALESCE(current_stage, '') <> 'Deleted_Internal'",
        );
        let aliases =
            self.sql("SELECT name, alias, version FROM registered_model_aliases WHERE {w}");
        let model_tags = self.sql("SELECT name, key, value FROM registered_model_tags WHERE {w}");
        let version_tags =
            self.sql("SELECT name, version, key, value FROM model_version_tags WHERE {w}");
        let workspace = self.workspace.clone();
        // One moment for all tables.
        let mut transaction = self.connection.begin().await?;
        let mut rows = Vec::new();
        for query in [models, versions, aliases, model_tags, version_tags] {
            let query = sqlx::query(query).bind(&workspace);
            rows.push(query.fetch_all(&mut *transaction).await?);
        }
        transaction.rollback().await?;
        let [models, versions, aliases, model_tags, version_tags] = &rows[..] else {
            return Ok(Vec::new());
        };
        let mut drafts: BTreeMap<String, Draft> = BTreeMap::new();
        for row in models {
            drafts.insert(row.try_get(0)?, Draft::default());
        }
        for row in model_tags {
            if let Some(draft) = drafts.get_mut(row.try_get::<&str, _>(0)?) {
                draft.tags.insert(row.try_get(1)?, text(row, 2)?);
            }
        }
        for row in versions {
            if let Some(draft) = drafts.get_mut(row.try_get::<&str, _>(0)?) {
                draft.versions.insert(version(row, 1)?, draft.tags.clone());
            }
        }
        for row in version_tags {
            let draft = drafts.get_mut(row.try_get::<&str, _>(0)?);
            let number = version(row, 1)?;
            if let Some(tags) = draft.and_then(|draft| draft.versions.get_mut(&number)) {
                tags.insert(row.try_get(2)?, text(row, 3)?);
            }
        }
        for row in aliases {
            if let Some(draft) = drafts.get_mut(row.try_get::<&str, _>(0)?) {
                draft.aliases.insert(row.try_get(1)?, version(row, 2)?);
            }
        }
        let listings = drafts.into_iter().filter(|(name, draft)| {
            is_model_name(name) && !draft.versions.is_empty() && !draft.is_prompt()
        });
        Ok(listings.map(|(name, draft)| draft.listing(name)).collect())
    }

    async fn version(
        &mut self,
        model: &str,
        version: ModelVersion,
    ) -> Result<Option<StoredVersion>, sqlx::Error> {
        let Ok(number) = i64::try_from(version.0) else {
            return Ok(None);
        };
        let sql = self.sql(
            "SELECT source, storage_location, status, status_message FROM model_versions \
             WHERE {w} AND name = ?2 AND version = ?3 \
             AND COALESCE(current_stage, '') <> 'Deleted_Internal'",
        );
        let query = sqlx::query(sql)
            .bind(&self.workspace)
            .bind(model)
            .bind(number);
        let Some(row) = query.fetch_optional(&mut self.connection).await? else {
            return Ok(None);
        };
        let (source, stored) = (text(&row, 0)?, text(&row, 1)?);
        let mut locations = vec![stored, source.clone()];
        if let Ok(ModelUri::Logged { model_id, .. }) = source.parse() {
            // What the model was logged with tells more than its identifier.
            locations.splice(1..1, self.logged_model(&model_id).await?);
        }
        locations.retain(|location| !location.is_empty());
        Ok(Some(StoredVersion {
            status: text(&row, 2)?,
            status_message: text(&row, 3)?,
            locations,
        }))
    }

    /// Where a logged model's files lie. Databases of MLflow 2 have no such table.
    async fn logged_model(&mut self, model_id: &str) -> Result<Option<String>, sqlx::Error> {
        let has_table: bool = sqlx::query_scalar(
            "SELECT COUNT(*) > 0 FROM sqlite_master WHERE type = 'table' AND name = 'logged_models'",
        )
        .fetch_one(&mut self.connection)
        .await?;
        if !has_table {
            return Ok(None);
        }
        let query =
            sqlx::query_scalar("SELECT artifact_location FROM logged_models WHERE model_id = ?");
        query
            .bind(model_id)
            .fetch_optional(&mut self.connection)
            .await
    }
}

/// A registered model on its way out of the tables.
#[derive(Default)]
struct Draft {
    tags: BTreeMap<String, String>,
    versions: BTreeMap<ModelVersion, BTreeMap<String, String>>,
    aliases: BTreeMap<String, ModelVersion>,
}

impl Draft {
    fn is_prompt(&self) -> bool {
        self.tags.keys().any(|key| key.starts_with("mlflow.prompt"))
    }

    fn listing(self, name: String) -> Listing {
        let dangling = self
            .aliases
            .iter()
            .find(|(_, version)| !self.versions.contains_key(version));
        let model = match dangling {
            Some((alias, version)) => Err(Error::AliasWithoutVersion {
                model: name.clone(),
                alias: alias.clone(),
                version: *version,
            }),
            None => Ok(RegisteredModel {
                versions: self.versions,
                aliases: self.aliases,
            }),
        };
        Listing { name, model }
    }
}

/// Null is empty.
fn text(row: &SqliteRow, column: usize) -> Result<String, sqlx::Error> {
    Ok(row
        .try_get::<Option<String>, _>(column)?
        .unwrap_or_default())
}

fn version(row: &SqliteRow, column: usize) -> Result<ModelVersion, sqlx::Error> {
    let number: i64 = row.try_get(column)?;
    let number = u64::try_from(number).map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok(ModelVersion(number))
}

#[cfg(test)]
mod tests;
