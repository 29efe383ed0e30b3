//! Making a connection to the one node that has the queue: the server, the master that sentinels name, or the master of the
//! queue's hash slot in a cluster.
//!
//! All keys of a queue are in one slot, so a cluster is one node at a time here; which one it is, the nodes themselves tell.

use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, RedisResult, TlsCertificates, Value,
};

use super::config::Config;
use crate::jobs::Error;

/// A peer that says nothing for so long is gone, as far as the kernel can tell.
const DEAD_PEER: Duration = Duration::from_secs(10);
/// How often a node may name another one.
const MAX_HOPS: usize = 5;
const DEFAULT_SENTINEL_PORT: u16 = 26_379;
const DEFAULT_PORT: u16 = 6_379;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    host: String,
    port: u16,
}

/// Where the queue is.
#[derive(Debug)]
enum Place {
    Node,
    Master { name: String },
    Cluster { queue: String },
}

pub(super) struct Dialer {
    place: Place,
    /// With the login and TLS of the node, and the address of the settings.
    node: ConnectionInfo,
    /// The same for sentinels.
    sentinel: ConnectionInfo,
    seeds: Vec<Address>,
    /// Nodes that the cluster told of; they may outlive those of the settings.
    learnt: Mutex<Vec<Address>>,
    timeout: Duration,
}

