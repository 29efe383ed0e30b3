//! The queues: in Redis, in arq's layout, or in a SQLite file.
//!
//! `contract` is what both must do; `bell` is how what happens in this process, or is heard from others, wakes who waits.

mod bell;
#[cfg(test)]
mod contract;
mod limits;
mod redis;
mod sqlite;

use std::sync::Arc;

pub use self::redis::Config as RedisConfig;
pub use self::sqlite::Config as SqliteConfig;
use super::{Config, Error, JobQueue};
use crate::shutdown::Shutdown;

/// Opens the queue of the configuration. A queue whose server is down opens as well, and its calls fail until it is up.
///
/// `shutdown` runs what listens for notifications.
pub async fn open(config: &Config, shutdown: &Shutdown) -> Result<Arc<dyn JobQueue>, Error> {
    limits::check(config)?;
    match &config.redis {
        Some(redis) => Ok(Arc::new(redis::open(redis, config, shutdown)?)),
        None => Ok(Arc::new(sqlite::open(&config.sqlite, config).await?)),
    }
}
