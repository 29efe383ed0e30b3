//! The SQL registry in an SQLite file.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, SqliteConnection};

use super::{Database, Error, PATIENCE, Row, SELECT_ALL, SET_METADATA, Update, failed};

#[derive(Debug)]
pub(super) struct Sqlite {
    path: PathBuf,
    options: SqliteConnectOptions,
}

pub(super) fn open(path: &Path) -> Sqlite {
    Sqlite {
        path: path.to_owned(),
        options: SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(PATIENCE),
    }
}

#[async_trait]
impl Database for Sqlite {
    async fn select(&self, project: &str) -> Result<Vec<Row>, Error> {
        let mut connection = self.connect().await?;
        let query = sqlx::query(SELECT_ALL).bind(project);
        let rows = query.fetch_all(&mut connection).await;
        let rows = rows.map_err(|error| self.failed(error))?;
        let rows = rows.iter().map(row).collect::<Result<_, _>>();
        rows.map_err(|error| self.failed(error))
    }

    async fn update(&self, update: &Update<'_>) -> Result<bool, Error> {
        let failed = |error| self.failed(error);
        // Immediate: what is read here cannot change before it is written.
        let mut connection = self.connect().await?;
        let transaction = connection.begin_with("BEGIN IMMEDIATE").await;
        let mut transaction = transaction.map_err(failed)?;
        let bytes: Option<Vec<u8>> = sqlx::query_scalar(AssertSqlSafe(update.select()))
            .bind(update.view)
            .bind(update.project)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(failed)?;
        let Some(bytes) = bytes else {
            return Ok(false);
        };
        sqlx::query(AssertSqlSafe(update.update()))
            .bind(update.view)
            .bind(update.project)
            .bind((update.edit)(&bytes)?)
            .bind(update.now.as_seconds())
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        if update.with_metadata {
            sqlx::query(SET_METADATA)
                .bind(update.project)
                .bind(update.now.as_seconds().to_string())
                .bind(update.now.as_seconds())
                .execute(&mut *transaction)
                .await
                .map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)?;
        Ok(true)
    }
}

impl Sqlite {
    async fn connect(&self) -> Result<SqliteConnection, Error> {
        let connection = self.options.connect().await;
        connection.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: sqlx::Error) -> Error {
        let origin = format!("sqlite:///{}", self.path.display());
        if !self.path.exists() {
            return Error::Missing { origin };
        }
        failed(&origin, error)
    }
}

fn row(row: &SqliteRow) -> Result<Row, sqlx::Error> {
    Ok(Row {
        kind: row.try_get_unchecked(0)?,
        name: row.try_get_unchecked(1)?,
        bytes: row.try_get_unchecked(2)?,
    })
}
