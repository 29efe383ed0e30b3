//! A JSON body into what a scoring call gives: one pass, straight into cells. No I/O.
//!
//! `frame` are the data frames, `values` what stands under `inputs` and `instances`. What does not parse is looked at a
//! second time, to say what is wrong with it in MLflow's words (`diagnosis`).

mod diagnosis;
mod frame;
#[cfg(test)]
mod tests;
mod values;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use self::diagnosis::{diagnosis, not_one_form};
use self::frame::{Rows, Split};
use self::values::{Data, Fielded};
use super::failure::Refusal;
use super::literals;
use super::room::Room;
use crate::types::cell::Cell;
use crate::types::request::{Cells, ColumnPlace, RequestColumn};
use crate::types::scoring::{FrameSource, Payload};

/// A decoded body.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) payload: Payload,
    pub(super) params: Option<Arc<RawValue>>,
}

const FORMS: [&str; 4] = [
    "dataframe_split",
    "instances",
    "dataframe_records",
    "inputs",
];

/// Fields by which MLflow knows a call of a language model.
const LANGUAGE_MODEL: [&str; 3] = ["messages", "prompt", "input"];

pub(super) fn decode(bytes: &[u8]) -> Result<Body, Refusal> {
    let fields = match serde_json::from_slice::<Fields>(bytes) {
        Ok(fields) => fields,
        Err(error) => again(bytes, &error)?,
    };
    fields.body(Room::of(bytes))
}

/// With the literals that only Python reads, or with the reason why even so it is no body.
#[cold]
fn again(bytes: &[u8], error: &serde_json::Error) -> Result<Fields, Refusal> {
    let Some(marked) = literals::marked(bytes) else {
        return Err(diagnosis(bytes, error));
    };
    serde_json::from_slice(&marked).map_err(|error| diagnosis(&marked, &error))
}

/// The fields of a body that count, each once.
#[derive(Default)]
struct Fields {
    form: Option<Form>,
    /// Names of the forms that are there.
    forms: Vec<&'static str>,
    params: Option<Arc<RawValue>>,
    /// Names of all fields, if one of them is a language model's.
    language_model: Option<Vec<String>>,
}

enum Form {
    Split(Split),
    Records(Rows),
    Instances(Data),
    Inputs(Data),
}

impl Fields {
    fn body(self, room: Room) -> Result<Body, Refusal> {
        let payload = match (self.form, &self.forms[..], self.language_model) {
            (None, _, Some(keys)) => Payload::Other(keys),
            (Some(form), [_], _) => form.payload(room)?,
            (_, forms, _) => return Err(not_one_form(forms)),
        };
        Ok(Body {
            payload,
            params: self.params,
        })
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        let mut names: Vec<String> = Vec::new();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            let (form, known) = match &*name {
                "dataframe_split" => (Form::Split(map.next_value()?), FORMS[0]),
                "instances" => (Form::Instances(map.next_value()?), FORMS[1]),
                "dataframe_records" => (Form::Records(map.next_value()?), FORMS[2]),
                "inputs" => (Form::Inputs(map.next_value()?), FORMS[3]),
                "params" => {
                    fields.params = map.next_value()?;
                    continue;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    names.push(name.into_owned());
                    continue;
                }
            };
            fields.form = Some(form);
            if !fields.forms.contains(&known) {
                fields.forms.push(known);
            }
        }
        if names
            .iter()
            .any(|name| LANGUAGE_MODEL.contains(&name.as_str()))
        {
            fields.language_model = Some(names);
        }
        Ok(fields)
    }
}

impl Form {
    fn payload(self, room: Room) -> Result<Payload, Refusal> {
        match self {
            Self::Split(split) => split.frame(room).map(Payload::Frame),
            Self::Records(rows) => rows.frame(FrameSource::Json, room).map(Payload::Frame),
            Self::Inputs(Data::Rows(rows)) => {
                rows.frame(FrameSource::Objects, room).map(Payload::Frame)
            }
            Self::Instances(Data::Rows(rows)) => Ok(named(rows.columns_as_given()?, true)),
            Self::Inputs(Data::Columns(columns)) => Ok(named(columns, false)),
            Self::Instances(Data::Columns(columns)) => Ok(named(columns, true)),
            Self::Inputs(Data::Array(array)) | Self::Instances(Data::Array(array)) => {
                Ok(Payload::Array(array))
            }
        }
    }
}

fn named(columns: Fielded, instances: bool) -> Payload {
    let columns = columns.into_iter().map(|(name, cell)| RequestColumn {
        place: ColumnPlace::Inputs,
        name,
        cells: match cell {
            Cell::List(cells) => Cells::List(cells),
            scalar => Cells::Scalar(scalar),
        },
    });
    Payload::Named {
        columns: columns.collect(),
        instances,
    }
}
