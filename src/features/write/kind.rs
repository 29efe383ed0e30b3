//! What the values of a JSON column are together, as pandas and Arrow see it: the type that a column has before it becomes
//! feature values.
//!
//! Values of a column are of one kind or null. Integers beside floating point, or beside a null, are floating point: that is
//! what Feast stores of them too, 2^53 + 1 loses its last bit. Objects of a column share their keys: what one of them lacks
//! is null in it.

use std::collections::HashMap;

use serde_json::{Map as Object, Value as Json};

/// So many values the objects of a column may come to when each has the keys of all.
const MAX_SHARED_VALUES: usize = 4_000_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing but nulls, or nothing at all.
    Null,
    Bool,
    Int,
    Float,
    Text,
    List(Box<Kind>),
    /// Every key of the column's objects, in order of appearance.
    Object(Vec<(String, Kind)>),
}

/// Values of a column that do not go together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Clash {
    /// `found` came up where there had been `was` before.
    Mixed {
        was: &'static str,
        found: &'static str,
    },
    /// The objects have too many different keys.
    TooManyKeys,
}

impl Kind {
    /// The kind of a column, or the row at which it stops being of one.
    pub(super) fn of<'a>(
        values: impl IntoIterator<Item = &'a Json>,
    ) -> Result<Self, (usize, Clash)> {
        let mut seen = Seen::default();
        for (row, value) in values.into_iter().enumerate() {
            seen.add(value).map_err(|clash| (row, clash))?;
        }
        Ok(seen.kind())
    }

    /// The word for it in messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "boolean",
            Self::Int => "integer",
            Self::Float => "number",
            Self::Text => "string",
            Self::List(_) => "list",
            Self::Object(_) => "object",
        }
    }
}

/// What was seen of a column so far.
#[derive(Debug, Default)]
struct Seen {
    null: bool,
    /// The kind of what is not null, numbers aside.
    other: Option<&'static str>,
    int: bool,
    float: bool,
    items: Option<Box<Seen>>,
    fields: Fields,
}

#[derive(Debug, Default)]
struct Fields {
    n_objects: usize,
    positions: HashMap<String, usize>,
    fields: Vec<Field>,
}

#[derive(Debug)]
struct Field {
    name: String,
    /// In how many objects it is.
    n: usize,
    seen: Seen,
}

const NUMBER: &str = "number";

impl Seen {
    fn add(&mut self, value: &Json) -> Result<(), Clash> {
        match value {
            Json::Null => {
                self.null = true;
                Ok(())
            }
            Json::Bool(_) => self.agree("boolean"),
            Json::Number(number) => {
                let is_int = number.is_i64() || number.is_u64();
                self.int |= is_int;
                self.float |= !is_int;
                self.agree(NUMBER)
            }
            Json::String(_) => self.agree("string"),
            Json::Array(values) => {
                self.agree("list")?;
                let items = self.items.get_or_insert_default();
                values.iter().try_for_each(|value| items.add(value))
            }
            Json::Object(object) => {
                self.agree("object")?;
                self.fields.add(object)
            }
        }
    }

    fn agree(&mut self, found: &'static str) -> Result<(), Clash> {
        match self.other {
            Some(was) if was != found => Err(Clash::Mixed { was, found }),
            _ => {
                self.other = Some(found);
                Ok(())
            }
        }
    }

    fn kind(self) -> Kind {
        match self.other {
            None => Kind::Null,
            Some("boolean") => Kind::Bool,
            Some(NUMBER) if self.float || self.null => Kind::Float,
            Some(NUMBER) => Kind::Int,
            Some("list") => Kind::List(Box::new(
                self.items.map_or(Kind::Null, |items| items.kind()),
            )),
            Some("object") => Kind::Object(self.fields.kinds()),
            Some(_) => Kind::Text,
        }
    }
}

impl Fields {
    fn add(&mut self, object: &Object<String, Json>) -> Result<(), Clash> {
        self.n_objects += 1;
        for (name, value) in object {
            let position = match self.positions.get(name) {
                Some(&position) => position,
                None => {
                    self.positions.insert(name.clone(), self.fields.len());
                    self.fields.push(Field {
                        name: name.clone(),
                        n: 0,
                        seen: Seen::default(),
                    });
                    self.fields.len() - 1
                }
            };
            let field = &mut self.fields[position];
            field.n += 1;
            field.seen.add(value)?;
        }
        if self.fields.len().saturating_mul(self.n_objects) > MAX_SHARED_VALUES {
            return Err(Clash::TooManyKeys);
        }
        Ok(())
    }

    fn kinds(self) -> Vec<(String, Kind)> {
        let n_objects = self.n_objects;
        let kind = |mut field: Field| {
            field.seen.null |= field.n < n_objects;
            (field.name, field.seen.kind())
        };
        self.fields.into_iter().map(kind).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind(values: Json) -> Result<Kind, (usize, Clash)> {
        Kind::of(values.as_array().unwrap())
    }

    #[test]
    fn integers_beside_a_null_or_a_fraction_are_floating_point() {
        assert_eq!(kind(json!([1, 2])), Ok(Kind::Int));
        assert_eq!(kind(json!([1, null])), Ok(Kind::Float));
        assert_eq!(kind(json!([null, 1, 2.5])), Ok(Kind::Float));
        assert_eq!(kind(json!([true, null])), Ok(Kind::Bool));
        assert_eq!(kind(json!([null])), Ok(Kind::Null));
        let list = |kind| Ok(Kind::List(Box::new(kind)));
        assert_eq!(kind(json!([[1], [2, null]])), list(Kind::Float));
        assert_eq!(kind(json!([[1], null])), list(Kind::Int));
        assert_eq!(kind(json!([[], null])), list(Kind::Null));
    }

    #[test]
    fn objects_of_a_column_share_their_keys() {
        let fields = vec![("a".to_owned(), Kind::Float), ("b".to_owned(), Kind::Text)];
        assert_eq!(
            kind(json!([{"a": 1}, {"a": 2, "b": "x"}, null, {"b": "y"}])),
            Ok(Kind::Object(fields))
        );
        let whole = vec![("a".to_owned(), Kind::Int)];
        assert_eq!(kind(json!([{"a": 1}, null])), Ok(Kind::Object(whole)));
    }

    #[test]
    fn values_of_two_kinds_clash_at_their_row() {
        let mixed = |row, was, found| Err((row, Clash::Mixed { was, found }));
        assert_eq!(kind(json!(["a", 1])), mixed(1, "string", "number"));
        assert_eq!(kind(json!([null, true, 1])), mixed(2, "boolean", "number"));
        assert_eq!(kind(json!([[1], ["a"]])), mixed(1, "number", "string"));
        assert_eq!(kind(json!([[1], 5])), mixed(1, "list", "number"));
    }

    #[test]
    fn objects_with_ever_new_keys_do_not_fill_the_memory() {
        let objects: Vec<Json> = (0..3_000).map(|i| json!({ i.to_string(): i })).collect();
        let (row, clash) = Kind::of(&objects).unwrap_err();
        assert_eq!((row, clash), (2_000, Clash::TooManyKeys));
    }
}
