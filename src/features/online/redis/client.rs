//! What commands are sent through: one server, whoever is the master just now, or a cluster.
//!
//! Where another server may take over, a request is sent again for as long as its deadline allows, so that it rides out a
//! failover that is shorter. A single server that is gone fails at once.

use std::time::Duration;

use redis::{Cmd, Pipeline, Value};

use super::super::Error;
use super::cluster::Cluster;
use super::connection::Connection;
use crate::types::deadline::Deadline;
use crate::workers::PerWorker;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) enum Client {
    /// One each, so that a reply wakes the thread that waits for it and no other.
    Node(PerWorker<Connection>),
    Cluster(Cluster),
}

/// Commands with a key each. They are made when they are sent, which may be more than once.
#[derive(Clone, Copy)]
pub(super) struct Commands<'a> {
    pub(super) n: usize,
    /// The key of the `i`th, which tells its shard.
    pub(super) key: &'a (dyn Fn(usize) -> Vec<u8> + Sync),
    pub(super) command: &'a (dyn Fn(usize) -> Cmd + Sync),
    /// Goes before them to every node of a cluster: `SCRIPT LOAD` of a script that they name by its digest.
    pub(super) script: Option<&'a Cmd>,
}

/// How long a request may be tried.
#[derive(Clone, Copy)]
pub(super) enum Patience {
    /// As long as nobody is there. A server that hangs fails it at once.
    Gone(Deadline),
    /// Also while a server hangs, of which each try may find another.
    Hanging { until: Deadline, per_try: Duration },
}

impl Client {
    /// Sends all commands, those of a node at once and to all nodes at the same time; one reply per command, in their order.
    /// Cancel safe.
    pub(super) async fn many(
        &self,
        commands: &Commands<'_>,
        patience: Patience,
    ) -> Result<Vec<Value>, Error> {
        match self {
            Self::Node(connection) => {
                let mut pipeline = Pipeline::with_capacity(commands.n);
                for i in 0..commands.n {
                    pipeline.add_command((commands.command)(i));
                }
                let connection = connection.here();
                let attempt = |deadline| connection.many(&pipeline, deadline);
                self.patiently(patience, attempt).await
            }
            Self::Cluster(cluster) => cluster.many(commands, patience).await,
        }
    }

    /// Every server that holds data must answer.
    pub(super) async fn ping(&self, deadline: Deadline) -> Result<(), Error> {
        let attempt = |deadline| self.try_ping(deadline);
        self.patiently(Patience::Gone(deadline), attempt).await
    }

    async fn try_ping(&self, deadline: Deadline) -> Result<(), Error> {
        match self {
            Self::Node(connection) => ping(connection.here(), deadline).await,
            Self::Cluster(cluster) => {
                let masters = cluster.masters(deadline).await?;
                let pings = masters.iter().map(|master| ping(master, deadline));
                let outcome = futures::future::try_join_all(pings).await;
                outcome.map(|_| ()).inspect_err(|_| cluster.doubt())
            }
        }
    }

    /// Tries until it works or patience ends; once where nothing else could take over.
    pub(super) async fn patiently<T, F: Future<Output = Result<T, Error>>>(
        &self,
        patience: Patience,
        attempt: impl Fn(Deadline) -> F,
    ) -> Result<T, Error> {
        if !self.may_move() {
            return attempt(patience.until()).await;
        }
        loop {
            match attempt(patience.attempt()).await {
                Err(error) => patience.pause(error).await?,
                outcome => return outcome,
            }
        }
    }

    fn may_move(&self) -> bool {
        match self {
            Self::Node(connection) => connection.here().may_move(),
            Self::Cluster(_) => true,
        }
    }

    /// The server answered, and not with what was asked for.
    pub(super) fn refused(&self, message: String) -> Error {
        match self {
            Self::Node(connection) => connection.here().refused(message),
            Self::Cluster(cluster) => cluster.refused(message),
        }
    }
}

impl Patience {
    fn until(self) -> Deadline {
        match self {
            Self::Gone(deadline) => deadline,
            Self::Hanging { until, .. } => until,
        }
    }

    /// The deadline of a try that begins now.
    pub(super) fn attempt(self) -> Deadline {
        match self {
            Self::Gone(deadline) => deadline,
            Self::Hanging { until, per_try } => until.at_most(per_try),
        }
    }

    /// Whether another try may do better.
    pub(super) fn lasts(self, error: &Error) -> bool {
        let may_pass = match error {
            Error::Unreachable { .. } => true,
            Error::Timeout { .. } | Error::NotAnswering { .. } => {
                matches!(self, Self::Hanging { .. })
            }
            Error::Refused { .. }
            | Error::Missing { .. }
            | Error::NotMaterialized { .. }
            | Error::Value { .. } => false,
        };
        may_pass && self.until().remaining() > PAUSE
    }

    /// Waits for the next try; fails with the error of the last one if there is none.
    pub(super) async fn pause(self, error: Error) -> Result<(), Error> {
        if !self.lasts(&error) {
            return Err(error);
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}

async fn ping(connection: &Connection, deadline: Deadline) -> Result<(), Error> {
    match connection.one(&redis::cmd("PING"), deadline).await? {
        Value::ServerError(error) => Err(connection.refused(error.to_string())),
        _ => Ok(()),
    }
}
