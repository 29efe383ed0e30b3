//! What can be set, read from the JSON Schema of the configuration's type.
//!
//! Understood is what `schemars` derives from structs, enums, options, lists and maps. Beside the standard keywords:
//! `format` names a type in words (`duration`, `byte-size`, `socket-address`), `writeOnly` marks a secret.

use schemars::JsonSchema;
use serde_json::Value as Json;

use super::key::Key;
use super::text::{enumeration, literal};

/// The schema of a whole configuration.
pub(super) struct Schema(Json);

/// The schema of one table or option.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    root: &'a Json,
    json: &'a Json,
}

/// Why a key leads nowhere.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unknown {
    /// The key down to the first name that is not known.
    pub(super) key: Key,
    /// What is known beside it; empty where the option above takes no table.
    pub(super) siblings: Vec<String>,
}

impl Schema {
    pub(super) fn of<T: JsonSchema>() -> Self {
        Self(schemars::schema_for!(T).to_value())
    }

    pub(super) fn root(&self) -> Node<'_> {
        Node {
            root: &self.0,
            json: &self.0,
        }
    }

    pub(super) fn resolve(&self, key: &Key) -> Result<Node<'_>, Unknown> {
        let mut node = self.root();
        for (i, name) in key.segments().iter().enumerate() {
            node = node.child(name).ok_or_else(|| Unknown {
                key: key.prefix(i + 1),
                siblings: node.options().map(|(name, _)| name.to_owned()).collect(),
            })?;
        }
        Ok(node)
    }

    /// The key that a variable's segments mean. Entries of a map are `existing` ones where the variable can mean one.
    pub(super) fn resolve_folded(
        &self,
        segments: &[String],
        existing: impl Fn(&Key, &str) -> Option<String>,
    ) -> Key {
        let mut node = Some(self.root());
        let mut key = Key::default();
        for segment in segments {
            let is_entry = node.is_some_and(|node| node.option(segment).is_none());
            let name = match is_entry.then(|| existing(&key, segment)).flatten() {
                Some(name) => name,
                None => segment.clone(),
            };
            node = node.and_then(|node| node.child(&name));
            key = key.child(&name);
        }
        key
    }
}

impl<'a> Node<'a> {
    fn at(self, json: &'a Json) -> Self {
        Self { json, ..self }
    }

