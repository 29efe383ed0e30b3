//! The table of events in Postgres that a sink of Kafka Connect fills (`deploy/connect/postgres.json`), read back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::verify::Report;
use crate::error::{ErrorClass, Failure};
use crate::types::secret::Secret;

/// The table that a sink of Kafka Connect fills with audit events, for `terrarium audit verify --from postgres`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AuditPostgresConfig")]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where it is: `postgres://user:password@host:port/database`.
    pub url: Option<Secret>,
    /// The table, with its schema where that is not on the search path: `audit.audit_events`.
    pub table: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: None,
            table: "audit_events".to_owned(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("`audit.postgres.url` is not set")]
    NoUrl,
    #[error("the table `{table}` cannot be read: {source}")]
    Read {
        table: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("this binary was built without feature `postgres`")]
    NotBuilt,
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NoUrl => ErrorClass::InvalidInput,
            Self::Read { .. } => ErrorClass::Unavailable,
            Self::NotBuilt => ErrorClass::Unsupported,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoUrl => "audit_postgres_not_set",
            Self::Read { .. } => "audit_table_unreadable",
            Self::NotBuilt => "audit_postgres_not_built",
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoUrl => {
                "set `TERRARIUM__AUDIT__POSTGRES__URL` to `postgres://user:password@host/database`"
            }
            Self::Read { .. } => "`audit.postgres.url` and `audit.postgres.table` say where it is",
            Self::NotBuilt => "build it with `cargo build --features postgres`",
        };
        Some(hint.to_owned())
    }
}

/// What the table has of each writer. Rows are read in order and none is kept.
#[cfg(feature = "postgres")]
pub async fn verify(config: &Config) -> Result<Report, Error> {
    let url = config.url.as_ref().ok_or(Error::NoUrl)?;
    client::verify(url, &config.table)
        .await
        .map_err(|source| Error::Read {
            table: config.table.clone(),
            source,
        })
}

#[cfg(not(feature = "postgres"))]
#[expect(
    clippy::unused_async,
    reason = "it is where there is something to wait for"
)]
pub async fn verify(_: &Config) -> Result<Report, Error> {
    Err(Error::NotBuilt)
}

#[cfg(feature = "postgres")]
mod client {
    use std::time::Duration;

    use futures::TryStreamExt;
    use sqlx::postgres::{PgConnectOptions, PgRow};
    use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};
    use uuid::Uuid;

    use super::super::verify::Verifier;
    use super::{Report, Secret};
    use crate::audit::batch::Offset;

    /// How long a server may take to answer at all.
    const PATIENCE: Duration = Duration::from_secs(10);

    type Cause = Box<dyn std::error::Error + Send + Sync>;

    pub(super) async fn verify(url: &Secret, table: &str) -> Result<Report, Cause> {
        let options: PgConnectOptions = url.reveal().parse()?;
        let connecting = tokio::time::timeout(PATIENCE, options.connect()).await;
        let late = |_| format!("no answer within {PATIENCE:?}");
        let mut connection = connecting.map_err(late)??;
        // The index that `deploy/connect/postgres.sql` makes has this order.
        let sql = format!(
            "SELECT writer::text, sequence::bigint, id::text FROM {} ORDER BY writer, sequence",
            quoted(table)
        );
        let mut verifier = Verifier::default();
        let mut rows = sqlx::query(AssertSqlSafe(sql)).fetch(&mut connection);
        while let Some(row) = rows.try_next().await? {
            match offset(&row)? {
                Some(offset) => verifier.event(offset),
                None => verifier.damaged(format!("row {}", row.try_get::<&str, _>(2)?)),
            }
        }
        Ok(verifier.finish())
    }

    /// `None` for a row that does not say which event it is.
    fn offset(row: &PgRow) -> Result<Option<Offset>, sqlx::Error> {
        let writer: Option<&str> = row.try_get(0)?;
        let sequence: Option<i64> = row.try_get(1)?;
        let writer = writer.and_then(|writer| Uuid::try_parse(writer).ok());
        let sequence = sequence.and_then(|sequence| u64::try_from(sequence).ok());
        Ok(writer
            .zip(sequence)
            .map(|(writer, sequence)| Offset { writer, sequence }))
    }

    /// Each part as an identifier, whatever it holds.
    fn quoted(table: &str) -> String {
        let parts = table
            .split('.')
            .map(|part| format!("\"{}\"", part.replace('"', "\"\"")));
        parts.collect::<Vec<_>>().join(".")
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_table_is_named_and_nothing_else() {
            assert_eq!(quoted("audit_events"), r#""audit_events""#);
            assert_eq!(quoted("a.b"), r#""a"."b""#);
            assert_eq!(quoted(r#"x"; DROP TABLE y"#), r#""x""; DROP TABLE y""#);
        }
    }
}
