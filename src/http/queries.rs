//! `POST /v1/audit/query`: the audit trail asked in SQL; the answer as lines of JSON, CSV or Arrow's stream, as `Accept` says.
//!
//! What fails before the first rows is a problem document. What fails later breaks the body off: a client that reads it to
//! its proper end has everything. A caller that leaves ends the query.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderMap, Response};
use futures::StreamExt;
use futures::stream;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{Api, Error as HttpError, extract, problem};
use crate::audit::query::{Answer, Error as QueryError, Format, Question, Source, moment};
use crate::error::{ErrorClass, Failure, with_causes};
use crate::types::timestamp::Timestamp;

/// A question is short.
const MAX_BODY: usize = 64 * 1024;

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("the body is no question: {source}")]
    Body { source: serde_json::Error },
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Http(error) => error.class(),
            Self::Query(error) => error.class(),
            Self::Body { .. } => ErrorClass::InvalidInput,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Http(error) => error.code(),
            Self::Query(error) => error.code(),
            Self::Body { .. } => "audit_question_malformed",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Http(error) => error.hint(),
            Self::Query(error) => error.hint(),
            Self::Body { .. } => Some(r#"send `{"sql": "SELECT ..."}`"#.to_owned()),
        }
    }
}

/// The body of a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    sql: String,
    #[serde(default)]
    from: Source,
    #[serde(default, deserialize_with = "moment_of")]
    since: Option<Timestamp>,
    #[serde(default, deserialize_with = "moment_of")]
    until: Option<Timestamp>,
    partition: Option<i32>,
    first_offset: Option<i64>,
    end_offset: Option<i64>,
}

fn moment_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    let time = text.as_deref().map(moment).transpose();
    time.map_err(serde::de::Error::custom)
}

pub(super) async fn ask(State(api): State<Arc<Api>>, request: Request) -> Response<Body> {
    let request_id = extract::request_id(request.headers());
    let format = format(request.headers());
    match answer(&api, request, format).await {
        Ok(body) => {
            let mut response = Response::new(body);
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type(format)));
            if let Ok(id) = HeaderValue::from_str(&request_id) {
                headers.insert(extract::REQUEST_ID, id);
            }
            response
        }
        Err(error) => problem::render(&error, &request_id),
    }
}

async fn answer(api: &Api, request: Request, format: Format) -> Result<Body, Error> {
    let archive = api.predictor.audit().archive();
    if !archive.config().http {
        return Err(QueryError::Off.into());
    }
    let (parts, body) = request.into_parts();
    let deadline = extract::deadline(&parts.headers, api.config.request_timeout)?;
    let bytes = extract::json_body(&parts.headers, body, MAX_BODY, deadline).await?;
    let asked: Asked = serde_json::from_slice(&bytes).map_err(|source| Error::Body { source })?;
    let question = Question {
        sql: asked.sql,
        source: asked.from,
        since: asked.since,
        until: asked.until,
        partition: asked.partition,
        first_offset: asked.first_offset,
        end_offset: asked.end_offset,
        timeout: None,
        max_rows: None,
    };
    let mut answer = archive.ask(question, format).await?;
    // With the first rows it is clear whether it can be answered at all.
    let first = answer.pieces.next().await.transpose()?;
    let request_id = extract::request_id(&parts.headers);
    let rest = stream::unfold(
        (answer, request_id),
        |(mut answer, request_id)| async move {
            let piece = next(&mut answer, &request_id).await?;
            Some((piece, (answer, request_id)))
        },
    );
    let first = stream::iter(first.map(|piece| Ok(Bytes::from(piece))));
    Ok(Body::from_stream(first.chain(rest)))
}

