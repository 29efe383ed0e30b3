//! Signatures as MLflow's JSON, and whether one contradicts its graph.
//!
//! `MLmodel` holds each side as JSON in a string (3.17): see `models/artifact/signature` for the forms.
//! Not here: which columns make up which input, and how many there must be (the serving plan judges that).

use serde_json::{Map, Value, json};

use crate::models::artifact::parse_signature;
use crate::types::dtype::DType;
use crate::types::signature::{ColumnSpec, ColumnType, Graph, Schema, Signature, TensorSpec};

/// A signature with the text that goes into `MLmodel`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Stated {
    pub(super) signature: Signature,
    pub(super) inputs: Option<String>,
    pub(super) outputs: Option<String>,
    /// Kept as they were given; ONNX models never see params.
    pub(super) params: Option<String>,
}

impl Stated {
    pub(super) fn of(signature: Signature) -> Self {
        Self {
            inputs: signature.inputs.as_ref().map(encode),
            outputs: signature.outputs.as_ref().map(encode),
            params: None,
            signature,
        }
    }

    /// From what `ModelSignature.to_dict()` gives; a side may also be JSON itself instead of JSON in a string.
    /// Errors: in words.
    pub(super) fn parse(json: &str) -> Result<Self, String> {
        let mut sides: Map<String, Value> =
            serde_json::from_str(json).map_err(|error| error.to_string())?;
        let mut side = |name: &str| match sides.remove(name) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(value) => Some(value.to_string()),
        };
        let (inputs, outputs, params) = (side("inputs"), side("outputs"), side("params"));
        if let Some(unknown) = sides.keys().next() {
            return Err(format!(
                "`{unknown}` is none of `inputs`, `outputs`, `params`"
            ));
        }
        if inputs.is_none() {
            return Err("it has no `inputs`".to_owned());
        }
        Ok(Self {
            signature: parse_signature(inputs.as_deref(), outputs.as_deref(), params.as_deref())?,
            inputs,
            outputs,
            params,
        })
    }

    /// Whether anything is stated.
    pub(super) fn is_empty(&self) -> bool {
        self.inputs.is_none() && self.outputs.is_none() && self.params.is_none()
    }
}

fn encode(schema: &Schema) -> String {
    let entries: Vec<Value> = match schema {
        Schema::Columns(columns) => columns.iter().map(encode_column).collect(),
        Schema::Tensors(tensors) => tensors.iter().map(encode_tensor).collect(),
    };
    Value::Array(entries).to_string()
}

fn encode_column(column: &ColumnSpec) -> Value {
    let word = match &column.dtype {
        ColumnType::Scalar(dtype) => dtype.mlflow_name().unwrap_or("any"),
        ColumnType::Nested(word) => word,
    };
    match &column.name {
        Some(name) => json!({ "type": word, "name": name, "required": column.required }),
        None => json!({ "type": word, "required": column.required }),
    }
}

fn encode_tensor(tensor: &TensorSpec) -> Value {
    let spec = json!({ "dtype": tensor.dtype.numpy_name(), "shape": tensor.shape });
    match &tensor.name {
        Some(name) => json!({ "name": name, "type": "tensor", "tensor-spec": spec }),
        None => json!({ "type": "tensor", "tensor-spec": spec }),
    }
}

/// Whether the graph can take what the signature promises. Errors: in words, with the entry.
pub(super) fn check(signature: &Signature, graph: &Graph) -> Result<(), String> {
    match &signature.inputs {
        None => Ok(()),
        Some(Schema::Columns(columns)) => check_columns(columns, graph),
        Some(Schema::Tensors(tensors)) => check_tensors(tensors, graph),
    }
}

fn check_columns(columns: &[ColumnSpec], graph: &Graph) -> Result<(), String> {
    for (place, column) in columns.iter().enumerate() {
        let is_named = |input: &&TensorSpec| column.name.is_some() && input.name == column.name;
        let optional = graph.optional.iter().find(is_named);
        let input = optional.or_else(|| match &graph.inputs[..] {
            [only] => Some(only),
            inputs => inputs.iter().find(is_named),
        });
        // A column that no input takes is the serving plan's concern.
        let (Some(input), ColumnType::Scalar(dtype)) = (input, &column.dtype) else {
            continue;
        };
        if !converts(*dtype, input.dtype) {
            return Err(format!(
                "column {} is {dtype}, and input `{}` of the graph takes {}",
                label(column.name.as_deref(), place),
                input.name.as_deref().unwrap_or_default(),
                input.dtype
            ));
        }
    }
    Ok(())
}

