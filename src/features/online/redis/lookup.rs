//! Reading from Redis: one `HMGET` per entity key, all in one pipeline, or one per master of a cluster.

use std::sync::Arc;

use async_trait::async_trait;
use redis::{Cmd, Value as Reply};

use super::super::raw::{RawRows, RowTime, hex};
use super::super::{Error, KeyGroup, Lookup, StoredRows, StoredValue};
use super::client::{Client, Commands, Patience};
use super::{feature_field, full_key, timestamp_field};
use crate::features::codec;
use crate::features::key::EntityKeys;
use crate::types::deadline::Deadline;

/// So many commands go out at once; more are sent in turns, so that one huge request does not hold up all others.
const MAX_PIPELINED: usize = 1_024;

#[derive(Debug)]
pub(super) struct RedisLookup {
    client: Arc<Client>,
    store: Arc<str>,
    project: Arc<str>,
    groups: Vec<Group>,
}

/// The fields of one `HMGET`: the features of all views, then the timestamps of all views.
#[derive(Debug)]
struct Group {
    fields: Vec<Vec<u8>>,
    /// Length of all fields together.
    n_bytes: usize,
    views: Vec<View>,
    n_features: usize,
}

#[derive(Debug)]
struct View {
    name: String,
    features: Vec<String>,
}

impl RedisLookup {
    pub(super) fn new(
        client: Arc<Client>,
        store: &Arc<str>,
        project: &Arc<str>,
        groups: &[KeyGroup],
    ) -> Self {
        Self {
            client,
            store: store.clone(),
            project: project.clone(),
            groups: groups.iter().map(Group::new).collect(),
        }
    }

    /// The values of a reply to the `i`th group's command, one per field.
    fn fields(&self, i: usize, reply: Reply) -> Result<Vec<Reply>, Error> {
        match reply {
            Reply::Array(replies) if replies.len() == self.groups[i].fields.len() => Ok(replies),
            other => Err(self.refused(&other)),
        }
    }

    /// Appends what a reply to the `i`th group's command for `key` holds.
    pub(super) fn decode(
        &self,
        i: usize,
        key: &[u8],
        reply: Reply,
        rows: &mut StoredRows,
    ) -> Result<(), Error> {
        let group = &self.groups[i];
        let replies = self.fields(i, reply)?;
        let (features, timestamps) = replies.split_at(group.n_features);
        let mut features = features.iter();
        for (view, timestamp) in group.views.iter().zip(timestamps) {
            let event_timestamp = match timestamp {
                Reply::Nil => None,
                Reply::BulkString(bytes) => Some(
                    codec::decode_timestamp(bytes)
                        .map_err(|source| self.invalid(view, "event timestamp", key, source))?,
                ),
                other => return Err(self.refused(other)),
            };
            for (name, reply) in view.features.iter().zip(features.by_ref()) {
                let stored = match (reply, event_timestamp) {
                    (Reply::Nil, _) | (_, None) => None,
                    (Reply::BulkString(bytes), Some(event_timestamp)) => Some(StoredValue {
                        value: codec::decode(bytes)
                            .map_err(|source| self.invalid(view, name, key, source))?,
                        event_timestamp,
                    }),
                    (other, _) => return Err(self.refused(other)),
                };
                rows.push(stored);
            }
        }
        Ok(())
    }

    /// Appends what a reply holds, without looking into the values.
    fn keep(&self, i: usize, _key: &[u8], reply: Reply, rows: &mut RawRows) -> Result<(), Error> {
        let n_features = self.groups[i].n_features;
        for (place, reply) in self.fields(i, reply)?.into_iter().enumerate() {
            match reply {
                Reply::BulkString(bytes) if place < n_features => rows.values.push(Some(bytes)),
                Reply::Nil if place < n_features => rows.values.push(None),
                Reply::BulkString(bytes) => {
                    rows.times.push(match codec::decode_timestamp(&bytes) {
                        Ok(timestamp) => RowTime::At(timestamp),
                        Err(source) => RowTime::Invalid(source),
                    })
                }
                Reply::Nil => rows.times.push(RowTime::Absent),
                other => return Err(self.refused(&other)),
            }
        }
        Ok(())
    }

