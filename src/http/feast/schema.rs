//! What bodies must look like, and what FastAPI says of those that do not: 422 with one entry per mistake.
//!
//! Looked at only when a body did not parse as it should; well-formed requests never come here.

use serde_json::{Map, Value, json};

/// The kind of a field, with pydantic's lenient reading of it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Text,
    OptionalText,
    Flag,
    Object,
    ObjectOfLists,
    Texts,
    OptionalTexts,
    OptionalNumbers,
    OptionalInteger,
    Objects,
    Any,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    name: &'static str,
    kind: Kind,
    required: bool,
}

const fn required(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        required: true,
    }
}

const fn optional(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        required: false,
    }
}

pub(super) const ONLINE: &[Field] = &[
    required("entities", Kind::ObjectOfLists),
    optional("feature_service", Kind::OptionalText),
    optional("features", Kind::Texts),
    optional("full_feature_names", Kind::Flag),
    optional("include_feature_view_version_metadata", Kind::Flag),
];

pub(super) const PUSH: &[Field] = &[
    required("push_source_name", Kind::Text),
    required("df", Kind::Object),
    optional("allow_registry_cache", Kind::Flag),
    optional("to", Kind::Text),
    optional("transform_on_write", Kind::Flag),
];

pub(super) const WRITE: &[Field] = &[
    required("feature_view_name", Kind::Text),
    required("df", Kind::Object),
    optional("allow_registry_cache", Kind::Flag),
    optional("transform_on_write", Kind::Flag),
];

pub(super) const MATERIALIZE: &[Field] = &[
    optional("start_ts", Kind::OptionalText),
    optional("end_ts", Kind::OptionalText),
    optional("feature_views", Kind::OptionalTexts),
    optional("disable_event_timestamp", Kind::Flag),
    optional("full_feature_names", Kind::Flag),
    optional("version", Kind::OptionalText),
];

pub(super) const MATERIALIZE_INCREMENTAL: &[Field] = &[
    required("end_ts", Kind::Text),
    optional("feature_views", Kind::OptionalTexts),
    optional("full_feature_names", Kind::Flag),
    optional("version", Kind::OptionalText),
];

pub(super) const SEARCH: &[Field] = &[
    optional("feature_service", Kind::OptionalText),
    optional("features", Kind::Texts),
    optional("full_feature_names", Kind::Flag),
    optional("include_feature_view_version_metadata", Kind::Flag),
    optional("top_k", Kind::OptionalInteger),
    optional("query", Kind::OptionalNumbers),
    optional("query_string", Kind::OptionalText),
    optional("distance_metric", Kind::OptionalText),
    optional("api_version", Kind::OptionalInteger),
    optional("filters", Kind::Any),
];

pub(super) const VECTOR_SEARCH: &[Field] = &[required("query", Kind::Any)];

pub(super) const CHAT: &[Field] = &[required("messages", Kind::Objects)];

/// The entries of FastAPI's `detail`.
pub(super) type Mistakes = Vec<Value>;

/// The body with flags read as pydantic reads them; or what is wrong with it.
pub(super) fn check(bytes: &[u8], fields: &[Field]) -> Result<Value, Mistakes> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(vec![mistake(
            "missing",
            &[json!("body")],
            "Field required",
            &Value::Null,
        )]);
    }
    let body = serde_json::from_slice(bytes).map_err(|error| vec![invalid_json(bytes, &error)])?;
    let mut object = match body {
        Value::Object(object) => object,
        Value::Null => {
            return Err(vec![mistake(
                "missing",
                &[json!("body")],
                "Field required",
                &Value::Null,
            )]);
        }
        other => {
            let message = "Input should be a valid dictionary or object to extract fields from";
            return Err(vec![mistake(
                "model_attributes_type",
                &[json!("body")],
                message,
                &other,
            )]);
        }
    };
    let mut mistakes = Vec::new();
    for field in fields {
        field.check(&mut object, &mut mistakes);
    }
    if mistakes.is_empty() {
        Ok(Value::Object(object))
    } else {
        Err(mistakes)
    }
}

