//! An infer request: its JSON, then the bytes of its binary tensors.
//!
//! Layout: `Inference-Header-Content-Length` bytes of JSON, then each binary tensor in the order of `inputs`, without
//! padding; without that header all is JSON. Both lengths count the decompressed body, which ends where the last tensor does.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::object::Object;
use super::words;
use crate::predict::Interface;
use crate::types::dtype::DType;
use crate::types::oip::{self, Error, Shape};
use crate::types::request::rows_of_tensors;
use crate::types::tensor::NamedTensor;
use crate::types::urgency::Priority;

/// An infer request as far as it can be told without the model.
#[derive(Debug)]
pub struct InferRequest {
    pub id: Option<String>,
    pub tensors: Vec<NamedTensor>,
    /// In the order asked for; none for all.
    pub outputs: Vec<RequestedOutput>,
    /// Outputs are answered as bytes unless they say otherwise.
    pub binary_output: bool,
    pub timeout: Option<Duration>,
    /// Where the request says one.
    pub priority: Option<Priority>,
    /// The parameters as they came, for the audit record.
    pub params: Option<Arc<RawValue>>,
}

/// An output that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedOutput {
    pub name: String,
    /// As bytes or as JSON, where it says so.
    pub binary: Option<bool>,
}

impl AsRef<str> for RequestedOutput {
    fn as_ref(&self) -> &str {
        &self.name
    }
}

type Parameters = Map<String, Value>;

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(borrow, default)]
    parameters: Option<&'a RawValue>,
    #[serde(borrow)]
    inputs: Vec<Object<Input<'a>>>,
    #[serde(default)]
    outputs: Option<Vec<Object<Output>>>,
}

#[derive(Deserialize)]
struct Input<'a> {
    name: String,
    shape: Vec<i64>,
    datatype: String,
    #[serde(default)]
    parameters: Option<Parameters>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    #[serde(default)]
    parameters: Option<Parameters>,
}

/// Decodes a decompressed body; `header_length` is the value of `Inference-Header-Content-Length`.
pub fn decode(body: &[u8], header_length: Option<&str>) -> Result<InferRequest, Error> {
    let (json, binary) = match header_length {
        None => (body, None),
        Some(text) => {
            let (json, binary) = split(body, text)?;
            (json, Some(binary))
        }
    };
    let malformed = |error: serde_json::Error| Error::malformed(error.to_string());
    let quoted;
    let Object(document): Object<Document<'_>> = match serde_json::from_slice(json) {
        Ok(document) => document,
        // Bare words are rare; only a text that does not parse is searched for them.
        Err(error) => {
            quoted = words::quoted(json).ok_or_else(|| malformed(error))?;
            serde_json::from_slice(&quoted).map_err(malformed)?
        }
    };
    let mut binary = binary;
    oip::check_inputs(document.inputs.iter().map(|Object(input)| &*input.name))?;
    let mut tensors: Vec<NamedTensor> = Vec::with_capacity(document.inputs.len());
    for Object(input) in document.inputs {
        tensors.push(input.tensor(&mut binary)?);
    }
    if let Some(rest) = binary.filter(|rest| !rest.is_empty()) {
        let reason = format!("{} bytes follow the last tensor", rest.len());
        return Err(Error::malformed(reason));
    }
    let parameters: Option<Parameters> = match document.parameters {
        Some(raw) => serde_json::from_str(raw.get())
            .map_err(|error| Error::malformed(format!("`parameters`: {error}")))?,
        None => None,
    };
    let parameters = parameters.unwrap_or_default();
    let outputs = document.outputs.unwrap_or_default();
    Ok(InferRequest {
        id: document.id,
        tensors,
        outputs: outputs
            .into_iter()
            .map(|Object(output)| RequestedOutput::of(output))
            .collect::<Result<_, _>>()?,
        binary_output: flag(&parameters, "binary_data_output", "the request")?.unwrap_or(false),
        timeout: timeout(&parameters)?,
        priority: priority(&parameters)?,
        params: document
            .parameters
            .filter(|_| !parameters.is_empty())
            .map(|raw| Arc::from(raw.to_owned())),
    })
}

