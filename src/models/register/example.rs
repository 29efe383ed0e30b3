//! The input example that goes with a model: as MLflow keeps it, and as a ready body for `/invocations`.

use serde_json::{Map, Value, json};

use crate::models::artifact::{InputExample, parse_example};

/// Where both lie in the model directory.
pub(super) const FILE: &str = "input_example.json";
pub(super) const SERVING_FILE: &str = "serving_input_example.json";

/// An example with the text of both files.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Example {
    pub(super) parsed: InputExample,
    /// MLflow's word for what it is: `dataframe`, or `ndarray` (of one array or of arrays by name).
    pub(super) kind: &'static str,
    pub(super) text: String,
    pub(super) serving_text: String,
}

impl Example {
    /// From JSON: a frame (`{"columns", "data"}`), nested lists, lists by input name, or one of these as the body of a
    /// scoring request (`dataframe_split`, `inputs` by name). Errors: in words.
    pub(super) fn parse(json: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let value = unwrap_body(value);
        let (kind, body) = match &value {
            Value::Object(fields) if is_frame(fields) => ("dataframe", "dataframe_split"),
            Value::Object(_) | Value::Array(_) => ("ndarray", "inputs"),
            _ => return Err("it is neither an object nor a list".to_owned()),
        };
        let text = value.to_string();
        Ok(Self {
            parsed: parse_example(&text, kind)?,
            kind,
            serving_text: format!("{:#}", json!({ body: value })),
            text,
        })
    }

    /// The columns, if it is a frame.
    pub(super) fn columns(&self) -> Option<&[String]> {
        match &self.parsed {
            InputExample::Frame { columns, .. } => Some(columns),
            InputExample::Array(_) | InputExample::Arrays(_) => None,
        }
    }
}

fn is_frame(fields: &Map<String, Value>) -> bool {
    fields.len() == 2 && fields.contains_key("columns") && fields.contains_key("data")
}

fn unwrap_body(value: Value) -> Value {
    match value {
        Value::Object(mut fields) if fields.len() == 1 => {
            let inner = fields
                .remove("dataframe_split")
                .or_else(|| match fields.get("inputs") {
                    // A graph may have an input of this name: its array is no body.
                    Some(Value::Object(_)) => fields.remove("inputs"),
                    _ => None,
                });
            inner.unwrap_or(Value::Object(fields))
        }
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::test_models::fixture;

    #[test]
    fn recorded_examples_are_kept_as_they_are() {
        for (model, kind) in [
            ("linreg_col", "dataframe"),
            ("linreg_tensor", "ndarray"),
            ("multi_tensor", "ndarray"),
        ] {
            let directory = fixture("models").join(model);
            let text = fs_err::read_to_string(directory.join(FILE)).unwrap();
            let example = Example::parse(&text).unwrap();
            assert_eq!(example.kind, kind);
            let (kept, recorded): (Value, Value) = (
                serde_json::from_str(&example.text).unwrap(),
                serde_json::from_str(&text).unwrap(),
            );
            assert_eq!(kept, recorded);
            let serving = Example::parse(&example.serving_text).unwrap();
            if !matches!(example.parsed, InputExample::Array(_)) {
                assert_eq!(serving.text, example.text);
            }
        }
    }

    #[test]
    fn a_body_with_an_array_of_inputs_is_an_input_of_that_name() {
        let example = Example::parse(r#"{"inputs": [[1.0]]}"#).unwrap();
        assert!(matches!(example.parsed, InputExample::Arrays(_)));
    }

    #[test]
    fn an_example_that_is_none_is_an_error_in_words() {
        for (json, part) in [
            ("3", "neither an object nor a list"),
            ("{", "EOF"),
            (
                r#"{"columns": ["a"], "data": [[1, 2]]}"#,
                "rows are not as long",
            ),
        ] {
            let error = Example::parse(json).unwrap_err();
            assert!(error.contains(part), "{json}: {error}");
        }
    }
}
