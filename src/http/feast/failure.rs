//! Our errors as Feast's feature server answers them: the one place where this surface departs from the classes of `error`.
//!
//! Feast's own exceptions are a JSON string that holds JSON; every other exception is a JSON string, with status 500. Texts
//! of the former are Feast's, since clients rebuild the exception from them; texts of the latter are ours.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{Response, StatusCode};
use serde_json::Value;

use super::schema::Mistakes;
use crate::error::{ErrorClass, Failure, with_causes};
use crate::features;
use crate::features::online;
use crate::features::retrieve;
use crate::features::write;
use crate::http;

/// Why a request of Feast's API was not answered as asked.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The body or the query is not as FastAPI wants it.
    Mistakes(Mistakes),
    /// One of Feast's own exceptions.
    Feast {
        status: u16,
        class: &'static str,
        message: String,
    },
    /// Any other.
    Text { status: u16, message: String },
    /// A body of its own.
    Json { status: u16, body: Value },
}

impl From<Mistakes> for Refusal {
    fn from(mistakes: Mistakes) -> Self {
        Self::Mistakes(mistakes)
    }
}

impl From<retrieve::Error> for Refusal {
    fn from(error: retrieve::Error) -> Self {
        use retrieve::Error as E;
        match error {
            E::Features(error) => error.into(),
            E::Collision { names, full } => collision(&names, full),
            E::RequestData { columns } => Self::Feast {
                status: 404,
                class: "RequestDataNotFoundInEntityRowsException",
                message: format!(
                    "Required request data source features {} not found in the entity rows, but required by feature views",
                    python_list(&columns)
                ),
            },
            // What Python would have raised: 500, although it is the caller's mistake.
            E::NothingSelected
            | E::Reference { .. }
            | E::NotVersioned { .. }
            | E::NoEntities
            | E::UnequalLengths { .. }
            | E::NoJoinKey { .. }
            | E::Value { .. }
            | E::Stored { .. } => Self::python(&error),
        }
    }
}

impl From<features::Error> for Refusal {
    fn from(error: features::Error) -> Self {
        use features::Error as E;
        if let E::Write(write) = &error
            && let write::Error::UnknownPushSource { source_name, .. } = &**write
        {
            return Self::unknown_push_source(source_name);
        }
        match &error {
            E::UnknownFeatureView { view, project, .. } => Self::unknown_view(view, project),
            E::Materialize(features::MaterializeError::UnknownView { view, project, .. }) => {
                Self::unknown_view(view, project)
            }
            E::UnknownFeatureService {
                service, project, ..
            } => Self::Feast {
                status: 404,
                class: "FeatureServiceNotFoundException",
                message: format!("Feature service {service} does not exist in project {project}"),
            },
            E::UnknownVersion { view, wanted, .. } => Self::Feast {
                status: 404,
                class: "FeatureViewVersionNotFound",
                message: format!("Version {wanted} of feature view {view} does not exist"),
            },
            // A store that is away or slow, and a deadline: Feast would hang or answer 500; a client can tell from 503 and
            // 504 that it may try again.
            E::Online(
                online::Error::Timeout { .. }
                | online::Error::NotAnswering { .. }
                | online::Error::Unreachable { .. }
                | online::Error::Refused { .. }
                | online::Error::Missing { .. },
            )
            | E::Repo(_)
            | E::Registry(_)
            | E::DeadlineExceeded { .. } => Self::classed(&error),
            E::Materialize(_) | E::Transform(_) | E::Write(_) => match error.class() {
                ErrorClass::Unavailable | ErrorClass::DeadlineExceeded => Self::classed(&error),
                ErrorClass::InvalidInput
                | ErrorClass::Unauthenticated
                | ErrorClass::NotFound
                | ErrorClass::MethodNotAllowed
                | ErrorClass::Conflict
                | ErrorClass::TooLarge
                | ErrorClass::UnsupportedMediaType
                | ErrorClass::Unprocessable
                | ErrorClass::Unsupported
                | ErrorClass::Overloaded
                | ErrorClass::Cancelled
                | ErrorClass::Internal => Self::python(&error),
            },
            E::Online(online::Error::NotMaterialized { .. } | online::Error::Value { .. })
            | E::UnknownFeature { .. }
            | E::NotServed { .. }
            | E::SelectedTwice { .. }
            | E::UnusableJoinKey { .. }
            | E::WrongColumns { .. }
            | E::WrongLength { .. }
            | E::Verify(_)
            | E::Panicked(_) => Self::python(&error),
        }
    }
}

