//! Log lines: always on stderr, so that stdout stays clean for what a command prints.

use std::borrow::Cow;
use std::io::IsTerminal;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::error::{ErrorClass, Failure};

/// What is logged, and how it looks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How a line looks: for people or for machines.
    pub format: Format,
    /// Which lines are written: a level, or `target=level` pairs: `info,terrarium::audit=debug`.
    pub filter: Filter,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// A filter in the notation of `tracing`, checked when it is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Filter(String);

impl Filter {
    /// Warnings and errors only.
    pub fn warnings() -> Self {
        Self("warn".to_owned())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("`{filter}` is not a log filter: {reason}")]
    Filter { filter: String, reason: String },
    #[error("logging is set up already")]
    SetUpTwice(#[source] tracing::subscriber::SetGlobalDefaultError),
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Filter { .. } => ErrorClass::InvalidInput,
            Self::SetUpTwice(_) => ErrorClass::Internal,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Filter { .. } => "log_filter_invalid",
            Self::SetUpTwice(_) => "logging_set_up_twice",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Filter { .. } => Some("write a level such as `info`, or `target=level`".into()),
            Self::SetUpTwice(_) => None,
        }
    }
}

/// Starts logging for the whole process. Errors when it was called before.
pub fn init(config: &Config) -> Result<(), Error> {
    let ansi = std::io::stderr().is_terminal();
    let subscriber = subscriber(config, ansi, std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(Error::SetUpTwice)
}

fn subscriber<W>(
    config: &Config,
    ansi: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, Error>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(config.filter.parse()?)
        .with_ansi(ansi)
        .with_writer(writer);
    Ok(match config.format {
        Format::Text => Box::new(builder.finish()),
        Format::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
}

impl Filter {
    fn parse(&self) -> Result<EnvFilter, Error> {
        let error = |reason| Error::Filter {
            filter: self.0.clone(),
            reason,
        };
        // `tracing` takes a misspelled level for the name of a target and is then silent.
        let mut words = self.0.split(',').map(str::trim);
        let word =
            words.find(|word| !word.contains(['=', '[']) && LevelFilter::from_str(word).is_err());
        if let Some(word) = word {
            return Err(error(format!("`{word}` is not a level")));
        }
        let parsed = EnvFilter::builder().parse(&self.0);
        parsed.map_err(|source| error(source.to_string()))
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl TryFrom<String> for Filter {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let filter = Self(text);
        filter.parse()?;
        Ok(filter)
    }
}

impl From<Filter> for String {
    fn from(filter: Filter) -> Self {
        filter.0
    }
}

impl JsonSchema for Filter {
    fn schema_name() -> Cow<'static, str> {
        "Filter".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string"})
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, filter: &str) -> String {
        let config = Config {
            format,
            filter: Filter::try_from(filter.to_owned()).unwrap(),
        };
        let written = Written::default();
        let writer = written.clone();
        let subscriber = subscriber(&config, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(answer = 42, "said");
            tracing::debug!("not said");
        });
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_filter_decides_what_is_written() {
        let text = logged(Format::Text, "info");
        assert!(
            text.contains("said") && text.contains("answer=42"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1);
        assert_eq!(logged(Format::Text, "terrarium=error"), "");
    }

    #[test]
    fn json_lines_are_flat_objects() {
        let line: serde_json::Value = serde_json::from_str(&logged(Format::Json, "info")).unwrap();
        assert_eq!(line["message"], "said");
        assert_eq!(line["answer"], 42);
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn a_filter_that_is_none_is_refused_when_it_is_read() {
        for (text, reason) in [
            (
                "terrarium=loud",
                "error parsing level filter: expected one of",
            ),
            ("inof", "`inof` is not a level"),
        ] {
            let error = Filter::try_from(text.to_owned()).unwrap_err();
            assert_eq!(error.code(), "log_filter_invalid");
            let expected = format!("`{text}` is not a log filter: {reason}");
            assert!(error.to_string().starts_with(&expected), "{error}");
        }
        for text in ["off", "WARN", "info,terrarium::audit=debug"] {
            assert!(Filter::try_from(text.to_owned()).is_ok(), "{text}");
        }
    }
}
