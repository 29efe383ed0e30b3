//! A JSON body into what a scoring call gives: one pass, straight into cells. No I/O.
//!
//! What does not parse is looked at a second time, to say what is wrong with it in MLflow's words.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::failure::Refusal;
use super::literals;
use crate::types::cell::Cell;
use crate::types::request::{Cells, ColumnPlace, RequestColumn};
use crate::types::scoring::{Frame, FrameSource, Payload};

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
    fields.body()
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
    fn body(self) -> Result<Body, Refusal> {
        let payload = match (self.form, &self.forms[..], self.language_model) {
            (None, _, Some(keys)) => Payload::Other(keys),
            (Some(form), [_], _) => form.payload()?,
            (_, forms, _) => return Err(not_one_form(forms)),
        };
        Ok(Body {
            payload,
            params: self.params,
        })
    }
}

fn not_one_form(forms: &[&str]) -> Refusal {
    let quoted: Vec<String> = forms.iter().map(|form| format!("'{form}'")).collect();
    Refusal::bad_request(format!(
        "{REQUIRED_FORM}. Received dictionary with input fields: [{}].",
        quoted.join(", ")
    ))
}

const REQUIRED_FORM: &str = "The input must be a JSON dictionary with exactly one of the input fields {'dataframe_split', 'instances', 'dataframe_records', 'inputs'}";

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
    fn payload(self) -> Result<Payload, Refusal> {
        match self {
            Self::Split(split) => split.frame().map(Payload::Frame),
            Self::Records(rows) => Ok(Payload::Frame(rows.frame(FrameSource::Json))),
            Self::Inputs(Data::Rows(rows)) => Ok(Payload::Frame(rows.frame(FrameSource::Objects))),
            Self::Instances(Data::Rows(rows)) => Ok(named(rows.columns_as_given(), true)),
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

// Frames.

/// `dataframe_split`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Split {
    #[serde(default)]
    columns: Option<Vec<Label>>,
    #[serde(default, rename = "index")]
    _index: Option<IgnoredAny>,
    data: Vec<Item>,
}

/// The name of a column; pandas also takes numbers.
struct Label(String);

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Item::deserialize(deserializer)?.0 {
            Cell::Text(text) => Ok(Self(text)),
            Cell::Int(number) => Ok(Self(number.to_string())),
            Cell::UInt(number) => Ok(Self(number.to_string())),
            other => Err(de::Error::custom(format_args!(
                "a column is named by a {}",
                other.type_name()
            ))),
        }
    }
}

impl Split {
    fn frame(self) -> Result<Frame, Refusal> {
        let n_rows = self.data.len();
        // A list of plain values is one column.
        let width = self.data.iter().map(Item::width).max().unwrap_or(0);
        let names: Vec<String> = match &self.columns {
            Some(labels) => labels.iter().map(|label| label.0.clone()).collect(),
            None => (0..width).map(|place| place.to_string()).collect(),
        };
        if n_rows > 0 && names.len() != width {
            return Err(not_a_split(format!(
                "{} columns passed, passed data had {width} columns",
                names.len()
            )));
        }
        if let Some(name) = repeated(names.iter()) {
            return Err(not_a_split(format!("column '{name}' is given twice")));
        }
        let mut columns: Vec<Vec<Cell>> = Vec::with_capacity(names.len());
        columns.resize_with(names.len(), || Vec::with_capacity(n_rows));
        for row in self.data {
            let mut cells = match row.0 {
                Cell::List(cells) => cells.into_iter(),
                scalar => vec![scalar].into_iter(),
            };
            for column in &mut columns {
                // A short row ends in nulls.
                column.push(cells.next().unwrap_or(Cell::Null));
            }
        }
        let columns = names.into_iter().zip(columns);
        Ok(Frame {
            columns: columns.map(|(name, cells)| column(name, cells)).collect(),
            n_rows,
            named: self.columns.is_some(),
            source: FrameSource::Json,
        })
    }
}

fn not_a_split(reason: String) -> Refusal {
    Refusal::bad_request(format!(
        "Invalid input. Provided dataframe_split field is not a valid dataframe representation in 'split' format. Error: '{reason}'"
    ))
}

/// Looked for pair by pair while that is cheaper than hashing.
fn repeated<'a>(names: impl ExactSizeIterator<Item = &'a String> + Clone) -> Option<&'a String> {
    if names.len() <= 16 {
        let mut rest = names.clone().enumerate();
        let found = rest.find(|(at, name)| names.clone().take(*at).any(|other| other == *name));
        return found.map(|(_, name)| name);
    }
    let mut seen = HashSet::with_capacity(names.len());
    names.into_iter().find(|name| !seen.insert(name.as_str()))
}

