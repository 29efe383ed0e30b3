//! A registry in a database, as Feast's `registry_type: sql` keeps it: a table per kind of object, a row per object.
//!
//! It is read now and then, so each read and each change has a connection of its own.
//! The project's objects are read by one statement, and so as they were at one moment. A change is one transaction that holds
//! the view's row, edits the bytes in it, and sets `last_updated_timestamp` there and in `feast_metadata`, as Feast does.

mod postgres;
mod sqlite;
#[cfg(test)]
mod tests;
mod url;

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::url::Url;
use super::{Mark, Store, ViewChange};
use crate::features::registry::objects::{Object, ObjectKind, Objects};
use crate::features::registry::{Error, Registry, change};
use crate::features::repo::{Problem, note_left_over};
use crate::features::settings::Settings;
use crate::types::timestamp::Timestamp;

/// Longest wait for a connection, and for a lock of SQLite.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the database is.
#[derive(Debug, Clone)]
pub(in crate::features) struct Config {
    write: Address,
    /// Where it is read, if that is another place.
    read: Option<Address>,
    /// Feast keeps no `feast_metadata` for such a registry.
    purge_metadata: bool,
}

#[derive(Debug, Clone)]
enum Address {
    Sqlite(PathBuf),
    Postgres(Url),
}

impl Config {
    /// Takes the keys of Feast's `SqlRegistryConfig`.
    pub(in crate::features::registry) fn read(
        path: &str,
        settings: &mut Settings,
        directory: &Path,
        notes: &mut Vec<String>,
    ) -> Result<Self, Problem> {
        let read_path = settings.text("read_path")?;
        let purge_metadata = settings.boolean("purge_feast_metadata")?.unwrap_or(false);
        // They tell SQLAlchemy and Feast's own threads what to do, and who makes the tables.
        settings.take("thread_pool_executor_worker_count");
        settings.take("schema_mode");
        if let Some(arguments) = settings.take("sqlalchemy_config_kwargs") {
            let mut arguments = Settings::new("registry.sqlalchemy_config_kwargs", arguments)?;
            for of_the_pool in [
                "echo",
                "pool_size",
                "max_overflow",
                "pool_pre_ping",
                "pool_recycle",
                "pool_timeout",
            ] {
                arguments.take(of_the_pool);
            }
            note_left_over(&arguments, notes);
        }
        Ok(Self {
            write: Address::read(path, "registry.path", directory)?,
            read: match read_path {
                Some(path) => Some(Address::read(&path, "registry.read_path", directory)?),
                None => None,
            },
            purge_metadata,
        })
    }
}

impl Address {
    fn read(text: &str, setting: &str, directory: &Path) -> Result<Self, Problem> {
        let Some(url) = Url::parse(text) else {
            return Err(Problem::Invalid(format!(
                "`{setting}` must be a database URL, such as `postgresql://user:password@host:5432/feast`"
            )));
        };
        match url.dialect.as_str() {
            "sqlite" if url.database.is_empty() || url.database == ":memory:" => {
                Err(Problem::Invalid(format!(
                    "`{setting}` is a database in memory, which only the process that made it can read"
                )))
            }
            "sqlite" => Ok(Self::Sqlite(directory.join(&url.database))),
            "postgresql" | "postgres" => Ok(Self::Postgres(url)),
            other => Err(Problem::Unsupported(format!("`{setting}` at {other}://"))),
        }
    }

