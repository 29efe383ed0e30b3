//! Where a Postgres is and how to connect to it: the settings that Feast's Postgres stores have in common.

use std::fmt;

use super::settings::{Settings, SettingsError};

const DEFAULT_PORT: u64 = 5432;
const DEFAULT_SCHEMA: &str = "public";

/// Settings as they stand; whether they suffice shows when somebody connects.
#[derive(Clone)]
#[cfg_attr(
    not(feature = "postgres"),
    expect(dead_code, reason = "there is nothing to connect with")
)]
pub(super) struct Config {
    /// Of feature_store.yaml, for messages.
    section: &'static str,
    host: Option<String>,
    port: u64,
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
    /// Takes what stands beside `type: postgres`; keys of one store only are left.
    pub(super) fn take(
        section: &'static str,
        settings: &mut Settings,
    ) -> Result<Self, SettingsError> {
        Ok(Self {
            section,
            host: settings.text("host")?,
            port: settings.whole_number("port")?.unwrap_or(DEFAULT_PORT),
            database: settings.text("database")?,
            schema: settings
                .text("db_schema")?
                .unwrap_or_else(|| DEFAULT_SCHEMA.to_owned()),
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

    /// Where tables are made; the user's own schema if `db_schema` is empty.
    #[cfg(feature = "postgres")]
    pub(super) fn schema(&self) -> &str {
        match (self.schema.trim(), &self.user) {
            ("", Some(user)) => user.trim(),
            (schema, _) => schema,
        }
    }

    /// What is missing or cannot be, as a sentence.
    #[cfg(feature = "postgres")]
    pub(super) fn options(&self) -> Result<sqlx::postgres::PgConnectOptions, String> {
        use sqlx::postgres::{PgConnectOptions, PgSslMode};

        let section = self.section;
        let port = u16::try_from(self.port)
            .map_err(|_| format!("`{section}.port: {}` is not a port", self.port))?;
        let mode: PgSslMode = self
            .ssl_mode
            .parse()
            .map_err(|_| format!("`{section}.sslmode: {}` is not a mode", self.ssl_mode))?;
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(&self.needed("host", &self.host)?)
            .port(port)
            .database(&self.needed("database", &self.database)?)
            .username(&self.needed("user", &self.user)?)
            .password(&self.needed("password", &self.password)?)
            .ssl_mode(mode)
            .application_name("terrarium")
            .options([("search_path", self.search_path())]);
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

    /// As Feast sets it: unquoted, and the public schema after the store's own.
    #[cfg(feature = "postgres")]
    fn search_path(&self) -> String {
        match self.schema() {
            DEFAULT_SCHEMA => DEFAULT_SCHEMA.to_owned(),
            schema => format!("{schema},{DEFAULT_SCHEMA}"),
        }
    }

    #[cfg(feature = "postgres")]
    fn needed(&self, name: &str, value: &Option<String>) -> Result<String, String> {
        let section = self.section;
        match value {
            None => Err(format!("`{section}.{name}` is missing")),
            Some(value) => match super::repo::unset_variable(value) {
                None => Ok(value.clone()),
                Some(variable) => Err(format!(
                    "`{section}.{name}` needs the environment variable `{variable}`, which is not set"
                )),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Config {
        let yaml = serde_yaml_ng::from_str(yaml).unwrap();
        let mut settings = Settings::new("offline_store", yaml).unwrap();
        Config::take("offline_store", &mut settings).unwrap()
    }

    #[test]
    fn feasts_defaults_hold_and_the_password_is_not_shown() {
        let config = read("{host: db, database: d, user: u, password: secret-word}");
        assert_eq!((config.port, config.schema.as_str()), (5432, "public"));
        assert_eq!(config.ssl_mode, "require");
        assert_eq!(format!("{config:?}"), "Config(\"postgres at db:5432/d\")");
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn what_is_missing_is_told_when_it_is_needed() {
        let message = |yaml| read(yaml).options().unwrap_err();
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
        assert_eq!(
            message("{host: h, port: 70000, database: d, user: u, password: p}"),
            "`offline_store.port: 70000` is not a port"
        );
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn tables_are_looked_for_where_feast_looks() {
        let path = |yaml| read(yaml).search_path();
        assert_eq!(path("{}"), "public");
        assert_eq!(path("{db_schema: online}"), "online,public");
        assert_eq!(path("{db_schema: '', user: feast}"), "feast,public");
    }
}
