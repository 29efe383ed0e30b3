//! How a graph's inputs are filled: which columns make up each tensor, and where each column comes from.
//!
//! * A column signature over one graph input makes a matrix of the columns in signature order, as MLflow does;
//!   over several graph inputs each column fills the input of its name; an optional one that no input has is taken and
//!   left out. Columns without names are called `0`, `1`, and so on.
//! * Without a column signature each graph input is one column in the shape of its rows, taken from the feature or
//!   request input of its name. The one matrix of a graph whose name no feature has takes all features of the
//!   binding, in their order; a list feature fills as many places as it is long.
//! * A graph input that may be left out is one column more where it has rows, whatever the signature says of the others.

use super::error::Error;
use super::selection::is_named;
use super::types::{check_convertible, is_list};
use crate::features::{OnlinePlan, PlannedFeature};
use crate::models::Candidate;
use crate::predict::plan::{OptionalTensor, PlannedColumn, PlannedTensor, Source, Width};
use crate::types::dtype::DType;
use crate::types::signature::{ColumnSpec, ColumnType, Schema, TensorSpec};

pub(super) struct Inputs {
    pub(super) columns: Vec<PlannedColumn>,
    pub(super) tensors: Vec<PlannedTensor>,
    pub(super) optional: Vec<OptionalTensor>,
    pub(super) fixed_rows: Option<usize>,
}

pub(super) fn bind(
    candidate: &Candidate<'_>,
    online: Option<&OnlinePlan>,
) -> Result<Inputs, Error> {
    let mut inputs = Inputs {
        columns: Vec::new(),
        tensors: Vec::new(),
        optional: Vec::new(),
        fixed_rows: None,
    };
    for input in &candidate.graph.inputs {
        check_graph_input(input)?;
        inputs.fixed_rows = inputs
            .fixed_rows
            .or_else(|| input.shape.first().and_then(|&d| usize::try_from(d).ok()));
    }
    match &candidate.signature.inputs {
        Some(Schema::Columns(columns)) => bind_columns(candidate, columns, online, &mut inputs)?,
        Some(Schema::Tensors(tensors)) => {
            bind_tensors(candidate, Some(tensors), online, &mut inputs)?
        }
        None => bind_tensors(candidate, None, online, &mut inputs)?,
    }
    let takes_feature = inputs
        .columns
        .iter()
        .any(|column| matches!(column.source, Source::Feature(_)));
    match online {
        Some(online) if !takes_feature => Err(Error::Unused {
            features: online.names.join(", "),
        }),
        _ => Ok(inputs),
    }
}

fn check_graph_input(input: &TensorSpec) -> Result<(), Error> {
    if input.shape.is_empty() {
        return Err(Error::NoRows {
            input: name_of(input),
        });
    }
    if matches!(input.dtype, DType::Binary | DType::Datetime) {
        return Err(Error::ElementType {
            input: name_of(input),
            dtype: input.dtype,
        });
    }
    Ok(())
}

fn name_of(tensor: &TensorSpec) -> String {
    tensor.name.clone().unwrap_or_default()
}

// Column signatures.

fn bind_columns(
    candidate: &Candidate<'_>,
    columns: &[ColumnSpec],
    online: Option<&OnlinePlan>,
    inputs: &mut Inputs,
) -> Result<(), Error> {
    let graph = &candidate.graph.inputs;
    let mut planned = Vec::with_capacity(columns.len());
    let mut of_optional = Vec::new();
    for (place, column) in columns.iter().enumerate() {
        if column.name.is_some() && is_optional(candidate, column.name.as_ref()) {
            let name = column.name.clone().unwrap_or_default();
            of_optional.push(signature_column(name, column, online)?);
            continue;
        }
        let name = match &column.name {
            Some(name) => name.clone(),
            // Over one input a place is name enough.
            None if graph.len() == 1 => place.to_string(),
            None => return Err(Error::Unnamed { place }),
        };
        planned.push(signature_column(name, column, online)?);
    }
    if let [input] = &graph[..] {
        inputs.columns = planned;
        let tensor = tensor_over(input, 0..inputs.columns.len());
        check_scalar_columns(&tensor)?;
        inputs.tensors.push(tensor);
        return bind_optional(candidate, of_optional, online, inputs);
    }
    let is_unused = |column: &PlannedColumn| graph.iter().all(|i| name_of(i) != column.name);
    if let Some(column) = planned
        .iter()
        .find(|column| is_unused(column) && !column.optional)
    {
        let known = graph.iter().map(name_of).collect::<Vec<_>>().join(", ");
        return Err(Error::ColumnUnknown {
            column: column.name.clone(),
            known,
        });
    }
    for input in graph {
        let Some(column) = planned.iter().find(|column| column.name == name_of(input)) else {
            let known = planned
                .iter()
                .map(|column| column.name.as_str())
                .collect::<Vec<_>>()
                .join(", ");
            return Err(Error::InputUnknown {
                input: name_of(input),
                known,
            });
        };
        let start = inputs.columns.len();
        inputs.columns.push(column.clone());
        let tensor = tensor_over(input, start..start + 1);
        check_scalar_columns(&tensor)?;
        inputs.tensors.push(tensor);
    }
    // Taken because the signature has them, and covered by no tensor.
    for mut column in planned.into_iter().filter(|column| is_unused(column)) {
        column.source = Source::Request;
        inputs.columns.push(column);
    }
    bind_optional(candidate, of_optional, online, inputs)
}

