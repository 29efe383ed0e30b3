//! The connection to the node that has the queue. It comes back by itself.
//!
//! All calls share one multiplexed connection. When it drops, the next call dials, and calls that come meanwhile wait for the
//! same dial. A call whose connection dropped is sent again where its script is told so and can tell what it did already.
//! Where another server may take over (sentinels, a cluster), and while a server loads its data, calls try on until their
//! time is over; a single server that is gone fails them at once.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::sync::watch;
use tokio::time::Instant;

use super::dial::{Dialer, Dialled};
use super::script::{Form, Script};
use crate::jobs::Error;

/// Between two tries to reach a server that is not there yet.
const PAUSE: Duration = Duration::from_millis(50);
/// How often a call is sent when its connection drops each time.
const MAX_SENDS: usize = 4;

type Dial = Shared<BoxFuture<'static, Result<Arc<Dialled>, Arc<RedisError>>>>;

pub(super) struct Link {
    queue: Arc<str>,
    dialer: Arc<Dialer>,
    timeout: Duration,
    shared: Arc<State>,
}

struct State {
    live: ArcSwapOption<Dialled>,
    /// The dial under way, with its start: only calls drive it, so one that all of them left may be any age.
    dialling: Mutex<Option<(Dial, Instant)>>,
    /// Changes with every new connection.
    renewed: watch::Sender<()>,
}

/// What may be sent twice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Resend {
    Yes,
    /// Once it was sent, whoever called must find out what it did.
    No,
}

/// Why a try failed.
enum Failure {
    /// The server answered with an error that will not pass.
    Refused(String),
    /// Nothing was sent.
    NotSent(Arc<RedisError>),
    /// The connection dropped, or the server cannot answer just now. `was_sent`: it may have done it.
    Passing {
        error: Arc<RedisError>,
        was_sent: bool,
    },
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Link").field(&self.dialer).finish()
    }
}

impl Link {
    pub(super) fn new(queue: Arc<str>, dialer: Dialer, timeout: Duration) -> Self {
        Self {
            queue,
            dialer: Arc::new(dialer),
            timeout,
            shared: Arc::new(State {
                live: ArcSwapOption::empty(),
                dialling: Mutex::default(),
                renewed: watch::Sender::new(()),
            }),
        }
    }

    pub(super) fn database(&self) -> i64 {
        self.dialer.database()
    }

    /// Tells of every new connection from now on.
    pub(super) fn renewed(&self) -> watch::Receiver<()> {
        self.shared.renewed.subscribe()
    }

    /// Runs a script. `arguments` adds them, and is told whether the script may have run already.
    ///
    /// Cancel safety: the script may run although nobody waits for its answer.
    pub(super) async fn eval(
        &self,
        script: &Script,
        keys: &[&str],
        resend: Resend,
        arguments: &(dyn Fn(&mut Cmd, bool) + Send + Sync),
    ) -> Result<Value, Error> {
        let build = |form, again| {
            let mut command = script.command(form, keys);
            arguments(&mut command, again);
            command
        };
        self.patiently(resend, &build).await
    }

    /// Runs a command that may be sent twice.
    pub(super) async fn run(&self, command: &Cmd) -> Result<Value, Error> {
        self.patiently(Resend::Yes, &|_, _| command.clone()).await
    }

