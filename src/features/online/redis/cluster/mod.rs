//! Redis Cluster: every command goes to the master that has its key, those of one master in one pipeline, all at once.
//!
//! The library's own cluster connection refuses a pipeline over several slots, and does not tell which node has which slot; so
//! the routing is here, over one `Connection` per node with its time-outs, reconnecting and breaker.
//! What a node says about slots is followed: `MOVED` changes the one slot at once and has the whole map read anew, `ASK` sends
//! the one command elsewhere. A node that does not answer, or is no master any more, has the map read anew as well, by asking
//! several nodes and believing the first. Callers drive that; nothing runs in the background.

mod slots;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, join_all};
use futures::stream::{self, StreamExt};
use redis::{Pipeline, Value};
use tokio::time::Instant;

use self::slots::{Redirect, Slots, slot};
use super::super::{Error, within};
use super::client::{Commands, Patience};
use super::config::Address;
use super::connection::{Connection, passing};
use super::dial::Target;
use super::options::Access;
use crate::types::deadline::Deadline;

/// Nodes that are asked for the map at the same time.
const ASKED_AT_ONCE: usize = 4;
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// The map is not read more often than this.
const REFRESH_PAUSE: Duration = Duration::from_millis(100);
/// A refresh that all its callers left is given up.
const REFRESH_LIMIT: Duration = Duration::from_secs(3);
/// How often a command follows `MOVED`.
const MAX_MOVES: usize = 5;

#[derive(Clone)]
pub(super) struct Cluster(Arc<Inner>);

struct Inner {
    store: Arc<str>,
    access: Access,
    /// The nodes of the settings.
    seeds: Vec<Address>,
    topology: ArcSwapOption<Topology>,
    /// Something happened that the topology does not explain.
    is_stale: AtomicBool,
    nodes: Mutex<HashMap<Address, Arc<Connection>>>,
    refreshing: Mutex<Refreshing>,
}

/// The cluster as it was last read. Never changes; another takes its place.
struct Topology {
    slots: Slots,
    /// One per master of `slots`.
    connections: Vec<Arc<Connection>>,
}

type Refresh = Shared<BoxFuture<'static, Result<Arc<Topology>, Error>>>;

struct Refreshing {
    /// With its start: only callers drive it.
    under_way: Option<(Refresh, Instant)>,
    not_before: Instant,
}

/// The commands of one master.
struct Share {
    master: usize,
    /// Which of the caller's commands.
    members: Vec<usize>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cluster").field(&self.0.store).finish()
    }
}

impl Cluster {
    pub(super) fn new(store: Arc<str>, seeds: &[Address], access: &Access) -> Self {
        Self(Arc::new(Inner {
            store,
            access: access.clone(),
            seeds: seeds.to_vec(),
            topology: ArcSwapOption::empty(),
            is_stale: AtomicBool::new(false),
            nodes: Mutex::default(),
            refreshing: Mutex::new(Refreshing {
                under_way: None,
                not_before: Instant::now(),
            }),
        }))
    }

    /// Sends each command to the master of its key: one round trip to each master, unless slots have moved. What failed is
    /// tried again as long as patience lasts. One reply per command, in their order. Cancel safe.
    pub(super) async fn many(
        &self,
        commands: &Commands<'_>,
        patience: Patience,
    ) -> Result<Vec<Value>, Error> {
        let slots: Vec<u16> = (0..commands.n).map(|i| slot(&(commands.key)(i))).collect();
        let mut replies = vec![Value::Nil; commands.n];
        let mut pending: Vec<usize> = (0..commands.n).collect();
        let mut n_moves = 0;
        loop {
            let failure = self
                .send(commands, &slots, &mut pending, &mut replies, patience)
                .await
                .err();
            match failure {
                Some(error) => patience.pause(error).await?,
                None if pending.is_empty() => return Ok(replies),
                None if n_moves == MAX_MOVES => {
                    let message = "its keys move faster than they can be followed".to_owned();
                    return Err(self.refused(message));
                }
                None => n_moves += 1,
            }
        }
    }