/// Whether some value of a column can become an element of the graph's type.
fn converts(column: DType, graph: DType) -> bool {
    match (column, graph) {
        (DType::String, DType::String) => true,
        (DType::String, _) | (_, DType::String) => false,
        (DType::Binary | DType::Datetime, _) => false,
        (column, graph) => !column.is_float() || graph.is_float(),
    }
}

fn check_tensors(tensors: &[TensorSpec], graph: &Graph) -> Result<(), String> {
    if let ([tensor], [input]) = (tensors, &graph.inputs[..]) {
        return check_tensor(tensor, 0, input);
    }
    for (place, tensor) in tensors.iter().enumerate() {
        let mut inputs = graph.inputs.iter().chain(&graph.optional);
        let Some(input) = inputs.find(|input| input.name == tensor.name) else {
            let known = graph
                .inputs
                .iter()
                .filter_map(|input| input.name.as_deref());
            return Err(format!(
                "tensor {} is no input of the graph (it has {})",
                label(tensor.name.as_deref(), place),
                known.collect::<Vec<_>>().join(", ")
            ));
        };
        check_tensor(tensor, place, input)?;
    }
    let is_stated = |input: &&TensorSpec| tensors.iter().any(|tensor| tensor.name == input.name);
    match graph.inputs.iter().find(|input| !is_stated(input)) {
        None => Ok(()),
        Some(input) => Err(format!(
            "input `{}` of the graph is not in it",
            input.name.as_deref().unwrap_or_default()
        )),
    }
}

fn check_tensor(tensor: &TensorSpec, place: usize, input: &TensorSpec) -> Result<(), String> {
    let name = input.name.as_deref().unwrap_or_default();
    let label = label(tensor.name.as_deref(), place);
    // The one conversion that MLflow's ONNX flavor makes.
    let narrows = (tensor.dtype, input.dtype) == (DType::Float64, DType::Float32);
    if tensor.dtype != input.dtype && !narrows {
        return Err(format!(
            "tensor {label} is {}, and input `{name}` of the graph takes {}",
            tensor.dtype, input.dtype
        ));
    }
    let agrees = |(a, b): (&i64, &i64)| a == b || *a < 0 || *b < 0;
    let fits = tensor.shape.len() == input.shape.len()
        && tensor.shape.iter().zip(&input.shape).all(agrees);
    // A graph input without a shape takes any.
    if !fits && !input.shape.is_empty() {
        return Err(format!(
            "tensor {label} has the shape {:?}, and input `{name}` of the graph takes {:?}",
            tensor.shape, input.shape
        ));
    }
    Ok(())
}