    fn open(&self) -> Result<Arc<dyn Database>, Error> {
        match self {
            Self::Sqlite(path) => Ok(Arc::new(sqlite::open(path))),
            Self::Postgres(url) => postgres::open(url),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:///{}", path.display()),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

/// What a database has to do. Statements have parameters `$1`, `$2`, ...
#[async_trait]
trait Database: Send + Sync + fmt::Debug {
    /// Runs `SELECT_ALL`. Cancel safe.
    async fn select(&self, project: &str) -> Result<Vec<Row>, Error>;

    /// Runs the statements of `update` in one transaction that nobody else can get between; `false` where the view has no
    /// row in the table. Cancel safe: nothing is changed unless the transaction ends.
    async fn update(&self, update: &Update<'_>) -> Result<bool, Error>;
}

struct Row {
    kind: i64,
    name: String,
    bytes: Option<Vec<u8>>,
}

/// The bytes of a view, changed.
type Edit<'a> = dyn Fn(&[u8]) -> Result<Vec<u8>, Error> + Send + Sync + 'a;

/// One change of one view.
struct Update<'a> {
    table: &'static str,
    project: &'a str,
    view: &'a str,
    now: Timestamp,
    /// Sets the project's `last_updated_timestamp` too.
    with_metadata: bool,
    edit: &'a Edit<'a>,
}

impl Update<'_> {
    fn select(&self) -> String {
        let table = self.table;
        format!(
            "SELECT feature_view_proto FROM {table} WHERE feature_view_name = $1 AND project_id = $2"
        )
    }

    fn update(&self) -> String {
        let table = self.table;
        format!(
            "UPDATE {table} SET feature_view_proto = $3, last_updated_timestamp = $4 \
             WHERE feature_view_name = $1 AND project_id = $2"
        )
    }
}

const SET_METADATA: &str = "INSERT INTO feast_metadata (project_id, metadata_key, metadata_value, last_updated_timestamp) \
     VALUES ($1, 'last_updated_timestamp', $2, $3) ON CONFLICT (project_id, metadata_key) \
     DO UPDATE SET metadata_value = excluded.metadata_value, last_updated_timestamp = excluded.last_updated_timestamp";

/// Rows without an object.
const METADATA: i64 = 15;
const PROJECT: i64 = 17;

/// All of one project ($1) in one statement. The first column is the field number of the kind in `feast.core.Registry`.
const SELECT_ALL: &str = "\
    SELECT CAST(1 AS BIGINT), entity_name, entity_proto FROM entities WHERE project_id = $1 \
    UNION ALL SELECT CAST(6 AS BIGINT), feature_view_name, feature_view_proto FROM feature_views WHERE project_id = $1 \
    UNION ALL SELECT CAST(7 AS BIGINT), feature_service_name, feature_service_proto FROM feature_services WHERE project_id = $1 \
    UNION ALL SELECT CAST(8 AS BIGINT), feature_view_name, feature_view_proto FROM on_demand_feature_views WHERE project_id = $1 \
    UNION ALL SELECT CAST(14 AS BIGINT), feature_view_name, feature_view_proto FROM stream_feature_views WHERE project_id = $1 \
    UNION ALL SELECT CAST(15 AS BIGINT), metadata_value, NULL FROM feast_metadata \
        WHERE project_id = $1 AND metadata_key = 'last_updated_timestamp' \
    UNION ALL SELECT CAST(17 AS BIGINT), project_id, NULL FROM projects \
    ORDER BY 1, 2";

#[derive(Debug)]
pub(super) struct SqlStore {
    writer: Arc<dyn Database>,
    reader: Arc<dyn Database>,
    with_metadata: bool,
    description: String,
}

pub(super) fn open(config: &Config) -> Result<SqlStore, Error> {
    let writer = config.write.open()?;
    Ok(SqlStore {
        reader: match &config.read {
            Some(address) => address.open()?,
            None => Arc::clone(&writer),
        },
        writer,
        with_metadata: !config.purge_metadata,
        description: config.write.to_string(),
    })
}

#[async_trait]
impl Store for SqlStore {
    async fn load(&self, project: &str) -> Result<Registry, Error> {
        let rows = self.reader.select(project).await?;
        let mut found = Objects::default();
        for row in rows {
            match (row.kind, row.bytes) {
                (PROJECT, _) => found.add_project(Some(&row.name)),
                (METADATA, _) => found.revision = row.name,
                (kind, Some(bytes)) => {
                    let field = u32::try_from(kind).unwrap_or(0);
                    found
                        .objects
                        .extend(ObjectKind::from_field(field).map(|kind| Object {
                            kind,
                            bytes: Cow::Owned(bytes),
                            project: Some(project.to_owned()),
                            name: Some(row.name),
                        }));
                }
                (_, None) => {}
            }
        }
        Registry::of(found, project, &self.description)
    }

    async fn record(&self, project: &str, view: &str, change: ViewChange) -> Result<(), Error> {
        let now = Timestamp::now();
        let edit = |bytes: &[u8]| change::in_object(bytes, view, change, now);
        for table in ["feature_views", "stream_feature_views"] {
            let update = Update {
                table,
                project,
                view,
                now,
                with_metadata: self.with_metadata,
                edit: &edit,
            };
            if self.writer.update(&update).await? {
                return Ok(());
            }
        }
        let registry = self.load(project).await?;
        if registry.on_demand_feature_view(view).is_some() {
            return Err(Error::NotMaterialized {
                view: view.to_owned(),
            });
        }
        Err(Error::UnknownView {
            view: view.to_owned(),
            project: project.to_owned(),
            origin: self.description.clone(),
        })
    }

    async fn mark(&self) -> Option<Mark> {
        None
    }

    fn describe(&self) -> &str {
        &self.description
    }
}

/// A failure of the database, told by what can be done about it.
fn failed(origin: &str, error: sqlx::Error) -> Error {
    let origin = origin.to_owned();
    match &error {
        sqlx::Error::Database(reported) if is_missing_table(&**reported) => {
            Error::Missing { origin }
        }
        sqlx::Error::Database(reported) if is_held(&**reported) => Error::Contended {
            origin,
            waited: PATIENCE,
        },
        sqlx::Error::Database(reported) => Error::Refused {
            origin,
            message: reported.message().to_owned(),
        },
        _ => Error::Unreachable {
            origin,
            source: Arc::new(error),
        },
    }
}

fn is_missing_table(error: &dyn sqlx::error::DatabaseError) -> bool {
    // Postgres' undefined_table; SQLite has no code of its own for it.
    error.code().is_some_and(|code| code == "42P01")
        || error.message().starts_with("no such table: ")
}

/// Another transaction did not let go of what this one needs.
fn is_held(error: &dyn sqlx::error::DatabaseError) -> bool {
    // Postgres' lock_not_available; SQLITE_BUSY.
    error
        .code()
        .is_some_and(|code| code == "55P03" || code == "5")
}
