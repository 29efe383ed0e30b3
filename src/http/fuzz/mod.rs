//! Bodies as a fuzzer writes them: decoded, typed by the signatures of several models, and answered. No server has a use
//! for it.
//!
//! A target takes any bytes and gives nothing. It panics where a promise is broken: what was read is written and read
//! again the same, and an answer is JSON. `fuzz/` drives the targets with libFuzzer, `tests/it/fuzz.rs` with a corpus.

mod plans;

use std::sync::Arc;
use std::time::Duration;

use serde::de::IgnoredAny;
use uuid::Uuid;

use self::plans::plans;
use super::mlflow::{csv_body, json_body};
use super::{mlflow, oip};
use crate::predict::{ServingPlan, json};
use crate::types::deadline::Deadline;
use crate::types::feature::FeatureRows;
use crate::types::names::{ModelRef, ModelVersion, VersionSelector};
use crate::types::oip::check_round_trip;
use crate::types::prediction::{Layout, NamedOutput, Prediction, ServedBy, Timings};
use crate::types::request::{PredictRequest, RequestContext, RequestInputs, Surface};
use crate::types::scoring::{Payload, Scoring};
use crate::types::tensor::Output;
use crate::types::urgency::Priority;

/// A target by its name.
pub type Target = (&'static str, fn(&[u8]));

/// All targets; `grpc::oip::fuzz` is one more.
pub const TARGETS: [Target; 5] = [
    ("oip_json", oip_json),
    ("oip_binary", oip_binary),
    ("predict", predict),
    ("mlflow_json", mlflow_json),
    ("mlflow_csv", mlflow_csv),
];

const MAX_ROWS: usize = 10_000;
const MAX_VALUES: usize = 100_000;

/// The JSON of an infer request.
pub fn oip_json(data: &[u8]) {
    infer(data, None);
}

/// A body with binary tensors. The first line is `Inference-Header-Content-Length`.
pub fn oip_binary(data: &[u8]) {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    if let Ok(length) = std::str::from_utf8(&data[..end]) {
        infer(&data[end + 1..], Some(length));
    }
}

/// A body of `/v1`.
pub fn predict(data: &[u8]) {
    let Ok(body) = json::predict_body(data, MAX_ROWS) else {
        return;
    };
    let explain = body.explain;
    rehearse(RequestInputs::Columns(body.columns), |prediction| {
        if let Ok(json) = json::encode(prediction, explain) {
            check_json(&json);
        }
    });
}

/// A JSON body of MLflow's scoring protocol.
pub fn mlflow_json(data: &[u8]) {
    if let Ok(payload) = json_body(data) {
        score(payload);
    }
}

/// A CSV body of MLflow's scoring protocol.
pub fn mlflow_csv(data: &[u8]) {
    if let Ok(payload) = csv_body(data) {
        score(payload);
    }
}

fn score(payload: Payload) {
    for strict in [false, true] {
        let scoring = Scoring {
            payload: payload.clone(),
            strict,
        };
        // Every model would look at every value.
        if scoring.n_rows() > MAX_ROWS || scoring.n_values() > MAX_VALUES {
            return;
        }
        rehearse(RequestInputs::Scoring(scoring), |prediction| {
            if let Some(json) = mlflow::answer_body(prediction, strict) {
                check_json(&json);
            }
        });
    }
}

fn infer(body: &[u8], header_length: Option<&str>) {
    let Ok(request) = oip::decode(body, header_length) else {
        return;
    };
    for named in &request.tensors {
        check_round_trip(&named.tensor);
    }
    let (id, outputs, binary) = (request.id, request.outputs, request.binary_output);
    rehearse(RequestInputs::Tensors(request.tensors), |prediction| {
        if let Some((body, json_length)) =
            oip::answer_body(prediction, id.as_deref(), &outputs, binary)
        {
            check_json(&body[..json_length]);
        }
    });
}

/// What an engine would get is answered as it is, under the names of the inputs.
fn rehearse(inputs: RequestInputs, look: impl Fn(&Prediction)) {
    let request = PredictRequest {
        model: ModelRef {
            name: "m".to_owned(),
            version: VersionSelector::Serving,
        },
        inputs,
        params: None,
        deadline: Deadline::after(Duration::from_secs(1)),
        context: RequestContext {
            surface: Surface::Http,
            request_id: Arc::from("fuzz"),
            trace_id: None,
            principal: None,
            priority: Priority::Normal,
        },
    };
    for plan in plans() {
        if let Some(prediction) = echo(plan, &request) {
            look(&prediction);
        }
    }
}

fn echo(plan: &ServingPlan, request: &PredictRequest) -> Option<Prediction> {
    let rehearsed = plan.rehearse(request).ok()?;
    if rehearsed.layout == Layout::Table {
        for named in &rehearsed.inputs {
            let rows = named.tensor.shape().first();
            assert_eq!(rows, Some(&rehearsed.n_rows), "of `{}`", named.name);
        }
    }
    let outputs = rehearsed.inputs.into_iter();
    Some(Prediction {
        id: Uuid::nil(),
        served_by: ServedBy {
            name: Arc::from("m"),
            version: ModelVersion(1),
            alias: None,
        },
        variants: Vec::new(),
        n_rows: rehearsed.n_rows,
        layout: rehearsed.layout,
        outputs: outputs
            .map(|named| NamedOutput {
                name: Arc::from(named.name),
                output: Output::Tensor(Arc::unwrap_or_clone(named.tensor)),
            })
            .collect(),
        features: FeatureRows::none(rehearsed.n_rows),
        timings: Timings::default(),
        cached: false,
    })
}

fn check_json(json: &[u8]) {
    let parsed = serde_json::from_slice::<IgnoredAny>(json);
    assert!(parsed.is_ok(), "no JSON: {parsed:?}");
}
