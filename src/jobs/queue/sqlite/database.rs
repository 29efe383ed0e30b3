//! The file: its tables, its connections, and the one writer at a time.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Row, Sqlite, SqlitePool, Transaction};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::jobs::Error;

/// Each costs a thread once it is used.
const MAX_READERS: u32 = 4;
/// How long a write waits for another process that is writing.
const PATIENCE: Duration = Duration::from_secs(10);
/// The layout below. A file of a later one is refused.
const VERSION: i64 = 1;
/// SQLite's code for a file that another process is writing.
const BUSY: &str = "5";

/// `token` is there while somebody has the job. `due` is its place in the queue meanwhile.
const TABLES: &str = "
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    body BLOB,
    due INTEGER NOT NULL,
    expires INTEGER,
    attempt INTEGER NOT NULL DEFAULT 0,
    token TEXT,
    lease_until INTEGER,
    abort_at INTEGER
);
CREATE INDEX jobs_waiting ON jobs (due, seq) WHERE token IS NULL;
CREATE INDEX jobs_running ON jobs (lease_until, seq) WHERE token IS NOT NULL;
CREATE INDEX jobs_aborted ON jobs (abort_at) WHERE abort_at IS NOT NULL;
CREATE TABLE results (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    result BLOB NOT NULL,
    expires INTEGER
);
CREATE INDEX results_expiry ON results (expires) WHERE expires IS NOT NULL;
CREATE TABLE dead (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    body BLOB,
    reason TEXT NOT NULL,
    died_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL
);
CREATE INDEX dead_age ON dead (died_at);
CREATE TABLE report (one INTEGER PRIMARY KEY CHECK (one = 1), line TEXT NOT NULL, expires INTEGER NOT NULL);
";

#[derive(Debug)]
pub(super) struct Database {
    name: Arc<str>,
    readers: SqlitePool,
    /// What is on the disk when it is committed.
    durable: SqlitePool,
    /// What survives the process and not the machine.
    quick: SqlitePool,
    /// One writer at a time, first come first served; SQLite itself would have the others poll.
    turn: Semaphore,
}

/// How much a write survives.
#[derive(Clone, Copy)]
pub(super) enum Durability {
    Machine,
    Process,
}

/// A transaction that writes.
pub(super) struct Write<'a> {
    pub(super) sql: Transaction<'static, Sqlite>,
    /// Now, for everything in it.
    pub(super) now: i64,
    database: &'a Database,
    _turn: SemaphorePermit<'a>,
}

impl Database {
    pub(super) async fn open(path: &Path) -> Result<Self, Error> {
        let name: Arc<str> = format!("sqlite at {}", path.display()).into();
        if let Some(directory) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            fs_err::create_dir_all(directory).map_err(|error| Error::Settings {
                what: format!("`jobs.sqlite.path`: {error}"),
            })?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(PATIENCE);
        let writer = |synchronous| {
            SqlitePoolOptions::new()
                .max_connections(1)
                .acquire_timeout(PATIENCE)
                .test_before_acquire(false)
                .idle_timeout(None)
                .max_lifetime(None)
                .connect_lazy_with(options.clone().synchronous(synchronous))
        };
        let database = Self {
            readers: SqlitePoolOptions::new()
                .max_connections(MAX_READERS)
                .acquire_timeout(PATIENCE)
                .test_before_acquire(false)
                .connect_lazy_with(options.clone().create_if_missing(false)),
            durable: writer(SqliteSynchronous::Full),
            quick: writer(SqliteSynchronous::Normal),
            turn: Semaphore::new(1),
            name,
        };
        database.make_tables(path).await?;
        Ok(database)
    }

    async fn make_tables(&self, path: &Path) -> Result<(), Error> {
        let mut write = self.write(Durability::Machine).await?;
        let version: i64 = sqlx::query_scalar("PRAGMA user_version")
            .fetch_one(&mut *write.sql)
            .await
            .map_err(|error| self.failed(error))?;
        match version {
            VERSION => return Ok(()),
            0 => {}
            later => {
                return Err(Error::Settings {
                    what: format!(
                        "{} has the layout {later} of a job queue, and this program knows {VERSION}",
                        path.display()
                    ),
                });
            }
        }
        for statement in [TABLES, "PRAGMA user_version = 1"] {
            sqlx::raw_sql(statement)
                .execute(&mut *write.sql)
                .await
                .map_err(|error| self.failed(error))?;
        }
        write.commit().await
    }

    pub(super) fn describe(&self) -> &str {
        &self.name
    }

    /// Begins to write. Cancel safe: what is not committed did not happen.
    pub(super) async fn write(&self, durability: Durability) -> Result<Write<'_>, Error> {
        let Ok(turn) = self.turn.acquire().await else {
            return Err(self.unexpected("it was closed"));
        };
        let pool = match durability {
            Durability::Machine => &self.durable,
            Durability::Process => &self.quick,
        };
        let sql = pool.begin_with("BEGIN IMMEDIATE").await;
        Ok(Write {
            sql: sql.map_err(|error| self.failed(error))?,
            now: now(),
            database: self,
            _turn: turn,
        })
    }

    pub(super) fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    pub(super) fn failed(&self, error: sqlx::Error) -> Error {
        let queue = self.name.clone();
        match &error {
            sqlx::Error::Database(reported) if reported.code().as_deref() == Some(BUSY) => {
                Error::Timeout {
                    queue,
                    waited: PATIENCE,
                }
            }
            sqlx::Error::Database(reported) => {
                let message = reported.message().to_owned();
                Error::Refused { queue, message }
            }
            sqlx::Error::PoolTimedOut => Error::Timeout {
                queue,
                waited: PATIENCE,
            },
            _ => Error::Unreachable {
                queue,
                source: Arc::new(error),
            },
        }
    }

    pub(super) fn unexpected(&self, what: &str) -> Error {
        Error::Refused {
            queue: self.name.clone(),
            message: what.to_owned(),
        }
    }

    /// A column of a row that this program made.
    pub(super) fn column<'r, T>(&self, row: &'r SqliteRow, name: &str) -> Result<T, Error>
    where
        T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>,
    {
        row.try_get(name).map_err(|error| self.failed(error))
    }
}

impl Write<'_> {
    pub(super) async fn commit(self) -> Result<(), Error> {
        let database = self.database;
        self.sql
            .commit()
            .await
            .map_err(|error| database.failed(error))
    }
}

/// Unix milliseconds.
pub(super) fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
