//! Writing to SQLite: tables made as Feast makes them, rows put in place of what was there.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, SqliteConnection, SqlitePool};

use super::super::tables::{quoted, value_text};
use super::super::{Error, Row, StoredView};
use super::Database;
use crate::features::codec;
use crate::types::value::Value;

/// Values per statement; SQLite takes 32,766 parameters.
const MAX_VALUES: usize = 512;

pub(super) async fn write(
    pool: &SqlitePool,
    database: &Database,
    view: &StoredView,
    rows: &[Row],
) -> Result<usize, Error> {
    make_directory(database)?;
    let failed = |error| database.failed(error);
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let table = database.table(&view.name);
    make_table(&mut transaction, database, &view.name)
        .await
        .map_err(failed)?;
    let mut cells: Vec<(&Row, &str, &Value)> = Vec::with_capacity(MAX_VALUES);
    for row in rows {
        for (feature, value) in view.features.iter().zip(&row.values) {
            cells.push((row, feature, value));
            if cells.len() == MAX_VALUES {
                put(&mut transaction, database, &table, &cells)
                    .await
                    .map_err(failed)?;
                cells.clear();
            }
        }
    }
    if !cells.is_empty() {
        put(&mut transaction, database, &table, &cells)
            .await
            .map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)?;
    Ok(rows.len())
}

/// Drops the view's table; the index goes with it.
pub(super) async fn delete_view(
    pool: &SqlitePool,
    database: &Database,
    view: &StoredView,
) -> Result<usize, Error> {
    if !database.path.exists() {
        return Ok(0);
    }
    let failed = |error| database.failed(error);
    let table = database.table(&view.name);
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let count = format!("SELECT COUNT(DISTINCT entity_key) FROM {table}");
    let counted = sqlx::query_scalar::<_, i64>(AssertSqlSafe(count))
        .fetch_one(&mut *transaction)
        .await
        .map_err(failed);
    let n_keys = match counted {
        Err(Error::NotMaterialized { .. }) => return Ok(0),
        counted => counted?,
    };
    let drop = format!("DROP TABLE {table}");
    sqlx::query(AssertSqlSafe(drop))
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    Ok(usize::try_from(n_keys).unwrap_or(0))
}

fn make_directory(database: &Database) -> Result<(), Error> {
    let Some(directory) = database.path.parent() else {
        return Ok(());
    };
    fs_err::create_dir_all(directory).map_err(|error| Error::Unreachable {
        store: database.store.clone(),
        source: Arc::new(error),
    })
}

/// Makes the view's table and index unless they are there, in Feast's very words.
async fn make_table(
    connection: &mut SqliteConnection,
    database: &Database,
    view: &str,
) -> Result<(), sqlx::Error> {
    let table = database.table(view);
    let index = quoted(&format!("{}_{view}_ek", database.project));
    let create = format!(
        "CREATE TABLE IF NOT EXISTS {table} (entity_key BLOB, feature_name TEXT, value BLOB, value_text TEXT,  \
         vector_value BLOB, event_ts timestamp, created_ts timestamp,  PRIMARY KEY(entity_key, feature_name))"
    );
    sqlx::query(AssertSqlSafe(create))
        .execute(&mut *connection)
        .await?;
    let create = format!("CREATE INDEX IF NOT EXISTS {index} ON {table} (entity_key)");
    sqlx::query(AssertSqlSafe(create))
        .execute(&mut *connection)
        .await?;
    Ok(())
}

async fn put(
    connection: &mut SqliteConnection,
    database: &Database,
    table: &str,
    cells: &[(&Row, &str, &Value)],
) -> Result<(), sqlx::Error> {
    let places = vec!["(?, ?, ?, ?, ?, ?)"; cells.len()].join(", ");
    let sql = format!(
        "INSERT INTO {table} (entity_key, feature_name, value, value_text, event_ts, created_ts) VALUES {places} \
         ON CONFLICT(entity_key, feature_name) DO UPDATE SET value = excluded.value, value_text = excluded.value_text, \
         vector_value = excluded.vector_value, event_ts = excluded.event_ts, created_ts = excluded.created_ts"
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for (row, feature, value) in cells {
        let mut bytes = Vec::new();
        codec::encode(value, &mut bytes);
        query = query
            .bind(row.key.as_slice())
            .bind(*feature)
            .bind(bytes)
            .bind(value_text(value))
            .bind(database.clock.stored(row.event_timestamp))
            .bind(
                row.created_timestamp
                    .map(|created| database.clock.stored(created)),
            );
    }
    query.execute(connection).await?;
    Ok(())
}
