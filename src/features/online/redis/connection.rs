//! One shared connection to Redis that comes back by itself.
//!
//! All callers send over one multiplexed connection. When it drops, the next caller dials and everyone who comes meanwhile
//! waits for the same dial, each no longer than its own deadline. After a refused dial requests fail at once until a growing
//! pause is over. A Redis that hangs, while dialling or later, costs each request its time-out.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, Pipeline, RedisError, Value,
};
use tokio::time::Instant;

use super::super::{Error, within};
use crate::types::deadline::Deadline;

const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The kernel gives up on a peer that acknowledges nothing for so long.
/// How often a request is sent when its connection drops each time.
const MAX_TRIES: usize = 3;
const DEAD_PEER: Duration = Duration::from_secs(5);

type Dial = Shared<BoxFuture<'static, Result<Arc<Live>, Arc<RedisError>>>>;

/// A connection that was made; compared by identity.
struct Live(MultiplexedConnection);

pub(super) struct Connection {
    store: Arc<str>,
    info: Result<ConnectionInfo, Arc<RedisError>>,
    shared: Arc<State>,
}

struct State {
    live: ArcSwapOption<Live>,
    dialling: Mutex<Dialling>,
}

struct Dialling {
    /// With its start: only callers drive a dial, so one that all of them left may be any age.
    under_way: Option<(Dial, Instant)>,
    /// The last failure, and until when it is not tried again.
    failed: Option<(Arc<RedisError>, Instant)>,
    pause: Duration,
}

/// What is sent in one go.
#[derive(Clone, Copy)]
enum Request<'a> {
    One(&'a Cmd),
    Many(&'a Pipeline),
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection").field(&self.store).finish()
    }
}

impl Connection {
    pub(super) fn new(store: Arc<str>, info: Result<ConnectionInfo, RedisError>) -> Self {
        let state = State {
            live: ArcSwapOption::empty(),
            dialling: Mutex::new(Dialling {
                under_way: None,
                failed: None,
                pause: FIRST_PAUSE,
            }),
        };
        Self {
            store,
            info: info.map_err(Arc::new),
            shared: Arc::new(state),
        }
    }

    /// Sends a command and waits for its reply. Cancel safe.
    pub(super) async fn one(&self, command: &Cmd, deadline: Deadline) -> Result<Value, Error> {
        let mut replies = self.send(Request::One(command), deadline).await?;
        Ok(replies.pop().unwrap_or(Value::Nil))
    }

    /// Sends all commands at once; one reply per command. Cancel safe.
    pub(super) async fn many(
        &self,
        commands: &Pipeline,
        deadline: Deadline,
    ) -> Result<Vec<Value>, Error> {
        self.send(Request::Many(commands), deadline).await
    }

    async fn send(&self, request: Request<'_>, deadline: Deadline) -> Result<Vec<Value>, Error> {
        within(&self.store, deadline, async {
            // It may have dropped while nobody looked; everything that we send may be sent twice.
            for _ in 1..MAX_TRIES {
                match self.try_send(request).await? {
                    Err(error) if dropped(&error) => {}
                    outcome => return outcome.map_err(|error| self.failed(Arc::new(error))),
                }
            }
            let outcome = self.try_send(request).await?;
            outcome.map_err(|error| self.failed(Arc::new(error)))
        })
        .await
    }

    /// Sends over the connection there is, and puts it away if it turns out to have dropped.
    async fn try_send(
        &self,
        request: Request<'_>,
    ) -> Result<Result<Vec<Value>, RedisError>, Error> {
        let live = self.live().await?;
        let outcome = request.send(&live).await;
        if outcome.as_ref().is_err_and(dropped) {
            self.forget(&live);
        }
        Ok(outcome)
    }