impl From<http::Error> for Refusal {
    fn from(error: http::Error) -> Self {
        Self::classed(&error)
    }
}

impl Refusal {
    pub(super) fn unknown_view(view: &str, project: &str) -> Self {
        Self::Feast {
            status: 404,
            class: "FeatureViewNotFoundException",
            message: format!("Feature view {view} does not exist in project {project}"),
        }
    }

    pub(super) fn unknown_push_source(source: &str) -> Self {
        Self::Feast {
            status: 422,
            class: "PushSourceNotFoundException",
            message: format!("Unable to find push source '{source}'."),
        }
    }

    /// An exception that is not Feast's.
    pub(super) fn text(message: impl Into<String>) -> Self {
        Self::Text {
            status: 500,
            message: message.into(),
        }
    }

    fn python(failure: &dyn Failure) -> Self {
        log(failure);
        Self::text(explained(failure))
    }

    /// With the status that the same failure has everywhere else.
    pub(super) fn classed(failure: &dyn Failure) -> Self {
        log(failure);
        Self::Text {
            status: failure.class().http_status(),
            message: explained(failure),
        }
    }

    pub(super) fn render(&self) -> Response<Body> {
        let (status, body) = match self {
            Self::Mistakes(mistakes) => {
                (422, serde_json::json!({ "detail": mistakes }).to_string())
            }
            Self::Feast {
                status,
                class,
                message,
            } => {
                let inner = format!(
                    "{{\"module\": \"feast.errors\", \"class\": \"{class}\", \"message\": {}}}",
                    ascii_json(message)
                );
                (*status, Value::String(inner).to_string())
            }
            Self::Text { status, message } => (*status, Value::from(message.as_str()).to_string()),
            Self::Json { status, body } => (*status, body.to_string()),
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() =
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

fn explained(failure: &dyn Failure) -> String {
    match failure.hint() {
        Some(hint) => format!("{failure} ({hint})"),
        None => failure.to_string(),
    }
}

/// What is not the caller's doing, once, with its causes.
fn log(failure: &dyn Failure) {
    match failure.class() {
        ErrorClass::Internal => {
            tracing::error!(code = failure.code(), error = %with_causes(failure));
        }
        ErrorClass::Unavailable => {
            tracing::warn!(code = failure.code(), error = %with_causes(failure));
        }
        _ => {}
    }
}

fn collision(names: &[String], full: bool) -> Refusal {
    let help = if full {
        "To resolve this collision, please ensure that the feature views or their own features have different names. If \
         you're intentionally joining the same feature view twice on different sets of entities, please rename one of the \
         feature views with '.with_name'."
    } else {
        "To resolve this collision, either use the full feature name by setting 'full_feature_names=True', or ensure that \
         the features in question have different names."
    };
    Refusal::Feast {
        status: 500,
        class: "FeatureNameCollisionError",
        message: format!(
            "Duplicate features named {} found.\n{help}",
            names.join(", ")
        ),
    }
}

/// `['a', 'b']`
fn python_list(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    format!("[{}]", quoted.join(", "))
}

/// JSON text as Python's `json.dumps` writes it: ASCII only.
fn ascii_json(text: &str) -> String {
    let mut ascii = String::new();
    for character in Value::from(text).to_string().chars() {
        if character.is_ascii() {
            ascii.push(character);
            continue;
        }
        let mut units = [0; 2];
        for unit in character.encode_utf16(&mut units) {
            ascii.push_str(&format!("\\u{unit:04x}"));
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_within_json_is_ascii() {
        assert_eq!(ascii_json("é\"\n🚀"), r#""\u00e9\"\n\ud83d\ude80""#);
    }
}
