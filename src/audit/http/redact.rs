//! Rules for what must not be kept of HTTP calls: applied while an event is made, so nothing of it ever touches a disk.
//!
//! Names are compared without regard to case, query parameters after they are decoded, members of bodies wherever they stand. A
//! body whose members cannot be told apart (no JSON, cut off, compressed) is left out as soon as there is a rule for members.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;

use ring::hmac;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::audit::redact::{Action, Replacement, Treatment, treat};
use crate::types::secret::Secret;

/// A field of the events.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// In lower case, as all names.
    Header(String),
    /// `*` for all.
    Query(String),
    /// A member of a JSON body.
    Member(String),
    Body,
    Path,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no field that can be redacted; write `header.<name>`, `query.<name>`, `body.<name>`, `body` or `path`"
)]
pub struct FieldError(String);

impl FromStr for Field {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let named = |part: &str| {
            let name = text.strip_prefix(part)?.strip_prefix('.')?;
            (!name.is_empty()).then(|| name.to_lowercase())
        };
        match text {
            "body" => return Ok(Self::Body),
            "path" => return Ok(Self::Path),
            _ => {}
        }
        let field = named("header").map(Self::Header);
        let field = field.or_else(|| named("query").map(Self::Query));
        let field = field.or_else(|| named("body").map(Self::Member));
        field.ok_or_else(|| FieldError(text.to_owned()))
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header.{name}"),
            Self::Query(name) => write!(f, "query.{name}"),
            Self::Member(name) => write!(f, "body.{name}"),
            Self::Body => f.write_str("body"),
            Self::Path => f.write_str("path"),
        }
    }
}

impl Serialize for Field {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Field {
    fn schema_name() -> Cow<'static, str> {
        "HttpAuditField".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// The configured rules, ready to be looked up.
#[derive(Debug, Default)]
pub(super) struct Rules {
    headers: HashMap<String, Action>,
    query: HashMap<String, Action>,
    members: HashMap<String, Action>,
    body: Option<Action>,
    path: Option<Action>,
    /// There whenever a rule hashes.
    key: Option<hmac::Key>,
}

impl Rules {
    /// Errors: something is to be hashed, and there is no key.
    pub(super) fn new(
        fields: &BTreeMap<Field, Action>,
        key: Option<&Secret>,
    ) -> Result<Self, Field> {
        let key = key.map(|key| hmac::Key::new(hmac::HMAC_SHA256, key.reveal().as_bytes()));
        let mut rules = Self {
            key,
            ..Self::default()
        };
        for (field, action) in fields {
            if *action == Action::Hash && rules.key.is_none() {
                return Err(field.clone());
            }
            match field {
                Field::Header(name) => drop(rules.headers.insert(name.clone(), *action)),
                Field::Query(name) => drop(rules.query.insert(name.clone(), *action)),
                Field::Member(name) => drop(rules.members.insert(name.clone(), *action)),
                Field::Body => rules.body = Some(*action),
                Field::Path => rules.path = Some(*action),
            }
        }
        Ok(rules)
    }

    /// Whether an answer's error may hold something that is redacted elsewhere.
    pub(super) fn may_be_quoted(&self) -> bool {
        !self.query.is_empty()
            || !self.members.is_empty()
            || self.body.is_some()
            || self.path.is_some()
    }

    /// Whether the members of a body must be told apart.
    pub(super) fn has_members(&self) -> bool {
        !self.members.is_empty()
    }

    pub(super) fn path<'a>(&self, path: &'a str) -> Option<Cow<'a, str>> {
        self.text(self.path, Cow::Borrowed(path))
    }

    /// `name` is in lower case.
    pub(super) fn header<'a>(&self, name: &str, value: Cow<'a, str>) -> Option<Cow<'a, str>> {
        self.text(self.headers.get(name).copied(), value)
    }

    /// Parameters by name, those given several times as lists.
    pub(super) fn query(&self, query: &str) -> Map<String, Value> {
        let mut parameters: Map<String, Value> = Map::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let action = self.query.get(&name.to_lowercase());
            let action = action.or_else(|| self.query.get("*")).copied();
            let Some(value) = self.text(action, value) else {
                continue;
            };
            let value = Value::String(value.into_owned());
            match parameters.get_mut(&*name) {
                Some(Value::Array(values)) => values.push(value),
                Some(first) => *first = Value::Array(vec![first.take(), value]),
                None => {
                    parameters.insert(name.into_owned(), value);
                }
            }
        }
        parameters
    }

    /// A JSON body; `None` if nothing of it may be kept.
    pub(super) fn json(&self, mut body: Value) -> Option<Value> {
        if let Some(action) = self.body {
            return match self.treatment(Some(action)) {
                Treatment::Keep => Some(body),
                Treatment::Drop => None,
                Treatment::Replace(replacement) => Some(replaced(replacement, &body)),
            };
        }
        if self.has_members() {
            self.members(&mut body);
        }
        Some(body)
    }

    /// A body that is no JSON and has no members to be told apart.
    pub(super) fn body_text(&self, text: &str) -> Option<Value> {
        let text = self.text(self.body, Cow::Borrowed(text))?;
        Some(Value::String(text.into_owned()))
    }

    fn members(&self, value: &mut Value) {
        match value {
            Value::Array(values) => values.iter_mut().for_each(|value| self.members(value)),
            Value::Object(members) => {
                members.retain(|name, value| {
                    let action = self.members.get(&name.to_lowercase()).copied();
                    match self.treatment(action) {
                        Treatment::Keep => self.members(value),
                        Treatment::Drop => return false,
                        Treatment::Replace(replacement) => *value = replaced(replacement, value),
                    }
                    true
                });
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn text<'a>(&self, action: Option<Action>, text: Cow<'a, str>) -> Option<Cow<'a, str>> {
        match self.treatment(action) {
            Treatment::Keep => Some(text),
            Treatment::Drop => None,
            Treatment::Replace(replacement) => Some(Cow::Owned(replacement.text(&text))),
        }
    }

    fn treatment(&self, action: Option<Action>) -> Treatment<'_> {
        treat(action, self.key.as_ref())
    }
}

/// Each value of a list by itself, anything else as one; null stays null.
fn replaced(replacement: Replacement<'_>, value: &Value) -> Value {
    match value {
        Value::Array(values) => values
            .iter()
            .map(|value| replaced(replacement, value))
            .collect(),
        value => replacement
            .one(value)
            .map_or(Value::Null, |text| Value::String(text.into_owned())),
    }
}
