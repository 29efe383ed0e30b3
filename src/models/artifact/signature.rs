//! MLflow's signature JSON (3.17) to a `Signature`.
//!
//! A side is a list of columns (`{"type", "name"?, "required"?}`) or of tensors (`{"type": "tensor", "tensor-spec"}`),
//! never of both. `required` left out means true. Params are a list of `{"name", "type", "shape"}`; their defaults are not
//! read, since ONNX models never see them.

use serde::Deserialize;

use super::mlmodel::SignatureText;
use crate::types::dtype::DType;
use crate::types::signature::{ColumnSpec, ColumnType, ParamSpec, Schema, Signature, TensorSpec};

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    required: Option<bool>,
    /// What MLflow before 2.10 wrote instead of `required`.
    #[serde(default)]
    optional: Option<bool>,
    #[serde(default, rename = "tensor-spec")]
    tensor: Option<TensorText>,
}

#[derive(Deserialize)]
struct TensorText {
    dtype: String,
    shape: Vec<i64>,
}

/// Errors: in words, with the side and the entry.
pub(super) fn parse(text: &Option<SignatureText>) -> Result<Signature, String> {
    let Some(text) = text else {
        return Ok(Signature::default());
    };
    Ok(Signature {
        inputs: parse_side("inputs", text.inputs.as_deref())?,
        outputs: parse_side("outputs", text.outputs.as_deref())?,
        params: parse_params(text.params.as_deref())?,
    })
}

#[derive(Deserialize)]
struct ParamText {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    shape: Option<Vec<i64>>,
}

fn parse_params(json: Option<&str>) -> Result<Option<Vec<ParamSpec>>, String> {
    let Some(json) = json else {
        return Ok(None);
    };
    let entries: Option<Vec<ParamText>> =
        serde_json::from_str(json).map_err(|error| format!("signature params: {error}"))?;
    let params = entries.map(|entries| {
        let params = entries.into_iter().map(|entry| ParamSpec {
            name: entry.name,
            dtype: DType::from_mlflow(&entry.kind),
            list: entry.shape.is_some(),
        });
        params.collect()
    });
    Ok(params)
}

fn parse_side(side: &str, json: Option<&str>) -> Result<Option<Schema>, String> {
    let Some(json) = json else {
        return Ok(None);
    };
    let entries: Vec<Entry> =
        serde_json::from_str(json).map_err(|error| format!("signature {side}: {error}"))?;
    let schema = match entries.first() {
        Some(first) if first.kind == "tensor" => entries
            .into_iter()
            .map(tensor)
            .collect::<Result<_, _>>()
            .map(Schema::Tensors),
        _ => entries
            .into_iter()
            .map(column)
            .collect::<Result<_, _>>()
            .map(Schema::Columns),
    };
    match schema {
        Ok(schema) => Ok(Some(schema)),
        Err(reason) => Err(format!("signature {side}: {reason}")),
    }
}

fn tensor(entry: Entry) -> Result<TensorSpec, String> {
    let label = label(&entry);
    let Some(text) = entry.tensor else {
        return Err(format!("{label} is a `{}` among tensors", entry.kind));
    };
    // `datetime64[ns]`: the unit makes no difference here.
    let name = text.dtype.split('[').next().unwrap_or_default();
    let dtype = DType::from_numpy(name)
        .ok_or_else(|| format!("{label} has the unknown type `{}`", text.dtype))?;
    Ok(TensorSpec {
        name: entry.name,
        dtype,
        shape: text.shape,
    })
}

fn column(entry: Entry) -> Result<ColumnSpec, String> {
    let dtype = match entry.kind.as_str() {
        "array" | "object" | "map" | "any" => ColumnType::Nested(entry.kind.clone()),
        "tensor" => return Err(format!("{} is a tensor among columns", label(&entry))),
        word => match DType::from_mlflow(word) {
            Some(dtype) => ColumnType::Scalar(dtype),
            None => return Err(format!("{} has the unknown type `{word}`", label(&entry))),
        },
    };
    let optional = entry.optional.unwrap_or(false);
    Ok(ColumnSpec {
        required: entry.required.unwrap_or(!optional),
        name: entry.name,
        dtype,
    })
}

fn label(entry: &Entry) -> String {
    match &entry.name {
        Some(name) => format!("`{name}`"),
        None => "an unnamed entry".to_owned(),
    }
}
