//! The grammar of Feast's `connection_string`, and what its options come to.
//!
//! The string is a comma list: `host:port` items, and `name=value` items for redis-py's client, split at the first `=`. A value
//! is JSON where it parses as JSON, else text: `password=123` is a number, which redis-py sends as `123`; `ssl=False` is text,
//! and text is true. Nothing quotes a comma, so no value has one.

use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, RedisResult};
use serde_json::Value as Json;

use super::config::Address;
use super::tls::{Tls, TlsOptions};
use crate::features::python;
use crate::features::repo::Problem;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The kernel gives up on a peer that acknowledges nothing for so long.
const DEAD_PEER: Duration = Duration::from_secs(5);
/// Options of redis-py that change nothing about what is read and written.
const NO_BEARING: [&str; 20] = [
    "socket_keepalive",
    "socket_keepalive_options",
    "socket_read_size",
    "max_connections",
    "health_check_interval",
    "retry_on_timeout",
    "retry_on_error",
    "client_name",
    "lib_name",
    "lib_version",
    "protocol",
    "encoding",
    "skip_full_coverage_check",
    "require_full_coverage",
    "read_from_replicas",
    "reinitialize_steps",
    "cluster_error_retry_attempts",
    "dynamic_startup_nodes",
    "min_other_sentinels",
    "single_connection_client",
];

/// How a server is reached and logged in to.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) login: RedisConnectionInfo,
    tls: Option<Tls>,
    /// Longest wait for a connection, the login included.
    pub(super) connect_timeout: Duration,
    /// Longest wait for an answer, where `socket_timeout` sets one.
    pub(super) answer_timeout: Option<Duration>,
}

impl Access {
    pub(super) fn info(&self, address: &Address) -> RedisResult<ConnectionInfo> {
        let addr = match &self.tls {
            None => ConnectionAddr::Tcp(address.host.clone(), address.port),
            Some(tls) => tls.address(address)?,
        };
        let tcp = TcpSettings::default()
            .set_nodelay(true)
            .set_user_timeout(DEAD_PEER);
        Ok(addr
            .into_connection_info()?
            .set_redis_settings(self.login.clone())
            .set_tcp_settings(tcp))
    }
}

/// The options read so far.
#[derive(Default)]
pub(super) struct Options {
    login: RedisConnectionInfo,
    tls: TlsOptions,
    socket_timeout: Option<Duration>,
    socket_connect_timeout: Option<Duration>,
    /// `sentinel_kwargs`: with it the sentinels get these options and nothing else.
    sentinel: Option<Box<Options>>,
    /// `force_master_ip`.
    pub(super) master_host: Option<String>,
}

impl Options {
    /// Takes one `name=value` item.
    pub(super) fn take(
        &mut self,
        name: &str,
        value: &str,
        notes: &mut Vec<String>,
    ) -> Result<(), Problem> {
        let value = Value::of(value);
        match name {
            "sentinel_kwargs" => {
                self.sentinel = sentinel(&value, notes)?.map(Box::new);
                Ok(())
            }
            "force_master_ip" => {
                self.master_host = value.text(name)?;
                Ok(())
            }
            _ => self.set(name, &value, notes),
        }
    }

    fn set(&mut self, name: &str, value: &Value, notes: &mut Vec<String>) -> Result<(), Problem> {
        let login = self.login.clone();
        match name {
            "db" => match value.text(name)?.as_deref().map(|text| text.trim().parse()) {
                Some(Ok(db)) if db >= 0 => self.login = login.set_db(db),
                None => {}
                Some(_) => return Err(invalid(name, "must be a whole number")),
            },
            "username" => {
                if let Some(username) = value.text(name)? {
                    self.login = login.set_username(username);
                }
            }
            "password" => {
                if let Some(password) = value.text(name)? {
                    self.login = login.set_password(password);
                }
            }
            "socket_timeout" => self.socket_timeout = value.seconds(name)?,
            "socket_connect_timeout" => self.socket_connect_timeout = value.seconds(name)?,
            _ if name.starts_with("ssl") => self.tls.take(name, value, notes)?,
            _ if NO_BEARING.contains(&name) => notes.push(format!(
                "feature_store.yaml: `{name}` of `online_store.connection_string` has no effect here"
            )),
            _ => notes.push(format!(
                "feature_store.yaml: `{name}` of `online_store.connection_string` is not known here and has no effect"
            )),
        }
        Ok(())
    }

