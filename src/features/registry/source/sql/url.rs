//! Database URLs as SQLAlchemy reads them: `dialect+driver://user:password@host:port/database?option=value`.
//!
//! User, password and options are percent-decoded, the database is taken as it stands; a password ends at the first `@`.

use std::fmt;

/// A URL taken apart. Displays and debugs without its password.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::features) struct Url {
    pub(super) dialect: String,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) database: String,
    pub(super) options: Vec<(String, String)>,
}

impl Url {
    /// `None` where the text is not such a URL.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let dialect = scheme.split('+').next().filter(|name| !name.is_empty())?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (login, rest) = match rest.split_once('@') {
            Some((login, rest)) => (Some(login), rest),
            None => (None, rest),
        };
        let (address, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (username, password) = match login {
            None => (None, None),
            Some(login) => match login.split_once(':') {
                Some((name, password)) => (Some(name), Some(password)),
                None => (Some(login), None),
            },
        };
        let (host, port) = host_and_port(address)?;
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Some(Self {
            dialect: dialect.to_owned(),
            username: username.map(decoded),
            password: password.map(decoded),
            host,
            port,
            database: database.to_owned(),
            options: pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (
                        decoded(&name.replace('+', " ")),
                        decoded(&value.replace('+', " ")),
                    )
                })
                .collect(),
        })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.dialect)?;
        if let Some(host) = &self.host {
            f.write_str(host)?;
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "/{}", self.database)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

/// Nothing, `host`, `host:port` or `[ipv6]:port`.
fn host_and_port(text: &str) -> Option<(Option<String>, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port.filter(|port| !port.is_empty()) {
        None => None,
        Some(port) => Some(port.parse().ok()?),
    };
    Some((Some(host.to_owned()).filter(|host| !host.is_empty()), port))
}

/// Percent-decoded; what is not an escape stays.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let escape = behind.get(..2).filter(|_| first == b'%');
        let number = escape.and_then(|digits| std::str::from_utf8(digits).ok());
        match number.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => {
                bytes.push(first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_sqlalchemy_reads_them() {
        let url = Url::parse(
            "postgresql+psycopg://us%40er:p%2Fa+s/s@db.example:5433/feast?sslmode=require&options=-c+a%3Db",
        )
        .unwrap();
        assert_eq!(url.dialect, "postgresql");
        assert_eq!(url.username.as_deref(), Some("us@er"));
        assert_eq!(url.password.as_deref(), Some("p/a+s/s"));
        assert_eq!(
            (url.host.as_deref(), url.port),
            (Some("db.example"), Some(5433))
        );
        assert_eq!(url.database, "feast");
        let option = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            url.options,
            [option("sslmode", "require"), option("options", "-c a=b")]
        );
        assert_eq!(url.to_string(), "postgresql://db.example:5433/feast");
        assert!(
            !format!("{url:?}").contains("p/a"),
            "no password is printed"
        );

        let file = Url::parse("sqlite:////var/feast/registry.db").unwrap();
        assert_eq!(
            (file.host, file.database.as_str()),
            (None, "/var/feast/registry.db")
        );
        let file = Url::parse("sqlite+pysqlite:///data/registry.db").unwrap();
        assert_eq!(
            (file.dialect.as_str(), file.database.as_str()),
            ("sqlite", "data/registry.db")
        );
        let local = Url::parse("postgresql://[::1]:5432/f").unwrap();
        assert_eq!(
            (local.host.as_deref(), local.port),
            (Some("::1"), Some(5432))
        );
        assert_eq!(Url::parse("registry.db"), None);
        assert_eq!(Url::parse("postgresql://host:port/db"), None);
    }
}