    fn invalid(&self, view: &View, feature: &str, key: &[u8], source: codec::WireError) -> Error {
        Error::Value {
            store: self.store.clone(),
            view: view.name.clone(),
            feature: feature.to_owned(),
            key: hex(key),
            source,
        }
    }

    fn refused(&self, reply: &Reply) -> Error {
        let message = match reply {
            Reply::ServerError(error) => error.to_string(),
            _ => "the reply to HMGET has another shape than asked for".to_owned(),
        };
        self.client.refused(message)
    }

    /// The `i`th group's command for one key.
    pub(super) fn command(&self, i: usize, key: &[u8]) -> Cmd {
        let group = &self.groups[i];
        let key = full_key(key, &self.project);
        let mut command = Cmd::with_capacity(2 + group.fields.len(), 5 + key.len() + group.n_bytes);
        command.arg("HMGET").arg(key);
        for field in &group.fields {
            command.arg(field.as_slice());
        }
        command
    }
}

impl Group {
    fn new(group: &KeyGroup) -> Self {
        let mut fields = Vec::new();
        let mut timestamps = Vec::new();
        let mut views = Vec::new();
        for view in &group.views {
            for feature in &view.features {
                fields.push(feature_field(&view.name, feature).to_vec());
            }
            timestamps.push(timestamp_field(&view.name));
            views.push(View {
                name: view.name.clone(),
                features: view.features.clone(),
            });
        }
        let n_features = fields.len();
        fields.append(&mut timestamps);
        Self {
            n_bytes: fields.iter().map(Vec::len).sum(),
            fields,
            views,
            n_features,
        }
    }
}

impl RedisLookup {
    /// Reads all keys once; `keep` puts each reply into its group's rows.
    async fn read_into<R: Send>(
        &self,
        keys: &[EntityKeys],
        deadline: Deadline,
        mut rows: Vec<R>,
        keep: impl Fn(&Self, usize, &[u8], Reply, &mut R) -> Result<(), Error> + Send,
    ) -> Result<Vec<R>, Error> {
        let mut wanted: Vec<(usize, &[u8])> = Vec::new();
        for (i, keys) in keys.iter().enumerate() {
            wanted.extend(keys.iter().map(|key| (i, key)));
        }
        let patience = Patience::Gone(deadline);
        if let (Client::Node(connection), &[(i, key)]) = (&*self.client, wanted.as_slice()) {
            let connection = connection.here();
            let command = self.command(i, key);
            let attempt = |deadline| connection.one(&command, deadline);
            let reply = self.client.patiently(patience, attempt).await?;
            keep(self, i, key, reply, &mut rows[i])?;
            return Ok(rows);
        }
        for wanted in wanted.chunks(MAX_PIPELINED) {
            let commands = Commands {
                n: wanted.len(),
                key: &|n| full_key(wanted[n].1, &self.project),
                command: &|n| self.command(wanted[n].0, wanted[n].1),
                script: None,
            };
            let replies = self.client.many(&commands, patience).await?;
            for (&(i, key), reply) in wanted.iter().zip(replies) {
                keep(self, i, key, reply, &mut rows[i])?;
            }
        }
        Ok(rows)
    }
}

#[async_trait]
impl Lookup for RedisLookup {
    async fn read(
        &self,
        keys: &[EntityKeys],
        deadline: Deadline,
    ) -> Result<Vec<StoredRows>, Error> {
        let groups = self.groups.iter().zip(keys);
        let rows = groups.map(|(group, keys)| Vec::with_capacity(keys.len() * group.n_features));
        self.read_into(keys, deadline, rows.collect(), Self::decode)
            .await
    }

    async fn read_raw(
        &self,
        keys: &[EntityKeys],
        deadline: Deadline,
    ) -> Result<Vec<RawRows>, Error> {
        let groups = self.groups.iter().zip(keys);
        let rows = groups.map(|(group, keys)| {
            RawRows::with_capacity(keys.len(), group.views.len(), group.n_features)
        });
        self.read_into(keys, deadline, rows.collect(), Self::keep)
            .await
    }
}
