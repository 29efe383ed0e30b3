//! Rules for what must not be kept: applied while an event is encoded, so nothing of it ever touches a disk.
//!
//! A rule names a field of the event and what becomes of its values. A column that a request gives is the same whether it
//! stands among entities, inputs or rows: a caller chooses that freely, a rule must not depend on it.
//! Messages of errors may quote a request or a feature. As soon as there is a rule for one of those, they are masked.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;

use ring::hmac;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer};
use serde::ser::{Error as _, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::types::secret::Secret;

/// What stands in place of a value that is masked.
const MASK: &str = "***";
/// In front of the digits of a hash.
const HASH_PREFIX: &str = "hmac-sha256:";

/// What is left out of events, or made unreadable in them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "RedactConfig")]
pub struct Config {
    /// The key of `hash`. Whoever has it can find out whether an event belongs to a value that they know.
    pub key: Option<Secret>,
    /// Fields, such as `"request.email" = "hash"`: `request.<column>`, `features.<view:feature>`, `outputs.<name>`, each also
    /// with `*` for all; `params`, `principal` and `error.message`.
    pub fields: BTreeMap<Field, Action>,
}

impl Config {
    /// What becomes of a column that a request gives.
    pub(super) fn action_on(&self, column: &str) -> Option<Action> {
        let of = |name: &str| self.fields.get(&Field::Request(name.to_owned())).copied();
        of(column).or_else(|| of("*"))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "RedactAction")]
pub enum Action {
    /// The field is left out.
    Drop,
    /// Each value becomes its HMAC-SHA256 under `audit.redact.key`: equal values stay equal.
    Hash,
    /// Each value becomes `***`.
    Mask,
}

/// A field of the event.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// A column, wherever the request gives it; `*` for all.
    Request(String),
    Feature(String),
    Output(String),
    Params,
    Principal,
    ErrorMessage,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no field that can be redacted; write `request.<column>`, `features.<view:feature>`, `outputs.<name>`, `params`, `principal` or `error.message`"
)]
pub struct FieldError(String);

impl FromStr for Field {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let named = |part: &str| {
            let name = text.strip_prefix(part)?.strip_prefix('.')?;
            (!name.is_empty()).then(|| name.to_owned())
        };
        match text {
            "params" => return Ok(Self::Params),
            "principal" => return Ok(Self::Principal),
            "error.message" => return Ok(Self::ErrorMessage),
            _ => {}
        }
        let field = named("request").map(Self::Request);
        let field = field.or_else(|| named("features").map(Self::Feature));
        let field = field.or_else(|| named("outputs").map(Self::Output));
        field.ok_or_else(|| FieldError(text.to_owned()))
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(name) => write!(f, "request.{name}"),
            Self::Feature(name) => write!(f, "features.{name}"),
            Self::Output(name) => write!(f, "outputs.{name}"),
            Self::Params => f.write_str("params"),
            Self::Principal => f.write_str("principal"),
            Self::ErrorMessage => f.write_str("error.message"),
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
        "RedactField".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// The configured rules, ready to be looked up.
#[derive(Debug)]
pub(super) struct Redaction {
    request: Rules,
    features: Rules,
    outputs: Rules,
    params: Option<Action>,
    principal: Option<Action>,
    error_message: Option<Action>,
    /// There whenever a rule hashes.
    key: Option<hmac::Key>,
}

/// By name, and for all others.
#[derive(Debug, Default)]
struct Rules {
    named: HashMap<String, Action>,
    all: Option<Action>,
}

impl Rules {
    fn add(&mut self, name: &str, action: Action) {
        match name {
            "*" => self.all = Some(action),
            name => {
                self.named.insert(name.to_owned(), action);
            }
        }
    }

    fn of(&self, name: &str) -> Option<Action> {
        self.named.get(name).copied().or(self.all)
    }

