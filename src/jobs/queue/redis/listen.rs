//! Hears what happens in the queue, wherever it is done: over a connection of its own, for as long as the process lives.
//!
//! Our scripts publish on a channel of the queue. What arq's own clients do is told by the server itself, as events of sorted
//! sets, if it is set up so; this asks it to. Messages may be lost, so whoever waits also looks from time to time: often
//! unless `hears` says that there is no need.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use futures::StreamExt;
use redis::{Msg, Value};

use super::keys::Keys;
use super::link::Link;
use crate::jobs::queue::bell::Bell;
use crate::jobs::{Error, JobId};
use crate::shutdown::Shutdown;

/// How often a connection that says nothing is asked whether it still is one.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What is heard just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hears {
    Nothing,
    /// What our own processes do.
    Ours,
    /// Also what arq's clients and workers enqueue.
    Everything,
}

#[derive(Debug)]
pub(super) struct Ear {
    link: Arc<Link>,
    keys: Keys,
    bell: Arc<Bell>,
    asks_for_events: bool,
    hears: AtomicU8,
}

impl Ear {
    pub(super) fn new(link: Arc<Link>, keys: Keys, bell: Arc<Bell>, asks_for_events: bool) -> Self {
        Self {
            link,
            keys,
            bell,
            asks_for_events,
            hears: AtomicU8::new(Hears::Nothing as u8),
        }
    }

    pub(super) fn hears(&self) -> Hears {
        match self.hears.load(Ordering::Relaxed) {
            0 => Hears::Nothing,
            1 => Hears::Ours,
            _ => Hears::Everything,
        }
    }

    /// Listens until the process stops.
    pub(super) async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let mut pause = FIRST_PAUSE;
        loop {
            let heard = tokio::select! {
                heard = self.listen() => heard,
                () = shutdown.stopped() => return,
            };
            self.hears.store(Hears::Nothing as u8, Ordering::Relaxed);
            self.bell.everything();
            pause = match heard {
                Ok(()) => FIRST_PAUSE,
                Err(error) => {
                    tracing::debug!(%error, "notifications of the job queue are not heard");
                    LONGEST_PAUSE.min(pause * 2)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.stopped() => return,
            }
        }
    }

    /// Listens until the connection drops or calls go elsewhere.
    async fn listen(&self) -> Result<(), Error> {
        let hears = self.ask_for_events().await?;
        let mut renewed = self.link.renewed();
        let (mut sink, mut messages) = self.link.subscriber().await?.split();
        let database = self.link.database();
        let channels = [
            self.keys.channel.clone(),
            format!("__keyevent@{database}__:zadd"),
            format!("__keyevent@{database}__:zincr"),
        ];
        let subscribed = tokio::time::timeout(KEEP_ALIVE, sink.subscribe(&channels)).await;
        if !matches!(subscribed, Ok(Ok(()))) {
            return Err(self.link.unexpected());
        }
        self.hears.store(hears as u8, Ordering::Relaxed);
        // What happened before may have been missed.
        self.bell.everything();
        let mut keep_alive = tokio::time::interval(KEEP_ALIVE);
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    Some(message) => self.take(&message),
                    None => return Ok(()),
                },
                _ = keep_alive.tick() => {
                    let alive = tokio::time::timeout(KEEP_ALIVE, sink.ping::<Value>()).await;
                    if !matches!(alive, Ok(Ok(_))) {
                        return Ok(());
                    }
                }
                _ = renewed.changed() => return Ok(()),
            }
        }
    }

    fn take(&self, message: &Msg) {
        let payload = message.get_payload_bytes();
        if message.get_channel_name() != self.keys.channel {
            if payload == self.keys.queue.as_bytes() {
                self.bell.work();
            } else if payload == self.keys.abort.as_bytes() {
                self.bell.abort();
            }
            return;
        }
        match payload {
            b"queued" => self.bell.work(),
            b"abort" => {
                self.bell.abort();
                // It may wait, and then is next.
                self.bell.work();
            }
            _ => {
                let id = payload.strip_prefix(b"ended:").map(std::str::from_utf8);
                if let Some(Ok(id)) = id {
                    self.bell.ended(&JobId::stored(id));
                }
            }
        }
    }

    /// Has the server tell of events of sorted sets, beside what it tells of already. It may not allow that.
    async fn ask_for_events(&self) -> Result<Hears, Error> {
        if !self.asks_for_events {
            return Ok(Hears::Ours);
        }
        const OPTION: &str = "notify-keyspace-events";
        let mut read = redis::cmd("CONFIG");
        read.arg("GET").arg(OPTION);
        let flags = match self.link.run(&read).await {
            Ok(Value::Array(mut parts)) if parts.len() == 2 => parts.pop(),
            Ok(Value::Map(mut pairs)) if pairs.len() == 1 => pairs.pop().map(|(_, value)| value),
            Ok(_) | Err(Error::Refused { .. }) => None,
            Err(error) => return Err(error),
        };
        let Some(Value::BulkString(flags)) = flags else {
            return Ok(Hears::Ours);
        };
        let Some(wanted) = with_events(&String::from_utf8_lossy(&flags)) else {
            return Ok(Hears::Everything);
        };
        let mut write = redis::cmd("CONFIG");
        write.arg("SET").arg(OPTION).arg(&wanted);
        match self.link.run(&write).await {
            Ok(_) => {
                tracing::info!(
                    flags = wanted,
                    "Redis now tells of jobs that arq's clients enqueue"
                );
                Ok(Hears::Everything)
            }
            Err(Error::Refused { .. }) => Ok(Hears::Ours),
            Err(error) => Err(error),
        }
    }
}

/// The flags with those for events of sorted sets; `None` if they are among them.
fn with_events(flags: &str) -> Option<String> {
    let tells_events = flags.contains('E');
    let tells_sets = flags.contains(['z', 'A']);
    if tells_events && tells_sets {
        return None;
    }
    let mut wanted = flags.to_owned();
    if !tells_events {
        wanted.push('E');
    }
    if !tells_sets {
        wanted.push('z');
    }
    Some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_others_set_stay() {
        for (flags, wanted) in [
            ("", Some("Ez")),
            ("K$", Some("K$Ez")),
            ("Kz", Some("KzE")),
            ("AKE", None),
            ("xzE", None),
        ] {
            assert_eq!(with_events(flags).as_deref(), wanted, "{flags}");
        }
    }
}