    async fn patiently(
        &self,
        resend: Resend,
        build: &(dyn Fn(Form, bool) -> Cmd + Send + Sync),
    ) -> Result<Value, Error> {
        let started = Instant::now();
        let (mut n_sends, mut again) = (0, false);
        loop {
            let left = self.timeout.saturating_sub(started.elapsed());
            let Ok(outcome) = tokio::time::timeout(left, self.attempt(build, again)).await else {
                // Whatever holds the answer up must not hold up the next call.
                self.shared.live.store(None);
                return Err(self.late());
            };
            let error = match outcome {
                Ok(value) => return Ok(value),
                Err(Failure::Refused(message)) => {
                    let queue = self.queue.clone();
                    return Err(Error::Refused { queue, message });
                }
                Err(Failure::NotSent(error)) => {
                    if !self.dialer.may_move() && !is_passing(&error) {
                        return Err(self.unreachable(error));
                    }
                    error
                }
                Err(Failure::Passing { error, was_sent }) => {
                    n_sends += 1;
                    let may_resend = !was_sent || resend == Resend::Yes;
                    let is_last = n_sends >= MAX_SENDS && !self.dialer.may_move() && was_sent;
                    if !may_resend || is_last {
                        return Err(self.unreachable(error));
                    }
                    again |= was_sent;
                    if was_sent && n_sends < MAX_SENDS {
                        continue;
                    }
                    error
                }
            };
            if started.elapsed() + PAUSE >= self.timeout {
                return Err(self.unreachable(error));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn attempt(
        &self,
        build: &(dyn Fn(Form, bool) -> Cmd + Send + Sync),
        again: bool,
    ) -> Result<Value, Failure> {
        let live = self.live().await?;
        match self.send(&live, &build(Form::Digest, again)).await {
            Err(Failure::Passing { error, .. }) if is_unknown_script(&error) => {
                self.send(&live, &build(Form::Text, again)).await
            }
            outcome => outcome,
        }
    }

    /// Sends a command, and puts the connection away if it turns out to have dropped or to lead to the wrong node.
    async fn send(&self, live: &Arc<Dialled>, command: &Cmd) -> Result<Value, Failure> {
        let mut connection = live.connection.clone();
        let error: RedisError = match connection.send_packed_command(command).await {
            Ok(Value::ServerError(error)) => error.into(),
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if is_unknown_script(&error) {
            let error = Arc::new(error);
            return Err(Failure::Passing {
                error,
                was_sent: false,
            });
        }
        let is_answer = error.code().is_some();
        if is_answer && !is_passing(&error) {
            return Err(Failure::Refused(error.to_string()));
        }
        self.shared.live.compare_and_swap(live, None);
        Err(Failure::Passing {
            error: Arc::new(error),
            was_sent: !is_answer,
        })
    }

    async fn live(&self) -> Result<Arc<Dialled>, Failure> {
        if let Some(live) = self.shared.live.load_full() {
            return Ok(live);
        }
        self.dial().await.map_err(|error| {
            let is_answer =
                error.code().is_some() || error.kind() == ErrorKind::AuthenticationFailed;
            if is_answer && !is_passing(&error) {
                Failure::Refused(error.to_string())
            } else {
                Failure::NotSent(error)
            }
        })
    }

    /// The dial under way, or a new one.
    fn dial(&self) -> Dial {
        let mut dialling = self.shared.dialling();
        let now = Instant::now();
        match &*dialling {
            Some((dial, started)) if now - *started < self.timeout => return dial.clone(),
            _ => {}
        }
        let (dialer, shared) = (self.dialer.clone(), self.shared.clone());
        let dial = async move {
            let outcome = dialer.dial().await;
            shared.dialled(now, outcome)
        };
        let dial = dial.boxed().shared();
        *dialling = Some((dial.clone(), now));
        dial
    }

    /// A connection of its own for messages, to the node that calls go to.
    pub(super) async fn subscriber(&self) -> Result<redis::aio::PubSub, Error> {
        let dial = async {
            let live = self.live().await?;
            let subscriber = live.client.get_async_pubsub().await;
            subscriber.map_err(|error| Failure::NotSent(Arc::new(error)))
        };
        match tokio::time::timeout(self.timeout, dial).await {
            Err(_) => Err(self.late()),
            Ok(Ok(subscriber)) => Ok(subscriber),
            Ok(Err(Failure::Refused(message))) => {
                let queue = self.queue.clone();
                Err(Error::Refused { queue, message })
            }
            Ok(Err(Failure::NotSent(error) | Failure::Passing { error, .. })) => {
                Err(self.unreachable(error))
            }
        }
    }

    fn unreachable(&self, source: Arc<RedisError>) -> Error {
        let queue = self.queue.clone();
        Error::Unreachable { queue, source }
    }

    fn late(&self) -> Error {
        Error::Timeout {
            queue: self.queue.clone(),
            waited: self.timeout,
        }
    }

    /// The server answered, and not as the script does.
    pub(super) fn unexpected(&self) -> Error {
        Error::Refused {
            queue: self.queue.clone(),
            message: "its answer has another form than it should".to_owned(),
        }
    }
}

impl State {
    fn dialling(&self) -> MutexGuard<'_, Option<(Dial, Instant)>> {
        // Every change under this lock is a single assignment, so a poisoned one is still whole.
        self.dialling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of how the dial that began at `started` ended.
    fn dialled(
        &self,
        started: Instant,
        outcome: Result<Dialled, RedisError>,
    ) -> Result<Arc<Dialled>, Arc<RedisError>> {
        let mut dialling = self.dialling();
        if dialling
            .as_ref()
            .is_some_and(|(_, latest)| *latest == started)
        {
            *dialling = None;
        }
        let live = Arc::new(outcome.map_err(Arc::new)?);
        self.live.store(Some(live.clone()));
        self.renewed.send_replace(());
        Ok(live)
    }
}

/// Another node will answer otherwise, or this one soon.
fn is_passing(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Server(
            ServerErrorKind::ReadOnly
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::TryAgain
                | ServerErrorKind::BusyLoading
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask
        )
    )
}

fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