    fn is_empty(&self) -> bool {
        self.named.is_empty() && self.all.is_none()
    }
}

impl Redaction {
    /// `None` if there are no rules. Errors: something is to be hashed, and there is no key.
    pub(super) fn new(config: &Config) -> Result<Option<Self>, Field> {
        if config.fields.is_empty() {
            return Ok(None);
        }
        let key = config.key.as_ref();
        let key = key.map(|key| hmac::Key::new(hmac::HMAC_SHA256, key.reveal().as_bytes()));
        let mut redaction = Self {
            request: Rules::default(),
            features: Rules::default(),
            outputs: Rules::default(),
            params: None,
            principal: None,
            error_message: None,
            key,
        };
        for (field, action) in &config.fields {
            if *action == Action::Hash && redaction.key.is_none() {
                return Err(field.clone());
            }
            redaction.add(field, *action);
        }
        let may_be_quoted = !redaction.request.is_empty() || !redaction.features.is_empty();
        if may_be_quoted && redaction.error_message.is_none() {
            redaction.error_message = Some(Action::Mask);
        }
        Ok(Some(redaction))
    }

    fn add(&mut self, field: &Field, action: Action) {
        match field {
            Field::Request(name) => self.request.add(name, action),
            Field::Feature(name) => self.features.add(name, action),
            Field::Output(name) => self.outputs.add(name, action),
            Field::Params => self.params = Some(action),
            Field::Principal => self.principal = Some(action),
            Field::ErrorMessage => self.error_message = Some(action),
        }
    }

    /// Of a column that the request gives.
    pub(super) fn request(&self, name: &str) -> Treatment<'_> {
        self.treatment(self.request.of(name))
    }

    pub(super) fn feature(&self, name: &str) -> Treatment<'_> {
        self.treatment(self.features.of(name))
    }

    pub(super) fn output(&self, name: &str) -> Treatment<'_> {
        self.treatment(self.outputs.of(name))
    }

    pub(super) fn params(&self) -> Treatment<'_> {
        self.treatment(self.params)
    }

    pub(super) fn principal(&self) -> Treatment<'_> {
        self.treatment(self.principal)
    }

    pub(super) fn error_message(&self) -> Treatment<'_> {
        self.treatment(self.error_message)
    }

    fn treatment(&self, action: Option<Action>) -> Treatment<'_> {
        treat(action, self.key.as_ref())
    }
}

/// What an action comes to with this key.
pub(super) fn treat(action: Option<Action>, key: Option<&hmac::Key>) -> Treatment<'_> {
    match (action, key) {
        (None, _) => Treatment::Keep,
        (Some(Action::Drop), _) => Treatment::Drop,
        (Some(Action::Hash), Some(key)) => Treatment::Replace(Replacement::Hash(key)),
        // Rules that hash are not taken without a key; without one nothing may be readable.
        (Some(Action::Hash), None) | (Some(Action::Mask), _) => {
            Treatment::Replace(Replacement::Mask)
        }
    }
}

/// What becomes of one field.
#[derive(Debug, Clone, Copy)]
pub(super) enum Treatment<'a> {
    Keep,
    Drop,
    Replace(Replacement<'a>),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Replacement<'a> {
    Hash(&'a hmac::Key),
    Mask,
}

impl Replacement<'_> {
    /// The values of a field: each of a list by itself, anything else as one. Null stays null.
    pub(super) fn values<T: Serialize, S: Serializer>(
        self,
        values: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match serde_json::to_value(values).map_err(S::Error::custom)? {
            Value::Array(values) => serializer.collect_seq(values.iter().map(|one| self.one(one))),
            value => self.one(&value).serialize(serializer),
        }
    }

    pub(super) fn one(self, value: &Value) -> Option<Cow<'static, str>> {
        match (self, value) {
            (_, Value::Null) => None,
            (Self::Mask, _) => Some(Cow::Borrowed(MASK)),
            // Of the value's JSON: `1001` and `"1001"` are different values.
            (Self::Hash(key), value) => Some(Cow::Owned(hash(key, &value.to_string()))),
        }
    }

    /// A text that is there whole.
    pub(super) fn text(self, text: &str) -> String {
        match self {
            Self::Mask => MASK.to_owned(),
            Self::Hash(key) => hash(key, text),
        }
    }
}

