//! Bytes of an artifact, piece by piece, from an offset on.

use reqwest::{Method, Response, StatusCode, header};

use super::{Call, Rest, retry};
use crate::models::registry::Error;

/// A download that has begun.
pub(in crate::models) struct Download {
    /// Where the first byte stands: the offset asked for, or 0 where the server sends the whole.
    pub(in crate::models) start: u64,
    /// Size of the whole, as far as the server says.
    pub(in crate::models) size: Option<u64>,
    /// Another one after the bytes have changed. Weak ones are left out: they do not say that bytes are equal.
    pub(in crate::models) etag: Option<String>,
    rest: Rest,
    path: String,
    response: Option<Response>,
}

pub(super) async fn open(
    rest: &Rest,
    path: &str,
    query: &[(&str, &str)],
    from: u64,
) -> Result<Download, Error> {
    let call = Call {
        method: Method::GET,
        path,
        query,
        body: None,
    };
    let sent = retry::send(rest, &call, || {
        // Otherwise the bytes could come compressed, and offsets would mean something else.
        let request = rest
            .request(&call)
            .header(header::ACCEPT_ENCODING, "identity");
        match from {
            0 => request,
            from => request.header(header::RANGE, format!("bytes={from}-")),
        }
    });
    let response = sent.await?;
    let text = |name| response.headers().get(name)?.to_str().ok();
    let length = text(header::CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    let range = text(header::CONTENT_RANGE);
    let unclear = || rest.not_mlflow(path, "a part came without saying which".to_owned());
    let (start, size) = match response.status() {
        StatusCode::PARTIAL_CONTENT => {
            let first = range.and_then(first_byte).ok_or_else(unclear)?;
            (first, length.map(|length| first + length))
        }
        // There is nothing at the offset.
        StatusCode::RANGE_NOT_SATISFIABLE => {
            let size = range.and_then(|range| range.strip_prefix("bytes */")?.parse().ok());
            (from, Some(size.unwrap_or(from)))
        }
        _ => (0, length),
    };
    let etag = text(header::ETAG).filter(|etag| !etag.starts_with("W/"));
    let has_bytes = response.status().is_success();
    Ok(Download {
        start,
        size,
        etag: etag.map(str::to_owned),
        rest: rest.clone(),
        path: path.to_owned(),
        response: has_bytes.then_some(response),
    })
}

impl Download {
    /// The next piece, `None` at the end. Cancel safe.
    pub(in crate::models) async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let Some(response) = &mut self.response else {
            return Ok(None);
        };
        match response.chunk().await {
            Ok(chunk) => Ok(chunk.map(Vec::from)),
            Err(error) => Err(self.rest.failed(&self.path, error)),
        }
    }
}

/// `bytes 10-99/100`.
fn first_byte(range: &str) -> Option<u64> {
    let (first, _) = range.strip_prefix("bytes ")?.split_once('-')?;
    first.parse().ok()
}
