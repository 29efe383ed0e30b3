//! MLflow's scoring protocol (MLflow 3.17), on the paths of `mlflow models serve`: any client of it works unchanged.
//!
//! A body becomes a `Scoring` call, which goes the way of every prediction; the model's signature types it there. The
//! answer and the errors are MLflow's (`encode`, `failure`).
//! Several models may be served: `/models/{model}/invocations` names one, `/invocations` is the only one or the one
//! configured.
//! Not here: how values are typed (`predict`), Parquet bodies.

mod csv;
mod encode;
mod failure;
mod json;
mod literals;
mod openapi;
mod room;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::{get, post};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::failure::{Kind, Refusal};
use self::json::Body as Decoded;
pub(super) use self::openapi::paths as openapi_paths;
use super::{Api, Error, extract};
use crate::shutdown::run_here;
use crate::types::names::{ModelRef, VersionSelector};
use crate::types::prediction::Prediction;
use crate::types::request::{ColumnsError, PredictRequest, RequestContext, RequestInputs, Surface};
use crate::types::scoring::{Payload, Scoring};

/// The version whose protocol this is; what `/version` answers.
const VERSION: &str = "3.17.2";

/// Paths on which even a wrong method is answered as MLflow does, beside `/health`, which Feast has too.
pub(super) const PATHS: [&str; 4] = [
    "/invocations",
    "/models/{model}/invocations",
    "/ping",
    "/version",
];

/// Decoding so many bytes takes about half a millisecond.
const LARGE_BODY: usize = 64 * 1024;

/// `[http.mlflow]`: MLflow's scoring protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The model that `/invocations` means: `name`, `name@alias` or `name:version`. Without it the only model there is.
    #[serde(with = "optional_model")]
    #[schemars(with = "Option<String>")]
    pub model: Option<ModelRef>,
    /// Answers exactly as MLflow, mishaps included: the rows of a wide output one after the other instead of a list per
    /// row, and integers beyond 64 bits as whatever they become instead of an error.
    pub strict: bool,
}

/// A model reference as text.
mod optional_model {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::types::names::ModelRef;

    pub(super) fn serialize<S: Serializer>(
        model: &Option<ModelRef>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        model
            .as_ref()
            .map(ToString::to_string)
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<ModelRef>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse())
            .transpose()
            .map_err(D::Error::custom)
    }
}

pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/invocations", post(invocations))
        .route("/models/{model}/invocations", post(model_invocations))
        .route("/ping", get(ping))
        .route("/version", get(version))
}

/// 200 once there is a model to score with.
pub(super) async fn ping(State(api): State<Arc<Api>>) -> Response<Body> {
    let status = match api.predictor.models().readiness().n_loaded {
        0 => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    };
    let mut response = json_response("\n".into());
    *response.status_mut() = status;
    response
}

async fn version() -> Response<Body> {
    json_response(VERSION.into())
}

async fn invocations(State(api): State<Arc<Api>>, request: Request) -> Response<Body> {
    let model = only_model(&api);
    scored(&api, model, request).await
}

async fn model_invocations(
    State(api): State<Arc<Api>>,
    Path(model): Path<String>,
    request: Request,
) -> Response<Body> {
    let model = model.parse().map_err(|error| Error::ModelRef(error).into());
    scored(&api, model, request).await
}

async fn scored(api: &Api, model: Result<ModelRef, Refusal>, request: Request) -> Response<Body> {
    let context = RequestContext {
        surface: Surface::Mlflow,
        ..extract::context(request.headers())
    };
    let request_id = Arc::clone(&context.request_id);
    let answer = match model {
        Ok(model) => answer(api, model, request, context).await,
        Err(refusal) => Err(refusal),
    };
    let mut response = match answer {
        Ok(body) => json_response(body),
        Err(refusal) => refusal.render(),
    };
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(extract::REQUEST_ID, id);
    }
    response
}

async fn answer(
    api: &Api,
    model: ModelRef,
    request: Request,
    mut context: RequestContext,
) -> Result<Vec<u8>, Refusal> {
    let (parts, body) = request.into_parts();
    let deadline = extract::deadline(&parts.headers, api.config.request_timeout)?;
    context.priority = extract::priority(&parts.headers)?;
    let format = Format::of(&parts.headers)?;
    let limit = api.config.max_body.as_usize();
    let bytes = extract::body(&parts.headers, body, limit, deadline).await?;
    let decoded = run_here(bytes.len() > LARGE_BODY, || format.decode(&bytes))?;
    let scoring = Scoring {
        payload: decoded.payload,
        strict: api.config.mlflow.strict,
    };
    check_rows(&scoring, api.config.max_rows.get())?;
    let request = PredictRequest {
        model,
        inputs: RequestInputs::Scoring(scoring),
        params: decoded.params,
        deadline,
        context,
    };
    let prediction = api.predictor.predict(&request).await?;
    run_here(request.is_large(), || {
        encode::answer(&prediction, api.config.mlflow.strict)
    })
}

