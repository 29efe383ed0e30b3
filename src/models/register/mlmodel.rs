//! The `MLmodel` file: written as MLflow 3.17 writes it, keys in alphabetical order.

use std::collections::BTreeMap;

use serde_yaml_ng::{Mapping, Value};

use super::signature::Stated;
use crate::types::timestamp::Timestamp;

/// The MLflow whose format this is.
pub(super) const MLFLOW_VERSION: &str = "3.17.2";

/// Keys that say which copy of a model this is, not what the model is.
const IDENTITY: [&str; 5] = [
    "artifact_path",
    "model_id",
    "model_uuid",
    "run_id",
    "utc_time_created",
];

/// What a registry knows a copy of a model by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Where the files lie: a URI, or a path below the run's artifacts.
    pub artifact_path: Option<String>,
    /// Of the logged model; absent where the registry has no such thing.
    pub model_id: Option<String>,
    pub run_id: Option<String>,
}

/// An `MLmodel` file without an identity.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Document(BTreeMap<String, Value>);

impl Document {
    /// For an ONNX file that has none yet.
    pub(super) fn of_onnx(data: &str, onnx_release: &str) -> Self {
        let onnx = mapping([
            ("code", Value::Null),
            ("data", text(data)),
            ("onnx_session_options", Value::Null),
            ("onnx_version", text(onnx_release)),
            (
                "providers",
                Value::Sequence(vec![
                    text("CUDAExecutionProvider"),
                    text("CPUExecutionProvider"),
                ]),
            ),
        ]);
        let environment = mapping([
            ("conda", text(super::environment::CONDA)),
            ("virtualenv", text(super::environment::PYTHON_ENV)),
        ]);
        let python_function = mapping([
            ("data", text(data)),
            ("env", environment),
            ("loader_module", text("mlflow.onnx")),
        ]);
        let flavors = mapping([("onnx", onnx), ("python_function", python_function)]);
        let fields = [
            ("flavors", flavors),
            ("is_signature_from_type_hint", Value::Bool(false)),
            ("mlflow_version", text(MLFLOW_VERSION)),
            ("prompts", Value::Null),
            ("type_hint_from_example", Value::Bool(false)),
        ];
        Self(fields.map(|(key, value)| (key.to_owned(), value)).into())
    }

    /// What a model directory brings. Errors: in words, with line and column.
    pub(super) fn parse(yaml: &str) -> Result<Self, String> {
        serde_yaml_ng::from_str(yaml)
            .map(Self)
            .map_err(|error| error.to_string())
    }

    /// Signature as MLflow states it; a document without one has no such key.
    pub(super) fn set_signature(&mut self, stated: &Stated) {
        if stated.is_empty() {
            return;
        }
        let side = |json: &Option<String>| json.as_deref().map_or(Value::Null, text);
        let signature = mapping([
            ("inputs", side(&stated.inputs)),
            ("outputs", side(&stated.outputs)),
            ("params", side(&stated.params)),
        ]);
        self.0.insert("signature".to_owned(), signature);
    }

    /// `kind` is MLflow's `dataframe` or `ndarray`.
    pub(super) fn set_example(&mut self, kind: &str) {
        use super::example::{FILE, SERVING_FILE};
        let mut info = Mapping::new();
        info.insert(text("artifact_path"), text(FILE));
        if kind == "dataframe" {
            info.insert(text("pandas_orient"), text("split"));
        }
        info.insert(text("serving_input_path"), text(SERVING_FILE));
        info.insert(text("type"), text(kind));
        self.0
            .insert("saved_input_example_info".to_owned(), Value::Mapping(info));
    }

    /// Of all files but `MLmodel` and those of the environment.
    pub(super) fn set_size(&mut self, n_bytes: u64) {
        self.0
            .insert("model_size_bytes".to_owned(), Value::Number(n_bytes.into()));
    }

