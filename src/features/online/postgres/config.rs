//! Feast's settings for its Postgres online store.

use std::fmt;
use std::num::NonZeroU16;

use serde_yaml_ng::{Mapping, Value as Yaml};
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;

use crate::features::postgres;
use crate::features::repo::{Problem, note_left_over};
use crate::features::settings::Settings;

const DEFAULT_CONNECTIONS: NonZeroU16 = NonZeroU16::new(10).unwrap();
/// Each request shape of the feature registry has a statement of its own.
const STATEMENTS: usize = 512;

#[derive(Clone)]
pub struct Config {
    pub(super) place: String,
    pub(super) schema: String,
    pub(super) options: PgConnectOptions,
    pub(super) max_connections: NonZeroU16,
}

impl fmt::Debug for Config {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Config").field(&self.place).finish()
    }
}

/// What a search for vectors or text needs beside each value, and we do not write.
const SEARCH: [&str; 2] = ["vector_enabled", "enable_openai_compatible_store"];

impl Config {
    pub(in crate::features::online) fn read(
        entries: Mapping,
        notes: &mut Vec<String>,
    ) -> Result<Self, Problem> {
        let mut settings = Settings::new("online_store", Yaml::Mapping(entries))?;
        let server = postgres::Config::take("online_store", &mut settings)?;
        for key in SEARCH {
            if settings.boolean(key)? == Some(true) {
                let path = settings.path(key);
                return Err(Problem::Unsupported(format!("`{path}: true`")));
            }
        }
        let max_connections = match settings.whole_number("max_conn")? {
            None => DEFAULT_CONNECTIONS,
            Some(number) => u16::try_from(number)
                .ok()
                .and_then(NonZeroU16::new)
                .ok_or_else(|| {
                    Problem::Invalid(format!(
                        "`online_store.max_conn: {number}` is not a number of connections"
                    ))
                })?,
        };
        note_left_over(&settings, notes);
        Ok(Self {
            place: server.place(),
            schema: server.schema().to_owned(),
            options: server
                .options()
                .map_err(Problem::Invalid)?
                .statement_cache_capacity(STATEMENTS)
                .disable_statement_logging(),
            max_connections,
        })
    }
}
