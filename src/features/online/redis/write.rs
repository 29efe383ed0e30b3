//! Writing to Redis: a script per batch keeps Feast's rule that a row never replaces a newer or equally old one.

use redis::{Cmd, Value as Reply};

use super::super::{Error, Row, StoredView};
use super::config::Config;
use super::connection::Connection;
use super::{feature_field, timestamp_field};
use crate::features::codec;
use crate::types::deadline::Deadline;

const SCRIPT: &str = include_str!("write.lua");
/// Arguments per script. Redis answers nobody else while one runs, which for so many is about a millisecond.
const MAX_ARGUMENTS: usize = 2_048;
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

pub(super) async fn write(
    connection: &Connection,
    config: &Config,
    project: &str,
    view: &StoredView,
    rows: &[Row],
) -> Result<usize, Error> {
    let rows_per_batch = (MAX_ARGUMENTS / (view.features.len() + 2)).max(1);
    let mut n_written = 0;
    for rows in rows.chunks(rows_per_batch) {
        let command = command(config, project, view, rows);
        let reply = connection.one(&command, Deadline::after(TIMEOUT)).await?;
        n_written += written(connection, reply)?;
    }
    Ok(n_written)
}

fn written(connection: &Connection, reply: Reply) -> Result<usize, Error> {
    match reply {
        Reply::Int(n) => Ok(usize::try_from(n).unwrap_or(0)),
        Reply::ServerError(error) => Err(connection.refused(error.to_string())),
        _ => Err(connection.refused("the reply to EVAL is not a number".to_owned())),
    }
}

fn command(config: &Config, project: &str, view: &StoredView, rows: &[Row]) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(SCRIPT).arg(rows.len());
    for row in rows {
        let mut key = row.key.clone();
        key.extend_from_slice(project.as_bytes());
        command.arg(key);
    }
    command
        .arg(timestamp_field(&view.name))
        .arg(config.key_ttl_seconds)
        .arg(u8::from(!config.skip_dedup))
        .arg(view.features.len());
    for feature in &view.features {
        command.arg(&feature_field(&view.name, feature)[..]);
    }
    let mut bytes = Vec::new();
    for row in rows {
        bytes.clear();
        codec::encode_timestamp(row.event_timestamp, &mut bytes);
        command.arg(bytes.as_slice());
        for value in &row.values {
            bytes.clear();
            codec::encode(value, &mut bytes);
            command.arg(bytes.as_slice());
        }
    }
    command
}