    /// Sends the pending commands once, and leaves pending what has to be sent again. Fails with one of the failures.
    async fn send(
        &self,
        commands: &Commands<'_>,
        slots: &[u16],
        pending: &mut Vec<usize>,
        replies: &mut [Value],
        patience: Patience,
    ) -> Result<(), Error> {
        let deadline = patience.attempt();
        let topology = self.topology(deadline).await?;
        let shares = self.shares(&topology, slots, pending)?;
        let sent = shares.iter().map(|share| {
            let connection = &topology.connections[share.master];
            send(connection, &share.members, commands, deadline)
        });
        let outcomes = join_all(sent).await;
        pending.clear();
        let mut failure = None;
        let mut asked = Vec::new();
        for (share, outcome) in shares.into_iter().zip(outcomes) {
            let node = &topology.slots.masters[share.master];
            let answers = match outcome {
                Ok(answers) => answers,
                Err(error) => {
                    self.doubt();
                    pending.extend(share.members);
                    failure = Some(error);
                    continue;
                }
            };
            for (i, reply) in share.members.into_iter().zip(answers) {
                match Redirect::read(&reply, node) {
                    None => match self.stays(&reply) {
                        Ok(()) => replies[i] = reply,
                        Err(error) => {
                            pending.push(i);
                            failure = Some(error);
                        }
                    },
                    Some(Redirect::Ask { to }) => asked.push((i, to)),
                    Some(Redirect::Moved { slot, to }) => {
                        self.0.moved(slot, &to);
                        pending.push(i);
                    }
                }
            }
        }
        for (i, to) in asked {
            match self.ask(i, &to, commands, deadline).await {
                Ok(reply) => replies[i] = reply,
                Err(error) => {
                    pending.push(i);
                    failure = Some(error);
                }
            }
        }
        // Commands on one key keep their order.
        pending.sort_unstable();
        failure.map_or(Ok(()), Err)
    }

    /// A connection to every master. Reads the map if there is none yet. Cancel safe.
    pub(super) async fn masters(&self, deadline: Deadline) -> Result<Vec<Arc<Connection>>, Error> {
        Ok(self.topology(deadline).await?.connections.clone())
    }

    /// A master did not do what it should; the next request looks whether it still is one.
    pub(super) fn doubt(&self) {
        self.0.mark_stale();
    }

    /// The server answered, and not with what was asked for.
    pub(super) fn refused(&self, message: String) -> Error {
        let store = self.0.store.clone();
        Error::Refused { store, message }
    }

    /// Fails if the node says that it cannot answer just now.
    fn stays(&self, reply: &Value) -> Result<(), Error> {
        let Some(error) = passing(reply) else {
            return Ok(());
        };
        self.doubt();
        let store = self.0.store.clone();
        let source = Arc::new(error);
        Err(Error::Unreachable { store, source })
    }

    /// Which master gets which of the pending commands.
    fn shares(
        &self,
        topology: &Topology,
        slots: &[u16],
        pending: &[usize],
    ) -> Result<Vec<Share>, Error> {
        let mut shares: Vec<Share> = Vec::new();
        let mut places: Vec<Option<usize>> = vec![None; topology.connections.len()];
        for &i in pending {
            let Some(master) = topology.slots.owner(slots[i]) else {
                self.0.mark_stale();
                let message = format!("no node serves hash slot {}", slots[i]);
                return Err(self.0.unreachable(&message));
            };
            let place = *places[master].get_or_insert_with(|| {
                shares.push(Share {
                    master,
                    members: Vec::new(),
                });
                shares.len() - 1
            });
            shares[place].members.push(i);
        }
        Ok(shares)
    }

    /// Sends a command whose slot is on its way to where it is expected.
    async fn ask(
        &self,
        i: usize,
        to: &Address,
        commands: &Commands<'_>,
        deadline: Deadline,
    ) -> Result<Value, Error> {
        let mut pipeline = Pipeline::with_capacity(3);
        if let Some(script) = commands.script {
            pipeline.add_command(script.clone());
        }
        pipeline.cmd("ASKING");
        pipeline.add_command((commands.command)(i));
        let replies = self.0.node(to).many(&pipeline, deadline).await?;
        let reply = replies.into_iter().next_back().unwrap_or(Value::Nil);
        self.stays(&reply)?;
        Ok(reply)
    }

    /// The topology; read anew if it is stale and that is due.
    async fn topology(&self, deadline: Deadline) -> Result<Arc<Topology>, Error> {
        let current = self.0.topology.load_full();
        if let Some(current) = &current
            && !self.0.is_stale.load(Ordering::Relaxed)
        {
            return Ok(current.clone());
        }
        let Some(refresh) = self.refresh(current.is_none()) else {
            return current.ok_or_else(|| self.0.unreachable("no node has told its slots yet"));
        };
        let outcome = within(&self.0.store, deadline, refresh).await;
        match (outcome, current) {
            (Ok(topology), _) => Ok(topology),
            // Nobody knows better.
            (Err(_), Some(current)) => Ok(current),
            (Err(error), None) => Err(error),
        }
    }

    /// The refresh under way, or a new one unless the last was just now.
    fn refresh(&self, is_needed: bool) -> Option<Refresh> {
        let now = Instant::now();
        let mut refreshing = self.0.refreshing();
        match &refreshing.under_way {
            Some((refresh, started)) if now - *started < REFRESH_LIMIT => {
                return Some(refresh.clone());
            }
            _ if now < refreshing.not_before && !is_needed => return None,
            _ => {}
        }
        let inner = self.0.clone();
        let refresh = async move { inner.read_slots(now).await };
        let refresh = refresh.boxed().shared();
        refreshing.under_way = Some((refresh.clone(), now));
        Some(refresh)
    }
}

