//! Feast's settings for Redis, and the grammar of its `connection_string`.
//!
//! The string is a comma list: `host:port` items, of which a single node uses the first, and `name=value` items for the
//! client. Values are JSON where they parse as JSON. Nothing quotes a comma.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};
use serde_yaml_ng::{Mapping, Value as Yaml};

use crate::features::repo::{Problem, note_left_over, unset_variable};
use crate::features::settings::Settings;

const DEFAULT_CONNECTION_STRING: &str = "localhost:6379";

#[derive(Clone)]
pub struct Config {
    host: String,
    port: u16,
    login: RedisConnectionInfo,
    /// Seconds until a whole hash expires after a write; zero for never.
    pub(super) key_ttl_seconds: u64,
    /// Write rows without a look at the stored timestamp.
    pub(super) skip_dedup: bool,
}

impl std::fmt::Debug for Config {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("place", &self.place())
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
        if kind != "redis" {
            return Err(Problem::Unsupported(format!(
                "`online_store.redis_type: {kind}`"
            )));
        }
        let text = settings
            .text("connection_string")?
            .unwrap_or_else(|| DEFAULT_CONNECTION_STRING.to_owned());
        let mut config = Self::parse(&text, notes)?;
        config.key_ttl_seconds = settings.whole_number("key_ttl_seconds")?.unwrap_or(0);
        config.skip_dedup = settings.boolean("skip_dedup")?.unwrap_or(false);
        for key in ["client", "full_scan_for_deletion", "sentinel_master"] {
            settings.take(key);
        }
        note_left_over(&settings, notes);
        Ok(config)
    }

    /// Reads a connection string.
    pub(super) fn parse(text: &str, notes: &mut Vec<String>) -> Result<Self, Problem> {
        if let Some(name) = unset_variable(text) {
            return Err(Problem::Invalid(format!(
                "`online_store.connection_string` needs the environment variable `{name}`, which is not set"
            )));
        }
        let mut node = None;
        let mut login = RedisConnectionInfo::default();
        for item in text.split(',') {
            match item.split_once('=') {
                None if node.is_none() => node = Some(node_of(item)?),
                None => notes.push(format!(
                    "feature_store.yaml: node `{item}` of `online_store.connection_string` is not used"
                )),
                Some((name, value)) => login = option(login, name, value, notes)?,
            }
        }
        let (host, port) = match node {
            Some(node) => node,
            None => node_of(DEFAULT_CONNECTION_STRING)?,
        };
        Ok(Self {
            host,
            port,
            login,
            key_ttl_seconds: 0,
            skip_dedup: false,
        })
    }

    /// `host:port`, with the database where it is not the first.
    pub(super) fn place(&self) -> String {
        match self.login.db() {
            0 => format!("{}:{}", self.host, self.port),
            db => format!("{}:{}/{db}", self.host, self.port),
        }
    }

    pub(super) fn connection_info(&self) -> redis::RedisResult<ConnectionInfo> {
        let address = ConnectionAddr::Tcp(self.host.clone(), self.port);
        Ok(address
            .into_connection_info()?
            .set_redis_settings(self.login.clone()))
    }
}

fn node_of(item: &str) -> Result<(String, u16), Problem> {
    let parts = item.trim().rsplit_once(':');
    let parsed = parts.and_then(|(host, port)| Some((host, port.parse().ok()?)));
    match parsed {
        Some((host, port)) if !host.is_empty() && !host.contains(':') => Ok((host.to_owned(), port)),
        _ => Err(Problem::Invalid(
            "`online_store.connection_string` must begin with `host:port`, such as `localhost:6379`"
                .to_owned(),
        )),
    }
}

fn option(
    login: RedisConnectionInfo,
    name: &str,
    value: &str,
    notes: &mut Vec<String>,
) -> Result<RedisConnectionInfo, Problem> {
    match name.trim() {
        "db" => match plain(value).trim().parse() {
            Ok(db) => Ok(login.set_db(db)),
            Err(_) => Err(Problem::Invalid(
                "`db` of `online_store.connection_string` must be a whole number".to_owned(),
            )),
        },
        "username" => Ok(login.set_username(plain(value))),
        "password" => Ok(login.set_password(plain(value))),
        "ssl" if is_off(value) => Ok(login),
        "ssl" => Err(Problem::Unsupported(
            "`ssl` of `online_store.connection_string`".to_owned(),
        )),
        other => {
            notes.push(format!(
                "feature_store.yaml: `{other}` of `online_store.connection_string` has no effect here"
            ));
            Ok(login)
        }
    }
}

/// JSON text without its quotes; everything else as it stands.
fn plain(value: &str) -> String {
    serde_json::from_str::<String>(value).unwrap_or_else(|_| value.to_owned())
}

/// What Python takes for false once it is read as JSON. `False` is text, and therefore true.
fn is_off(value: &str) -> bool {
    matches!(value.trim(), "false" | "0" | "null" | "" | "\"\"")
}
