//! `GET /v1/predictions/{id}`: what is on record of one prediction.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderMap, Response};
use uuid::Uuid;

use super::{Api, extract, problem};
use crate::audit;
use crate::error::{ErrorClass, Failure};

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("`{actual}` is not the id of a prediction")]
    Id { actual: String },
    #[error("there is no event of prediction {id} in the spool or in the files of this server")]
    Unknown { id: Uuid },
    #[error(transparent)]
    Read(#[from] audit::read::Error),
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Id { .. } => ErrorClass::InvalidInput,
            Self::Unknown { .. } => ErrorClass::NotFound,
            Self::Read(error) => error.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Id { .. } => "prediction_id_invalid",
            Self::Unknown { .. } => "prediction_not_found",
            Self::Read(error) => error.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Id { .. } => Some("take the `id` of an answer, a UUID".to_owned()),
            Self::Unknown { .. } => Some(
                "it may have been answered by another server, or its file was deleted (`audit.file.max_files`)"
                    .to_owned(),
            ),
            Self::Read(error) => error.hint(),
        }
    }
}

/// The event of the prediction, as it was written.
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    match find(&api, &id).await {
        Ok(event) => {
            let mut response = Response::new(Body::from(event));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            response
        }
        Err(error) => problem::render(&error, &extract::request_id(&headers)),
    }
}

async fn find(api: &Api, id: &str) -> Result<bytes::Bytes, Error> {
    let parsed = Uuid::try_parse(id).map_err(|_| Error::Id {
        actual: id.to_owned(),
    })?;
    let event = api.predictor.audit().find(parsed).await?;
    event.ok_or(Error::Unknown { id: parsed })
}
