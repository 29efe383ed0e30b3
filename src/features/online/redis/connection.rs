//! One shared connection to a Redis that comes back by itself.
//!
//! All callers of one event loop send over one multiplexed connection. When it drops, the next caller dials and everyone who comes meanwhile
//! waits for the same dial, each no longer than its own deadline. After a refused dial requests fail at once until a growing
//! pause is over. A Redis that hangs, while dialling or later, costs the first requests their time-outs; then a breaker fails
//! the others at once (`breaker`).

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::time::Instant;

use super::super::breaker::Breaker;
use super::super::{Error, within};
use super::dial::Target;
use crate::types::deadline::Deadline;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Where another server may take over, it is looked for more often.
const LONGEST_PAUSE_OF_MOVING: Duration = Duration::from_millis(200);
/// How often a request is sent when its connection drops each time.
const MAX_TRIES: usize = 3;

type Dial = Shared<BoxFuture<'static, Result<Arc<Live>, Arc<RedisError>>>>;

/// A connection that was made; compared by identity.
struct Live(MultiplexedConnection);

pub(super) struct Connection {
    store: Arc<str>,
    target: Result<Target, Arc<RedisError>>,
    /// Longest wait for an answer, if the settings have one.
    answer_timeout: Option<Duration>,
    shared: Arc<State>,
    breaker: Breaker,
}

struct State {
    live: ArcSwapOption<Live>,
    dialling: Mutex<Dialling>,
    longest_pause: Duration,
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
    pub(super) fn new(
        store: Arc<str>,
        target: RedisResult<Target>,
        answer_timeout: Option<Duration>,
    ) -> Self {
        let may_move = target.as_ref().is_ok_and(Target::may_move);
        let state = State {
            live: ArcSwapOption::empty(),
            dialling: Mutex::new(Dialling {
                under_way: None,
                failed: None,
                pause: FIRST_PAUSE,
            }),
            longest_pause: if may_move {
                LONGEST_PAUSE_OF_MOVING
            } else {
                LONGEST_PAUSE
            },
        };
        Self {
            store,
            target: target.map_err(Arc::new),
            answer_timeout,
            shared: Arc::new(state),
            breaker: Breaker::default(),
        }
    }

    /// Whether another server may take over behind this connection.
    pub(super) fn may_move(&self) -> bool {
        self.target.as_ref().is_ok_and(Target::may_move)
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
        let Some(_admitted) = self.breaker.admit() else {
            let store = self.store.clone();
            return Err(Error::NotAnswering { store });
        };
        let deadline = match self.answer_timeout {
            None => deadline,
            Some(limit) => deadline.at_most(limit),
        };
        let outcome = within(&self.store, deadline, self.send_until_it_stays(request)).await;
        match &outcome {
            Ok(_) | Err(Error::Refused { .. }) => self.breaker.answered(),
            Err(Error::Timeout { waited, .. }) => self.timed_out(*waited),
            // Nobody was there to answer.
            Err(_) => {}
        }
        outcome
    }

    /// It may have dropped while nobody looked; everything that we send may be sent twice.
    async fn send_until_it_stays(&self, request: Request<'_>) -> Result<Vec<Value>, Error> {
        for _ in 1..MAX_TRIES {
            match self.try_send(request).await? {
                Err(error) if dropped(&error) => {}
                outcome => return outcome.map_err(|error| self.failed(Arc::new(error))),
            }
        }
        let outcome = self.try_send(request).await?;
        outcome.map_err(|error| self.failed(Arc::new(error)))
    }

    /// Sends over the connection there is, and puts it away if it turns out to have dropped, or to lead to a former master.
    async fn try_send(
        &self,
        request: Request<'_>,
    ) -> Result<Result<Vec<Value>, RedisError>, Error> {
        let live = self.live().await?;
        let outcome = request.send(&live).await;
        if outcome.as_ref().is_err_and(dropped) {
            self.forget(&live);
        }
        if self.may_move()
            && let Ok(replies) = &outcome
            && let Some(error) = replies.iter().find_map(passing)
        {
            self.forget(&live);
            return Err(self.unreachable(Arc::new(error)));
        }
        Ok(outcome)
    }

    fn timed_out(&self, waited: Duration) {
        self.breaker.timed_out(waited);
        if self.may_move() && self.breaker.is_open() {
            // Another server may have taken over while this one hangs; the next request asks where the master is.
            self.shared.live.store(None);
        }
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
        let target = self.target.clone()?;
        let mut dialling = self.shared.dialling();
        let now = Instant::now();
        match &dialling.under_way {
            Some((dial, started)) if now - *started < target.timeout() => {
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
            let outcome = target.connect().await.map(Live);
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
        let is_answer = error.code().is_some() || error.kind() == ErrorKind::AuthenticationFailed;
        match error.kind() {
            ErrorKind::Server(kind) if is_passing(kind) => self.unreachable(error),
            _ if is_answer => self.refused(error.to_string()),
            _ => self.unreachable(error),
        }
    }

    fn unreachable(&self, source: Arc<RedisError>) -> Error {
        let store = self.store.clone();
        Error::Unreachable { store, source }
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
                dialling.pause = self.longest_pause.min(dialling.pause * 2);
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

fn dropped(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || error.is_connection_dropped() || error.is_io_error()
}

/// The error in a reply that another server will not give, or this one not for long: it is a replica, or not ready.
pub(super) fn passing(reply: &Value) -> Option<RedisError> {
    match reply {
        Value::ServerError(error) if error.kind().is_some_and(is_passing) => {
            Some(error.clone().into())
        }
        _ => None,
    }
}

fn is_passing(kind: ServerErrorKind) -> bool {
    matches!(
        kind,
        ServerErrorKind::ReadOnly
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::TryAgain
            | ServerErrorKind::BusyLoading
    )
}