fn column(name: String, cells: Vec<Cell>) -> RequestColumn {
    RequestColumn {
        place: ColumnPlace::Rows,
        name,
        cells: Cells::List(cells),
    }
}

/// Objects, one per row, with their fields in the order they came.
struct Rows(Vec<Fielded>);

type Fielded = Vec<(String, Cell)>;

impl Rows {
    /// Columns in the order in which they first come up; a row without one has null there.
    fn frame(self, source: FrameSource) -> Frame {
        let n_rows = self.0.len();
        let mut columns = transposed(self.0, |cells, row| cells.resize(row, Cell::Null));
        for (_, cells) in &mut columns {
            cells.resize(n_rows, Cell::Null);
        }
        let columns = columns.into_iter();
        Frame {
            columns: columns.map(|(name, cells)| column(name, cells)).collect(),
            n_rows,
            named: true,
            source,
        }
    }

    /// Columns of what the rows have: shorter where a row has no such field.
    fn columns_as_given(self) -> Fielded {
        let columns = transposed(self.0, |_, _| {}).into_iter();
        columns
            .map(|(name, cells)| (name, Cell::List(cells)))
            .collect()
    }
}

/// `reach` makes a column ready for the cell of a row.
fn transposed(
    rows: Vec<Fielded>,
    reach: impl Fn(&mut Vec<Cell>, usize),
) -> Vec<(String, Vec<Cell>)> {
    let mut columns: Vec<(String, Vec<Cell>)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (row, fields) in rows.into_iter().enumerate() {
        for (expected, (name, cell)) in fields.into_iter().enumerate() {
            // Usually each row has the fields of the first, in their order.
            let is_expected = columns
                .get(expected)
                .is_some_and(|(known, _)| *known == name);
            let place = match is_expected {
                true => expected,
                false => *places.entry(name.clone()).or_insert_with(|| {
                    columns.push((name, Vec::new()));
                    columns.len() - 1
                }),
            };
            let cells = &mut columns[place].1;
            reach(cells, row);
            cells.push(cell);
        }
    }
    columns
}

// Values.

/// One value: a number, text, boolean, null, or lists of these. Objects are none.
#[derive(Debug)]
struct Item(Cell);

impl Item {
    fn width(&self) -> usize {
        match &self.0 {
            Cell::List(cells) => cells.len(),
            _ => 1,
        }
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemVisitor).map(Self)
    }
}

struct ItemVisitor;

macro_rules! scalars {
    ($wrap:path) => {
        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok($wrap(Cell::Null))
        }

        fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
            Ok($wrap(Cell::Bool(value)))
        }

        fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
            Ok($wrap(Cell::Int(value)))
        }

        fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
            Ok($wrap(
                i64::try_from(value).map_or(Cell::UInt(value), Cell::Int),
            ))
        }

        fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
            Ok($wrap(Cell::Float(value)))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            let cell = literals::unmarked(text);
            Ok($wrap(cell.unwrap_or_else(|| Cell::Text(text.to_owned()))))
        }
    };
}

/// The cell itself.
fn itself(cell: Cell) -> Cell {
    cell
}

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, string, boolean, null or a list of these")
    }

    scalars!(itself);

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Cell, A::Error> {
        list(Vec::new(), seq)
    }
}

/// No `with_capacity` from a claimed length: the list grows with what really arrives.
fn list<'de, A: SeqAccess<'de>>(mut cells: Vec<Cell>, mut seq: A) -> Result<Cell, A::Error> {
    while let Some(Item(cell)) = seq.next_element()? {
        cells.push(cell);
    }
    Ok(Cell::List(cells))
}

/// What stands under `inputs` or `instances`.
enum Data {
    Columns(Fielded),
    Rows(Rows),
    Array(Cell),
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DataVisitor)
    }
}

struct DataVisitor;

impl<'de> Visitor<'de> for DataVisitor {
    type Value = Data;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of lists, a list, or one value")
    }

    scalars!(Data::Array);

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Data, A::Error> {
        fields(map).map(Data::Columns)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Data, A::Error> {
        match seq.next_element::<Element>()? {
            None => Ok(Data::Array(Cell::List(Vec::new()))),
            Some(Element::Value(first)) => list(vec![first], seq).map(Data::Array),
            Some(Element::Row(first)) => {
                let mut rows = vec![first];
                while let Some(Row(row)) = seq.next_element()? {
                    rows.push(row);
                }
                Ok(Data::Rows(Rows(rows)))
            }
        }
    }
}

/// The first element of a list says what the others are.
enum Element {
    Value(Cell),
    Row(Fielded),
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ElementVisitor)
    }
}

struct ElementVisitor;