fn is_optional(candidate: &Candidate<'_>, name: Option<&String>) -> bool {
    let mut optional = candidate.graph.optional.iter();
    optional.any(|input| input.name.as_ref() == name)
}

/// What may be left out: a column of its own for each input that has rows. `signed` are the signature's columns for
/// some of them, which may be told to be required; features come only by those names that a caller could use as well.
fn bind_optional(
    candidate: &Candidate<'_>,
    signed: Vec<PlannedColumn>,
    online: Option<&OnlinePlan>,
    inputs: &mut Inputs,
) -> Result<(), Error> {
    for input in &candidate.graph.optional {
        let name = name_of(input);
        let start = inputs.columns.len();
        let has_rows = input.shape.first() == Some(&-1);
        let of_signature = signed.iter().find(|column| column.name == name);
        if of_signature.is_some() && !has_rows {
            return Err(Error::NoRows { input: name });
        }
        let is_signed = of_signature.is_some();
        match of_signature {
            Some(column) => inputs.columns.push(column.clone()),
            None if has_rows => {
                let column = PlannedColumn {
                    source: source_of(&name, online)?,
                    name,
                    declared: declared_as(candidate, input),
                    optional: true,
                    width: row_width(input),
                };
                check_convertible(&column, online)?;
                inputs.columns.push(column);
            }
            None => {}
        }
        let tensor = PlannedTensor {
            row_shape: input.shape.get(1..).unwrap_or_default().to_vec(),
            name: name_of(input),
            dtype: input.dtype,
            columns: start..inputs.columns.len(),
        };
        if is_signed {
            check_scalar_columns(&tensor)?;
        }
        inputs.optional.push(OptionalTensor {
            tensor,
            shape: input.shape.clone(),
        });
    }
    Ok(())
}

/// The type that a tensor signature states, else the graph's.
fn declared_as(candidate: &Candidate<'_>, input: &TensorSpec) -> DType {
    match &candidate.signature.inputs {
        Some(Schema::Tensors(tensors)) => {
            let named = tensors.iter().find(|tensor| tensor.name == input.name);
            named.map_or(input.dtype, |tensor| tensor.dtype)
        }
        Some(Schema::Columns(_)) | None => input.dtype,
    }
}

/// Places of a row in one column.
fn row_width(input: &TensorSpec) -> Width {
    match input.shape.len() {
        1 => Width::One,
        _ => Width::Rows,
    }
}

fn signature_column(
    name: String,
    column: &ColumnSpec,
    online: Option<&OnlinePlan>,
) -> Result<PlannedColumn, Error> {
    let declared = match &column.dtype {
        ColumnType::Scalar(dtype) if !matches!(dtype, DType::Binary | DType::Datetime) => *dtype,
        ColumnType::Scalar(dtype) => {
            return Err(Error::ColumnType {
                column: name,
                dtype: dtype.to_string(),
            });
        }
        ColumnType::Nested(word) => {
            return Err(Error::ColumnType {
                column: name,
                dtype: word.clone(),
            });
        }
    };
    let source = source_of(&name, online)?;
    let planned = PlannedColumn {
        name,
        declared,
        source,
        optional: !column.required,
        width: Width::One,
    };
    check_convertible(&planned, online)?;
    Ok(planned)
}

fn tensor_over(input: &TensorSpec, columns: std::ops::Range<usize>) -> PlannedTensor {
    PlannedTensor {
        name: name_of(input),
        dtype: input.dtype,
        columns,
        row_shape: input.shape[1..].to_vec(),
    }
}

/// Scalar columns fill a tensor exactly: `[N]` takes one, `[N, k]` takes k.
fn check_scalar_columns(tensor: &PlannedTensor) -> Result<(), Error> {
    let actual = tensor.columns.len();
    match tensor.row_shape[..] {
        [] if actual != 1 => Err(Error::NotOneColumn {
            input: tensor.name.clone(),
            actual,
        }),
        [] => Ok(()),
        _ => {
            let known = tensor
                .row_shape
                .iter()
                .map(|&dimension| usize::try_from(dimension));
            match known.product::<Result<usize, _>>() {
                Ok(wanted) if wanted != actual => Err(Error::Width {
                    input: tensor.name.clone(),
                    wanted,
                    actual,
                }),
                _ => Ok(()),
            }
        }
    }
}