fn hash(key: &hmac::Key, text: &str) -> String {
    let tag = hmac::sign(key, text.as_bytes());
    let mut hash = HASH_PREFIX.to_owned();
    for byte in tag.as_ref() {
        hash.push_str(&format!("{byte:02x}"));
    }
    hash
}

/// Values that are written as their replacements.
pub(super) struct Replaced<'a, T>(pub(super) &'a T, pub(super) Replacement<'a>);

impl<T: Serialize> Serialize for Replaced<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.1.values(self.0, serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redaction(fields: &[(&str, Action)]) -> Redaction {
        let fields = fields
            .iter()
            .map(|(field, action)| (field.parse().unwrap(), *action));
        let config = Config {
            key: Some(serde_json::from_str("\"k\"").unwrap()),
            fields: fields.collect(),
        };
        Redaction::new(&config).unwrap().unwrap()
    }

    fn treated(treatment: Treatment<'_>, value: &Value) -> Option<Value> {
        match treatment {
            Treatment::Keep => Some(value.clone()),
            Treatment::Drop => None,
            Treatment::Replace(replacement) => {
                Some(serde_json::to_value(Replaced(value, replacement)).unwrap())
            }
        }
    }

    #[test]
    fn values_are_dropped_masked_and_hashed_each_by_itself_and_null_stays_null() {
        let redaction = redaction(&[
            ("request.a", Action::Drop),
            ("request.b", Action::Mask),
            ("request.c", Action::Hash),
        ]);
        let values = serde_json::json!([1, null, "x", 1]);
        assert_eq!(treated(redaction.request("a"), &values), None);
        let masked = treated(redaction.request("b"), &values).unwrap();
        assert_eq!(masked, serde_json::json!(["***", null, "***", "***"]));
        let hashed = treated(redaction.request("c"), &values).unwrap();
        // printf 1 | openssl dgst -sha256 -hmac k
        let one = "hmac-sha256:0aa2054d88556d7e5df6e54b00683dae80bbd4266a5d1cbc89abacbf856ad862";
        assert_eq!(hashed[0], one);
        assert_eq!(hashed[0], hashed[3]);
        assert_ne!(hashed[0], hashed[2]);
        assert_eq!(hashed[1], Value::Null);
        assert_eq!(treated(redaction.request("d"), &values).unwrap(), values);
    }

    #[test]
    fn a_star_is_for_all_others() {
        let redaction = redaction(&[("outputs.*", Action::Drop), ("outputs.y", Action::Mask)]);
        assert!(matches!(redaction.output("z"), Treatment::Drop));
        assert!(matches!(
            redaction.output("y"),
            Treatment::Replace(Replacement::Mask)
        ));
        assert!(matches!(redaction.request("y"), Treatment::Keep));
        assert!(matches!(redaction.error_message(), Treatment::Keep));
    }

    #[test]
    fn messages_are_masked_as_soon_as_they_could_quote_a_secret() {
        for field in ["request.ssn", "features.v:f", "request.*"] {
            let redaction = redaction(&[(field, Action::Hash)]);
            assert!(matches!(
                redaction.error_message(),
                Treatment::Replace(Replacement::Mask)
            ));
        }
        let both = [("request.a", Action::Drop), ("error.message", Action::Drop)];
        assert!(matches!(redaction(&both).error_message(), Treatment::Drop));
    }

    #[test]
    fn a_hash_without_a_key_and_a_field_that_is_none_are_errors() {
        let field: Field = "request.ssn".parse().unwrap();
        let config = Config {
            key: None,
            fields: BTreeMap::from([(field.clone(), Action::Hash)]),
        };
        assert_eq!(Redaction::new(&config).unwrap_err(), field);
        for text in ["ssn", "request", "request.", "inputs.x", ""] {
            let error = text.parse::<Field>().unwrap_err().to_string();
            assert!(error.contains("request.<column>"), "{error}");
        }
        for text in [
            "request.a.b",
            "features.v:f",
            "outputs.*",
            "params",
            "error.message",
        ] {
            assert_eq!(text.parse::<Field>().unwrap().to_string(), text);
        }
        assert!(Redaction::new(&Config::default()).unwrap().is_none());
    }
}
