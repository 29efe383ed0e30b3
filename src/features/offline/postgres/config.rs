//! The settings of Feast's Postgres offline store.

use std::fmt;

use serde_yaml_ng::{Mapping, Value};

use crate::features::repo::Problem;
use crate::features::settings::Settings;

/// Settings as they stand; whether they suffice shows when a view needs them.
#[derive(Clone)]
#[cfg_attr(
    not(feature = "postgres"),
    expect(dead_code, reason = "there is nothing to connect with")
)]
pub(in crate::features::offline) struct Config {
    host: Option<String>,
    port: u16,
    database: Option<String>,
    schema: String,
    user: Option<String>,
    password: Option<String>,
    ssl_mode: String,
    ssl_key: Option<String>,
    ssl_cert: Option<String>,
    ssl_root_cert: Option<String>,
}

impl fmt::Debug for Config {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Config").field(&self.place()).finish()
    }
}

impl Config {
    /// Reads what stands beside `type: postgres`. Settings that only Feast's joins use are left alone.
    pub(in crate::features::offline) fn read(entries: Mapping) -> Result<Self, Problem> {
        let mut settings = Settings::new("offline_store", Value::Mapping(entries))?;
        let port = settings.whole_number("port")?.unwrap_or(5432);
        let port = u16::try_from(port)
            .map_err(|_| Problem::Invalid(format!("`offline_store.port: {port}` is not a port")))?;
        Ok(Self {
            host: settings.text("host")?,
            port,
            database: settings.text("database")?,
            schema: settings
                .text("db_schema")?
                .unwrap_or_else(|| "public".to_owned()),
            user: settings.text("user")?,
            password: settings.text("password")?,
            ssl_mode: settings
                .text("sslmode")?
                .unwrap_or_else(|| "require".to_owned()),
            ssl_key: settings.text("sslkey_path")?,
            ssl_cert: settings.text("sslcert_path")?,
            ssl_root_cert: settings.text("sslrootcert_path")?,
        })
    }

    /// Host, port and database, without secrets.
    pub(super) fn place(&self) -> String {
        let host = self.host.as_deref().unwrap_or("(no host)");
        let database = self.database.as_deref().unwrap_or("(no database)");
        format!("postgres at {host}:{}/{database}", self.port)
    }

    /// What is missing or cannot be, as a sentence.
    #[cfg(feature = "postgres")]
    pub(super) fn options(&self) -> Result<sqlx::postgres::PgConnectOptions, String> {
        use sqlx::postgres::{PgConnectOptions, PgSslMode};

        use crate::features::repo::unset_variable;

        let needed = |name: &str, value: &Option<String>| match value {
            None => Err(format!("`offline_store.{name}` is missing")),
            Some(value) => match unset_variable(value) {
                None => Ok(value.clone()),
                Some(variable) => Err(format!(
                    "`offline_store.{name}` needs the environment variable `{variable}`, which is not set"
                )),
            },
        };
        let mode: PgSslMode = self
            .ssl_mode
            .parse()
            .map_err(|_| format!("`offline_store.sslmode: {}` is not a mode", self.ssl_mode))?;
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(&needed("host", &self.host)?)
            .port(self.port)
            .database(&needed("database", &self.database)?)
            .username(&needed("user", &self.user)?)
            .password(&needed("password", &self.password)?)
            .ssl_mode(mode)
            .application_name("terrarium")
            .options([("search_path", self.schema.as_str())]);
        if let Some(path) = &self.ssl_root_cert {
            options = options.ssl_root_cert(path);
        }
        if let Some(path) = &self.ssl_cert {
            options = options.ssl_client_cert(path);
        }
        if let Some(path) = &self.ssl_key {
            options = options.ssl_client_key(path);
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Config, Problem> {
        Config::read(serde_yaml_ng::from_str(yaml).unwrap())
    }

    #[test]
    fn feasts_defaults_hold_and_the_password_is_not_shown() {
        let config = read("{host: db, database: d, user: u, password: secret-word}");
        let config = config.ok().unwrap();
        assert_eq!((config.port, config.schema.as_str()), (5432, "public"));
        assert_eq!(config.ssl_mode, "require");
        assert_eq!(format!("{config:?}"), "Config(\"postgres at db:5432/d\")");
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn what_is_missing_is_told_when_it_is_needed() {
        let message = |yaml| read(yaml).ok().unwrap().options().unwrap_err();
        assert_eq!(
            message("{host: h, database: d, user: u}"),
            "`offline_store.password` is missing"
        );
        assert_eq!(
            message("{host: '${PG_HOST}', database: d, user: u, password: p}"),
            "`offline_store.host` needs the environment variable `PG_HOST`, which is not set"
        );
        assert_eq!(
            message("{host: h, database: d, user: u, password: p, sslmode: maybe}"),
            "`offline_store.sslmode: maybe` is not a mode"
        );
    }
}