/// Whether there is no JSON at all: the body is the only input's bytes.
pub(super) fn is_raw(header_length: Option<&str>) -> bool {
    header_length.is_some_and(|text| text.trim() == "0")
}

/// A body that is the bytes of the model's only input; its size says the one dimension that is free.
pub(super) fn decode_raw(body: &[u8], interface: &Interface) -> Result<InferRequest, Error> {
    let required = interface.inputs.iter().filter(|input| !input.optional);
    let required: Vec<_> = required.collect();
    let [input] = required[..] else {
        let reason = format!(
            "a body without JSON is for a model with one input, and this one has {}",
            required.len()
        );
        return Err(Error::malformed(reason));
    };
    let shape = Shape::new(&input.name, &raw_shape(input, body)?)?;
    let tensor = oip::decode_raw(&input.name, input.dtype, &shape, body)?;
    Ok(InferRequest {
        id: None,
        tensors: vec![NamedTensor {
            name: input.name.clone(),
            tensor: Arc::new(tensor),
        }],
        outputs: Vec::new(),
        binary_output: true,
        timeout: None,
        priority: None,
        params: None,
    })
}

/// One row, where more than one dimension is free; an element of text makes a shape of ones.
fn raw_shape(input: &crate::predict::TensorDescription, body: &[u8]) -> Result<Vec<i64>, Error> {
    let mut shape = input.shape.clone();
    let is_free = |dimension: &&mut i64| **dimension < 0;
    if input.dtype == DType::String {
        shape.iter_mut().filter(is_free).for_each(|free| *free = 1);
        return Ok(shape);
    }
    if let [first, rest @ ..] = &mut shape[..]
        && *first < 0
        && rest.iter().any(|dimension| *dimension < 0)
    {
        *first = 1;
    }
    let known = shape.iter().filter(|dimension| **dimension >= 0);
    let known = known.fold(1_usize, |product, dimension| {
        product.saturating_mul(usize::try_from(*dimension).unwrap_or(usize::MAX))
    });
    let width = input.dtype.n_bytes().unwrap_or(1).saturating_mul(known);
    let mut free = shape.iter_mut().filter(is_free);
    if let Some(dimension) = free.next() {
        *dimension = body
            .len()
            .checked_div(width)
            .and_then(|n| i64::try_from(n).ok())
            .unwrap_or(0);
    }
    match free.next() {
        Some(_) => Err(Error::malformed(format!(
            "a body without JSON does not say the shape of `{}`, which has several free dimensions",
            input.name
        ))),
        None => Ok(shape),
    }
}

/// The JSON and what follows it.
fn split<'a>(body: &'a [u8], header_length: &str) -> Result<(&'a [u8], &'a [u8]), Error> {
    let text = header_length.trim();
    let refused =
        |reason: String| Error::malformed(format!("`Inference-Header-Content-Length` {reason}"));
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refused(format!("is `{text}`, which is no length")));
    }
    let length = text.parse().ok();
    let parts = length.and_then(|length| body.split_at_checked(length));
    parts.ok_or_else(|| refused(format!("is {text}, and the body has {} bytes", body.len())))
}

