//! What an answer that is no success means.
//!
//! MLflow answers `{"error_code", "message"}`; a 401 and most 403 are plain text, and a path that it does not know is HTML.

use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde::Deserialize;

use super::is_passing;
use crate::models::registry::Error;

/// More of an error's body is not read.
const MAX_BODY_BYTES: usize = 64 << 10;
/// Longest message of a server that is passed on, in characters.
const MAX_MESSAGE_CHARS: usize = 400;

#[derive(Deserialize)]
struct Body {
    error_code: String,
    #[serde(default)]
    message: String,
}

pub(super) async fn of_answer(origin: &str, call: &str, response: Response) -> Error {
    let status = response.status();
    let body = start_of(response).await;
    let (origin, call) = (origin.to_owned(), call.to_owned());
    let parsed: Option<Body> = serde_json::from_slice(&body).ok();
    if status == StatusCode::FORBIDDEN {
        let message = match parsed {
            Some(body) => one_line(&body.message),
            None => one_line(&String::from_utf8_lossy(&body)),
        };
        return Error::Forbidden {
            origin,
            call,
            message,
        };
    }
    if is_passing(status) {
        let message = parsed
            .map(|body| one_line(&body.message))
            .unwrap_or_default();
        return Error::Failing {
            origin,
            call,
            status: status.as_u16(),
            message,
        };
    }
    match parsed {
        Some(body) => Error::Refused {
            origin,
            call,
            status: status.as_u16(),
            error_code: one_line(&body.error_code),
            message: one_line(&body.message),
        },
        None => Error::NotMlflow {
            origin,
            call,
            reason: format!("the answer is {status}, without MLflow's error body"),
        },
    }
}

pub(super) fn of_transport(
    origin: &str,
    call: &str,
    waited: Duration,
    error: reqwest::Error,
) -> Error {
    let origin = origin.to_owned();
    if error.is_timeout() && !error.is_connect() {
        return Error::Silent {
            origin,
            call: call.to_owned(),
            waited,
        };
    }
    Error::Unreachable {
        origin,
        reason: deepest(&error.without_url()),
    }
}

/// The last cause says most: `Connection refused`, where the first says that sending failed.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    deepest.to_string()
}

/// What is there of the body; an answer that breaks off still has a status.
async fn start_of(mut response: Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() >= MAX_BODY_BYTES {
            break;
        }
    }
    bytes
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let mut chars = line.chars();
    let short: String = chars.by_ref().take(MAX_MESSAGE_CHARS).collect();
    match chars.next() {
        Some(_) => format!("{short}..."),
        None => short,
    }
}
