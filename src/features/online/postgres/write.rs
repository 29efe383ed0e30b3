//! Writing to Postgres: rows put in place of what was there, into tables made as Feast makes them.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::super::tables::{quoted, value_text};
use super::super::{Error, Row, StoredView};
use super::moment::Moment;
use super::pool::{Trouble, Work};
use super::{Database, LONGEST_NAME, is};
use crate::features::codec;
use crate::types::deadline::Deadline;

/// Values per statement.
const MAX_VALUES: usize = 4_096;
/// How long a batch may take, waiting for other writers included.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn write(
    database: &Database,
    view: &StoredView,
    rows: &[Row],
) -> Result<usize, Error> {
    let mut upsert = Upsert::new(database, view, rows);
    let outcome = database.run(&mut upsert, Deadline::after(PATIENCE)).await;
    match outcome {
        Err(Error::NotMaterialized { .. }) => {
            let mut make = MakeTable { database, view };
            database.run(&mut make, Deadline::after(PATIENCE)).await?;
            database.run(&mut upsert, Deadline::after(PATIENCE)).await?;
        }
        outcome => outcome?,
    }
    Ok(rows.len())
}

/// Drops the view's table; the index goes with it.
pub(super) async fn delete_view(database: &Database, view: &StoredView) -> Result<usize, Error> {
    let mut drop = DropTable { database, view };
    match database.run(&mut drop, Deadline::after(PATIENCE)).await {
        Err(Error::NotMaterialized { .. }) => Ok(0),
        outcome => outcome,
    }
}

/// Puts rows into a table that is there.
struct Upsert<'a> {
    database: &'a Database,
    view: &'a StoredView,
    statement: String,
    /// The last row of each key, since a statement may not touch a row twice. All writers take the keys in the same order,
    /// so that none waits for another that waits for it.
    rows: Vec<&'a Row>,
}

impl<'a> Upsert<'a> {
    fn new(database: &'a Database, view: &'a StoredView, rows: &'a [Row]) -> Self {
        let last: BTreeMap<&[u8], &Row> =
            rows.iter().map(|row| (row.key.as_slice(), row)).collect();
        let table = database.table(&view.name);
        Self {
            database,
            view,
            statement: format!(
                "INSERT INTO {table} (entity_key, feature_name, value, value_text, event_ts, created_ts) \
                 SELECT * FROM UNNEST($1::bytea[], $2::text[], $3::bytea[], $4::text[], $5::timestamptz[], $6::timestamptz[]) \
                 ON CONFLICT (entity_key, feature_name) DO UPDATE SET value = EXCLUDED.value, \
                 value_text = EXCLUDED.value_text, vector_value = EXCLUDED.vector_value, event_ts = EXCLUDED.event_ts, \
                 created_ts = EXCLUDED.created_ts"
            ),
            rows: last.into_values().collect(),
        }
    }

    async fn put(&self, connection: &mut PgConnection, rows: &[&Row]) -> Result<(), sqlx::Error> {
        let n_values = rows.len() * self.view.features.len();
        let mut cells = Cells::with_capacity(n_values);
        for row in rows {
            for (feature, value) in self.view.features.iter().zip(&row.values) {
                let mut bytes = Vec::new();
                codec::encode(value, &mut bytes);
                cells.keys.push(&row.key);
                cells.features.push(feature);
                cells.values.push(bytes);
                // The column cannot hold a NUL; the value itself can.
                let text = value_text(value);
                cells.texts.push(text.map(|text| text.replace('\0', "")));
                cells.event_timestamps.push(Moment(row.event_timestamp));
                cells
                    .created_timestamps
                    .push(row.created_timestamp.map(Moment));
            }
        }
        sqlx::query(AssertSqlSafe(self.statement.as_str()))
            .bind(cells.keys)
            .bind(cells.features)
            .bind(cells.values)
            .bind(cells.texts)
            .bind(cells.event_timestamps)
            .bind(cells.created_timestamps)
            .execute(connection)
            .await?;
        Ok(())
    }
}

/// Columns of the values that a statement puts.
struct Cells<'a> {
    keys: Vec<&'a [u8]>,
    features: Vec<&'a str>,
    values: Vec<Vec<u8>>,
    texts: Vec<Option<String>>,
    event_timestamps: Vec<Moment>,
    created_timestamps: Vec<Option<Moment>>,
}

impl Cells<'_> {
    fn with_capacity(n_values: usize) -> Self {
        Self {
            keys: Vec::with_capacity(n_values),
            features: Vec::with_capacity(n_values),
            values: Vec::with_capacity(n_values),
            texts: Vec::with_capacity(n_values),
            event_timestamps: Vec::with_capacity(n_values),
            created_timestamps: Vec::with_capacity(n_values),
        }
    }
}

