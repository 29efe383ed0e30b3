//! One shared connection to Redis that comes back by itself.
//!
//! All callers send over one multiplexed connection. When it drops, the next caller dials and everyone who comes meanwhile
//! waits for the same dial, each no longer than its own deadline. After a failed dial requests fail at once until a growing
//! pause is over, so that a dead Redis costs nobody a time-out.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionInfo, Pipeline, RedisError, Value};
use tokio::time::Instant;

use super::super::{Error, within};
use crate::types::deadline::Deadline;

const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The kernel gives up on a peer that acknowledges nothing for so long.
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
    under_way: Option<Dial>,
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
            let live = self.live().await?;
            match request.send(&live).await {
                // It may have dropped while nobody looked; everything that we send may be sent twice.
                Err(error) if dropped(&error) => {
                    self.forget(&live);
                    let live = self.live().await?;
                    let outcome = request.send(&live).await;
                    if outcome.as_ref().is_err_and(dropped) {
                        self.forget(&live);
                    }
                    outcome.map_err(|error| self.failed(error))
                }
                outcome => outcome.map_err(|error| self.failed(error)),
            }
        })
        .await
    }

    async fn live(&self) -> Result<Arc<Live>, Error> {
        if let Some(live) = self.shared.live.load_full() {
            return Ok(live);
        }
        let dial = self.dial().map_err(|error| self.unreachable(error))?;
        dial.await.map_err(|error| self.unreachable(error))
    }

    /// The dial under way, or a new one unless the last one failed just now.
    fn dial(&self) -> Result<Dial, Arc<RedisError>> {
        let info = self.info.clone()?;
        let mut dialling = self.shared.dialling();
        if let Some(dial) = &dialling.under_way {
            return Ok(dial.clone());
        }
        if let Some((error, until)) = &dialling.failed
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        let shared = self.shared.clone();
        let dial = async move {
            let outcome = connect(info).await;
            shared.dialled(outcome)
        };
        let dial = dial.boxed().shared();
        dialling.under_way = Some(dial.clone());
        Ok(dial)
    }

    /// Puts a dropped connection away, unless another caller already has.
    fn forget(&self, live: &Arc<Live>) {
        self.shared.live.compare_and_swap(live, None);
    }

    fn failed(&self, error: RedisError) -> Error {
        if error.code().is_some() {
            return self.refused(error.to_string());
        }
        self.unreachable(Arc::new(error))
    }

    /// The server answered, and not with what was asked for.
    pub(super) fn refused(&self, message: String) -> Error {
        let store = self.store.clone();
        Error::Refused { store, message }
    }

    fn unreachable(&self, source: Arc<RedisError>) -> Error {
        Error::Unreachable {
            store: self.store.clone(),
            source,
        }
    }
}

impl State {
    fn dialling(&self) -> MutexGuard<'_, Dialling> {
        // Every change under this lock is a single assignment, so a poisoned one is still whole.
        self.dialling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dialled(&self, outcome: Result<Live, RedisError>) -> Result<Arc<Live>, Arc<RedisError>> {
        let outcome = outcome.map(Arc::new).map_err(Arc::new);
        let mut dialling = self.dialling();
        dialling.under_way = None;
        match &outcome {
            Ok(live) => {
                self.live.store(Some(live.clone()));
                dialling.failed = None;
                dialling.pause = FIRST_PAUSE;
            }
            Err(error) => {
                dialling.failed = Some((error.clone(), Instant::now() + dialling.pause));
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
