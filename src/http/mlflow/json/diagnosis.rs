//! What is wrong with a body that did not parse, in MLflow's words.

use serde_json::Value;

use super::FORMS;
use crate::http::mlflow::failure::Refusal;

/// Says what is wrong with a body that did not parse.
#[cold]
pub(super) fn diagnosis(bytes: &[u8], error: &serde_json::Error) -> Refusal {
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

pub(super) fn not_one_form(forms: &[&str]) -> Refusal {
    let quoted: Vec<String> = forms.iter().map(|form| format!("'{form}'")).collect();
    Refusal::bad_request(format!(
        "{REQUIRED_FORM}. Received dictionary with input fields: [{}].",
        quoted.join(", ")
    ))
}

const REQUIRED_FORM: &str = "The input must be a JSON dictionary with exactly one of the input fields {'dataframe_split', 'instances', 'dataframe_records', 'inputs'}";

pub(super) fn not_a_split(reason: String) -> Refusal {
    Refusal::bad_request(format!(
        "Invalid input. Provided dataframe_split field is not a valid dataframe representation in 'split' format. Error: '{reason}'"
    ))
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