/// A connection, and how to make another one to the same node.
pub(super) struct Dialled {
    pub(super) client: Client,
    pub(super) connection: MultiplexedConnection,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer")
            .field("place", &self.place)
            .field("seeds", &self.seeds)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Dialer {
    pub(super) fn new(config: &Config) -> Result<Self, Error> {
        let invalid = |what: String| Error::Settings { what };
        let place = match (&config.sentinel, config.cluster) {
            (None, false) => Place::Node,
            (Some(name), false) => Place::Master { name: name.clone() },
            (None, true) => Place::Cluster {
                queue: config.queue.clone(),
            },
            (Some(_), true) => {
                return Err(invalid(
                    "`jobs.redis.sentinel` and `jobs.redis.cluster` exclude each other".to_owned(),
                ));
            }
        };
        let url = config.url.as_str().into_connection_info();
        // The library's message may repeat the text, which may hold a password.
        let url = url.map_err(|_| {
            invalid("`jobs.redis.url` is not of the form `redis://host:port/database`".to_owned())
        })?;
        if url.redis_settings().password().is_some() {
            return Err(invalid(
                "`jobs.redis.url` holds a password, which would be shown; set `jobs.redis.password`"
                    .to_owned(),
            ));
        }
        let addr = trusted(url.addr(), config)?;
        let mut login = url.redis_settings().clone();
        if let Some(username) = &config.username {
            login = login.set_username(username);
        }
        if let Some(password) = &config.password {
            login = login.set_password(password.reveal());
        }
        if config.cluster && login.db() != 0 {
            return Err(invalid(
                "a Redis Cluster has only the database 0".to_owned(),
            ));
        }
        let mut sentinel_login = RedisConnectionInfo::default();
        if let Some(password) = &config.sentinel_password {
            sentinel_login = sentinel_login.set_password(password.reveal());
        }
        let mut seeds = Vec::new();
        seeds.extend(address_of(&addr));
        for text in &config.nodes {
            let default = match place {
                Place::Master { .. } => DEFAULT_SENTINEL_PORT,
                Place::Node | Place::Cluster { .. } => DEFAULT_PORT,
            };
            let address = Address::parse(text, default);
            seeds.push(address.ok_or_else(|| {
                invalid(format!("`{text}` in `jobs.redis.nodes` is not `host:port`"))
            })?);
        }
        if seeds.is_empty() && !matches!(place, Place::Node) {
            return Err(invalid(
                "`jobs.redis.url` is a socket, and neither a sentinel nor a cluster is behind one"
                    .to_owned(),
            ));
        }
        let info = |login| -> RedisResult<ConnectionInfo> {
            let tcp = TcpSettings::default()
                .set_nodelay(true)
                .set_user_timeout(DEAD_PEER);
            Ok(addr
                .clone()
                .into_connection_info()?
                .set_redis_settings(login)
                .set_tcp_settings(tcp))
        };
        let unusable = |error: RedisError| invalid(format!("`jobs.redis` cannot be used: {error}"));
        Ok(Self {
            place,
            node: info(login).map_err(unusable)?,
            sentinel: info(sentinel_login).map_err(unusable)?,
            seeds,
            learnt: Mutex::default(),
            timeout: config.connect_timeout,
        })
    }

    /// Whether the next connection may lead somewhere else.
    pub(super) fn may_move(&self) -> bool {
        !matches!(self.place, Place::Node)
    }

    pub(super) fn database(&self) -> i64 {
        self.node.redis_settings().db()
    }

    pub(super) fn describe(&self, queue: &str) -> String {
        let seeds: Vec<String> = self.seeds.iter().map(Address::to_string).collect();
        let seeds = match (seeds.is_empty(), self.node.addr()) {
            (false, _) => seeds.join(","),
            (true, addr) => addr.to_string(),
        };
        match &self.place {
            Place::Node => format!("redis {seeds}, {queue}"),
            Place::Master { name } => format!("redis master {name} by {seeds}, {queue}"),
            Place::Cluster { .. } => format!("redis cluster {seeds}, {queue}"),
        }
    }

    pub(super) async fn dial(&self) -> RedisResult<Dialled> {
        match &self.place {
            Place::Node => self.connect(self.node.clone()).await,
            Place::Master { name } => self.dial_master(name).await,
            Place::Cluster { queue } => self.dial_owner(queue).await,
        }
    }

    async fn connect(&self, info: ConnectionInfo) -> RedisResult<Dialled> {
        let client = Client::open(info)?;
        // Callers bring their own deadlines.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(None);
        let connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        Ok(Dialled { client, connection })
    }

    async fn dial_master(&self, name: &str) -> RedisResult<Dialled> {
        let mut failure = other("there is no sentinel");
        for sentinel in &self.seeds {
            match self.master_by(sentinel, name).await {
                Ok(dialled) => return Ok(dialled),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// The master that a sentinel names, if it says itself that it is one: right after a failover they may not know better.
    async fn master_by(&self, sentinel: &Address, name: &str) -> RedisResult<Dialled> {
        let mut asked = self.connect(at(&self.sentinel, sentinel)).await?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
        let (host, port) = match self.ask(&mut asked.connection, &command).await? {
            Value::Nil => {
                return Err(other(&format!(
                    "sentinel {sentinel} knows no master `{name}`"
                )));
            }
            reply => redis::from_redis_value::<(String, u16)>(reply)?,
        };
        let address = Address { host, port };
        let mut dialled = self.connect(at(&self.node, &address)).await?;
        let role = self
            .ask(&mut dialled.connection, &redis::cmd("ROLE"))
            .await?;
        match &role {
            Value::Array(parts)
                if parts.first() == Some(&Value::BulkString(b"master".to_vec())) =>
            {
                Ok(dialled)
            }
            _ => Err(other(&format!(
                "{address}, the master by the sentinels, is a replica still"
            ))),
        }
    }

    /// The master of the queue's slot: a node that has it answers, another one says where it is.
    async fn dial_owner(&self, queue: &str) -> RedisResult<Dialled> {
        let mut probe = redis::cmd("EXISTS");
        probe.arg(queue);
        let mut failure = other("there is no node");
        for seed in self.known() {
            let mut address = seed;
            for _ in 0..MAX_HOPS {
                let mut dialled = match self.connect(at(&self.node, &address)).await {
                    Ok(dialled) => dialled,
                    Err(error) => {
                        failure = error;
                        break;
                    }
                };
                match self.ask(&mut dialled.connection, &probe).await {
                    Ok(_) => {
                        self.learn(&mut dialled.connection, &address).await;
                        return Ok(dialled);
                    }
                    Err(error) => match redirect(&error, &address) {
                        Some(next) => address = next,
                        None => {
                            failure = error;
                            break;
                        }
                    },
                }
            }
        }
        Err(failure)
    }

    /// Nodes that were learnt first, then those of the settings.
    fn known(&self) -> Vec<Address> {
        let mut known = self
            .learnt
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for seed in &self.seeds {
            if !known.contains(seed) {
                known.push(seed.clone());
            }
        }
        known
    }

    /// Takes note of all nodes, for when this one is gone. Nothing is lost if they are not told.
    async fn learn(&self, connection: &mut MultiplexedConnection, owner: &Address) {
        let mut command = redis::cmd("CLUSTER");
        command.arg("SLOTS");
        let Ok(Value::Array(ranges)) = self.ask(connection, &command).await else {
            return;
        };
        let mut nodes = vec![owner.clone()];
        for range in ranges {
            let Value::Array(parts) = range else { continue };
            for node in parts.into_iter().skip(2) {
                let Value::Array(node) = node else { continue };
                let (Some(Value::BulkString(host)), Some(Value::Int(port))) =
                    (node.first(), node.get(1))
                else {
                    continue;
                };
                let host = String::from_utf8_lossy(host).into_owned();
                let Ok(port) = u16::try_from(*port) else {
                    continue;
                };
                let address = Address { host, port };
                if !address.host.is_empty() && !nodes.contains(&address) {
                    nodes.push(address);
                }
            }
        }
        *self.learnt.lock().unwrap_or_else(PoisonError::into_inner) = nodes;
    }

    async fn ask(
        &self,
        connection: &mut MultiplexedConnection,
        command: &Cmd,
    ) -> RedisResult<Value> {
        let answer = connection.send_packed_command(command);
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(Value::ServerError(error))) => Err(error.into()),
            Ok(answer) => answer,
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        }
    }
}

impl Address {
    fn parse(text: &str, default_port: u16) -> Option<Self> {
        let (host, port) = match text.rsplit_once(':') {
            // An IPv6 address without a port.
            Some((host, _)) if host.contains(':') && !host.starts_with('[') => (text, default_port),
            Some((host, port)) => (host, port.parse().ok()?),
            None => (text, default_port),
        };
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        (!host.is_empty()).then_some(Self { host, port })
    }
}

/// The address of the settings, with the certificate authority to trust.
fn trusted(addr: &ConnectionAddr, config: &Config) -> Result<ConnectionAddr, Error> {
    if !matches!(addr, ConnectionAddr::TcpTls { .. }) {
        return match &config.tls_ca {
            None => Ok(addr.clone()),
            Some(_) => Err(Error::Settings {
                what: "`jobs.redis.tls_ca` has no effect without `rediss://` in `jobs.redis.url`"
                    .to_owned(),
            }),
        };
    }
    // Without a provider rustls takes the only one that is compiled in, and another crate may bring a second.
    // An error says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Some(path) = &config.tls_ca else {
        return Ok(addr.clone());
    };
    let unusable = |error: String| Error::Settings {
        what: format!("`jobs.redis.tls_ca` cannot be used: {error}"),
    };
    let certificates = TlsCertificates {
        client_tls: None,
        root_cert: Some(fs_err::read(path).map_err(|error| unusable(error.to_string()))?),
    };
    let client = Client::build_with_tls(addr.clone(), certificates)
        .map_err(|error| unusable(error.to_string()))?;
    Ok(client.get_connection_info().addr().clone())
}

fn address_of(addr: &ConnectionAddr) -> Option<Address> {
    match addr {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            Some(Address {
                host: host.clone(),
                port: *port,
            })
        }
        _ => None,
    }
}

