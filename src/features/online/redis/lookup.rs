//! Reading from Redis: one `HMGET` per entity key, all in one pipeline.

use std::sync::Arc;

use async_trait::async_trait;
use redis::{Cmd, Pipeline, Value as Reply};

use super::super::raw::{RawRows, RowTime, hex};
use super::super::{Error, KeyGroup, Lookup, StoredRows, StoredValue};
use super::connection::Connection;
use super::{feature_field, timestamp_field};
use crate::features::codec;
use crate::features::key::EntityKeys;
use crate::types::deadline::Deadline;

/// So many commands go out at once; more are sent in turns, so that one huge request does not hold up all others.
const MAX_PIPELINED: usize = 1_024;

#[derive(Debug)]
pub(super) struct RedisLookup {
    connection: Arc<Connection>,
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
        connection: Arc<Connection>,
        store: &Arc<str>,
        project: &Arc<str>,
        groups: &[KeyGroup],
    ) -> Self {
        Self {
            connection,
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
    fn keep(&self, i: usize, reply: Reply, rows: &mut RawRows) -> Result<(), Error> {
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
        self.connection.refused(message)
    }

    /// The `i`th group's command for one key.
    pub(super) fn command(&self, i: usize, key: &[u8]) -> Cmd {
        let group = &self.groups[i];
        let n_key = key.len() + self.project.len();
        let mut full_key = Vec::with_capacity(n_key);
        full_key.extend_from_slice(key);
        full_key.extend_from_slice(self.project.as_bytes());
        let mut command = Cmd::with_capacity(2 + group.fields.len(), 5 + n_key + group.n_bytes);
        command.arg("HMGET").arg(full_key);
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
    /// Sends one command per key and hands every reply on, in order: the group, the key, the reply.
    async fn fetch(
        &self,
        keys: &[EntityKeys],
        deadline: Deadline,
        take: &mut (dyn FnMut(usize, &[u8], Reply) -> Result<(), Error> + Send),
    ) -> Result<(), Error> {
        let mut wanted: Vec<(usize, &[u8])> = Vec::new();
        for (i, keys) in keys.iter().enumerate() {
            wanted.extend(keys.iter().map(|key| (i, key)));
        }
        if let &[(i, key)] = wanted.as_slice() {
            let reply = self.connection.one(&self.command(i, key), deadline).await?;
            return take(i, key, reply);
        }
        for wanted in wanted.chunks(MAX_PIPELINED) {
            let mut commands = Pipeline::with_capacity(wanted.len());
            for &(i, key) in wanted {
                commands.add_command(self.command(i, key));
            }
            let replies = self.connection.many(&commands, deadline).await?;
            for (&(i, key), reply) in wanted.iter().zip(replies) {
                take(i, key, reply)?;
            }
        }
        Ok(())
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
        let mut rows: Vec<StoredRows> = groups
            .map(|(group, keys)| Vec::with_capacity(keys.len() * group.n_features))
            .collect();
        self.fetch(keys, deadline, &mut |i, key, reply| {
            self.decode(i, key, reply, &mut rows[i])
        })
        .await?;
        Ok(rows)
    }

    async fn read_raw(
        &self,
        keys: &[EntityKeys],
        deadline: Deadline,
    ) -> Result<Vec<RawRows>, Error> {
        let groups = self.groups.iter().zip(keys);
        let mut rows: Vec<RawRows> = groups
            .map(|(group, keys)| {
                RawRows::with_capacity(keys.len(), group.views.len(), group.n_features)
            })
            .collect();
        self.fetch(keys, deadline, &mut |i, _, reply| {
            self.keep(i, reply, &mut rows[i])
        })
        .await?;
        Ok(rows)
    }
}