impl Field {
    fn check(&self, object: &mut Map<String, Value>, mistakes: &mut Mistakes) {
        let place = [json!("body"), json!(self.name)];
        let Some(value) = object.get(self.name) else {
            if self.required {
                let whole = Value::Object(object.clone());
                mistakes.push(mistake("missing", &place, "Field required", &whole));
            }
            return;
        };
        let is_optional = matches!(
            self.kind,
            Kind::OptionalText
                | Kind::OptionalTexts
                | Kind::OptionalNumbers
                | Kind::OptionalInteger
        );
        if is_optional && value.is_null() {
            return;
        }
        match self.kind {
            Kind::Any => {}
            Kind::Text | Kind::OptionalText => check_text(value, &place, mistakes),
            Kind::Flag => match flag(value) {
                Ok(flag) => {
                    object.insert(self.name.to_owned(), Value::Bool(flag));
                }
                Err((kind, message)) => mistakes.push(mistake(kind, &place, message, value)),
            },
            Kind::Object => {
                if !value.is_object() {
                    mistakes.push(not_a_dictionary(value, &place));
                }
            }
            Kind::ObjectOfLists => match value {
                Value::Object(lists) => {
                    for (name, list) in lists.iter().filter(|(_, list)| !list.is_array()) {
                        mistakes.push(not_a_list(list, &[&place[..], &[json!(name)]].concat()));
                    }
                }
                other => mistakes.push(not_a_dictionary(other, &place)),
            },
            Kind::Texts | Kind::OptionalTexts => items(value, &place, mistakes, check_text),
            Kind::OptionalNumbers => items(value, &place, mistakes, check_number),
            Kind::Objects => items(value, &place, mistakes, |item, place, mistakes| {
                if !item.is_object() {
                    mistakes.push(not_a_dictionary(item, place));
                }
            }),
            Kind::OptionalInteger => {
                let is_integer = value.as_i64().is_some()
                    || value
                        .as_str()
                        .is_some_and(|text| text.trim().parse::<i64>().is_ok());
                if !is_integer {
                    mistakes.push(mistake(
                        "int_type",
                        &place,
                        "Input should be a valid integer",
                        value,
                    ));
                }
            }
        }
    }
}

fn items(
    value: &Value,
    place: &[Value],
    mistakes: &mut Mistakes,
    check: impl Fn(&Value, &[Value], &mut Mistakes),
) {
    let Value::Array(items) = value else {
        mistakes.push(not_a_list(value, place));
        return;
    };
    for (i, item) in items.iter().enumerate() {
        check(item, &[place, &[json!(i)]].concat(), mistakes);
    }
}

fn check_text(value: &Value, place: &[Value], mistakes: &mut Mistakes) {
    if !value.is_string() {
        mistakes.push(mistake(
            "string_type",
            place,
            "Input should be a valid string",
            value,
        ));
    }
}

fn check_number(value: &Value, place: &[Value], mistakes: &mut Mistakes) {
    if !value.is_number() {
        mistakes.push(mistake(
            "float_type",
            place,
            "Input should be a valid number",
            value,
        ));
    }
}

fn not_a_list(value: &Value, place: &[Value]) -> Value {
    mistake("list_type", place, "Input should be a valid list", value)
}

fn not_a_dictionary(value: &Value, place: &[Value]) -> Value {
    mistake(
        "dict_type",
        place,
        "Input should be a valid dictionary",
        value,
    )
}

/// Pydantic takes 0 and 1, and some words, for a flag.
fn flag(value: &Value) -> Result<bool, (&'static str, &'static str)> {
    let parsing = (
        "bool_parsing",
        "Input should be a valid boolean, unable to interpret input",
    );
    match value {
        Value::Bool(flag) => Ok(*flag),
        Value::String(text) => flag_word(text).ok_or(parsing),
        Value::Number(number) => match number.as_f64() {
            Some(0.0) => Ok(false),
            Some(1.0) => Ok(true),
            _ => Err(parsing),
        },
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(("bool_type", "Input should be a valid boolean"))
        }
    }
}

fn flag_word(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "t" | "yes" | "y" | "on" => Some(true),
        "0" | "false" | "f" | "no" | "n" | "off" => Some(false),
        _ => None,
    }
}