    /// What the model is: the same text for each copy of it.
    pub(super) fn content(&self) -> Result<String, String> {
        let mut fields = self.0.clone();
        fields.retain(|key, _| !IDENTITY.contains(&key.as_str()));
        serde_yaml_ng::to_string(&fields).map_err(|error| error.to_string())
    }

    /// The file of one copy.
    pub(super) fn text(&self, identity: &Identity, now: Timestamp) -> Result<String, String> {
        let mut fields = self.0.clone();
        let mut set = |key: &str, value: Option<&str>| match value {
            Some(value) => drop(fields.insert(key.to_owned(), text(value))),
            None => drop(fields.remove(key)),
        };
        set("artifact_path", identity.artifact_path.as_deref());
        set("run_id", identity.run_id.as_deref());
        let uuid = match &identity.model_id {
            Some(model_id) => model_id.clone(),
            None => uuid::Uuid::now_v7().simple().to_string(),
        };
        set("model_uuid", Some(&uuid));
        let model_id = identity.model_id.as_deref().map_or(Value::Null, text);
        fields.insert("model_id".to_owned(), model_id);
        let created = fields.entry("utc_time_created".to_owned());
        created.or_insert_with(|| Value::String(utc(now)));
        serde_yaml_ng::to_string(&fields).map_err(|error| error.to_string())
    }
}

/// `YYYY-MM-DD HH:MM:SS.ffffff`.
fn utc(at: Timestamp) -> String {
    let format = "%Y-%m-%d %H:%M:%S.%6f";
    match jiff::Timestamp::from_microsecond(at.as_micros()) {
        Ok(at) => at.strftime(format).to_string(),
        Err(_) => at.to_string(),
    }
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn mapping<const N: usize>(entries: [(&str, Value); N]) -> Value {
    let entries = entries.map(|(key, value)| (text(key), value));
    Value::Mapping(entries.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::test_models::fixture;

    #[test]
    fn a_recorded_file_keeps_all_but_its_identity() {
        let recorded = fixture("models/linreg_params/MLmodel");
        let recorded = fs_err::read_to_string(recorded).unwrap();
        let document = Document::parse(&recorded).unwrap();
        let identity = Identity {
            artifact_path: Some("mlflow-artifacts:/1/models/m-1/artifacts".to_owned()),
            model_id: Some("m-1".to_owned()),
            run_id: Some("r".to_owned()),
        };
        let text = document.text(&identity, Timestamp::now()).unwrap();
        let (mut written, mut wanted): (BTreeMap<String, Value>, BTreeMap<String, Value>) = (
            serde_yaml_ng::from_str(&text).unwrap(),
            serde_yaml_ng::from_str(&recorded).unwrap(),
        );
        assert_eq!(written["model_uuid"], written["model_id"]);
        assert_eq!(written["run_id"], "r");
        assert_eq!(written["utc_time_created"], wanted["utc_time_created"]);
        for fields in [&mut written, &mut wanted] {
            fields.retain(|key, _| !IDENTITY.contains(&key.as_str()));
        }
        assert_eq!(written, wanted);
        let again = Document::parse(&text).unwrap();
        assert_eq!(again.content(), document.content());
    }

    #[test]
    fn without_a_logged_model_there_is_still_a_unique_id() {
        let document = Document::of_onnx("model.onnx", "1.14.0");
        let now = Timestamp::from_micros(1_795_360_522_409_012);
        let text = document.text(&Identity::default(), now).unwrap();
        let fields: BTreeMap<String, Value> = serde_yaml_ng::from_str(&text).unwrap();
        assert_eq!(fields["model_id"], Value::Null);
        assert_eq!(fields["model_uuid"].as_str().unwrap().len(), 32);
        assert_eq!(fields["utc_time_created"], "2026-11-22 15:15:22.409012");
        assert!(!fields.contains_key("run_id") && !fields.contains_key("signature"));
    }
}
