//! Writing to Redis.
//!
//! Feast's rule is that a row never replaces a newer or equally old one. The look at the stored timestamp and the write are
//! one step of one script, so that of several writers the newest row stays. A single server gets some hundred rows per call
//! of the script, several calls on their way at once; in a cluster each row is a call of its own, since its keys have
//! different slots, and each master gets its calls in one pipeline. With `skip_dedup` there is no script: `HSET`s in a
//! pipeline, and the last one stays.
//! Sent again after a lost connection, a row may turn out to be written already and is then not counted.

use std::sync::LazyLock;
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use redis::{Cmd, Script, Value as Reply};

use super::super::{Error, Row, StoredView};
use super::client::{Client, Commands, Patience};
use super::config::Config;
use super::{RedisStore, feature_field, full_key, timestamp_field};
use crate::features::codec;
use crate::types::deadline::Deadline;

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(SOURCE));
const SOURCE: &str = include_str!("write.lua");
/// Arguments per call of the script. Redis answers nobody else meanwhile, which for so many is about half a millisecond.
const MAX_ARGUMENTS: usize = 1_024;
/// Values per pipeline where rows are commands of their own.
const MAX_PIPELINED: usize = 4_096;
/// Batches on their way at once: Redis works on one while the next are encoded and sent.
const IN_FLIGHT: usize = 4;
/// Longest wait for a batch, a failover included.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for one server, where another may take over.
const TRY_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) async fn write(
    store: &RedisStore,
    view: &StoredView,
    rows: &[Row],
) -> Result<usize, Error> {
    let writer = Writer {
        client: &store.writes,
        config: &store.config,
        project: &store.project,
        fields: Fields::of(view),
    };
    let limit = if writer.is_scripted_at_once() {
        MAX_ARGUMENTS
    } else {
        MAX_PIPELINED
    };
    let rows_per_batch = limit / (view.features.len() + 2);
    let rows_per_batch = rows_per_batch.max(1);
    stream::iter((0..rows.len()).step_by(rows_per_batch))
        .map(|first| writer.write(&rows[first..rows.len().min(first + rows_per_batch)]))
        .buffered(IN_FLIGHT)
        .try_fold(0, |n_written, n| async move { Ok(n_written + n) })
        .await
}

struct Writer<'a> {
    client: &'a Client,
    config: &'a Config,
    project: &'a str,
    fields: Fields,
}

/// The hash fields of a view.
struct Fields {
    timestamp: Vec<u8>,
    features: Vec<[u8; 4]>,
}

impl Fields {
    fn of(view: &StoredView) -> Self {
        let features = view.features.iter();
        Self {
            timestamp: timestamp_field(&view.name),
            features: features
                .map(|feature| feature_field(&view.name, feature))
                .collect(),
        }
    }
}

impl Writer<'_> {
    /// Whether one call of the script takes many rows.
    fn is_scripted_at_once(&self) -> bool {
        matches!(self.client, Client::Node(_)) && !self.config.skip_dedup
    }

    /// Writes a batch; tries again while a server fails over.
    async fn write(&self, rows: &[Row]) -> Result<usize, Error> {
        let patience = Patience::Hanging {
            until: Deadline::after(TIMEOUT),
            per_try: TRY_TIMEOUT,
        };
        match self.client {
            _ if self.config.skip_dedup => self.put(rows, patience).await,
            Client::Node(connection) => {
                let connection = connection.here();
                let command = self.script(rows);
                let attempt = |deadline| connection.one(&command, deadline);
                self.n_written(self.client.patiently(patience, attempt).await?)
            }
            Client::Cluster(_) => self.script_each(rows, patience).await,
        }
    }

    /// One call of the script for all rows.
    fn script(&self, rows: &[Row]) -> Cmd {
        let mut command = self.script_command(rows.len());
        command.arg("EVAL").arg(SOURCE).arg(rows.len());
        self.put_script_arguments(&mut command, rows);
        command
    }

    /// One call per row, each where its key is.
    async fn script_each(&self, rows: &[Row], patience: Patience) -> Result<usize, Error> {
        let script = &*SCRIPT;
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(SOURCE);
        let command = |i: usize| {
            let row = &rows[i..=i];
            let mut command = self.script_command(1);
            command.arg("EVALSHA").arg(script.get_hash()).arg(1);
            self.put_script_arguments(&mut command, row);
            command
        };
        let commands = Commands {
            n: rows.len(),
            key: &|i| full_key(&rows[i].key, self.project),
            command: &command,
            script: Some(&load),
        };
        let replies = self.client.many(&commands, patience).await?;
        let mut n_written = 0;
        for reply in replies {
            n_written += self.n_written(reply)?;
        }
        Ok(n_written)
    }

    /// Rows without a look at what is stored.
    async fn put(&self, rows: &[Row], patience: Patience) -> Result<usize, Error> {
        let expires = self.config.key_ttl_seconds > 0;
        let per_row = if expires { 2 } else { 1 };
        let command = |i: usize| {
            let row = &rows[i / per_row];
            if i % per_row == 1 {
                let mut expire = redis::cmd("EXPIRE");
                expire.arg(full_key(&row.key, self.project));
                expire.arg(self.config.key_ttl_seconds);
                expire
            } else {
                self.hset(row)
            }
        };
        let commands = Commands {
            n: rows.len() * per_row,
            key: &|i| full_key(&rows[i / per_row].key, self.project),
            command: &command,
            script: None,
        };
        for reply in self.client.many(&commands, patience).await? {
            self.n_written(reply)?;
        }
        Ok(rows.len())
    }

    fn n_written(&self, reply: Reply) -> Result<usize, Error> {
        match reply {
            Reply::Int(n) => Ok(usize::try_from(n).unwrap_or(0)),
            Reply::ServerError(error) => Err(self.client.refused(error.to_string())),
            _ => Err(self
                .client
                .refused("the reply to a write is not a number".to_owned())),
        }
    }

    /// An empty command with room for a call of the script.
    fn script_command(&self, n_rows: usize) -> Cmd {
        let n = self.fields.features.len();
        Cmd::with_capacity(
            8 + n + n_rows * (n + 2),
            SOURCE.len() + n_rows * (64 + 16 * n),
        )
    }

    fn put_script_arguments(&self, command: &mut Cmd, rows: &[Row]) {
        let mut bytes = Vec::new();
        for row in rows {
            bytes.clear();
            bytes.extend_from_slice(&row.key);
            bytes.extend_from_slice(self.project.as_bytes());
            command.arg(bytes.as_slice());
        }
        command
            .arg(self.fields.timestamp.as_slice())
            .arg(self.config.key_ttl_seconds)
            .arg(self.fields.features.len());
        for field in &self.fields.features {
            command.arg(field.as_slice());
        }
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
    }

    fn hset(&self, row: &Row) -> Cmd {
        let n = self.fields.features.len();
        let mut command = Cmd::with_capacity(4 + 2 * n, 64 + 20 * n + row.key.len());
        command.arg("HSET").arg(full_key(&row.key, self.project));
        let mut bytes = Vec::new();
        codec::encode_timestamp(row.event_timestamp, &mut bytes);
        command
            .arg(self.fields.timestamp.as_slice())
            .arg(bytes.as_slice());
        for (field, value) in self.fields.features.iter().zip(&row.values) {
            bytes.clear();
            codec::encode(value, &mut bytes);
            command.arg(field.as_slice()).arg(bytes.as_slice());
        }
        command
    }
}
