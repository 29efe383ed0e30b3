//! Connections to one Postgres: a bounded number of them, each used by one caller at a time.
//!
//! A connection that drops while nobody looks is made anew within the request. One that a caller left in the middle of its
//! work, or that did not answer in time, is closed: nobody waits for what is still under way on it.
//! When all are in use, callers wait for one, in the order in which they came, each no longer than its own deadline.

use std::fmt;
use std::num::NonZeroU16;

use async_trait::async_trait;
use crossbeam_queue::ArrayQueue;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::Semaphore;

use super::super::Error;

pub(super) struct Pool {
    options: PgConnectOptions,
    permits: Semaphore,
    idle: ArrayQueue<PgConnection>,
}

/// Something to do over a connection; done anew from its beginning where the connection is lost.
#[async_trait]
pub(super) trait Work: Send {
    type Output;

    async fn run(&mut self, connection: &mut PgConnection) -> Result<Self::Output, Trouble>;
}

/// Why it was not done.
pub(super) enum Trouble {
    Database(sqlx::Error),
    Store(Error),
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("idle", &self.idle.len())
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// Reaches out to nothing.
    pub(super) fn new(options: PgConnectOptions, max_connections: NonZeroU16) -> Self {
        let size = usize::from(max_connections.get());
        Self {
            options,
            permits: Semaphore::new(size),
            idle: ArrayQueue::new(size),
        }
    }

    /// Cancel safe as far as the work is.
    pub(super) async fn run<W: Work>(&self, work: &mut W) -> Result<W::Output, Trouble> {
        let permit = self.permits.acquire().await;
        let _permit = permit.map_err(|_| sqlx::Error::PoolClosed)?;
        while let Some(mut connection) = self.idle.pop() {
            match work.run(&mut connection).await {
                Err(Trouble::Database(error)) if is_lost(&error) => {}
                outcome => return self.put_back(connection, outcome),
            }
        }
        let mut connection = PgConnection::connect_with(&self.options).await?;
        let outcome = work.run(&mut connection).await;
        self.put_back(connection, outcome)
    }

    fn put_back<T>(
        &self,
        connection: PgConnection,
        outcome: Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let is_whole = match &outcome {
            Ok(_) => true,
            Err(Trouble::Database(error)) => error.as_database_error().is_some() && !is_lost(error),
            // An answer may not have been read to its end.
            Err(Trouble::Store(error)) => matches!(error, Error::NotMaterialized { .. }),
        };
        if is_whole {
            // There is room: as many places as permits.
            self.idle.push(connection).ok();
        }
        outcome
    }

    /// Closes the connections that nobody uses.
    pub(super) fn forget_idle(&self) {
        while self.idle.pop().is_some() {}
    }
}

/// Whether another connection may do better: it dropped, the server is going down or coming up, or has become a replica.
pub(super) fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(reported) => {
            let code = reported.code().unwrap_or_default();
            let read_only = "25006";
            let too_many_connections = "53300";
            code.starts_with("57P")
                || code.starts_with("08")
                || code == read_only
                || code == too_many_connections
        }
        _ => false,
    }
}
