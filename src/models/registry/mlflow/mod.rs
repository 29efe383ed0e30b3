//! A model registry that is an MLflow server.

mod access;
mod config;
mod rest;

use self::access::Access;
pub use self::config::Config;
pub(in crate::models) use self::rest::{Download, Rest, Upload};
use super::Error;

/// A client of the configured server. Nothing is reached out to yet.
pub(super) fn open(
    config: &Config,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Rest, Error> {
    let address = config.address(environment)?;
    let access = Access::read(environment)?;
    Rest::connect(&address, access, config.patience(environment)?)
}
