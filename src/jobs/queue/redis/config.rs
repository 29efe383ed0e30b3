//! Settings of the queue in Redis.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::jobs::{CodecName, FailureName};
use crate::types::secret::Secret;

/// A queue in Redis, in arq's layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `redis://host:port/database`, with `rediss` for TLS.
    pub url: String,
    /// For Redis's access control lists; they must allow scripts.
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// The certificate authority of the server, in PEM, in place of the system's.
    pub tls_ca: Option<PathBuf>,
    /// The sorted set of waiting jobs; arq's `queue_name`.
    pub queue: String,
    /// In what jobs are written that are enqueued here: `msgpack`, `json`, or `pickle`, which is what arq's clients and workers
    /// take where nothing is set. What others enqueue is read in any of them, and answered in its own.
    pub codec: CodecName,
    /// How failures look in MessagePack and JSON, which have no exceptions: `text`, or a `map` for clients with a decoder for it.
    pub failures: FailureName,
    /// What the keys of jobs and results begin with; arq's own clients and workers know only `arq:`.
    pub prefix: String,
    /// Whether the server is part of a Redis Cluster. `queue` and `prefix` then need the same hash tag, such as
    /// `{arq}:queue` and `{arq}:`, so that a script finds all its keys on one node.
    pub cluster: bool,
    /// The name of the master by the sentinels. The server is then a sentinel, and the database that of the master.
    pub sentinel: Option<String>,
    /// The password of the sentinels themselves.
    pub sentinel_password: Option<Secret>,
    /// Further nodes of the cluster, or further sentinels, as `host:port`.
    pub nodes: Vec<String>,
    /// Whether the server is asked to tell of jobs that arq's clients enqueue (`notify-keyspace-events`, the flags `Ez`).
    /// Without that they are found by looking, every `jobs.poll` at the latest.
    pub keyspace_events: bool,
    /// Longest wait for a connection.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub connect_timeout: Duration,
    /// Longest wait for an answer. Where another server may take over, a call is sent again until then.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379/0".to_owned(),
            username: None,
            password: None,
            tls_ca: None,
            queue: "arq:queue".to_owned(),
            codec: CodecName::default(),
            failures: FailureName::default(),
            prefix: "arq:".to_owned(),
            cluster: false,
            sentinel: None,
            sentinel_password: None,
            nodes: Vec::new(),
            keyspace_events: true,
            connect_timeout: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
        }
    }
}