/// Where a column of this name comes from.
fn source_of(name: &str, online: Option<&OnlinePlan>) -> Result<Source, Error> {
    let Some(online) = online else {
        return Ok(Source::Request);
    };
    let full = |feature: &PlannedFeature| is_named(feature, name) && feature.feature != name;
    if let Some(index) = online.features.iter().position(full) {
        return Ok(Source::Feature(index));
    }
    let named: Vec<usize> = (0..online.features.len())
        .filter(|&i| online.features[i].feature == name)
        .collect();
    match named[..] {
        [] if online.join_keys.iter().any(|key| key.name == name) => Ok(Source::JoinKey),
        [] => Ok(Source::Request),
        [index] => Ok(Source::Feature(index)),
        _ => {
            let candidates = named
                .iter()
                .map(|&i| format!("`{}__{name}`", online.features[i].view));
            Err(Error::Ambiguous {
                column: name.to_owned(),
                candidates: candidates.collect::<Vec<_>>().join(", "),
            })
        }
    }
}

// Tensor signatures, and none.

fn bind_tensors(
    candidate: &Candidate<'_>,
    signature: Option<&[TensorSpec]>,
    online: Option<&OnlinePlan>,
    inputs: &mut Inputs,
) -> Result<(), Error> {
    let graph = &candidate.graph.inputs;
    for input in graph {
        let declared = match signature {
            None => input,
            Some(tensors) => signature_tensor(input, tensors, graph.len())?,
        };
        let name = declared.name.clone().unwrap_or_else(|| name_of(input));
        let start = inputs.columns.len();
        let whole = graph.len() == 1 && source_of(&name, online)? == Source::Request;
        match online {
            Some(online) if whole => {
                inputs
                    .columns
                    .extend(feature_columns(input, declared.dtype, online)?)
            }
            _ => {
                let source = source_of(&name, online)?;
                let column = PlannedColumn {
                    name,
                    declared: declared.dtype,
                    source,
                    optional: false,
                    width: row_width(input),
                };
                check_convertible(&column, online)?;
                inputs.columns.push(column);
            }
        }
        inputs
            .tensors
            .push(tensor_over(input, start..inputs.columns.len()));
    }
    bind_optional(candidate, Vec::new(), online, inputs)
}

/// The signature's word on a graph input: by name, or the only one there is.
fn signature_tensor<'a>(
    input: &TensorSpec,
    tensors: &'a [TensorSpec],
    n_inputs: usize,
) -> Result<&'a TensorSpec, Error> {
    if let ([only], 1) = (tensors, n_inputs) {
        return Ok(only);
    }
    tensors
        .iter()
        .find(|tensor| tensor.name == input.name)
        .ok_or_else(|| Error::InputUnknown {
            input: name_of(input),
            known: tensors.iter().map(name_of).collect::<Vec<_>>().join(", "),
        })
}

/// All features of the binding, in their order, as the places of one matrix.
fn feature_columns(
    input: &TensorSpec,
    declared: DType,
    online: &OnlinePlan,
) -> Result<Vec<PlannedColumn>, Error> {
    let wanted = match input.shape[..] {
        [_] => Some(1),
        [_, k] => usize::try_from(k).ok(),
        _ => {
            return Err(Error::NotAMatrix {
                input: name_of(input),
            });
        }
    };
    let n_lists = online
        .features
        .iter()
        .filter(|feature| is_list(feature.value_type))
        .count();
    let n_scalars = online.features.len() - n_lists;
    if let Some(wanted) = wanted {
        // Each list fills at least one place; without lists the counts must agree.
        let fits = if n_lists == 0 {
            n_scalars == wanted
        } else {
            n_scalars + n_lists <= wanted
        };
        if !fits {
            return Err(Error::Width {
                input: name_of(input),
                wanted,
                actual: online.features.len(),
            });
        }
    }
    let list_width = match (wanted, n_lists) {
        (Some(wanted), 1) => Width::List(wanted - n_scalars),
        _ => Width::AnyList,
    };
    let mut columns = Vec::with_capacity(online.features.len());
    for (index, feature) in online.features.iter().enumerate() {
        let is_list = is_list(feature.value_type);
        let column = PlannedColumn {
            name: format!("{}__{}", feature.view, feature.feature),
            declared,
            source: Source::Feature(index),
            optional: false,
            width: if is_list { list_width } else { Width::One },
        };
        check_convertible(&column, Some(online))?;
        columns.push(column);
    }
    Ok(columns)
}