fn label(name: Option<&str>, place: usize) -> String {
    match name {
        Some(name) => format!("`{name}`"),
        None => place.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::test_models::fixture;

    #[test]
    fn every_recorded_signature_survives_the_round_trip() {
        let text = fs_err::read_to_string(fixture("signatures.json")).unwrap();
        let recorded: Map<String, Value> = serde_json::from_str(&text).unwrap();
        let mut n_encoded = 0;
        for (name, signature) in &recorded {
            if signature.get("inputs").is_none_or(Value::is_null) {
                continue;
            }
            let stated = Stated::parse(&signature.to_string()).unwrap();
            assert_eq!(stated.inputs.as_deref(), signature["inputs"].as_str());
            // Types with contents are kept as text and never made here.
            if name == "array_object_map_any" {
                continue;
            }
            let again = Stated::of(stated.signature.clone());
            let again = parse_signature(
                again.inputs.as_deref(),
                again.outputs.as_deref(),
                stated.params.as_deref(),
            );
            assert_eq!(again.unwrap(), stated.signature, "{name}");
            n_encoded += 1;
        }
        assert!(n_encoded >= 6, "{n_encoded}");
    }

    #[test]
    fn a_side_is_encoded_as_mlflow_does() {
        let text = fs_err::read_to_string(fixture("signatures.json")).unwrap();
        let recorded: Map<String, Value> = serde_json::from_str(&text).unwrap();
        for name in ["all_scalar_columns", "unnamed_columns", "tensor_unnamed"] {
            let inputs = recorded[name]["inputs"].as_str().unwrap();
            let signature = parse_signature(Some(inputs), None, None).unwrap();
            let wanted: Value = serde_json::from_str(inputs).unwrap();
            let encoded: Value = serde_json::from_str(&encode(&signature.inputs.unwrap())).unwrap();
            assert_eq!(encoded, wanted, "{name}");
        }
    }

    #[test]
    fn a_given_signature_that_is_none_is_an_error_in_words() {
        for (json, part) in [
            ("[]", "expected a map"),
            ("{}", "no `inputs`"),
            (r#"{"inputs": null}"#, "no `inputs`"),
            (
                r#"{"inputs": [{"type": "double"}], "input": 1}"#,
                "`input` is none of",
            ),
            (
                r#"{"inputs": [{"type": "decimal"}]}"#,
                "unknown type `decimal`",
            ),
            (r#"{"inputs": "nonsense"}"#, "signature inputs"),
            (
                r#"{"inputs": [{"type": "double"}], "params": 3}"#,
                "signature params",
            ),
        ] {
            let error = Stated::parse(json).unwrap_err();
            assert!(error.contains(part), "{json}: {error}");
        }
        let direct = r#"{"inputs": [{"type": "double", "name": "a"}]}"#;
        assert!(Stated::parse(direct).is_ok());
    }

    fn graph(inputs: &[(&str, DType, &[i64])]) -> Graph {
        let inputs = inputs.iter().map(|(name, dtype, shape)| TensorSpec {
            name: Some((*name).to_owned()),
            dtype: *dtype,
            shape: shape.to_vec(),
        });
        Graph {
            optional: Vec::new(),
            inputs: inputs.collect(),
            outputs: Vec::new(),
        }
    }

    #[test]
    fn a_contradiction_of_the_graph_names_both_sides() {
        let matrix = graph(&[("X", DType::Float32, &[-1, 4])]);
        let two = graph(&[("a", DType::Int64, &[-1]), ("s", DType::String, &[-1])]);
        let tensor = |dtype: &str, shape: &str, name: &str| {
            format!(
                r#"{{"type":"tensor"{name},"tensor-spec":{{"dtype":"{dtype}","shape":{shape}}}}}"#
            )
        };
        for (inputs, graph, part) in [
            (
                r#"{"type":"string","name":"a"}"#.to_owned(),
                &matrix,
                "takes float32",
            ),
            (
                r#"{"type":"double","name":"a"}"#.to_owned(),
                &two,
                "takes int64",
            ),
            (
                r#"{"type":"long","name":"s"}"#.to_owned(),
                &two,
                "takes str",
            ),
            (tensor("int64", "[-1,4]", ""), &matrix, "takes float32"),
            (tensor("float32", "[-1,5]", ""), &matrix, "[-1, 4]"),
            (tensor("float32", "[-1]", ""), &matrix, "has the shape [-1]"),
            (
                tensor("int64", "[-1]", r#","name":"b""#),
                &two,
                "`b` is no input",
            ),
            (
                tensor("int64", "[-1]", r#","name":"a""#),
                &two,
                "`s` of the graph is not in it",
            ),
        ] {
            let signature = parse_signature(Some(&format!("[{inputs}]")), None, None).unwrap();
            let error = check(&signature, graph).unwrap_err();
            assert!(error.contains(part), "{inputs}: {error}");
        }
        for inputs in [
            tensor("float64", "[-1,4]", r#","name":"any""#),
            tensor("float32", "[-1,-1]", ""),
            r#"{"type":"long","name":"a"}"#.to_owned(),
        ] {
            let signature = parse_signature(Some(&format!("[{inputs}]")), None, None).unwrap();
            check(&signature, &matrix).unwrap();
        }
    }
}
