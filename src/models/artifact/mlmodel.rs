//! The `MLmodel` file: YAML to the few fields that serving needs.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use serde::Deserialize;
use serde_yaml_ng::Value;

use crate::inference::{ExecutionMode, GraphOptimization, SessionOptions};

#[derive(Debug, Deserialize)]
pub(super) struct MlModel {
    flavors: BTreeMap<String, Value>,
    #[serde(default)]
    pub(super) signature: Option<SignatureText>,
    #[serde(default)]
    pub(super) saved_input_example_info: Option<ExampleInfo>,
    #[serde(default)]
    pub(super) mlflow_version: Option<String>,
    #[serde(default)]
    pub(super) model_uuid: Option<String>,
    #[serde(default)]
    pub(super) utc_time_created: Option<String>,
}

/// Each side is JSON in a string.
#[derive(Debug, Default, Deserialize)]
pub(super) struct SignatureText {
    #[serde(default)]
    pub(super) inputs: Option<String>,
    #[serde(default)]
    pub(super) outputs: Option<String>,
    #[serde(default)]
    pub(super) params: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ExampleInfo {
    pub(super) artifact_path: String,
    /// `dataframe`, `ndarray` (dicts of arrays too), or others that serving has no use for.
    #[serde(rename = "type")]
    pub(super) kind: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct OnnxFlavor {
    /// The ONNX file, relative to the directory.
    pub(super) data: String,
    #[serde(default)]
    onnx_session_options: Option<SessionOptionsText>,
}

#[derive(Debug, Deserialize)]
struct SessionOptionsText {
    #[serde(default)]
    inter_op_num_threads: Option<usize>,
    #[serde(default)]
    intra_op_num_threads: Option<usize>,
    #[serde(default)]
    execution_mode: Option<String>,
    #[serde(default)]
    graph_optimization_level: Option<u32>,
    #[serde(default)]
    extra_session_config: Option<BTreeMap<String, Value>>,
}

/// Errors: in words, with line and column.
pub(super) fn parse(text: &str) -> Result<MlModel, String> {
    serde_yaml_ng::from_str(text).map_err(|error| error.to_string())
}

impl MlModel {
    /// `None` without the flavor; an error, in words, if it is malformed.
    pub(super) fn onnx_flavor(&self) -> Option<Result<OnnxFlavor, String>> {
        let value = self.flavors.get("onnx")?;
        let flavor = serde_yaml_ng::from_value(value.clone());
        Some(flavor.map_err(|error| format!("flavors.onnx: {error}")))
    }

    pub(super) fn flavor_names(&self) -> String {
        if self.flavors.is_empty() {
            return "none at all".to_owned();
        }
        let quoted: Vec<String> = self
            .flavors
            .keys()
            .map(|name| format!("`{name}`"))
            .collect();
        quoted.join(", ")
    }
}

impl OnnxFlavor {
    /// A zero in a number counts as not stated, as in MLflow.
    pub(super) fn session_options(&self) -> Result<SessionOptions, String> {
        let Some(text) = &self.onnx_session_options else {
            return Ok(SessionOptions::default());
        };
        let mut config_entries = Vec::new();
        for (key, value) in text.extra_session_config.iter().flatten() {
            let value = scalar(value)
                .ok_or_else(|| format!("onnx_session_options: `{key}` is not a scalar"))?;
            config_entries.push((key.clone(), value));
        }
        Ok(SessionOptions {
            intra_op_threads: text.intra_op_num_threads.and_then(NonZeroUsize::new),
            inter_op_threads: text.inter_op_num_threads.and_then(NonZeroUsize::new),
            execution_mode: execution_mode(text.execution_mode.as_deref())?,
            graph_optimization: graph_optimization(text.graph_optimization_level)?,
            config_entries,
        })
    }
}

fn execution_mode(word: Option<&str>) -> Result<ExecutionMode, String> {
    match word.map(str::to_lowercase).as_deref() {
        None | Some("sequential") => Ok(ExecutionMode::Sequential),
        Some("parallel") => Ok(ExecutionMode::Parallel),
        Some(other) => Err(format!(
            "onnx_session_options: execution mode `{other}` is neither `sequential` nor `parallel`"
        )),
    }
}

fn graph_optimization(level: Option<u32>) -> Result<GraphOptimization, String> {
    match level {
        None | Some(0 | 99) => Ok(GraphOptimization::All),
        Some(1) => Ok(GraphOptimization::Basic),
        Some(2) => Ok(GraphOptimization::Extended),
        Some(other) => Err(format!(
            "onnx_session_options: graph optimization level {other} is none of 0, 1, 2, 99"
        )),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        // ONNX Runtime's switches are `0` and `1`.
        Value::Bool(value) => Some(u8::from(*value).to_string()),
        Value::Null | Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => None,
    }
}
