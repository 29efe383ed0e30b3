//! A predict call as JSON: what `/v1` takes and answers, and with it the command line and jobs.
//!
//! The same body gives the same answer, bit for bit, whichever of them brought it.

mod decode;
mod encode;
mod error;

pub use decode::{PredictBody, predict_body};
pub use encode::features_json;
pub use error::Error;

use super::Predictor;
use crate::shutdown::run_here;
use crate::types::deadline::Deadline;
use crate::types::prediction::Prediction;
use crate::types::request::{PredictRequest, RequestContext, RequestInputs};
use encode::PredictAnswer;

/// Decoding so many bytes takes about half a millisecond.
const LARGE_BODY: usize = 64 * 1024;

/// One call, not looked into yet.
#[derive(Debug)]
pub struct Call<'a> {
    /// `name`, `name@alias` or `name:version`.
    pub model: &'a str,
    pub body: &'a [u8],
    pub max_rows: usize,
    pub deadline: Deadline,
    pub context: RequestContext,
}

/// One predict call: JSON body in, JSON answer out.
pub async fn answer(predictor: &Predictor, call: Call<'_>) -> Result<Vec<u8>, Error> {
    let body = run_here(call.body.len() > LARGE_BODY, || {
        predict_body(call.body, call.max_rows)
    })?;
    let request = PredictRequest {
        model: call.model.parse()?,
        inputs: RequestInputs::Columns(body.columns),
        params: body.params,
        deadline: call.deadline,
        context: call.context,
    };
    let prediction = predictor.predict(&request).await?;
    run_here(request.is_large(), || encode(&prediction, body.explain))
        .map_err(|source| Error::Encode { source })
}

/// The answer of a predict call as JSON; for whoever has the prediction already.
pub fn encode(prediction: &Prediction, explain: bool) -> Result<Vec<u8>, serde_json::Error> {
    PredictAnswer {
        prediction,
        explain,
    }
    .to_json()
}

/// Whether `answer` would take the body, as far as that can be said without the model.
pub fn check(model: &str, body: &[u8], max_rows: usize) -> Result<(), Error> {
    run_here(body.len() > LARGE_BODY, || predict_body(body, max_rows))?;
    model.parse::<crate::types::names::ModelRef>()?;
    Ok(())
}