impl<'de> Visitor<'de> for ElementVisitor {
    type Value = Element;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a value")
    }

    scalars!(Element::Value);

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Element, A::Error> {
        list(Vec::new(), seq).map(Element::Value)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Element, A::Error> {
        fields(map).map(Element::Row)
    }
}

/// An object of values; of a name that comes twice the last counts, as in Python.
fn fields<'de, A: MapAccess<'de>>(mut map: A) -> Result<Fielded, A::Error> {
    let mut fields: Fielded = Vec::new();
    while let Some((name, Item(cell))) = map.next_entry::<String, Item>()? {
        fields.push((name, cell));
    }
    if repeated(fields.iter().map(|(name, _)| name)).is_some() {
        let mut seen = HashSet::new();
        fields.reverse();
        fields.retain(|(name, _)| seen.insert(name.clone()));
        fields.reverse();
    }
    Ok(fields)
}

struct Row(Fielded);

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RowVisitor).map(Self)
    }
}

struct RowVisitor;

impl<'de> Visitor<'de> for RowVisitor {
    type Value = Fielded;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of values")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Fielded, A::Error> {
        fields(map)
    }
}

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rows: Vec<Row> = Vec::deserialize(deserializer)?;
        Ok(Self(rows.into_iter().map(|row| row.0).collect()))
    }
}

// What is wrong.

/// Says what is wrong with a body that did not parse.
#[cold]
fn diagnosis(bytes: &[u8], error: &serde_json::Error) -> Refusal {
    let fields = match serde_json::from_slice(bytes) {
        Ok(Value::Object(fields)) => fields,
        Ok(Value::Array(_)) => return invalid(format!("{REQUIRED_FORM}. Received a list.")),
        Ok(other) => {
            return invalid(format!(
                "{REQUIRED_FORM}. Received unexpected input type '<class '{}'>.",
                class(&other)
            ));
        }
        Err(error) => {
            return invalid(format!(
                "Ensure that input is a valid JSON formatted string. Error: '{error}'"
            ));
        }
    };
    let forms: Vec<&str> = FORMS
        .into_iter()
        .filter(|form| fields.contains_key(*form))
        .collect();
    let [form] = forms[..] else {
        return not_one_form(&forms);
    };
    match (form, &fields[form]) {
        ("dataframe_split", Value::Object(split)) => wrong_split(split, error),
        ("dataframe_split", other) => invalid(format!(
            "Dataframe split format must be a dictionary. Got {}.",
            class(other)
        )),
        ("dataframe_records", Value::Object(_)) => invalid(
            "Dataframe records format must be a list of records. Got dictionary.".to_owned(),
        ),
        ("dataframe_records", Value::Array(_)) => invalid(format!(
            "Provided dataframe_records field is not a valid dataframe representation in 'records' format. Error: '{error}'"
        )),
        ("dataframe_records", other) => invalid(format!(
            "Dataframe records format must be a list of records. Got type <class '{}'>.",
            class(other)
        )),
        (form, _) => invalid(format!("`{form}` cannot be read: {error}")),
    }
}

fn wrong_split(split: &serde_json::Map<String, Value>, error: &serde_json::Error) -> Refusal {
    let is_known = |name: &String| matches!(name.as_str(), "columns" | "data" | "index");
    if split.contains_key("data") && split.keys().all(is_known) {
        return not_a_split(error.to_string());
    }
    let keys: Vec<String> = split.keys().map(|key| format!("'{key}'")).collect();
    invalid(format!(
        "Dataframe split format must have 'data' field and optionally 'columns' and 'index' fields. Got {{{}}}.'",
        keys.join(", ")
    ))
}

fn invalid(reason: String) -> Refusal {
    Refusal::bad_request(format!("Invalid input. {reason}"))
}