/// Sends some of the commands to one node, the script before them.
async fn send(
    connection: &Connection,
    members: &[usize],
    commands: &Commands<'_>,
    deadline: Deadline,
) -> Result<Vec<Value>, Error> {
    let mut pipeline = Pipeline::with_capacity(members.len() + 1);
    if let Some(script) = commands.script {
        pipeline.add_command(script.clone());
    }
    for &i in members {
        pipeline.add_command((commands.command)(i));
    }
    let mut replies = connection.many(&pipeline, deadline).await?;
    if commands.script.is_some() && !replies.is_empty() {
        replies.remove(0);
    }
    Ok(replies)
}

impl Inner {
    fn refreshing(&self) -> MutexGuard<'_, Refreshing> {
        // Every change under this lock is a single assignment, so a poisoned one is still whole.
        self.refreshing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn mark_stale(&self) {
        self.is_stale.store(true, Ordering::Relaxed);
    }

    /// Asks several nodes for the map and takes the first that has one.
    async fn read_slots(self: Arc<Self>, started: Instant) -> Result<Arc<Topology>, Error> {
        let asked = self.known_nodes();
        let mut answers = stream::iter(asked)
            .map(|address| self.ask_for_slots(address))
            .buffer_unordered(ASKED_AT_ONCE);
        let mut outcome = Err(self.unreachable("it has no nodes"));
        while let Some(answer) = answers.next().await {
            outcome = answer;
            if outcome.is_ok() {
                break;
            }
        }
        drop(answers);
        let outcome = outcome.map(|slots| self.take_up(slots));
        let mut refreshing = self.refreshing();
        if refreshing
            .under_way
            .as_ref()
            .is_some_and(|(_, latest)| *latest == started)
        {
            refreshing.under_way = None;
        }
        refreshing.not_before = Instant::now() + REFRESH_PAUSE;
        outcome
    }

    /// Masters first, then replicas, then the nodes of the settings.
    fn known_nodes(&self) -> Vec<Address> {
        let mut known: Vec<Address> = Vec::new();
        let topology = self.topology.load();
        let slots = topology.as_ref().map(|topology| &topology.slots);
        let named = slots
            .into_iter()
            .flat_map(|slots| slots.masters.iter().chain(&slots.replicas));
        for address in named.chain(&self.seeds) {
            if !known.contains(address) {
                known.push(address.clone());
            }
        }
        known
    }

    async fn ask_for_slots(&self, address: Address) -> Result<Slots, Error> {
        let connection = self.node(&address);
        let mut command = redis::cmd("CLUSTER");
        command.arg("SLOTS");
        let deadline = Deadline::after(ASK_TIMEOUT);
        match connection.one(&command, deadline).await? {
            Value::ServerError(error) => Err(connection.refused(error.to_string())),
            reply => Slots::read(&reply, &address)
                .ok_or_else(|| connection.refused("it serves no hash slots yet".to_owned())),
        }
    }

    fn take_up(&self, slots: Slots) -> Arc<Topology> {
        let known: Vec<&Address> = slots.masters.iter().chain(&slots.replicas).collect();
        self.nodes()
            .retain(|address, _| known.contains(&address) || self.seeds.contains(address));
        let topology = self.topology_of(slots);
        self.topology.store(Some(topology.clone()));
        self.is_stale.store(false, Ordering::Relaxed);
        topology
    }

    /// A node said that a slot is elsewhere.
    fn moved(&self, slot: u16, to: &Address) {
        if let Some(current) = self.topology.load_full() {
            let mut slots = current.slots.clone();
            slots.give(slot, to);
            self.topology.store(Some(self.topology_of(slots)));
        }
        self.mark_stale();
    }

    fn topology_of(&self, slots: Slots) -> Arc<Topology> {
        let connections = slots.masters.iter().map(|address| self.node(address));
        Arc::new(Topology {
            connections: connections.collect(),
            slots,
        })
    }

    fn nodes(&self) -> MutexGuard<'_, HashMap<Address, Arc<Connection>>> {
        // A map is whole again after every change to it.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection to a node, which is kept.
    fn node(&self, address: &Address) -> Arc<Connection> {
        let mut nodes = self.nodes();
        let node = nodes.entry(address.clone()).or_insert_with(|| {
            let store = format!("{}, node {address}", self.store).into();
            let target = Target::node(address, &self.access);
            Arc::new(Connection::new(store, target, self.access.answer_timeout))
        });
        node.clone()
    }

    fn unreachable(&self, message: &str) -> Error {
        Error::Unreachable {
            store: self.store.clone(),
            source: Arc::new(std::io::Error::other(message.to_owned())),
        }
    }
}
