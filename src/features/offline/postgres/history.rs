//! One point-in-time join: the entity rows go into a temporary table, the database joins, what it sends is decoded as it
//! comes.
//!
//! Two statements give the same rows (`sql`); the planner's estimates say which is run. The server is asked to look every
//! half second whether we are still there (Postgres 14 and newer): a join whose result nobody wants ends then, where older
//! servers end it at the first row that they send.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use futures::TryStreamExt;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor, Row};

use super::super::history::{Asked, Joined, PointInTime};
use super::super::pull::Meter;
use super::super::pump::{Sender, pumped};
use super::super::{BATCH_ROWS, Error};
use super::copy::{BATCH_BYTES, columns};
use super::decode::Decoder;
use super::sql::{self, Selected};
use super::{Config, Statement, entities};
use crate::features::definitions::SourceKind;
use crate::shutdown::run_blocking;

/// Entity rows that are sent at once.
const CHUNK_ROWS: usize = 16 * 1024;

pub(super) async fn point_in_time(
    config: &Config,
    statement: Statement,
    join: PointInTime,
) -> Result<Joined, Error> {
    let place = config.place();
    let settings = |problem: String| Error::Settings {
        view: join.view.view.clone(),
        problem,
    };
    let options = config.options().map_err(settings)?;
    let source = sql::source(&join.view)?;
    let connected = PgConnection::connect_with(&options).await;
    let mut connection = connected.map_err(|error| join.view.unreadable(&place, error))?;
    let columns = columns(&mut connection, &join.view, &source, &place).await?;
    let meter = Arc::new(Meter::default());
    let n_rows = join.entities.n_rows() as u64;
    meter.expect(n_rows);
    meter.expect_to_pass(n_rows);
    let counts = meter.clone();
    let batches = pumped(|sender| async move {
        let work = Work {
            join: &join,
            place: &place,
            source: &source,
            columns: &columns,
            statement,
            meter: &counts,
        };
        work.run(&mut connection, sender).await?;
        // Nobody is told of a farewell that fails.
        connection.close().await.ok();
        Ok(())
    });
    Ok(Joined { batches, meter })
}

struct Work<'a> {
    join: &'a PointInTime,
    place: &'a str,
    source: &'a str,
    columns: &'a [Selected],
    statement: Statement,
    meter: &'a Meter,
}