impl Input<'_> {
    fn tensor(self, binary: &mut Option<&[u8]>) -> Result<NamedTensor, Error> {
        let name = self.name;
        let dtype = oip::dtype(&name, &self.datatype)?;
        let shape = Shape::new(&name, &self.shape)?;
        let parameters = self.parameters.unwrap_or_default();
        refuse_shared_memory(&parameters, &name)?;
        let malformed = |reason: &str| Error::malformed(format!("input `{name}` {reason}"));
        let tensor = match (parameters.get("binary_data_size"), self.data) {
            (None, Some(data)) => oip::json_data(&name, dtype, &shape, data.get())?,
            (None, None) => return Err(malformed("has neither `data` nor `binary_data_size`")),
            (Some(_), Some(_)) => return Err(malformed("has both `data` and `binary_data_size`")),
            (Some(size), None) => {
                let size = size.as_u64().and_then(|size| usize::try_from(size).ok());
                let size =
                    size.ok_or_else(|| malformed("has a `binary_data_size` that is no length"))?;
                let rest = binary.ok_or_else(|| {
                    malformed("is binary, and there is no `Inference-Header-Content-Length`")
                })?;
                let (bytes, rest) = rest.split_at_checked(size).ok_or_else(|| {
                    malformed(&format!(
                        "should have {size} bytes, and {} are left",
                        rest.len()
                    ))
                })?;
                *binary = Some(rest);
                oip::decode_raw(&name, dtype, &shape, bytes)?
            }
        };
        let tensor = Arc::new(tensor);
        Ok(NamedTensor { name, tensor })
    }
}

impl RequestedOutput {
    fn of(output: Output) -> Result<Self, Error> {
        let name = output.name;
        let parameters = output.parameters.unwrap_or_default();
        refuse_shared_memory(&parameters, &name)?;
        if parameters
            .get("classification")
            .is_some_and(|k| k.as_u64() != Some(0))
        {
            return Err(Error::Unsupported {
                what: format!("classification of output `{name}`"),
                hint: "leave `classification` out",
            });
        }
        Ok(Self {
            binary: flag(&parameters, "binary_data", &name)?,
            name,
        })
    }
}

fn refuse_shared_memory(parameters: &Parameters, tensor: &str) -> Result<(), Error> {
    if parameters.contains_key("shared_memory_region") {
        return Err(Error::Unsupported {
            what: format!("shared memory of tensor `{tensor}`"),
            hint: "send and take tensors in the body",
        });
    }
    Ok(())
}

fn flag(parameters: &Parameters, name: &str, of: &str) -> Result<Option<bool>, Error> {
    match parameters.get(name) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(Error::malformed(format!(
            "`{name}` of {of} is neither true nor false"
        ))),
    }
}

/// Microseconds; zero is no limit of its own.
fn timeout(parameters: &Parameters) -> Result<Option<Duration>, Error> {
    match parameters.get("timeout") {
        None => Ok(None),
        Some(value) => match value.as_u64() {
            Some(0) => Ok(None),
            Some(micros) => Ok(Some(Duration::from_micros(micros))),
            None => Err(Error::malformed("`timeout` is no number of microseconds")),
        },
    }
}

fn priority(parameters: &Parameters) -> Result<Option<Priority>, Error> {
    match parameters.get("priority").map(Value::as_u64) {
        None => Ok(None),
        Some(Some(number)) => Ok(Some(oip::priority(number))),
        Some(None) => Err(Error::malformed("`priority` is no number from 0")),
    }
}

