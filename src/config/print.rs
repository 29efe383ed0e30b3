//! The configuration in effect, each value with where it comes from. Secrets are hidden.

use std::fmt::Write;

use serde_json::{Map, Value as Json, json};

use super::key::{Key, quoted_if_needed};
use super::load::Loaded;
use super::text::literal;
use super::tree::Tree;

/// As a TOML file that has the same effect, except for secrets; the origin of each value is a comment behind it.
pub fn toml<T>(loaded: &Loaded<T>) -> String {
    let mut text = String::new();
    if let Json::Object(table) = &loaded.shown {
        write_table(&mut text, &Key::default(), table, &loaded.given);
    }
    text
}

/// As one object: `{"http.listen": {"value": ..., "origin": "default"}}`; null is an option that is not set.
pub fn json<T>(loaded: &Loaded<T>) -> Json {
    let mut options = Map::new();
    collect(&mut options, &Key::default(), &loaded.shown, &loaded.given);
    Json::Object(options)
}

fn collect(options: &mut Map<String, Json>, key: &Key, value: &Json, given: &Tree) {
    if let Json::Object(table) = value {
        for (name, value) in table {
            collect(options, &key.child(name), value, given);
        }
        return;
    }
    let origin = given.origin(key).to_string();
    options.insert(key.to_string(), json!({"value": value, "origin": origin}));
}

/// Values first, then tables: TOML takes what follows a header as part of that table.
fn write_table(text: &mut String, key: &Key, table: &Map<String, Json>, given: &Tree) {
    let is_table = |value: &Json| value.is_object();
    if !key.segments().is_empty() && table.values().any(|value| !is_table(value)) {
        let gap = if text.is_empty() { "" } else { "\n" };
        append(text, format_args!("{gap}[{key}]\n"));
    }
    for (name, value) in table.iter().filter(|(_, value)| !is_table(value)) {
        let origin = given.origin(&key.child(name));
        let name = quoted_if_needed(name);
        match value {
            Json::Null => append(text, format_args!("# {name} is not set\n")),
            value => append(
                text,
                format_args!("{name} = {}  # {origin}\n", literal(value)),
            ),
        }
    }
    for (name, value) in table {
        if let Json::Object(below) = value {
            write_table(text, &key.child(name), below, given);
        }
    }
}

fn append(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = text.write_fmt(what);
}
