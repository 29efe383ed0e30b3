//! Deleting a view from Redis: every hash of its join keys is found by `SCAN`, and loses the view's fields.
//!
//! A hash belongs to the view if its key is, byte for byte, an entity key of the view's join keys and then the project; `SCAN`
//! only leaves out what does not end in the project, whose name has no glob characters. (Feast has Redis compare a glob over
//! the binary key, so that project `ops` takes keys of `ride_ops`, and finds no version-2 keys at all.) A hash without the
//! view's timestamp is left alone; one that has no other view's goes as a whole, as in Feast.
//! A hash that is written meanwhile may or may not be found.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{Cmd, Script, Value as Reply};

use super::super::{Error, StoredView};
use super::client::{Client, Commands, Patience};
use super::connection::Connection;
use super::{RedisStore, feature_field, timestamp_field};
use crate::features::key::KeyLayout;
use crate::types::deadline::Deadline;

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(SOURCE));
const SOURCE: &str = include_str!("delete.lua");
/// Keys that Redis looks at per call.
const SCANNED: usize = 1_000;
/// Hashes per call of the script.
const AT_ONCE: usize = 200;
const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) async fn delete_view(
    store: &RedisStore,
    view: &StoredView,
    keys: &KeyLayout,
) -> Result<usize, Error> {
    if !store.config.full_scan_for_deletion {
        return Ok(0);
    }
    let mut fields = vec![timestamp_field(&view.name)];
    for feature in &view.features {
        fields.push(feature_field(&view.name, feature).to_vec());
    }
    let deletion = Deletion {
        client: &store.writes,
        project: &store.project,
        keys,
        fields,
    };
    match &store.writes {
        Client::Node(connection) => deletion.from(connection.here()).await,
        Client::Cluster(cluster) => {
            let mut n_deleted = 0;
            for master in cluster.masters(Deadline::after(TIMEOUT)).await? {
                n_deleted += deletion.from(&master).await?;
            }
            Ok(n_deleted)
        }
    }
}

struct Deletion<'a> {
    client: &'a Client,
    project: &'a str,
    keys: &'a KeyLayout,
    /// The timestamp's, then the features'.
    fields: Vec<Vec<u8>>,
}

impl Deletion<'_> {
    /// From all hashes of one server.
    async fn from(&self, connection: &Connection) -> Result<usize, Error> {
        let mut n_deleted = 0;
        let mut cursor = b"0".to_vec();
        loop {
            let (next, mut found) = self.scan(connection, &cursor).await?;
            found.retain(|key| self.is_ours(key));
            for keys in found.chunks(AT_ONCE) {
                n_deleted += self.delete(keys).await?;
            }
            if next == b"0" {
                return Ok(n_deleted);
            }
            cursor = next;
        }
    }

    /// Some keys, and where to go on.
    async fn scan(
        &self,
        connection: &Connection,
        cursor: &[u8],
    ) -> Result<(Vec<u8>, Vec<Vec<u8>>), Error> {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor)
            .arg("MATCH")
            .arg(format!("*{}", self.project))
            .arg("COUNT")
            .arg(SCANNED);
        let reply = connection.one(&scan, Deadline::after(TIMEOUT)).await?;
        if let Reply::ServerError(error) = reply {
            return Err(connection.refused(error.to_string()));
        }
        redis::from_redis_value(reply)
            .map_err(|error| connection.refused(format!("the reply to SCAN is odd: {error}")))
    }

    fn is_ours(&self, key: &[u8]) -> bool {
        let behind = self.keys.split(key).map(|(_, behind)| behind);
        behind == Some(self.project.as_bytes())
    }

    async fn delete(&self, keys: &[Vec<u8>]) -> Result<usize, Error> {
        let deadline = Deadline::after(TIMEOUT);
        let replies = match self.client {
            Client::Node(connection) => {
                let connection = connection.here();
                let mut command = redis::cmd("EVAL");
                command.arg(SOURCE).arg(keys.len()).arg(keys);
                command.arg(&self.fields);
                vec![connection.one(&command, deadline).await?]
            }
            Client::Cluster(_) => {
                let mut load = redis::cmd("SCRIPT");
                load.arg("LOAD").arg(SOURCE);
                let commands = Commands {
                    n: keys.len(),
                    key: &|i| keys[i].clone(),
                    command: &|i| self.delete_one(&keys[i]),
                    script: Some(&load),
                };
                self.client
                    .many(&commands, Patience::Gone(deadline))
                    .await?
            }
        };
        let mut n_deleted = 0;
        for reply in replies {
            n_deleted += match reply {
                Reply::Int(n) => usize::try_from(n).unwrap_or(0),
                Reply::ServerError(error) => return Err(self.client.refused(error.to_string())),
                _ => {
                    let message = "the reply to a deletion is not a number".to_owned();
                    return Err(self.client.refused(message));
                }
            };
        }
        Ok(n_deleted)
    }

    fn delete_one(&self, key: &[u8]) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(SCRIPT.get_hash()).arg(1).arg(key);
        command.arg(&self.fields);
        command
    }
}
