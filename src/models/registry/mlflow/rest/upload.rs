//! A file as the body of a request, read while it is sent.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::stream::{self, Stream};
use reqwest::{Body, Method, header};

use super::{Call, Rest, retry};
use crate::models::registry::Error;
use crate::shutdown::run_blocking;

const CHUNK_BYTES: usize = 256 << 10;
/// A connection slower than this, in bytes for each second, is given up.
const SLOWEST: u64 = 256 << 10;

pub(super) async fn put_file(rest: &Rest, path: &str, file: &Path) -> Result<(), Error> {
    let unreadable = |error: std::io::Error| Error::Unreadable {
        reason: error.to_string(),
    };
    let n_bytes = fs_err::metadata(file).map_err(unreadable)?.len();
    let call = Call {
        method: Method::PUT,
        path,
        query: &[],
        body: None,
    };
    let limit = rest.shared.patience.silence + Duration::from_secs(n_bytes / SLOWEST);
    retry::send(rest, &call, || {
        let body = Body::wrap_stream(chunks(file));
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
    Open(fs_err::File),
}

fn chunks(path: &Path) -> impl Stream<Item = std::io::Result<Vec<u8>>> + Send + 'static {
    stream::try_unfold(Reading::Closed(path.to_owned()), |reading| async {
        let step = run_blocking(move || {
            let mut file = match reading {
                Reading::Closed(path) => fs_err::File::open(path)?,
                Reading::Open(file) => file,
            };
            let mut chunk = vec![0; CHUNK_BYTES];
            let n_read = file.read(&mut chunk)?;
            chunk.truncate(n_read);
            Ok((n_read > 0).then_some((chunk, Reading::Open(file))))
        });
        step.await.map_err(std::io::Error::other)?
    })
}