/// The next piece of the body; the log hears how it ended.
async fn next(answer: &mut Answer, request_id: &str) -> Option<Result<Bytes, QueryError>> {
    match answer.pieces.next().await {
        Some(Ok(piece)) => Some(Ok(piece.into())),
        Some(Err(error)) => {
            let (code, error_text) = (error.code(), with_causes(&error));
            tracing::warn!(request_id, code, error = %error_text, "the answer of a query broke off");
            Some(Err(error))
        }
        None => {
            if let Some(told) = answer.left_out.told() {
                tracing::warn!(request_id, "a query {told}");
            }
            None
        }
    }
}

/// The first of ours that the caller takes; lines of JSON if it does not say.
fn format(headers: &HeaderMap) -> Format {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let mut kinds = accept.unwrap_or_default().split(',');
    let known = kinds.find_map(|kind| match kind.split(';').next()?.trim() {
        "application/vnd.apache.arrow.stream" => Some(Format::Arrow),
        "text/csv" => Some(Format::Csv),
        "application/x-ndjson" | "application/jsonl" => Some(Format::Json),
        _ => None,
    });
    known.unwrap_or(Format::Json)
}

fn media_type(format: Format) -> &'static str {
    match format {
        Format::Json => "application/x-ndjson",
        Format::Csv => "text/csv; charset=utf-8",
        Format::Table => "text/plain; charset=utf-8",
        Format::Arrow => "application/vnd.apache.arrow.stream",
    }
}

/// The route in the OpenAPI document.
pub(super) fn openapi_path() -> Value {
    let problem = |description: &str| {
        json!({ "description": description, "content": { "application/problem+json": {
            "schema": { "$ref": "#/components/schemas/Problem" } } } })
    };
    let moment = |description: &str| json!({ "type": "string", "description": format!("{description}: so long ago, as in `1h`, or RFC 3339") });
    let offset = |description: &str| json!({ "type": "integer", "description": description });
    json!({ "post": { "tags": ["audit"], "operationId": "audit_query",
        "summary": "Ask the audit trail in SQL",
        "description": "One SELECT over the tables `predictions`, `features` and `outputs`. An answer that breaks off is not all.",
        "requestBody": { "required": true, "content": { "application/json": { "schema": {
            "type": "object", "required": ["sql"], "additionalProperties": false, "properties": {
                "sql": { "type": "string", "maxLength": 16384 },
                "from": { "enum": ["files", "spool", "topic"], "default": "files" },
                "since": moment("Only events taken up then or later"),
                "until": moment("Only events taken up before"),
                "partition": offset("Of a topic this partition only"),
                "first_offset": offset("Of a topic messages from here on, in each partition"),
                "end_offset": offset("Of a topic messages before") } },
            "example": { "sql": "SELECT model, count(*) AS n FROM predictions GROUP BY model", "since": "1h" } } } },
        "responses": {
            "200": { "description": "The rows, as they are found", "content": {
                "application/x-ndjson": { "schema": { "type": "object" } },
                "text/csv": { "schema": { "type": "string" } },
                "application/vnd.apache.arrow.stream": { "schema": { "type": "string", "format": "binary" } } } },
            "400": problem("It is not a SELECT, or it cannot be planned"),
            "404": problem("Queries are switched off"),
            "422": problem("It failed at a value, or it needs more memory or gives more rows than it may"),
            "429": problem("As many queries run as may at a time"),
            "501": problem("The binary was built without feature `datafusion`"),
            "503": problem("Files, spool or topic cannot be read"),
            "504": problem("It was not done in time") } } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_chooses_the_form_of_the_answer() {
        let of = |accept: &'static str| {
            format(&HeaderMap::from_iter([(
                ACCEPT,
                HeaderValue::from_static(accept),
            )]))
        };
        assert_eq!(format(&HeaderMap::new()), Format::Json);
        assert_eq!(of("*/*"), Format::Json);
        assert_eq!(of("application/json"), Format::Json);
        assert_eq!(of("text/csv;q=0.9, */*"), Format::Csv);
        assert_eq!(of("application/vnd.apache.arrow.stream"), Format::Arrow);
    }
}
