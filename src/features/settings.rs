//! Reads one YAML mapping key by key, so that a mistake is named by its place and what is left over can be told.

use serde_yaml_ng::{Mapping, Value};

/// A mapping from which keys are taken.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// Dotted path of the mapping, empty at the top.
    place: String,
    entries: Mapping,
}

/// A setting of the wrong kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{place}` must be {wanted}, and is {got}")]
pub struct SettingsError {
    pub place: String,
    pub wanted: &'static str,
    pub got: &'static str,
}

impl Settings {
    /// An absent or empty value is a mapping without keys.
    pub(super) fn new(place: &str, value: Value) -> Result<Self, SettingsError> {
        let entries = match value {
            Value::Mapping(entries) => entries,
            Value::Null => Mapping::new(),
            other => return Err(wrong(place, "a mapping", &other)),
        };
        let place = place.to_owned();
        Ok(Self { place, entries })
    }

    /// The dotted path of `key`.
    pub(super) fn path(&self, key: &str) -> String {
        if self.place.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.place)
        }
    }

    /// `None` where the key is absent; `null` is a value.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.entries.remove(key)
    }

    /// Numbers and booleans count as text, as YAML may have made them of it.
    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, SettingsError> {
        match self.take(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(other) => Err(wrong(&self.path(key), "text", &other)),
        }
    }

    pub(super) fn whole_number(&mut self, key: &str) -> Result<Option<u64>, SettingsError> {
        match self.take(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match number(&value) {
                Some(number) => Ok(Some(number)),
                None => Err(wrong(&self.path(key), "a whole number", &value)),
            },
        }
    }

    pub(super) fn boolean(&mut self, key: &str) -> Result<Option<bool>, SettingsError> {
        match self.take(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(wrong(&self.path(key), "true or false", &other)),
        }
    }

    /// Paths of the keys that nobody took.
    pub(super) fn left_over(&self) -> Vec<String> {
        let names = self.entries.keys().filter_map(Value::as_str);
        names.map(|name| self.path(name)).collect()
    }
}

fn number(value: &Value) -> Option<u64> {
    match value {
        // An interpolated variable arrives as text when it is quoted.
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_u64(),
    }
}

pub(super) fn wrong(place: &str, wanted: &'static str, got: &Value) -> SettingsError {
    let place = if place.is_empty() {
        "(top level)"
    } else {
        place
    };
    SettingsError {
        place: place.to_owned(),
        wanted,
        got: kind(got),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Sequence(_) => "a list",
        Value::Mapping(_) => "a mapping",
        Value::Tagged(_) => "a tagged value",
    }
}