fn check_rows(scoring: &Scoring, limit: usize) -> Result<(), Error> {
    let actual = scoring.n_rows();
    if actual > limit {
        return Err(ColumnsError::TooManyRows { actual, limit }.into());
    }
    Ok(())
}

/// The model that `/invocations` means.
fn only_model(api: &Api) -> Result<ModelRef, Refusal> {
    if let Some(model) = &api.config.mlflow.model {
        return Ok(model.clone());
    }
    let models = api.predictor.models();
    if let Some(name) = models.only().map_err(Error::Models)? {
        return Ok(ModelRef {
            name: name.to_string(),
            version: VersionSelector::Serving,
        });
    }
    let names: Vec<String> = models
        .models()
        .iter()
        .map(|model| model.name.to_string())
        .collect();
    Err(match names.is_empty() {
        true => Refusal::new(Kind::NotFound, "no model is served"),
        false => Refusal::bad_request(format!(
            "several models are served ({}): post to /models/{{model}}/invocations, or set `http.mlflow.model`",
            names.join(", ")
        )),
    })
}

/// What a body is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Csv,
}

impl Format {
    /// In MLflow's order: the character set, then other parameters, then the type itself.
    fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let Some(value) = headers.get(CONTENT_TYPE) else {
            // Its server fails over it, and clients may rely on that no less than on the rest.
            return Err(Refusal::text(500, "Internal Server Error"));
        };
        let text = value.to_str().unwrap_or_default();
        let mut parts = text.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let parameters: Vec<(&str, &str)> = parts
            .map(|part| part.split_once('=').unwrap_or((part, "")))
            .collect();
        let is_utf8 = |(name, value): &(&str, &str)| {
            *name != "charset" || value.eq_ignore_ascii_case("utf-8")
        };
        if !parameters.iter().all(is_utf8) {
            return Err(Refusal::text(415, "The scoring server only supports UTF-8"));
        }
        let others = parameters.iter().filter(|(name, _)| *name != "charset");
        let others: Vec<&str> = others.map(|(name, _)| *name).collect();
        if !others.is_empty() {
            return Err(Refusal::text(
                415,
                format!(
                    "Unrecognized content type parameters: {}.",
                    others.join(", ")
                ),
            ));
        }
        match kind {
            "application/json" => Ok(Self::Json),
            "text/csv" => Ok(Self::Csv),
            _ => Err(Refusal::text(
                415,
                format!(
                    "This predictor only supports the following content types: Types: ['text/csv', 'application/json']. Got '{text}'."
                ),
            )),
        }
    }

    fn decode(self, bytes: &[u8]) -> Result<Decoded, Refusal> {
        match self {
            Self::Json => json::decode(bytes),
            Self::Csv => Ok(Decoded {
                payload: Payload::Frame(csv::frame(bytes)?),
                params: None,
            }),
        }
    }
}

/// For fuzzing: what a JSON body gives.
pub(super) fn json_body(bytes: &[u8]) -> Result<Payload, ()> {
    json::decode(bytes)
        .map(|body| body.payload)
        .map_err(|refusal| drop(refusal.render()))
}

/// For fuzzing: what a CSV body gives.
pub(super) fn csv_body(bytes: &[u8]) -> Result<Payload, ()> {
    csv::frame(bytes)
        .map(Payload::Frame)
        .map_err(|refusal| drop(refusal.render()))
}

/// For fuzzing: the body of an answer, if there is one, with what only Python reads as texts.
pub(super) fn answer_body(prediction: &Prediction, strict: bool) -> Option<Vec<u8>> {
    let body = encode::answer(prediction, strict).ok()?;
    Some(literals::marked(&body).unwrap_or(body))
}

fn json_response(body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_is_looked_at_in_mlflows_order() {
        for (text, wanted) in [
            ("application/json", Ok(Format::Json)),
            ("application/json;charset=UTF-8", Ok(Format::Json)),
            ("text/csv; charset=utf-8", Ok(Format::Csv)),
            ("text/plain; charset=latin-1", Err((415, "UTF-8"))),
            ("text/plain; format=x", Err((415, "parameters: format"))),
            ("text/plain", Err((415, "Got 'text/plain'"))),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(text))]);
            match (Format::of(&headers), wanted) {
                (Ok(format), Ok(wanted)) => assert_eq!(format, wanted, "{text}"),
                (Err(refusal), Err((status, part))) => {
                    assert_eq!(refusal.render().status().as_u16(), status);
                    assert!(refusal.message().contains(part), "{text}: {refusal:?}");
                }
                (actual, _) => panic!("{text}: {actual:?}"),
            }
        }
        let refusal = Format::of(&HeaderMap::new()).unwrap_err();
        assert_eq!(refusal.render().status().as_u16(), 500);
    }
}