impl InferRequest {
    pub(super) fn check_rows(&self, limit: usize) -> Result<(), Error> {
        match rows_of_tensors(&self.tensors) {
            actual if actual > limit => Err(Error::TooManyRows { actual, limit }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(json: &str, header_length: Option<&str>) -> String {
        decode(json.as_bytes(), header_length)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn tensors_of_both_forms_stand_in_one_body() {
        let json = r#"{"id":"7","inputs":[
            {"name":"a","shape":[2],"datatype":"FP32","parameters":{"binary_data_size":8}},
            {"data":[[1],[2]],"name":"b","shape":[2,1],"datatype":"INT64"},
            {"name":"c","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":6}}],
            "outputs":[{"name":"y","parameters":{"binary_data":false}}],
            "parameters":{"binary_data_output":true,"timeout":5000,"priority":1,"mine":"x"},"model_name":"m"}"#;
        let mut body = json.as_bytes().to_vec();
        body.extend_from_slice(&[0, 0, 128, 63, 0, 0, 0, 64]);
        body.extend_from_slice(b"\x02\0\0\0ab");
        let request = decode(&body, Some(&json.len().to_string())).unwrap();
        let names: Vec<&str> = request.tensors.iter().map(|t| &*t.name).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(request.id.as_deref(), Some("7"));
        assert_eq!(request.timeout, Some(Duration::from_millis(5)));
        assert_eq!(request.priority, Some(Priority::High));
        assert!(request.binary_output && request.params.is_some());
        assert_eq!(request.outputs[0].binary, Some(false));
    }

    #[test]
    fn lengths_that_do_not_go_together_are_refused() {
        let input = |size: &str| {
            format!(
                r#"{{"inputs":[{{"name":"a","shape":[1],"datatype":"INT8","parameters":{{"binary_data_size":{size}}}}}]}}"#
            )
        };
        let one = input("1");
        let length = one.len().to_string();
        for (body, header, part) in [
            (one.clone(), Some("9999999999999999999999"), "the body has"),
            (one.clone(), Some("1000"), "is 1000, and the body has"),
            (one.clone(), Some("-1"), "no length"),
            (one.clone(), Some("+1"), "no length"),
            (one.clone(), Some(""), "no length"),
            (one.clone(), None, "no `Inference-Header-Content-Length`"),
            (
                one.clone(),
                Some(&length),
                "should have 1 bytes, and 0 are left",
            ),
            (
                format!("{one}xy"),
                Some(&length),
                "1 bytes follow the last tensor",
            ),
            (
                input("-1"),
                Some(&input("-1").len().to_string()),
                "no length",
            ),
            (
                input("1.5"),
                Some(&input("1.5").len().to_string()),
                "no length",
            ),
        ] {
            let error = refusal(&body, header);
            assert!(error.contains(part), "{body} {header:?}: {error}");
        }
    }

    #[test]
    fn documents_that_are_no_requests_are_refused() {
        let input = r#""name":"a","shape":[1],"datatype":"FP32""#;
        for (json, part) in [
            (String::new(), "EOF"),
            ("[]".to_owned(), "expected an object"),
            (
                r#"{"inputs":[["a",[1],"FP32",null,[1]]]}"#.to_owned(),
                "expected an object",
            ),
            ("{}".to_owned(), "inputs"),
            (format!(r#"{{"inputs":[{{{input}}}]}}"#), "neither `data`"),
            (
                format!(r#"{{"inputs":[{{{input},"data":[1]}},{{{input},"data":[1]}}]}}"#),
                "`a` is given twice",
            ),
            (
                format!(r#"{{"inputs":[{{{input},"data":[1]}}],"parameters":{{"timeout":"x"}}}}"#),
                "timeout",
            ),
            (
                format!(
                    r#"{{"inputs":[{{{input},"data":[1]}}],"outputs":[{{"name":"y","parameters":{{"classification":3}}}}]}}"#
                ),
                "classification",
            ),
            (
                format!(
                    r#"{{"inputs":[{{{input},"parameters":{{"shared_memory_region":"r"}}}}]}}"#
                ),
                "shared memory",
            ),
            (
                r#"{"inputs":[{"name":"a","shape":[1.5],"datatype":"FP32","data":[1]}]}"#
                    .to_owned(),
                "1.5",
            ),
        ] {
            let error = refusal(&json, None);
            assert!(error.contains(part), "{json}: {error}");
        }
    }

    #[test]
    fn bare_words_are_numbers_of_floating_point_only() {
        let json = |datatype| {
            format!(
                r#"{{"inputs":[{{"name":"a","shape":[2],"datatype":"{datatype}","data":[NaN,-Infinity]}}]}}"#
            )
        };
        assert!(decode(json("FP32").as_bytes(), None).is_ok());
        assert!(refusal(&json("INT64"), None).contains("element 0"));
    }
}
