//! One pull: learn the columns' types, let the database choose, decode what it sends.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use futures::TryStreamExt;
use sqlx::postgres::{PgConnection, PgDatabaseError};
use sqlx::{
    AssertSqlSafe, Column as _, Connection, Executor, Row, SqlSafeStr, Statement, TypeInfo,
};

use super::super::canonical::Canonical;
use super::super::pull::{Latest, Meter, PullLatest};
use super::super::pump::{Sender, pumped};
use super::super::{BATCH_ROWS, Error};
use super::Config;
use super::decode::Decoder;
use super::sql::{self, Selected};
use crate::features::suggest::Known;
use crate::shutdown::run_blocking;

/// Bytes that are collected before they are decoded, however few rows they are.
pub(super) const BATCH_BYTES: usize = 4 * 1024 * 1024;

pub(super) async fn pull_latest(config: &Config, pull: PullLatest) -> Result<Latest, Error> {
    let place = config.place();
    let settings = |problem: String| Error::Settings {
        view: pull.view.clone(),
        problem,
    };
    let options = config.options().map_err(settings)?;
    let source = sql::source(&pull)?;
    let connected = PgConnection::connect_with(&options).await;
    let mut connection = connected.map_err(|error| pull.unreadable(&place, error))?;
    let columns = columns(&mut connection, &pull, &source, &place).await?;
    let statement = sql::newest(&pull, &source, &columns);
    let meter = Arc::new(Meter::default());
    if let Some(n_rows) = expected(&mut connection, &statement).await {
        meter.expect(n_rows);
        meter.expect_to_pass(n_rows);
    }
    let counts = meter.clone();
    let batches = pumped(|sender| async move {
        let copied = copy(
            &mut connection,
            &pull,
            &place,
            &statement,
            &columns,
            &counts,
            sender,
        );
        copied.await?;
        // Nobody is told of a farewell that fails.
        connection.close().await.ok();
        Ok(())
    });
    Ok(Latest { batches, meter })
}

/// The pull's columns in the database.
pub(super) async fn columns(
    connection: &mut PgConnection,
    pull: &PullLatest,
    source: &str,
    place: &str,
) -> Result<Vec<Selected>, Error> {
    let probe = AssertSqlSafe(sql::probe(source)).into_sql_str();
    let prepared = connection.prepare(probe).await;
    let prepared = prepared.map_err(|error| match missing_table(&error) {
        true => pull.missing(&format!("{place} ({source})")),
        false => pull.unreadable(place, error),
    })?;
    let kind = |name: &str| -> Result<String, Error> {
        let columns = prepared.columns();
        let found = columns.iter().find(|column| column.name() == name);
        let names = columns.iter().map(|column| column.name());
        match found {
            Some(column) => Ok(column.type_info().name().to_owned()),
            None => Err(Error::NoColumn {
                view: pull.view.clone(),
                place: place.to_owned(),
                column: name.to_owned(),
                known: Known::instead_of(name, names),
            }),
        }
    };
    let mut selected = Vec::new();
    for key in &pull.keys {
        selected.push(Selected::key(key, &kind(&key.name)?));
    }
    for feature in &pull.features {
        selected.push(Selected::feature(feature, &kind(&feature.name)?));
    }
    for time in [Some(pull.source.timestamp_field.as_str()), pull.created()]
        .into_iter()
        .flatten()
    {
        kind(time)?;
        selected.push(Selected::time(time));
    }
    Ok(selected)
}

fn missing_table(error: &sqlx::Error) -> bool {
    let database = error.as_database_error();
    let postgres = database.and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    postgres.is_some_and(|error| error.code() == "42P01")
}

/// The planner's estimate; for a progress bar only, so its failure is none.
async fn expected(connection: &mut PgConnection, statement: &str) -> Option<u64> {
    let explain = AssertSqlSafe(format!("EXPLAIN (FORMAT JSON) {statement}"));
    let row = connection.fetch_one(explain).await.ok()?;
    let plan: String = row.try_get_unchecked(0).ok()?;
    let plan: serde_json::Value = serde_json::from_str(&plan).ok()?;
    plan[0]["Plan"]["Plan Rows"].as_u64()
}

async fn copy(
    connection: &mut PgConnection,
    pull: &PullLatest,
    place: &str,
    statement: &str,
    columns: &[Selected],
    meter: &Meter,
    sender: Sender,
) -> Result<(), Error> {
    let failed = |error: sqlx::Error| pull.unreadable(place, error);
    let mut decoder = Decoder::new(columns.iter().map(|column| column.wire));
    let raw = raw_schema(pull, &mut decoder);
    let canonical = Arc::new(Canonical::new(pull, &raw, place)?);
    let statement = format!("COPY ({statement}) TO STDOUT (FORMAT binary)");
    let mut messages = connection.copy_out_raw(&statement).await.map_err(failed)?;
    let mut waiting = Vec::new();
    let mut n_bytes = 0;
    loop {
        let message = messages.try_next().await.map_err(failed)?;
        let is_end = message.is_none();
        if let Some(message) = message {
            n_bytes += message.len();
            waiting.push(message);
        }
        if waiting.is_empty() || !(is_end || waiting.len() >= BATCH_ROWS || n_bytes >= BATCH_BYTES)
        {
            if is_end {
                return Ok(());
            }
            continue;
        }
        let messages = std::mem::take(&mut waiting);
        n_bytes = 0;
        let (raw, canonical) = (raw.clone(), canonical.clone());
        let decoded = run_blocking(move || {
            let mut decode = || -> Result<RecordBatch, Box<dyn std::error::Error + Send + Sync>> {
                for message in &messages {
                    decoder.push(message)?;
                }
                Ok(decoder.batch(&raw)?)
            };
            let batch = decode();
            let batch = batch.map(|batch| canonical.batch(&canonical_columns(&canonical, &batch)));
            (decoder, batch)
        });
        let batch;
        (decoder, batch) = decoded.await.map_err(Error::Panicked)?;
        let batch = batch.map_err(|error| pull.unreadable(place, error))??;
        meter.add_read(batch.num_rows());
        meter.add_passed(batch.num_rows());
        if batch.num_rows() > 0 && sender.send(batch).await.is_err() {
            return Ok(());
        }
    }
}

fn canonical_columns(canonical: &Canonical, batch: &RecordBatch) -> Vec<arrow::array::ArrayRef> {
    let needed = canonical.needed().iter();
    needed.map(|&at| batch.column(at).clone()).collect()
}

/// The columns as they come, under their names in the source.
fn raw_schema(pull: &PullLatest, decoder: &mut Decoder) -> SchemaRef {
    let columns = pull.keys.iter().chain(&pull.features);
    let names = columns.map(|column| column.name.as_str());
    let names = names
        .chain([pull.source.timestamp_field.as_str()])
        .chain(pull.created());
    let columns = decoder.columns();
    let fields = names
        .zip(&columns)
        .map(|(name, column)| Field::new(name, column.data_type().clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
