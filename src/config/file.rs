//! A TOML file taken apart into single values, each with the line and column of its key.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::key::Key;
use super::problem::Problem;
use super::tree::{Given, Origin};

/// A configuration file that was read.
pub(super) struct ConfigFile {
    path: PathBuf,
    text: String,
}

/// What a file says.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) given: Vec<Given>,
    /// Where each key stands, tables included.
    pub(super) origins: BTreeMap<Key, Origin>,
    pub(super) problems: Vec<Problem>,
}

impl ConfigFile {
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            text: fs_err::read_to_string(path)?,
        })
    }

    /// Takes the file apart. Where the syntax is wrong somewhere, the values are left out: what they mean is not sure.
    pub(super) fn contents(&self) -> Contents {
        let (table, errors) = DeTable::parse_recoverable(&self.text);
        let mut contents = Contents::default();
        if errors.is_empty() {
            self.take_table(&Key::default(), table.into_inner(), &mut contents);
        }
        contents.problems = errors
            .iter()
            .map(|error| self.syntax_problem(error))
            .collect();
        contents
    }

    fn take_table(&self, above: &Key, table: DeTable<'_>, contents: &mut Contents) {
        for (name, value) in table {
            let key = above.child(name.get_ref());
            let origin = self.origin(name.span().start);
            contents.origins.insert(key.clone(), origin.clone());
            self.take_value(key, value, origin, contents);
        }
    }

    fn take_value(
        &self,
        key: Key,
        value: Spanned<DeValue<'_>>,
        origin: Origin,
        contents: &mut Contents,
    ) {
        let span = value.span();
        let value = match value.into_inner() {
            DeValue::Table(table) if !table.is_empty() => {
                self.take_table(&key, table, contents);
                return;
            }
            value => ValueDeserializer::from(Spanned::new(span, value)),
        };
        match toml::Value::deserialize(value) {
            Ok(value) => contents.given.push(Given { key, value, origin }),
            Err(error) => contents.problems.push(Problem {
                place: origin.place(&key),
                message: format!("`{key}`: {}", error.message()),
            }),
        }
    }

    fn syntax_problem(&self, error: &toml::de::Error) -> Problem {
        let offset = error.span().map_or(0, |span| span.start);
        let (line, _) = self.position(offset);
        let text = self.text.lines().nth(line - 1).unwrap_or_default();
        // Only the key: what stands behind it may be a secret.
        let message = match text.split_once('=') {
            Some((key, _)) => format!("`{}`: {}", key.trim(), error.message()),
            None => error.message().to_owned(),
        };
        let place = self.origin(offset).place(&Key::default());
        Problem { place, message }
    }

    fn origin(&self, offset: usize) -> Origin {
        let (line, column) = self.position(offset);
        Origin::File {
            path: self.path.clone(),
            line,
            column,
        }
    }

    /// Line and column, counted from 1.
    fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }
}
