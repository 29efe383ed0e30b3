//! Entity rows that are the result of a query: they are read once, into a temporary file.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use futures::TryStreamExt;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Column as _, Connection, Executor, SqlSafeStr, Statement, TypeInfo};

use super::super::entities::{Entities, Spool};
use super::super::{BATCH_ROWS, Column, Error};
use super::Config;
use super::copy::BATCH_BYTES;
use super::decode::Decoder;
use super::sql::{self, Selected};
use crate::features::definitions::{Field as FeastField, ValueType};
use crate::shutdown::run_blocking;

/// The rows of a query, which may only read.
pub(in super::super) async fn entity_rows(config: &Config, query: &str) -> Result<Entities, Error> {
    let place = config.place();
    let failed = |error: sqlx::Error| Error::EntityQuery {
        place: place.clone(),
        source: error.into(),
    };
    let options = config
        .options()
        .map_err(|problem| Error::NoEntityDatabase { problem })?;
    let mut connection = PgConnection::connect_with(&options).await.map_err(failed)?;
    connection
        .execute("SET default_transaction_read_only = on")
        .await
        .map_err(failed)?;
    let source = sql::bracketed(query);
    // Preparing takes a single statement, so that the query cannot be several.
    let probe = AssertSqlSafe(sql::probe(&source)).into_sql_str();
    let prepared = connection.prepare(probe).await.map_err(failed)?;
    let columns = prepared.columns().iter();
    let columns: Vec<(String, Selected)> = columns
        .map(|column| {
            let name = column.name().to_owned();
            let selected = selected(&name, column.type_info().name());
            (name, selected)
        })
        .collect();
    let expressions: Vec<&str> = columns
        .iter()
        .map(|(_, column)| column.sql.as_str())
        .collect();
    let statement = format!(
        "COPY (SELECT {} FROM {source} AS source) TO STDOUT (FORMAT binary)",
        expressions.join(", ")
    );
    let mut decoder = Decoder::new(columns.iter().map(|(_, column)| column.wire));
    let schema = schema(&columns, &mut decoder);
    let in_memory = |error: arrow::error::ArrowError| Error::EntityQuery {
        place: place.clone(),
        source: error.into(),
    };
    let mut spool = Spool::new(schema.clone()).map_err(in_memory)?;
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
        if !is_end && waiting.len() < BATCH_ROWS && n_bytes < BATCH_BYTES {
            continue;
        }
        let messages = std::mem::take(&mut waiting);
        n_bytes = 0;
        let schema = schema.clone();
        let written = run_blocking(move || {
            let mut write = || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
                for message in &messages {
                    decoder.push(message)?;
                }
                spool.write(&decoder.batch(&schema)?)?;
                Ok(())
            };
            let written = write();
            (decoder, spool, written)
        });
        let written = written.await.map_err(Error::Panicked)?;
        (decoder, spool) = (written.0, written.1);
        written.2.map_err(|source| Error::EntityQuery {
            place: place.clone(),
            source,
        })?;
        if is_end {
            break;
        }
    }
    let finished = run_blocking(move || spool.finish()).await;
    finished.map_err(Error::Panicked)?.map_err(in_memory)
}

/// A number of any size becomes floating point; what has no type of its own, text.
fn selected(name: &str, kind: &str) -> Selected {
    let column = Column {
        field: FeastField {
            name: name.to_owned(),
            value_type: match kind {
                "NUMERIC" => ValueType::Double,
                "NUMERIC[]" => ValueType::DoubleList,
                _ => ValueType::String,
            },
        },
        name: name.to_owned(),
    };
    Selected::feature(&column, kind)
}

/// The columns under their names in the query.
fn schema(columns: &[(String, Selected)], decoder: &mut Decoder) -> SchemaRef {
    let arrays = decoder.columns();
    let fields = columns.iter().zip(&arrays);
    let fields = fields.map(|((name, _), array)| Field::new(name, array.data_type().clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