#[async_trait]
impl Work for Upsert<'_> {
    type Output = ();

    async fn run(&mut self, connection: &mut PgConnection) -> Result<(), Trouble> {
        let n_rows = (MAX_VALUES / self.view.features.len().max(1)).max(1);
        let failed = |error| {
            let view = self.view.name.as_str();
            self.database.not_materialized(error, [view].into_iter())
        };
        if self.rows.len() <= n_rows {
            // Also without rows: a table that is missing shows.
            return self.put(connection, &self.rows).await.map_err(failed);
        }
        let mut transaction = connection.begin().await?;
        for rows in self.rows.chunks(n_rows) {
            if let Err(error) = self.put(&mut transaction, rows).await {
                transaction.rollback().await?;
                return Err(failed(error));
            }
        }
        transaction.commit().await?;
        Ok(())
    }
}

/// Makes the view's table and index in Feast's very words, and the schema if it is not there.
struct MakeTable<'a> {
    database: &'a Database,
    view: &'a StoredView,
}

#[async_trait]
impl Work for MakeTable<'_> {
    type Output = ();

    async fn run(&mut self, connection: &mut PgConnection) -> Result<(), Trouble> {
        let name = self.database.table_name(&self.view.name);
        let (table, index) = (quoted(&name), quoted(&format!("{name}_ek")));
        let schema = &self.database.schema;
        let has_schema =
            "SELECT EXISTS (SELECT FROM information_schema.schemata WHERE schema_name = $1)";
        let has_schema: bool = sqlx::query_scalar(has_schema)
            .bind(schema.trim_matches('"'))
            .fetch_one(&mut *connection)
            .await?;
        let mut statements = Vec::new();
        if !has_schema {
            let schema = quoted(schema.trim_matches('"'));
            statements.push(format!("CREATE SCHEMA IF NOT EXISTS {schema}"));
        }
        statements.push(format!(
            "CREATE TABLE IF NOT EXISTS {table} (entity_key BYTEA, feature_name TEXT, value BYTEA, value_text TEXT NULL, \
             vector_value BYTEA NULL, event_ts TIMESTAMPTZ, created_ts TIMESTAMPTZ, PRIMARY KEY(entity_key, feature_name))"
        ));
        statements.push(format!(
            "CREATE INDEX IF NOT EXISTS {index} ON {table} (entity_key)"
        ));
        for statement in statements {
            let made = sqlx::query(AssertSqlSafe(statement))
                .persistent(false)
                .execute(&mut *connection)
                .await;
            match made {
                Err(error) if is_made_by_another(&error) => {}
                made => {
                    made?;
                }
            }
        }
        Ok(())
    }
}

/// `IF NOT EXISTS` looks first and makes then; somebody may do the same at the same time.
fn is_made_by_another(error: &sqlx::Error) -> bool {
    let (unique_violation, duplicate_table, duplicate_schema) = ("23505", "42P07", "42P06");
    [unique_violation, duplicate_table, duplicate_schema]
        .iter()
        .any(|code| is(error, code))
}

struct DropTable<'a> {
    database: &'a Database,
    view: &'a StoredView,
}

#[async_trait]
impl Work for DropTable<'_> {
    type Output = usize;

    async fn run(&mut self, connection: &mut PgConnection) -> Result<usize, Trouble> {
        let view = self.view.name.as_str();
        let table = self.database.table(view);
        let mut transaction = connection.begin().await?;
        let count =
            format!("SELECT COUNT(DISTINCT entity_key) FROM {table} WHERE feature_name = ANY($1)");
        let counted = sqlx::query_scalar::<_, i64>(AssertSqlSafe(count))
            .persistent(false)
            .bind(&self.view.features)
            .fetch_one(&mut *transaction)
            .await;
        let n_keys = match counted {
            Ok(n_keys) => n_keys,
            Err(error) => {
                transaction.rollback().await?;
                return Err(self.database.not_materialized(error, [view].into_iter()));
            }
        };
        // A name that is cut may stand for several views.
        let is_cut = self.database.table_name(view).len() > LONGEST_NAME;
        let delete = match is_cut {
            true => sqlx::query(AssertSqlSafe(format!(
                "DELETE FROM {table} WHERE feature_name = ANY($1)"
            )))
            .bind(&self.view.features),
            false => sqlx::query(AssertSqlSafe(format!("DROP TABLE {table}"))),
        };
        if let Err(error) = delete.persistent(false).execute(&mut *transaction).await {
            transaction.rollback().await?;
            return Err(error.into());
        }
        transaction.commit().await?;
        Ok(usize::try_from(n_keys).unwrap_or(0))
    }
}