    pub(super) fn access(&self, notes: &mut Vec<String>) -> Result<Access, Problem> {
        Ok(Access {
            login: self.login.clone(),
            tls: self.tls.load(notes)?,
            // As redis-py has it: without a time-out of its own, connecting has that of answers.
            connect_timeout: self
                .socket_connect_timeout
                .or(self.socket_timeout)
                .unwrap_or(CONNECT_TIMEOUT),
            answer_timeout: self.socket_timeout,
        })
    }

    /// Of these options the sentinels get the time-outs only, unless they have options of their own.
    pub(super) fn sentinel_access(&self, notes: &mut Vec<String>) -> Result<Access, Problem> {
        match &self.sentinel {
            Some(options) => options.access(notes),
            None => {
                let options = Self {
                    socket_timeout: self.socket_timeout,
                    socket_connect_timeout: self.socket_connect_timeout,
                    ..Self::default()
                };
                options.access(notes)
            }
        }
    }
}

/// The options in `sentinel_kwargs`, a JSON object; as no value has a comma, it has one entry at most.
fn sentinel(value: &Value, notes: &mut Vec<String>) -> Result<Option<Options>, Problem> {
    let entries = match value {
        Value::Json(Json::Object(entries)) => entries,
        Value::Json(Json::Null) => return Ok(None),
        _ => {
            return Err(invalid(
                "sentinel_kwargs",
                "must be a JSON object, such as `{\"password\":\"...\"}`",
            ));
        }
    };
    let mut options = Options::default();
    for (name, value) in entries {
        options.set(name, &Value::Json(value.clone()), notes)?;
    }
    Ok(Some(options))
}

/// What an option is set to.
pub(super) enum Value {
    Json(Json),
    /// A JSON integer, which may have any number of digits.
    Integer(String),
    Text(String),
}

impl Value {
    fn of(text: &str) -> Self {
        match serde_json::from_str(text) {
            Ok(Json::Number(_)) if is_integer(text.trim()) => Self::Integer(text.trim().to_owned()),
            Ok(value) => Self::Json(value),
            Err(_) => Self::Text(text.to_owned()),
        }
    }

    /// As redis-py sends it; `None` for null.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Problem> {
        match self {
            Self::Text(text) | Self::Integer(text) => Ok(Some(text.clone())),
            Self::Json(Json::String(text)) => Ok(Some(text.clone())),
            Self::Json(Json::Null) => Ok(None),
            Self::Json(Json::Number(number)) => Ok(Some(match number.as_f64() {
                Some(float) if !is_integer(&number.to_string()) => python::float_repr(float),
                _ => number.to_string(),
            })),
            Self::Json(Json::Bool(_) | Json::Array(_) | Json::Object(_)) => Err(invalid(
                name,
                "must be text or a number; write text that looks like JSON in double quotes",
            )),
        }
    }

    /// What Python takes for true.
    pub(super) fn is_on(&self) -> bool {
        match self {
            Self::Text(text) | Self::Json(Json::String(text)) => !text.is_empty(),
            Self::Integer(digits) => digits.trim_start_matches('-') != "0",
            Self::Json(Json::Null) => false,
            Self::Json(Json::Bool(value)) => *value,
            Self::Json(Json::Number(number)) => number.as_f64() != Some(0.0),
            Self::Json(Json::Array(items)) => !items.is_empty(),
            Self::Json(Json::Object(entries)) => !entries.is_empty(),
        }
    }

    /// A positive number of seconds; `None` for null, which is no limit.
    fn seconds(&self, name: &str) -> Result<Option<Duration>, Problem> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let seconds = text.trim().parse().ok().filter(|seconds| *seconds > 0.0);
        match seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
            Some(duration) => Ok(Some(duration)),
            None => Err(invalid(name, "must be a positive number of seconds")),
        }
    }
}

/// JSON's grammar of a number without fraction and exponent; the text is known to be a JSON number.
fn is_integer(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'-')
}

/// Never echoes the value, which may be a secret.
pub(super) fn invalid(name: &str, what: &str) -> Problem {
    Problem::Invalid(format!(
        "`{name}` of `online_store.connection_string` {what}"
    ))
}
