//! `predict(model, request)`: the body of `/v1` as a value in, its answer as a value out.
//!
//! The value goes through the same JSON as an HTTP body, so it is decoded, refused, predicted and audited alike.

use std::sync::Arc;

use super::{Arguments, Error, Tasks};
use crate::jobs::value::Value;
use crate::jobs::worker::Call;
use crate::predict::json;
use crate::types::request::{RequestContext, Surface};
use crate::types::urgency::Priority;

/// Beside model and request: the caller's `X-Request-Id` and `traceparent`, and the URL to be told of the end.
pub(super) const PARAMETERS: &[&str] =
    &["model", "request", "request_id", "traceparent", "webhook"];

impl Tasks {
    pub(super) async fn predict(&self, call: &Call) -> Result<Value, Error> {
        let arguments = Arguments::bind(call, PARAMETERS, 2)?;
        let model = arguments.required_text("model")?;
        let request = arguments.required("request")?.to_json()?;
        if let Some(url) = arguments.text("webhook")? {
            self.webhooks.check(url)?;
        }
        let request_id = arguments.text("request_id")?;
        let trace_id = arguments
            .text("traceparent")?
            .and_then(RequestContext::trace_id_of);
        let context = RequestContext {
            surface: Surface::Job,
            request_id: match request_id {
                Some(_) => RequestContext::request_id_of(request_id),
                None => RequestContext::request_id_of(Some(call.id.as_str())),
            },
            trace_id,
            principal: None,
            priority: Priority::default(),
        };
        let span = tracing::info_span!(
            "job",
            id = %call.id,
            request_id = %context.request_id,
            trace_id = context.trace_id
        );
        let body = serde_json::to_vec(&request).map_err(|source| json::Error::Encode { source })?;
        let prediction = json::Call {
            model,
            body: &body,
            max_rows: self.max_rows,
            deadline: call.deadline,
            context,
        };
        let answer = json::answer(&self.predictor, prediction);
        let answer = tracing::Instrument::instrument(answer, span).await?;
        let answer: serde_json::Value =
            serde_json::from_slice(&answer).map_err(|source| json::Error::Encode { source })?;
        Ok(Value::from(answer))
    }
}

/// The arguments of a predict job that came over HTTP.
pub struct PredictJob<'a> {
    pub model: &'a str,
    pub request: serde_json::Value,
    pub request_id: &'a Arc<str>,
    pub traceparent: Option<&'a str>,
    pub webhook: Option<&'a str>,
}

impl PredictJob<'_> {
    pub fn args(&self) -> Vec<Value> {
        vec![Value::from(self.model), Value::from(self.request.clone())]
    }

    pub fn kwargs(&self) -> Vec<(String, Value)> {
        let request_id: &str = self.request_id;
        let given = [
            ("request_id", Some(request_id)),
            ("traceparent", self.traceparent),
            ("webhook", self.webhook),
        ];
        let given = given.into_iter();
        given
            .filter_map(|(name, text)| Some((name.to_owned(), Value::from(text?))))
            .collect()
    }
}
