//! A file or a text as the body of a request; a file is read while it is sent.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, Stream};
use reqwest::{Body, Method, header};

use super::{Call, Rest, retry};
use crate::models::registry::Error;
use crate::shutdown::run_blocking;

const CHUNK_BYTES: usize = 256 << 10;
/// A connection slower than this, in bytes for each second, is given up.
const SLOWEST: u64 = 256 << 10;

/// What is uploaded.
#[derive(Debug, Clone, Copy)]
pub(in crate::models) enum Upload<'a> {
    File(&'a Path),
    Text(&'a str),
}

/// Is told how many bytes have been read for sending; begins anew with each attempt.
pub(in crate::models) type Sent = Arc<dyn Fn(u64) + Send + Sync>;

pub(super) async fn put(
    rest: &Rest,
    path: &str,
    upload: Upload<'_>,
    sent: &Sent,
) -> Result<(), Error> {
    let unreadable = |error: std::io::Error| Error::Unreadable {
        reason: error.to_string(),
    };
    let n_bytes = match upload {
        Upload::File(file) => fs_err::metadata(file).map_err(unreadable)?.len(),
        Upload::Text(text) => text.len() as u64,
    };
    let call = Call {
        method: Method::PUT,
        path,
        query: &[],
        body: None,
    };
    let limit = rest.shared.patience.silence + Duration::from_secs(n_bytes / SLOWEST);
    retry::send(rest, &call, || {
        let body = match upload {
            Upload::File(file) => Body::wrap_stream(chunks(file, Arc::clone(sent))),
            Upload::Text(text) => Body::from(text.to_owned()),
        };
        rest.request(&call)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            // Without it the body would be sent in chunks, which some proxies refuse.
            .header(header::CONTENT_LENGTH, n_bytes)
            .timeout(limit)
            .body(body)
    })
    .await?;
    Ok(())
}

enum Reading {
    Closed(PathBuf),
    Open(fs_err::File, u64),
}

fn chunks(
    path: &Path,
    sent: Sent,
) -> impl Stream<Item = std::io::Result<Vec<u8>>> + Send + 'static {
    let start = (Reading::Closed(path.to_owned()), sent);
    stream::try_unfold(start, |(reading, sent)| async {
        let step = run_blocking(move || {
            let (mut file, n_before) = match reading {
                Reading::Closed(path) => (fs_err::File::open(path)?, 0),
                Reading::Open(file, n_before) => (file, n_before),
            };
            let mut chunk = vec![0; CHUNK_BYTES];
            let n_read = file.read(&mut chunk)?;
            chunk.truncate(n_read);
            let n_sent = n_before + n_read as u64;
            sent(n_sent);
            Ok((n_read > 0).then_some((chunk, (Reading::Open(file, n_sent), sent))))
        });
        step.await.map_err(std::io::Error::other)?
    })
}
