//! Which outputs are answered, all of them as tensors.
//!
//! The protocol has no maps: the row maps of a classifier become a matrix of FP32 with a column for each class, in the
//! order in which the model gives them.

use std::borrow::Cow;
use std::sync::Arc;

use ndarray::{ArrayD, IxDyn};

use super::error::Error;
use crate::types::names::repeated;
use crate::types::prediction::NamedOutput;
use crate::types::tensor::{Output, Tensor};

/// An output on its way to the caller.
#[derive(Debug, Clone)]
pub struct OutputTensor<'a> {
    pub name: &'a Arc<str>,
    pub tensor: Cow<'a, Tensor>,
}

/// The outputs of these names in their order; all of them if there are none.
pub fn select<'a>(
    outputs: &'a [NamedOutput],
    wanted: &[impl AsRef<str>],
) -> Result<Vec<OutputTensor<'a>>, Error> {
    if wanted.is_empty() {
        return outputs.iter().map(output).collect();
    }
    // An answer is no longer than the model's outputs, however often a request repeats a few bytes.
    if let Some(output) = twice(outputs, wanted) {
        return Err(Error::OutputTwice { output });
    }
    let find = |name: &str| {
        let found = outputs.iter().find(|output| *output.name == *name);
        found.ok_or_else(|| Error::UnknownOutput {
            output: name.to_owned(),
            known: names(outputs),
        })
    };
    let wanted = wanted.iter().map(|name| output(find(name.as_ref())?));
    wanted.collect()
}

/// Looks at no more than one name beyond those that there are.
fn twice(outputs: &[NamedOutput], wanted: &[impl AsRef<str>]) -> Option<String> {
    let first = wanted.iter().take(outputs.len() + 1);
    let first: Vec<&str> = first.map(AsRef::as_ref).collect();
    repeated(first.into_iter()).map(str::to_owned)
}

fn names(outputs: &[NamedOutput]) -> String {
    let names: Vec<&str> = outputs.iter().map(|output| &*output.name).collect();
    names.join(", ")
}

fn output(named: &NamedOutput) -> Result<OutputTensor<'_>, Error> {
    let tensor = match &named.output {
        Output::Tensor(tensor) => Cow::Borrowed(tensor),
        Output::Maps(rows) => Cow::Owned(matrix(&named.name, rows)?),
    };
    Ok(OutputTensor {
        name: &named.name,
        tensor,
    })
}

fn matrix(name: &str, rows: &[Vec<(String, f64)>]) -> Result<Tensor, Error> {
    let width = rows.first().map_or(0, Vec::len);
    let mut elements = Vec::with_capacity(rows.len() * width);
    for row in rows {
        let same = row.len() == width && row.iter().zip(&rows[0]).all(|(a, b)| a.0 == b.0);
        if !same {
            return Err(Error::Unsupported {
                what: format!("output `{name}`, whose rows have different classes,"),
                hint: "ask for other outputs, or use `/v1`",
            });
        }
        // The model gives single precision.
        elements.extend(row.iter().map(|(_, probability)| *probability as f32));
    }
    let array = ArrayD::from_shape_vec(IxDyn(&[rows.len(), width]), elements);
    let array = array.map_err(|error| Error::data(name, error.to_string()))?;
    Ok(Tensor::Float32(array))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, output: Output) -> NamedOutput {
        NamedOutput {
            name: Arc::from(name),
            output,
        }
    }

    #[test]
    fn outputs_come_in_the_order_asked_for_and_maps_as_a_matrix() {
        let row = |a, b| vec![("0".to_owned(), a), ("1".to_owned(), b)];
        let outputs = [
            named(
                "label",
                Output::Tensor(Tensor::Int64(ArrayD::zeros(IxDyn(&[2])))),
            ),
            named("p", Output::Maps(vec![row(0.25, 0.75), row(1.0, 0.0)])),
        ];
        let all = select(&outputs, &[] as &[&str]).unwrap();
        assert_eq!((&**all[0].name, &**all[1].name), ("label", "p"));
        let some = select(&outputs, &["p"]).unwrap();
        assert_eq!(some[0].tensor.shape(), [2, 2]);
        let error = select(&outputs, &["q"]).unwrap_err();
        assert!(error.to_string().contains("`q`"), "{error}");
        let error = select(&outputs, &["p"; 100_000]).unwrap_err();
        assert!(error.to_string().contains("asked for twice"), "{error}");
        let ragged = [named("p", Output::Maps(vec![row(1.0, 0.0), Vec::new()]))];
        assert!(select(&ragged, &["p"]).is_err());
    }
}