/// Python's name of the type.
fn class(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(body: &str) -> Payload {
        decode(body.as_bytes()).unwrap().payload
    }

    fn columns(payload: &Payload) -> Vec<(&str, String)> {
        let columns = match payload {
            Payload::Frame(frame) => &frame.columns,
            Payload::Named { columns, .. } => columns,
            other => panic!("{other:?}"),
        };
        let columns = columns.iter();
        columns
            .map(|column| match &column.cells {
                Cells::List(cells) => (&*column.name, serde_json::to_string(cells).unwrap()),
                Cells::Scalar(cell) => (&*column.name, serde_json::to_string(cell).unwrap()),
            })
            .collect()
    }

    #[test]
    fn every_form_says_the_same_columns() {
        let wanted = [("a", "[1,2]".to_owned()), ("b", r#"["x",null]"#.to_owned())];
        for body in [
            r#"{"dataframe_split": {"columns": ["a", "b"], "index": [7, 8], "data": [[1, "x"], [2, null]]}}"#,
            r#"{"dataframe_split": {"data": [[1, "x"], [2, null]], "columns": ["a", "b"]}}"#,
            r#"{"dataframe_records": [{"a": 1, "b": "x"}, {"b": null, "a": 2}]}"#,
            r#"{"dataframe_records": [{"a": 1, "b": "x"}, {"a": 2}]}"#,
            r#"{"inputs": [{"a": 1, "b": "x"}, {"a": 2, "b": null}]}"#,
            r#"{"instances": [{"a": 1, "b": "x"}, {"a": 2, "b": null}]}"#,
            r#"{"inputs": {"a": [1, 2], "b": ["x", null]}}"#,
            r#"{"inputs": {"a": 9, "a": [1, 2], "b": ["x", null]}, "other": {"c": 1}}"#,
        ] {
            assert_eq!(columns(&payload(body)), wanted, "{body}");
        }
    }

    #[test]
    fn a_column_that_comes_up_late_is_null_before() {
        let frame = payload(r#"{"dataframe_records": [{"a": 1}, {"b": 2}, {"a": 3}]}"#);
        let wanted = [
            ("a", "[1,null,3]".to_owned()),
            ("b", "[null,2,null]".to_owned()),
        ];
        assert_eq!(columns(&frame), wanted);
        // `instances` leave it to the model whether lengths may differ.
        let named = payload(r#"{"instances": [{"a": 1}, {"b": 2}, {"a": 3}]}"#);
        assert_eq!(columns(&named)[0], ("a", "[1,3]".to_owned()));
    }

    #[test]
    fn a_frame_without_columns_is_named_by_place() {
        let Payload::Frame(frame) = payload(r#"{"dataframe_split": {"data": [[1, 2], [3]]}}"#)
        else {
            panic!("no frame");
        };
        assert!(!frame.named);
        let wanted = [("0", "[1,3]".to_owned()), ("1", "[2,null]".to_owned())];
        assert_eq!(columns(&Payload::Frame(frame)), wanted);
    }

    #[test]
    fn lists_and_single_values_are_arrays() {
        for (body, wanted) in [
            (
                r#"{"inputs": [[1, 2.5], [true, "x"]]}"#,
                "[[1,2.5],[true,\"x\"]]",
            ),
            (r#"{"instances": 1.5}"#, "1.5"),
            (r#"{"inputs": []}"#, "[]"),
            (r#"{"inputs": [NaN, -Infinity]}"#, r#"["NaN","-Infinity"]"#),
        ] {
            let Payload::Array(cell) = payload(body) else {
                panic!("{body}");
            };
            assert_eq!(serde_json::to_string(&cell).unwrap(), wanted);
        }
    }

    #[test]
    fn a_refusal_says_what_mlflow_says() {
        for (body, part) in [
            ("{}", "Received dictionary with input fields: []"),
            (
                r#"{"rows": []}"#,
                "Received dictionary with input fields: []",
            ),
            (
                r#"{"inputs": [1], "instances": [1]}"#,
                "Received dictionary with input fields: ['inputs', 'instances']",
            ),
            ("[[1]]", "Received a list."),
            ("3", "Received unexpected input type '<class 'int'>."),
            ("", "valid JSON formatted string"),
            (r#"{"inputs": [1,2"#, "valid JSON formatted string"),
            (
                r#"{"dataframe_split": [1]}"#,
                "must be a dictionary. Got list.",
            ),
            (
                r#"{"dataframe_split": {"columns": ["a"]}}"#,
                "Got {'columns'}.",
            ),
            (
                r#"{"dataframe_split": {"data": [], "foo": 1}}"#,
                "Got {'data', 'foo'}.",
            ),
            (
                r#"{"dataframe_split": {"columns": ["a", "b"], "data": [[1]]}}"#,
                "2 columns passed, passed data had 1 columns",
            ),
            (
                r#"{"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}"#,
                "'a' is given twice",
            ),
            (
                r#"{"dataframe_records": {"a": 1}}"#,
                "list of records. Got dictionary.",
            ),
            (
                r#"{"dataframe_records": [{"a": {"b": 1}}]}"#,
                "in 'records' format",
            ),
            (r#"{"inputs": [[{"a": 1}]]}"#, "`inputs` cannot be read"),
        ] {
            let refusal = decode(body.as_bytes()).unwrap_err().message().to_owned();
            assert!(refusal.contains(part), "{body}: {refusal}");
        }
    }

    #[test]
    fn a_call_of_a_language_model_keeps_its_fields() {
        let body = r#"{"messages": [{"role": "user"}], "n": 1}"#;
        let wanted = Payload::Other(vec!["messages".to_owned(), "n".to_owned()]);
        assert_eq!(payload(body), wanted);
    }
}
