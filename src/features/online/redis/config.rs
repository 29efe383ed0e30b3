//! Feast's settings for Redis: which of its three deployments, where, and how rows are written.
//!
//! Not here: the grammar of `connection_string` (`options`), certificates (`tls`).

use std::fmt;

use serde_yaml_ng::{Mapping, Value as Yaml};

use super::options::{Access, Options};
use crate::features::repo::{Problem, note_left_over, unset_variable};
use crate::features::settings::Settings;

const DEFAULT_CONNECTION_STRING: &str = "localhost:6379";
const DEFAULT_MASTER: &str = "mymaster";

#[derive(Clone)]
pub struct Config {
    pub(super) deployment: Deployment,
    /// Of every node that holds data.
    pub(super) access: Access,
    /// Seconds until a whole hash expires after a write; zero for never.
    pub(super) key_ttl_seconds: u64,
    /// Write rows without a look at the stored timestamp.
    pub(super) skip_dedup: bool,
    /// Whether a dropped view is looked for at all.
    pub(super) full_scan_for_deletion: bool,
}

/// `redis_type`.
#[derive(Clone)]
pub(super) enum Deployment {
    Single(Address),
    /// Any nodes of the cluster; they name the others.
    Cluster(Vec<Address>),
    Sentinel(Sentinels),
}

/// Those that know where the master is.
#[derive(Clone)]
pub(super) struct Sentinels {
    pub(super) nodes: Vec<Address>,
    /// Of the sentinels themselves: the master's login and TLS do not count for them.
    pub(super) access: Access,
    pub(super) master: String,
    /// Where the master is reached if not where the sentinels say; its port is theirs.
    pub(super) master_host: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Config {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("store", &self.describe())
            .finish_non_exhaustive()
    }
}

impl Config {
    pub(in crate::features::online) fn read(
        entries: Mapping,
        notes: &mut Vec<String>,
    ) -> Result<Self, Problem> {
        let mut settings = Settings::new("online_store", Yaml::Mapping(entries))?;
        let kind = settings
            .text("redis_type")?
            .unwrap_or_else(|| "redis".to_owned());
        client(&mut settings, &kind, notes)?;
        let text = settings
            .text("connection_string")?
            .unwrap_or_else(|| DEFAULT_CONNECTION_STRING.to_owned());
        let master = settings.text("sentinel_master")?;
        let mut config = Self::parse(&kind, &text, master, notes)?;
        config.key_ttl_seconds = settings.whole_number("key_ttl_seconds")?.unwrap_or(0);
        config.skip_dedup = settings.boolean("skip_dedup")?.unwrap_or(false);
        config.full_scan_for_deletion = settings.boolean("full_scan_for_deletion")?.unwrap_or(true);
        note_left_over(&settings, notes);
        Ok(config)
    }

    /// Whether keys have a time to live.
    pub(in crate::features::online) fn expires_rows(&self) -> bool {
        self.key_ttl_seconds > 0
    }

    /// Reads a connection string for a `redis_type`.
    pub(super) fn parse(
        kind: &str,
        text: &str,
        master: Option<String>,
        notes: &mut Vec<String>,
    ) -> Result<Self, Problem> {
        if let Some(name) = unset_variable(text) {
            return Err(Problem::Invalid(format!(
                "`online_store.connection_string` needs the environment variable `{name}`, which is not set"
            )));
        }
        let mut nodes = Vec::new();
        let mut options = Options::default();
        for item in text.split(',') {
            match item.split_once('=') {
                None => nodes.push(address(item)?),
                Some((name, value)) => options.take(name.trim(), value, notes)?,
            }
        }
        if nodes.is_empty() {
            nodes.push(address(DEFAULT_CONNECTION_STRING)?);
        }
        let access = options.access(notes)?;
        let deployment = match kind {
            "redis" => single(nodes, notes),
            "redis_cluster" if access.login.db() != 0 => {
                return Err(Problem::Invalid(
                    "`db` of `online_store.connection_string` must be 0: a Redis Cluster has no other database"
                        .to_owned(),
                ));
            }
            "redis_cluster" => Deployment::Cluster(nodes),
            "redis_sentinel" => Deployment::Sentinel(Sentinels {
                nodes,
                access: options.sentinel_access(notes)?,
                master: master.unwrap_or_else(|| DEFAULT_MASTER.to_owned()),
                master_host: options.master_host,
            }),
            other => {
                return Err(Problem::Invalid(format!(
                    "`online_store.redis_type` must be `redis`, `redis_cluster` or `redis_sentinel`, not `{other}`"
                )));
            }
        };
        Ok(Self {
            deployment,
            access,
            key_ttl_seconds: 0,
            skip_dedup: false,
            full_scan_for_deletion: true,
        })
    }

    /// What and where the store is, with the database where it is not the first.
    pub(super) fn describe(&self) -> String {
        let db = match self.access.login.db() {
            0 => String::new(),
            db => format!("/{db}"),
        };
        match &self.deployment {
            Deployment::Single(address) => format!("redis at {address}{db}"),
            Deployment::Cluster(nodes) => format!("redis cluster at {}", list(nodes)),
            Deployment::Sentinel(sentinels) => format!(
                "redis `{}`{db} of sentinel at {}",
                sentinels.master,
                list(&sentinels.nodes)
            ),
        }
    }
}

/// `client` names the library that Feast reads with; what goes over the wire is the same.
fn client(settings: &mut Settings, kind: &str, notes: &mut Vec<String>) -> Result<(), Problem> {
    match settings.text("client")?.as_deref() {
        None | Some("redis") => Ok(()),
        Some("glide") if kind == "redis_sentinel" => Err(Problem::Invalid(
            "`online_store.client: glide` cannot be with `redis_type: redis_sentinel`, as in Feast"
                .to_owned(),
        )),
        Some("glide") => {
            notes.push(
                "feature_store.yaml: `online_store.client: glide` has no effect here: the wire is the same"
                    .to_owned(),
            );
            Ok(())
        }
        Some(other) => Err(Problem::Invalid(format!(
            "`online_store.client` must be `redis` or `glide`, not `{other}`"
        ))),
    }
}

fn single(mut nodes: Vec<Address>, notes: &mut Vec<String>) -> Deployment {
    for node in nodes.drain(1..) {
        notes.push(format!(
            "feature_store.yaml: node `{node}` of `online_store.connection_string` is not used; `redis_type: redis_cluster` has several"
        ));
    }
    Deployment::Single(nodes.remove(0))
}

fn list(nodes: &[Address]) -> String {
    let nodes: Vec<String> = nodes.iter().map(Address::to_string).collect();
    nodes.join(", ")
}

/// `host:port`.
fn address(item: &str) -> Result<Address, Problem> {
    let parts = item.trim().rsplit_once(':');
    let parsed = parts.and_then(|(host, port)| Some((host, port.parse().ok()?)));
    match parsed {
        Some((host, port)) if !host.is_empty() && !host.contains(':') => Ok(Address {
            host: host.to_owned(),
            port,
        }),
        _ => Err(Problem::Invalid(
            "`online_store.connection_string` must begin with `host:port`, such as `localhost:6379`"
                .to_owned(),
        )),
    }
}