impl Work<'_> {
    async fn run(&self, connection: &mut PgConnection, sender: Sender) -> Result<(), Error> {
        self.watch_for_us(connection).await?;
        if !self.send_entities(connection).await? {
            return Ok(());
        }
        let join = sql::Join {
            join: self.join,
            source: self.source,
            columns: self.columns,
            order: self.source_order(connection).await?,
            range: self.range(connection).await?,
        };
        let is_lateral = match self.statement {
            Statement::Cheapest => self.is_lateral_cheaper(connection, &join).await?,
            #[cfg(test)]
            Statement::Lateral => true,
            #[cfg(test)]
            Statement::Window => false,
        };
        let statement = match is_lateral {
            true => {
                self.plan_for_lookups(connection).await?;
                join.lateral()
            }
            false => join.window(),
        };
        self.receive(connection, &statement, sender).await
    }

    /// Rows that come from an index in the order of time are sorted no further than among those of one time. By itself the planner
    /// takes the rows of a look-up for so few that it reads and sorts them all. Nor are look-ups worth a compiler's time.
    async fn plan_for_lookups(&self, connection: &mut PgConnection) -> Result<(), Error> {
        connection
            .execute("SET enable_sort = off; SET jit = off")
            .await
            .map_err(|error| self.failed(error))?;
        Ok(())
    }

    /// The moments between which source rows can be found.
    async fn range(&self, connection: &mut PgConnection) -> Result<(String, String), Error> {
        let table = entities::TABLE;
        let range = AssertSqlSafe(format!("SELECT min(lo)::text, max(t)::text FROM {table}"));
        let row = connection
            .fetch_one(range)
            .await
            .map_err(|error| self.failed(error))?;
        let text = |at: usize| row.try_get(at).map_err(|error| self.failed(error));
        Ok((text(0)?, text(1)?))
    }

    async fn is_lateral_cheaper(
        &self,
        connection: &mut PgConnection,
        join: &sql::Join<'_>,
    ) -> Result<bool, Error> {
        let lateral = self.cost(connection, &join.lateral()).await?;
        Ok(lateral <= self.cost(connection, &join.window()).await?)
    }

    fn failed(&self, error: sqlx::Error) -> Error {
        self.join.view.unreadable(self.place, error)
    }

    async fn watch_for_us(&self, connection: &mut PgConnection) -> Result<(), Error> {
        let set = "SELECT set_config('client_connection_check_interval', '500ms', false) \
                   WHERE current_setting('server_version_num')::int >= 140000";
        connection
            .execute(set)
            .await
            .map_err(|error| self.failed(error))?;
        Ok(())
    }

    /// `false` if there are none.
    async fn send_entities(&self, connection: &mut PgConnection) -> Result<bool, Error> {
        let join = self.join.clone();
        let asked = run_blocking(move || join.asked()).await;
        let mut asked = asked.map_err(Error::Panicked)??;
        let (back, first) = next(asked).await?;
        asked = back;
        let Some(first) = first else {
            return Ok(false);
        };
        let create = AssertSqlSafe(entities::create(&first));
        connection
            .execute(create)
            .await
            .map_err(|error| self.failed(error))?;
        let failed = |error: sqlx::Error| self.join.view.unreadable(self.place, error);
        let mut copy = connection
            .copy_in_raw(&entities::copy())
            .await
            .map_err(failed)?;
        copy.send(entities::header()).await.map_err(failed)?;
        let mut chunk = Some(first);
        let mut n_before = 0;
        while let Some(rows) = chunk {
            let ttl = self.join.ttl;
            let n_rows = rows.num_rows() as u64;
            let encoded = run_blocking(move || entities::encode(&rows, n_before, ttl)).await;
            let encoded = encoded.map_err(Error::Panicked)?;
            let encoded = encoded.map_err(Error::EntityRows)?;
            copy.send(encoded).await.map_err(failed)?;
            n_before += n_rows;
            self.meter.add_read(n_rows as usize);
            (asked, chunk) = next(asked).await?;
        }
        copy.send(entities::end()).await.map_err(failed)?;
        copy.finish().await.map_err(failed)?;
        let analyze = AssertSqlSafe(format!("ANALYZE {}", entities::TABLE));
        connection.execute(analyze).await.map_err(failed)?;
        Ok(true)
    }

    /// What tells which of two rows came first in the source, where anything does.
    async fn source_order(&self, connection: &mut PgConnection) -> Result<sql::Order, Error> {
        let SourceKind::Postgres { table, .. } = &self.join.view.source.kind else {
            return Ok(sql::Order::AsRead);
        };
        if self.source.starts_with('(') {
            return Ok(sql::Order::AsRead);
        }
        let has_places = "SELECT relkind IN ('r', 'm') FROM pg_class WHERE oid = to_regclass($1)";
        let row = sqlx::query(has_places)
            .bind(table)
            .fetch_optional(connection)
            .await;
        let row = row.map_err(|error| self.failed(error))?;
        Ok(match row.and_then(|row| row.try_get(0).ok()) {
            Some(true) => sql::Order::Place,
            _ => sql::Order::AsRead,
        })
    }

    /// The planner's estimate.
    async fn cost(&self, connection: &mut PgConnection, statement: &str) -> Result<f64, Error> {
        let explain = AssertSqlSafe(format!("EXPLAIN (FORMAT JSON) {statement}"));
        let row = connection.fetch_one(explain).await;
        let row = row.map_err(|error| self.failed(error))?;
        let plan: String = row
            .try_get_unchecked(0)
            .map_err(|error| self.failed(error))?;
        let plan: serde_json::Value = serde_json::from_str(&plan).unwrap_or_default();
        Ok(plan[0]["Plan"]["Total Cost"].as_f64().unwrap_or(f64::MAX))
    }

    async fn receive(
        &self,
        connection: &mut PgConnection,
        statement: &str,
        sender: Sender,
    ) -> Result<(), Error> {
        let n_keys = self.join.view.keys.len();
        let n_features = self.join.view.features.len();
        let wanted = &self.columns[n_keys..=n_keys + n_features];
        let mut decoder = Decoder::new(wanted.iter().map(|column| column.wire));
        let schema = schema(&decoder.columns());
        let statement = format!("COPY ({statement}) TO STDOUT (FORMAT binary)");
        let messages = connection.copy_out_raw(&statement).await;
        let mut messages = messages.map_err(|error| self.failed(error))?;
        let mut waiting = Vec::new();
        let mut n_bytes = 0;
        loop {
            let message = messages.try_next().await;
            let message = message.map_err(|error| self.failed(error))?;
            let is_end = message.is_none();
            if let Some(message) = message {
                n_bytes += message.len();
                waiting.push(message);
            }
            if !is_end && waiting.len() < BATCH_ROWS && n_bytes < BATCH_BYTES {
                continue;
            }
            if waiting.is_empty() {
                return Ok(());
            }
            let messages = std::mem::take(&mut waiting);
            n_bytes = 0;
            let schema = schema.clone();
            let decoded = run_blocking(move || {
                let pushed = messages
                    .iter()
                    .try_for_each(|message| decoder.push(message));
                let batch = match pushed {
                    Ok(()) => decoder.batch(&schema).map_err(Into::into),
                    Err(error) => Err(Box::<dyn std::error::Error + Send + Sync>::from(error)),
                };
                (decoder, batch)
            });
            let batch;
            (decoder, batch) = decoded.await.map_err(Error::Panicked)?;
            let batch = batch.map_err(|error| self.join.view.unreadable(self.place, error))?;
            self.meter.add_passed(batch.num_rows());
            if batch.num_rows() > 0 && sender.send(batch).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// The next entity rows, read on the blocking pool.
async fn next(mut asked: Asked) -> Result<(Asked, Option<RecordBatch>), Error> {
    let read = run_blocking(move || {
        let chunk = asked.chunk(CHUNK_ROWS);
        chunk.map(|chunk| (asked, chunk))
    });
    read.await.map_err(Error::Panicked)?
}

/// Features, then the event timestamp.
fn schema(columns: &[ArrayRef]) -> SchemaRef {
    let last = columns.len() - 1;
    let fields = columns.iter().enumerate().map(|(i, column)| {
        let name = match i == last {
            true => "event_timestamp".to_owned(),
            false => format!("feature_{i}"),
        };
        Field::new(name, column.data_type().clone(), true)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
