//! Making one connection: to a node at a known place, or to the master that the sentinels name.
//!
//! The sentinels are asked anew for every connection, all at once, and the first whose master says that it is one is
//! believed: right after a failover some of them, and the old master, may not know better yet.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionInfo, RedisError, RedisResult, Value};

use super::config::{Address, Sentinels};
use super::options::Access;

/// What is dialled.
#[derive(Clone)]
pub(super) enum Target {
    Node(Arc<Node>),
    Master(Arc<Master>),
}

#[derive(Clone)]
pub(super) struct Node {
    info: ConnectionInfo,
    timeout: Duration,
}

pub(super) struct Master {
    sentinels: Sentinels,
    access: Access,
}

impl Target {
    pub(super) fn node(address: &Address, access: &Access) -> RedisResult<Self> {
        Node::new(address, access).map(|node| Self::Node(Arc::new(node)))
    }

    pub(super) fn master(sentinels: &Sentinels, access: &Access) -> Self {
        Self::Master(Arc::new(Master {
            sentinels: sentinels.clone(),
            access: access.clone(),
        }))
    }

    /// Whether the next connection may lead somewhere else.
    pub(super) fn may_move(&self) -> bool {
        matches!(self, Self::Master(_))
    }

    /// No dial takes longer.
    pub(super) fn timeout(&self) -> Duration {
        match self {
            Self::Node(node) => node.timeout,
            // First the sentinels, then the master.
            Self::Master(master) => {
                master.sentinels.access.connect_timeout + master.access.connect_timeout
            }
        }
    }

    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        match self {
            Self::Node(node) => node.connect().await,
            Self::Master(master) => master.connect().await,
        }
    }
}

impl Node {
    fn new(address: &Address, access: &Access) -> RedisResult<Self> {
        Ok(Self {
            info: access.info(address)?,
            timeout: access.connect_timeout,
        })
    }

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let client = Client::open(self.info.clone())?;
        // Callers bring their own deadlines.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(None);
        client
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }

    /// Makes a connection for one command.
    async fn ask(&self, command: &Cmd) -> Result<Value, RedisError> {
        let mut connection = self.connect().await?;
        ask(&mut connection, command, self.timeout).await
    }
}

impl Master {
    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let sentinels = self.sentinels.nodes.iter();
        let mut answers: FuturesUnordered<_> =
            sentinels.map(|sentinel| self.address(sentinel)).collect();
        let mut tried = Vec::new();
        let mut failure = None;
        while let Some(answer) = answers.next().await {
            let outcome = match answer {
                Ok(address) if tried.contains(&address) => continue,
                Ok(address) => {
                    let outcome = self.connect_to(&address).await;
                    tried.push(address);
                    outcome
                }
                Err(error) => Err(error),
            };
            match outcome {
                Ok(connection) => return Ok(connection),
                // What a master says outweighs a sentinel that is down.
                Err(error) if failure.is_none() || !tried.is_empty() => failure = Some(error),
                Err(_) => {}
            }
        }
        Err(failure.unwrap_or_else(|| other("there is no sentinel")))
    }

    /// Where a sentinel says that the master is.
    async fn address(&self, sentinel: &Address) -> Result<Address, RedisError> {
        let name = &self.sentinels.master;
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
        let node = Node::new(sentinel, &self.sentinels.access)?;
        let (host, port) = match node.ask(&command).await? {
            Value::Array(parts) => redis::from_redis_value::<(String, u16)>(Value::Array(parts))?,
            Value::ServerError(error) => return Err(error.into()),
            _ => {
                return Err(other(&format!(
                    "sentinel {sentinel} knows no master `{name}` (`online_store.sentinel_master`)"
                )));
            }
        };
        let host = self.sentinels.master_host.clone().unwrap_or(host);
        Ok(Address { host, port })
    }

    async fn connect_to(&self, address: &Address) -> Result<MultiplexedConnection, RedisError> {
        let node = Node::new(address, &self.access)?;
        let mut connection = node.connect().await?;
        let role = ask(&mut connection, &redis::cmd("ROLE"), node.timeout).await?;
        let role = match &role {
            Value::Array(parts) => parts.first(),
            Value::ServerError(error) => return Err(error.clone().into()),
            _ => None,
        };
        match role {
            Some(Value::BulkString(role)) if role == b"master" => Ok(connection),
            _ => Err(other(&format!(
                "{address}, the master by the sentinels, is a replica still"
            ))),
        }
    }
}

async fn ask(
    connection: &mut MultiplexedConnection,
    command: &Cmd,
    limit: Duration,
) -> Result<Value, RedisError> {
    let answer = connection.send_packed_command(command);
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
    }
}

fn other(message: &str) -> RedisError {
    io::Error::other(message.to_owned()).into()
}
