//! A body, read as far as the limit and taken for JSON whatever it says it is.
//!
//! Feast's documentation shows `curl -d` without a content type, so the header is not looked at.

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use serde::Deserialize;

use super::failure::Refusal;
use super::schema::{self, Field};
use crate::http::extract;
use crate::shutdown::run_here;
use crate::types::deadline::Deadline;

/// Decoding so many bytes takes about half a millisecond.
pub(super) const LARGE: usize = 64 * 1024;

pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    deadline: Deadline,
) -> Result<Bytes, Refusal> {
    Ok(extract::body(headers, body, limit, deadline).await?)
}

/// Reads a body as what it should be. A body that is not exactly that, but that pydantic would take, is rewritten into
/// `rewritten` and read from there.
pub(super) fn parse<'a, T: Deserialize<'a>>(
    bytes: &'a [u8],
    fields: &[Field],
    rewritten: &'a mut Vec<u8>,
) -> Result<T, Refusal> {
    run_here(bytes.len() > LARGE, move || {
        if let Ok(request) = serde_json::from_slice(bytes) {
            return Ok(request);
        }
        let body = schema::check(bytes, fields)?;
        *rewritten = body.to_string().into_bytes();
        serde_json::from_slice(rewritten).map_err(|error| Refusal::text(error.to_string()))
    })
}
