//! The body of `/get-online-features`, borrowed from its bytes.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::features::retrieve::{Given, GivenColumns, Naming, Wanted};

#[derive(Deserialize)]
pub(super) struct OnlineRequest<'a> {
    #[serde(borrow)]
    entities: Entities<'a>,
    #[serde(borrow, default)]
    features: Option<&'a RawValue>,
    #[serde(borrow, default)]
    feature_service: Option<&'a RawValue>,
    #[serde(default)]
    full_feature_names: bool,
    #[serde(default)]
    include_feature_view_version_metadata: bool,
}

impl<'a> OnlineRequest<'a> {
    pub(super) fn entities(&self) -> &GivenColumns<'a> {
        &self.entities.0
    }

    /// How the request wrote its selection: a JSON string is a feature service, a list are features.
    pub(super) fn selection(&self) -> &'a str {
        let named = self.feature_service.map(RawValue::get);
        match named.filter(|service| *service != "\"\"") {
            Some(service) => service,
            None => self.features.map_or("[]", RawValue::get),
        }
    }

    pub(super) fn naming(&self) -> Naming {
        if self.full_feature_names {
            Naming::Full
        } else {
            Naming::Short
        }
    }

    pub(super) fn with_versions(&self) -> bool {
        self.include_feature_view_version_metadata
    }
}

/// What a selection says.
pub(super) fn wanted(selection: &str) -> Result<Wanted, serde_json::Error> {
    if selection.starts_with('"') {
        return serde_json::from_str(selection).map(Wanted::Service);
    }
    serde_json::from_str(selection).map(Wanted::Features)
}

struct Entities<'a>(GivenColumns<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Entities<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntitiesVisitor).map(Entities)
    }
}

struct EntitiesVisitor;

impl<'de> Visitor<'de> for EntitiesVisitor {
    type Value = GivenColumns<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of lists")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut columns: GivenColumns<'de> = Vec::new();
        while let Some((Text(name), values)) = map.next_entry::<Text<'de>, Values<'de>>()? {
            match columns.iter_mut().find(|(other, _)| *other == name) {
                // The later of two counts, as in every JSON reader of Python.
                Some((_, former)) => *former = values.0,
                None => columns.push((name, values.0)),
            }
        }
        Ok(columns)
    }
}

/// Text without a copy where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor).map(Text)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

struct Values<'a>(Vec<Given<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Values<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ValuesVisitor).map(Values)
    }
}

struct ValuesVisitor;

impl<'de> Visitor<'de> for ValuesVisitor {
    type Value = Vec<Given<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Item(given)) = seq.next_element()? {
            values.push(given);
        }
        Ok(values)
    }
}

struct Item<'a>(Given<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Item<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemVisitor).map(Item)
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Given<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Given::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Given::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Given::Int(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map_or(Given::UInt(value), Given::Int))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Given::Float(value))
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Given::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Given::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        ValuesVisitor.visit_seq(seq).map(Given::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut object = serde_json::Map::new();
        while let Some((key, value)) = map.next_entry()? {
            object.insert(key, value);
        }
        let text = serde_json::to_string(&object).map_err(de::Error::custom)?;
        Ok(Given::Object(Cow::Owned(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_names_are_borrowed_from_the_body() {
        let body = r#"{"entities": {"a": ["x", "y\n", 1, -1, 2.5, true, null, 18446744073709551615, [1], {"k": 1}]},
            "features": ["v:f"], "zzz": {}}"#;
        let request: OnlineRequest<'_> = serde_json::from_str(body).unwrap();
        let (name, values) = &request.entities()[0];
        assert!(matches!(name, Cow::Borrowed("a")));
        assert!(matches!(values[0], Given::Text(Cow::Borrowed("x"))));
        assert_eq!(values[1], Given::Text("y\n".into()));
        assert_eq!(
            values[2..5],
            [Given::Int(1), Given::Int(-1), Given::Float(2.5)]
        );
        assert_eq!(
            values[5..8],
            [Given::Bool(true), Given::Null, Given::UInt(u64::MAX)]
        );
        assert_eq!(values[8], Given::List(vec![Given::Int(1)]));
        assert_eq!(values[9], Given::Object("{\"k\":1}".into()));
        assert_eq!(request.selection(), r#"["v:f"]"#);
        let features = Wanted::Features(vec!["v:f".into()]);
        assert_eq!(wanted(request.selection()).unwrap(), features);
    }

    #[test]
    fn a_named_service_comes_before_features() {
        let parse = |body| {
            serde_json::from_str::<OnlineRequest<'_>>(body)
                .unwrap()
                .selection()
        };
        let named = r#"{"entities": {}, "feature_service": "s", "features": ["v:f"]}"#;
        assert_eq!(wanted(parse(named)).unwrap(), Wanted::Service("s".into()));
        for unnamed in [
            r#"{"entities": {}, "feature_service": null, "features": ["v:f"]}"#,
            r#"{"entities": {}, "feature_service": "", "features": ["v:f"]}"#,
        ] {
            assert_eq!(parse(unnamed), r#"["v:f"]"#);
        }
        assert_eq!(
            wanted(parse(r#"{"entities": {}}"#)).unwrap(),
            Wanted::Features(vec![])
        );
    }
}
