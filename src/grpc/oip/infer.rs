//! `ModelInfer`: a message to tensors, through the predictor, and back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use tonic::Status;

use super::messages::{
    InferParameter, InferRequestedOutputTensor, InferTensor, ModelInferRequest, ModelInferResponse,
};
use super::{Call, contents};
use crate::grpc::status;
use crate::shutdown::run_here;
use crate::types::oip::{self, Error};
use crate::types::prediction::Prediction;
use crate::types::request::{
    PredictRequest, RequestContext, RequestInputs, Surface, rows_of_tensors,
};
use crate::types::urgency::Priority;

/// Working through so many bytes takes about half a millisecond.
const LARGE: usize = 64 * 1024;

pub(super) async fn infer(
    call: Call,
    request: ModelInferRequest,
) -> Result<ModelInferResponse, Status> {
    let deadline = call.deadline();
    let n_bytes = request
        .raw_input_contents
        .iter()
        .map(Bytes::len)
        .sum::<usize>();
    let ModelInferRequest {
        model_name,
        model_version,
        id,
        parameters,
        inputs,
        outputs,
        raw_input_contents,
    } = request;
    let wrong = |error: Error| status::of(&error);
    let model = oip::model_ref(&model_name, &model_version).map_err(wrong)?;
    let outputs = requested(outputs).map_err(wrong)?;
    let timeout = timeout(&parameters).map_err(wrong)?;
    let tensors = run_here(n_bytes > LARGE, || {
        contents::tensors(inputs, &raw_input_contents)
    })
    .map_err(wrong)?;
    let (actual, limit) = (rows_of_tensors(&tensors), call.api.max_rows);
    if actual > limit {
        return Err(wrong(Error::TooManyRows { actual, limit }));
    }
    let request = PredictRequest {
        model,
        inputs: RequestInputs::Tensors(tensors),
        params: params(&parameters),
        deadline: timeout.map_or(deadline, |timeout| deadline.at_most(timeout)),
        context: RequestContext {
            priority: priority(&parameters).map_err(wrong)?,
            ..context(&call)
        },
    };
    let prediction = call.api.predictor.predict(&request).await;
    let prediction = prediction.map_err(|error| status::of(&error))?;
    run_here(request.is_large(), || response(&prediction, id, &outputs)).map_err(wrong)
}

fn requested(outputs: Vec<InferRequestedOutputTensor>) -> Result<Vec<String>, Error> {
    let mut names = Vec::with_capacity(outputs.len());
    for output in outputs {
        if output.parameters.contains_key("shared_memory_region") {
            return Err(contents::shared_memory(&output.name));
        }
        let classes = output.parameters.get("classification");
        if classes.is_some_and(|classes| classes.as_u64() != Some(0)) {
            return Err(Error::Unsupported {
                what: format!("classification of output `{}`", output.name),
                hint: "leave `classification` out",
            });
        }
        names.push(output.name);
    }
    Ok(names)
}

/// Microseconds; zero is no limit of its own.
fn timeout(parameters: &HashMap<String, InferParameter>) -> Result<Option<Duration>, Error> {
    let Some(value) = parameters.get("timeout") else {
        return Ok(None);
    };
    match value.as_u64() {
        Some(0) => Ok(None),
        Some(micros) => Ok(Some(Duration::from_micros(micros))),
        None => Err(Error::malformed("`timeout` is no number of microseconds")),
    }
}

fn priority(parameters: &HashMap<String, InferParameter>) -> Result<Priority, Error> {
    match parameters.get("priority").map(InferParameter::as_u64) {
        None => Ok(Priority::default()),
        Some(Some(number)) => Ok(oip::priority(number)),
        Some(None) => Err(Error::malformed("`priority` is no number from 0")),
    }
}

/// The parameters for the audit record.
fn params(parameters: &HashMap<String, InferParameter>) -> Option<Arc<RawValue>> {
    if parameters.is_empty() {
        return None;
    }
    let parameters = parameters
        .iter()
        .map(|(name, value)| (name.clone(), value.to_json()));
    let parameters: serde_json::Map<_, _> = parameters.collect();
    serde_json::value::to_raw_value(&parameters)
        .ok()
        .map(Arc::from)
}

/// As of a call over HTTP: the caller's request id and trace, if it sent them.
fn context(call: &Call) -> RequestContext {
    let trace = call
        .header("traceparent")
        .and_then(RequestContext::trace_id_of);
    RequestContext {
        surface: Surface::Oip,
        request_id: RequestContext::request_id_of(call.header("x-request-id")),
        trace_id: trace,
        principal: None,
        priority: Priority::default(),
    }
}

/// Outputs are raw, always; every one has its entry, also an empty one.
fn response(
    prediction: &Prediction,
    id: String,
    wanted: &[String],
) -> Result<ModelInferResponse, Error> {
    let selected = oip::select(&prediction.outputs, wanted)?;
    let mut outputs = Vec::with_capacity(selected.len());
    let mut raw_output_contents = Vec::with_capacity(selected.len());
    for output in selected {
        let mut bytes = Vec::new();
        oip::encode_raw(&output.tensor, &mut bytes);
        raw_output_contents.push(Bytes::from(bytes));
        outputs.push(InferTensor {
            name: output.name.to_string(),
            datatype: output.tensor.dtype().oip_name().to_owned(),
            // No array is larger than a signed integer counts.
            shape: output.tensor.shape().iter().map(|n| *n as i64).collect(),
            ..Default::default()
        });
    }
    Ok(ModelInferResponse {
        model_name: prediction.served_by.name.to_string(),
        model_version: prediction.served_by.version.to_string(),
        id,
        parameters: HashMap::new(),
        outputs,
        raw_output_contents,
    })
}