/// The same access to another address.
fn at(info: &ConnectionInfo, address: &Address) -> ConnectionInfo {
    let mut addr = info.addr().clone();
    match &mut addr {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            host.clone_from(&address.host);
            *port = address.port;
        }
        _ => addr = ConnectionAddr::Tcp(address.host.clone(), address.port),
    }
    info.clone().set_addr(addr)
}

/// Where `MOVED slot host:port` points to; without a host, to the node that said it.
fn redirect(error: &RedisError, from: &Address) -> Option<Address> {
    let (text, _) = error.redirect_node()?;
    let (host, port) = text.rsplit_once(':')?;
    let host = if host.is_empty() { &from.host } else { host };
    Some(Address {
        host: host.to_owned(),
        port: port.parse().ok()?,
    })
}

fn other(message: &str) -> RedisError {
    io::Error::other(message.to_owned()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_host_and_port() {
        for (text, host, port) in [
            ("a", "a", 1),
            ("a:2", "a", 2),
            ("[::1]:3", "::1", 3),
            ("::1", "::1", 1),
        ] {
            let host = host.to_owned();
            assert_eq!(
                Address::parse(text, 1),
                Some(Address { host, port }),
                "{text}"
            );
        }
        for text in ["", ":1", "a:b", "a:70000"] {
            assert_eq!(Address::parse(text, 1), None, "{text}");
        }
    }

    #[test]
    fn a_mistake_in_the_settings_is_named() {
        let base = Config::default();
        let url = |url: &str| Config {
            url: url.to_owned(),
            ..base.clone()
        };
        for (config, wanted) in [
            (url("http://x"), "`jobs.redis.url` is not of the form"),
            (url("redis://:hunter2@x/0"), "`jobs.redis.password`"),
            (
                Config {
                    cluster: true,
                    ..url("redis://x/3")
                },
                "only the database 0",
            ),
            (
                Config {
                    nodes: vec!["x:y".to_owned()],
                    ..base.clone()
                },
                "`x:y` in `jobs.redis.nodes`",
            ),
            (
                Config {
                    tls_ca: Some("ca.pem".into()),
                    ..base.clone()
                },
                "no effect without `rediss://`",
            ),
            (
                Config {
                    tls_ca: Some("/does/not/exist.pem".into()),
                    ..url("rediss://x/0")
                },
                "/does/not/exist.pem",
            ),
        ] {
            let error = Dialer::new(&config).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_description_has_no_secret() {
        let config = Config {
            password: serde_json::from_str("\"hunter2\"").ok(),
            sentinel: Some("mymaster".to_owned()),
            nodes: vec!["b".to_owned()],
            ..Config::default()
        };
        let dialer = Dialer::new(&config).unwrap();
        assert_eq!(
            dialer.describe("arq:queue"),
            "redis master mymaster by 127.0.0.1:6379,b:26379, arq:queue"
        );
        assert!(!format!("{dialer:?}").contains("hunter2"));
    }
}
