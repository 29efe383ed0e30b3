//! The SQL registry in Postgres.

use std::sync::Arc;

use super::{Database, Error, Url};

#[cfg(not(feature = "postgres"))]
pub(super) fn open(url: &Url) -> Result<Arc<dyn Database>, Error> {
    Err(Error::NotBuilt {
        origin: url.to_string(),
        feature: "postgres",
    })
}

#[cfg(feature = "postgres")]
pub(super) fn open(url: &Url) -> Result<Arc<dyn Database>, Error> {
    Ok(Arc::new(client::Postgres::open(url)?))
}

#[cfg(feature = "postgres")]
mod client {
    use async_trait::async_trait;
    use sqlx::postgres::{PgConnectOptions, PgRow, PgSslMode};
    use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, Row as _};

    use super::super::{PATIENCE, Row, SELECT_ALL, SET_METADATA, Update, failed};
    use super::{Database, Error, Url};

    #[derive(Debug)]
    pub(super) struct Postgres {
        origin: String,
        options: PgConnectOptions,
    }

    impl Postgres {
        pub(super) fn open(url: &Url) -> Result<Self, Error> {
            Ok(Self {
                origin: url.to_string(),
                options: options(url)?,
            })
        }

        /// Gives up after a while, where a server neither answers nor refuses.
        async fn connect(&self) -> Result<PgConnection, Error> {
            match tokio::time::timeout(PATIENCE, self.options.connect()).await {
                Ok(connection) => connection.map_err(|error| self.failed(error)),
                Err(_) => Err(Error::Timeout {
                    origin: self.origin.clone(),
                    waited: PATIENCE,
                }),
            }
        }

        fn failed(&self, error: sqlx::Error) -> Error {
            failed(&self.origin, error)
        }
    }

    /// What the URL does not say is as in libpq: environment, then its defaults. `~/.pgpass` is not looked at.
    fn options(url: &Url) -> Result<PgConnectOptions, Error> {
        let mut options = PgConnectOptions::new_without_pgpass();
        if let Some(host) = &url.host {
            options = options.host(host);
        }
        if let Some(port) = url.port {
            options = options.port(port);
        }
        if let Some(name) = &url.username {
            options = options.username(name);
        }
        if let Some(password) = &url.password {
            options = options.password(password);
        }
        if !url.database.is_empty() {
            options = options.database(&url.database);
        }
        for (name, value) in &url.options {
            options = match name.as_str() {
                "sslmode" => {
                    let mode: Result<PgSslMode, _> = value.parse();
                    options.ssl_mode(
                        mode.map_err(|_| refused(url, "`sslmode` is not one of Postgres'"))?,
                    )
                }
                "sslrootcert" => options.ssl_root_cert(value),
                "sslcert" => options.ssl_client_cert(value),
                "sslkey" => options.ssl_client_key(value),
                "host" if value.starts_with('/') => options.socket(value),
                "host" => options.host(value),
                "port" => match value.parse() {
                    Ok(port) => options.port(port),
                    Err(_) => return Err(refused(url, "`port` is not a number")),
                },
                "application_name" => options.application_name(value),
                "options" => settings(value).fold(options, |options, pair| options.options([pair])),
                other => {
                    tracing::warn!(
                        "feature registry {url}: the URL's option `{other}` has no effect"
                    );
                    options
                }
            };
        }
        Ok(options)
    }

    /// `-c name=value -cname=value` as pairs.
    fn settings(options: &str) -> impl Iterator<Item = (&str, &str)> {
        let words = options.split_whitespace();
        words.filter_map(|word| {
            let word = word.strip_prefix("-c").unwrap_or(word);
            word.split_once('=')
        })
    }

    fn refused(url: &Url, message: &str) -> Error {
        Error::Refused {
            origin: url.to_string(),
            message: message.to_owned(),
        }
    }

    /// Statements are not kept prepared, so that a pooler between us and the server may hand out another session.
    #[async_trait]
    impl Database for Postgres {
        async fn select(&self, project: &str) -> Result<Vec<Row>, Error> {
            let mut connection = self.connect().await?;
            let query = sqlx::query(SELECT_ALL).persistent(false).bind(project);
            let rows = query.fetch_all(&mut connection).await;
            let rows = rows.map_err(|error| self.failed(error))?;
            let rows = rows.iter().map(row).collect::<Result<_, _>>();
            rows.map_err(|error| self.failed(error))
        }

        async fn update(&self, update: &Update<'_>) -> Result<bool, Error> {
            let failed = |error| self.failed(error);
            let mut connection = self.connect().await?;
            let mut transaction = connection.begin().await.map_err(failed)?;
            sqlx::query("SET LOCAL lock_timeout = '10s'")
                .execute(&mut *transaction)
                .await
                .map_err(failed)?;
            let select = format!("{} FOR UPDATE", update.select());
            let bytes: Option<Vec<u8>> = sqlx::query_scalar(AssertSqlSafe(select))
                .persistent(false)
                .bind(update.view)
                .bind(update.project)
                .fetch_optional(&mut *transaction)
                .await
                .map_err(failed)?;
            let Some(bytes) = bytes else {
                return Ok(false);
            };
            sqlx::query(AssertSqlSafe(update.update()))
                .persistent(false)
                .bind(update.view)
                .bind(update.project)
                .bind((update.edit)(&bytes)?)
                .bind(update.now.as_seconds())
                .execute(&mut *transaction)
                .await
                .map_err(failed)?;
            if update.with_metadata {
                sqlx::query(SET_METADATA)
                    .persistent(false)
                    .bind(update.project)
                    .bind(update.now.as_seconds().to_string())
                    .bind(update.now.as_seconds())
                    .execute(&mut *transaction)
                    .await
                    .map_err(failed)?;
            }
            transaction.commit().await.map_err(failed)?;
            Ok(true)
        }
    }

    fn row(row: &PgRow) -> Result<Row, sqlx::Error> {
        Ok(Row {
            kind: row.try_get(0)?,
            name: row.try_get(1)?,
            bytes: row.try_get(2)?,
        })
    }
}