/// A flag of the query string; absent is false.
pub(super) fn query_flag(query: Option<&str>, name: &str) -> Result<bool, Mistakes> {
    let pairs = query.unwrap_or_default().split('&');
    let mut found = pairs
        .filter_map(|pair| pair.split_once('='))
        .filter(|(key, _)| *key == name);
    let Some((_, text)) = found.next_back() else {
        return Ok(false);
    };
    flag_word(text).ok_or_else(|| {
        let message = "Input should be a valid boolean, unable to interpret input";
        vec![mistake(
            "bool_parsing",
            &[json!("query"), json!(name)],
            message,
            &json!(text),
        )]
    })
}

fn mistake(kind: &str, place: &[Value], message: &str, input: &Value) -> Value {
    json!({ "type": kind, "loc": place, "msg": message, "input": input })
}

/// The place counts characters, and the message is that of Python's parser as far as it can be told.
fn invalid_json(bytes: &[u8], error: &serde_json::Error) -> Value {
    let lines: usize = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .take(error.line().saturating_sub(1))
        .map(<[u8]>::len)
        .sum();
    let at = (lines + error.column()).saturating_sub(1).min(bytes.len());
    let text = error.to_string();
    let is_at_end = error.is_eof();
    let message = if text.starts_with("key must be a string") {
        "Expecting property name enclosed in double quotes"
    } else if text.contains("trailing characters") {
        "Extra data"
    } else if text.contains("expected `:`") {
        "Expecting ':' delimiter"
    } else if text.contains("while parsing a string") {
        "Unterminated string starting at"
    } else if text.contains("control character") {
        "Invalid control character at"
    } else if text.contains("expected `,`") || (is_at_end && text.contains("while parsing a")) {
        "Expecting ',' delimiter"
    } else {
        "Expecting value"
    };
    let at = match is_at_end {
        true => bytes.len(),
        // Python points at the beginning of a word that is none of JSON's.
        false => word_start(bytes, at),
    };
    let n_characters = String::from_utf8_lossy(&bytes[..at]).chars().count();
    json!({ "type": "json_invalid", "loc": ["body", n_characters], "msg": "JSON decode error", "input": {},
        "ctx": { "error": message } })
}

fn word_start(bytes: &[u8], at: usize) -> usize {
    let before = bytes[..at].iter().rev();
    at - before.take_while(|byte| byte.is_ascii_alphabetic()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str, fields: &[Field]) -> String {
        Value::Array(check(body.as_bytes(), fields).unwrap_err()).to_string()
    }

    #[test]
    fn a_mistake_names_its_place_and_what_was_sent() {
        assert_eq!(
            refused("[1]", ONLINE),
            r#"[{"type":"model_attributes_type","loc":["body"],"msg":"Input should be a valid dictionary or object to extract fields from","input":[1]}]"#
        );
        assert_eq!(
            refused(
                r#"{"entities": {"a": 1, "b": [], "c": {}}, "features": ["x", 1]}"#,
                ONLINE
            ),
            concat!(
                r#"[{"type":"list_type","loc":["body","entities","a"],"msg":"Input should be a valid list","input":1},"#,
                r#"{"type":"list_type","loc":["body","entities","c"],"msg":"Input should be a valid list","input":{}},"#,
                r#"{"type":"string_type","loc":["body","features",1],"msg":"Input should be a valid string","input":1}]"#
            )
        );
        assert!(refused("{\"é\": nope}", ONLINE).contains(r#""loc":["body",6]"#));
        assert!(refused("{\"a\": 1} x", ONLINE).contains("Extra data"));
    }

    #[test]
    fn flags_are_read_leniently() {
        let body = br#"{"entities": {}, "full_feature_names": "yes"}"#;
        assert_eq!(check(body, ONLINE).unwrap()["full_feature_names"], true);
        assert!(
            refused(r#"{"entities": {}, "full_feature_names": 2}"#, ONLINE)
                .contains("bool_parsing")
        );
        assert!(
            refused(r#"{"entities": {}, "full_feature_names": null}"#, ONLINE)
                .contains("bool_type")
        );
        assert_eq!(query_flag(Some("async=true&force=0"), "async"), Ok(true));
        assert_eq!(query_flag(Some("async=true&force=0"), "force"), Ok(false));
        assert_eq!(query_flag(None, "async"), Ok(false));
        assert!(query_flag(Some("async=maybe"), "async").is_err());
    }
}