    async fn live(&self) -> Result<Arc<Live>, Error> {
        if let Some(live) = self.shared.live.load_full() {
            return Ok(live);
        }
        let called = Instant::now();
        let (dial, started) = self.dial().map_err(|error| self.failed(error))?;
        match dial.await {
            Ok(live) => Ok(live),
            // What somebody else began may tell of a Redis of some time ago.
            Err(_) if started < called => {
                let (dial, _) = self.dial().map_err(|error| self.failed(error))?;
                dial.await.map_err(|error| self.failed(error))
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The dial under way, or a new one unless the last one failed just now; and when it began.
    fn dial(&self) -> Result<(Dial, Instant), Arc<RedisError>> {
        let info = self.info.clone()?;
        let mut dialling = self.shared.dialling();
        let now = Instant::now();
        match &dialling.under_way {
            Some((dial, started)) if now - *started < DIAL_TIMEOUT => {
                return Ok((dial.clone(), *started));
            }
            _ => {}
        }
        if let Some((error, until)) = &dialling.failed
            && now < *until
        {
            return Err(error.clone());
        }
        let shared = self.shared.clone();
        let dial = async move {
            let outcome = connect(info).await;
            shared.dialled(now, outcome)
        };
        let dial = dial.boxed().shared();
        dialling.under_way = Some((dial.clone(), now));
        Ok((dial, now))
    }

    /// Puts a dropped connection away, unless another caller already has.
    fn forget(&self, live: &Arc<Live>) {
        self.shared.live.compare_and_swap(live, None);
    }

    /// Redis answered with an error, or there was no answer.
    fn failed(&self, error: Arc<RedisError>) -> Error {
        if error.code().is_some() || error.kind() == ErrorKind::AuthenticationFailed {
            return self.refused(error.to_string());
        }
        let store = self.store.clone();
        Error::Unreachable {
            store,
            source: error,
        }
    }

    /// The server answered, and not with what was asked for.
    pub(super) fn refused(&self, message: String) -> Error {
        let store = self.store.clone();
        Error::Refused { store, message }
    }
}

impl State {
    fn dialling(&self) -> MutexGuard<'_, Dialling> {
        // Every change under this lock is a single assignment, so a poisoned one is still whole.
        self.dialling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of how the dial that began at `started` ended.
    fn dialled(
        &self,
        started: Instant,
        outcome: Result<Live, RedisError>,
    ) -> Result<Arc<Live>, Arc<RedisError>> {
        let outcome = outcome.map(Arc::new).map_err(Arc::new);
        let mut dialling = self.dialling();
        if dialling
            .under_way
            .as_ref()
            .is_some_and(|(_, latest)| *latest == started)
        {
            dialling.under_way = None;
        }
        match &outcome {
            Ok(live) => {
                self.live.store(Some(live.clone()));
                dialling.failed = None;
                dialling.pause = FIRST_PAUSE;
            }
            Err(error) => {
                // The pause counts from the start: news of a dial that nobody drove for long is old.
                dialling.failed = Some((error.clone(), started + dialling.pause));
                dialling.pause = LONGEST_PAUSE.min(dialling.pause * 2);
            }
        }
        outcome
    }
}

impl Request<'_> {
    async fn send(self, live: &Live) -> Result<Vec<Value>, RedisError> {
        let mut connection = live.0.clone();
        match self {
            Self::One(command) => Ok(vec![connection.send_packed_command(command).await?]),
            Self::Many(commands) => {
                connection
                    .send_packed_commands(commands, 0, commands.len())
                    .await
            }
        }
    }
}

async fn connect(info: ConnectionInfo) -> Result<Live, RedisError> {
    let tcp = TcpSettings::default()
        .set_nodelay(true)
        .set_user_timeout(DEAD_PEER);
    let client = Client::open(info.set_tcp_settings(tcp))?;
    // Callers bring their own deadlines.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(DIAL_TIMEOUT))
        .set_response_timeout(None);
    let connection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    Ok(Live(connection))
}

fn dropped(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || error.is_connection_dropped() || error.is_io_error()
}