    /// The schemas of which a value fits one, with references followed. Null is left out.
    fn alternatives(self) -> Vec<&'a Json> {
        if let Some(reference) = self.json["$ref"].as_str() {
            let pointer = reference.trim_start_matches('#');
            let target = self.root.pointer(pointer).unwrap_or(&Json::Null);
            return self.at(target).alternatives();
        }
        for keyword in ["anyOf", "oneOf", "allOf"] {
            if let Some(schemas) = self.json[keyword].as_array() {
                let below = schemas.iter().map(|json| self.at(json).alternatives());
                return below.flatten().collect();
            }
        }
        if self.json["type"] == "null" {
            return Vec::new();
        }
        vec![self.json]
    }

    /// What can be set below, by name, in the order of declaration.
    pub(super) fn options(self) -> impl Iterator<Item = (&'a str, Self)> {
        let objects = self.alternatives().into_iter();
        let properties = objects.filter_map(|json| json["properties"].as_object());
        properties
            .flatten()
            .map(move |(name, json)| (name.as_str(), self.at(json)))
    }

    fn option(self, name: &str) -> Option<Self> {
        let mut options = self.options();
        options
            .find(|(known, _)| *known == name)
            .map(|(_, node)| node)
    }

    /// The schema of entries whose names the user chooses, where there are such.
    pub(super) fn entries(self) -> Option<Self> {
        self.alternatives().into_iter().find_map(|json| {
            if accepts_anything(json) {
                return Some(self.at(json));
            }
            let entries = json.get("additionalProperties")?;
            (*entries != Json::Bool(false)).then(|| self.at(entries))
        })
    }

    pub(super) fn child(self, name: &str) -> Option<Self> {
        self.option(name).or_else(|| self.entries())
    }

    pub(super) fn is_table(self) -> bool {
        self.alternatives()
            .iter()
            .any(|json| json["type"] == "object")
    }

    /// Names that must be set where this table is; unknown for a choice of tables.
    pub(super) fn required(self) -> Vec<&'a str> {
        match self.alternatives().as_slice() {
            [json] => {
                let names = json["required"].as_array().into_iter().flatten();
                names.filter_map(Json::as_str).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Must never be shown.
    pub(super) fn is_secret(self) -> bool {
        let marked = |json: &Json| json["writeOnly"] == true;
        marked(self.json) || self.alternatives().into_iter().any(marked)
    }

    /// The value that an option has when nothing sets it.
    pub(super) fn default(self) -> Option<&'a Json> {
        self.json
            .get("default")
            .filter(|default| !default.is_null())
    }

    /// The doc comment.
    pub(super) fn description(self) -> Option<&'a str> {
        let own = self.json["description"].as_str();
        own.or_else(|| match self.alternatives().as_slice() {
            [json] => json["description"].as_str(),
            _ => None,
        })
    }

    /// The words that the option takes, with what each means, where it takes words only.
    pub(super) fn words(self) -> Vec<(&'a str, Option<&'a str>)> {
        let mut words = Vec::new();
        for json in self.alternatives() {
            let description = json["description"].as_str();
            match (json["const"].as_str(), json["enum"].as_array()) {
                (Some(word), _) => words.push((word, description)),
                (None, Some(all)) => {
                    words.extend(all.iter().filter_map(Json::as_str).map(|word| (word, None)));
                }
                (None, None) => return Vec::new(),
            }
        }
        words
    }

    /// The words of one alternative.
    fn own_words(self) -> Option<Vec<String>> {
        let owned = |words: &[Json]| {
            let words = words.iter().filter_map(Json::as_str);
            words.map(str::to_owned).collect::<Vec<_>>()
        };
        let words = match (self.json.get("const"), self.json["enum"].as_array()) {
            (Some(word), _) => owned(std::slice::from_ref(word)),
            (None, Some(words)) => owned(words),
            (None, None) => return None,
        };
        (!words.is_empty()).then_some(words)
    }

    /// What the option takes, to follow "takes": `a whole number from 1`.
    pub(super) fn wanted(self) -> String {
        let words = self.words();
        if !words.is_empty() {
            let words: Vec<String> = words.iter().map(|(word, _)| (*word).to_owned()).collect();
            return enumeration(&words, "or");
        }
        let mut kinds: Vec<String> = Vec::new();
        for json in self.alternatives() {
            let kind = self.at(json).kind();
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        kinds.join(" or ")
    }

    /// One alternative in words.
    fn kind(self) -> String {
        if let Some(words) = self.own_words() {
            return enumeration(&words, "or");
        }
        let types = match &self.json["type"] {
            Json::Array(types) => types.iter().filter_map(Json::as_str).collect(),
            single => single.as_str().map_or_else(Vec::new, |kind| vec![kind]),
        };
        match self.json["format"].as_str() {
            Some("duration") => return "a duration".into(),
            Some("byte-size") => return "a number of bytes".into(),
            Some("socket-address") => return "an address with port".into(),
            _ => {}
        }
        let kinds: Vec<String> = types
            .into_iter()
            .filter(|kind| *kind != "null")
            .map(|kind| match kind {
                "string" => "a string".into(),
                "boolean" => "`true` or `false`".into(),
                "number" => "a number".into(),
                "integer" => format!("a whole number{}", self.range()),
                "array" => format!("a list of {}", self.at(&self.json["items"]).items()),
                "object" => "a table".into(),
                other => other.to_owned(),
            })
            .collect();
        if kinds.is_empty() {
            return "any value".into();
        }
        kinds.join(" or ")
    }

    /// What a list holds: the article goes.
    fn items(self) -> String {
        let wanted = self.wanted();
        let noun = wanted.strip_prefix("a ").map(|noun| format!("{noun}s"));
        noun.unwrap_or(wanted)
    }

    fn range(self) -> String {
        let bound = |word: &str, keyword: &str| match self.json.get(keyword) {
            Some(bound) => format!(" {word} {}", literal(bound)),
            None => String::new(),
        };
        bound("from", "minimum") + &bound("to", "maximum")
    }
}

/// A schema that says nothing.
fn accepts_anything(json: &Json) -> bool {
    const RESTRICTING: [&str; 6] = ["type", "properties", "enum", "const", "$ref", "not"];
    match json {
        Json::Bool(anything) => *anything,
        Json::Object(keywords) => !RESTRICTING.iter().any(|word| keywords.contains_key(*word)),
        _ => false,
    }
}
