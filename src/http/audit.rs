//! Around calls whose route is recorded (`[audit.http]`): the event of the request before the handler sees it, that of the
//! response before its last byte leaves. Not there at all where nothing is recorded; a call of another route costs a look-up.
//!
//! A body that is recorded is read before the handler, up to `max_body` and not for longer than a request may take; what was
//! read is then given to the handler with the rest. An answer of known length is held until its event is safe; a stream goes
//! through, and its event is written with its last piece.
//! A caller who leaves before that leaves an event, too (`outcome` `cancelled`).
//! Not here: which routes, what is redacted, where events go (`audit::http`).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request};
use axum::http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use axum::http::{Response, response};
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::{Api, extract, problem};
use crate::audit;
use crate::audit::http::{Call, Content, Detail, HttpLog};
use crate::types::timestamp::Timestamp;

/// An answer of no more than so many bytes is held until its event is safe.
const HELD: u64 = 1 << 20;
/// What a call is recorded to have ended with whose caller went away before there was an answer, as in errors.
const CALLER_LEFT: u16 = 499;

/// Records calls.
#[derive(Clone)]
pub(super) struct Audit {
    log: Arc<HttpLog>,
    /// Longest wait for a body that is to be recorded.
    limit: Duration,
}

impl Audit {
    pub(super) fn new(api: &Api) -> Option<Self> {
        Some(Self {
            log: Arc::clone(api.http_audit.as_ref()?),
            limit: api.config.request_timeout,
        })
    }
}

impl<S> Layer<S> for Audit {
    type Service = Audited<S>;

    fn layer(&self, service: S) -> Audited<S> {
        Audited {
            service,
            audit: self.clone(),
        }
    }
}

#[derive(Clone)]
pub(super) struct Audited<S> {
    service: S,
    audit: Audit,
}

impl<S> Service<Request> for Audited<S>
where
    S: Service<Request, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let route = request.extensions().get::<MatchedPath>();
        let route = route.map(MatchedPath::as_str);
        let detail = self.audit.log.detail(route, request.uri().path());
        if detail == Detail::Off {
            return Answering::Unrecorded {
                answer: self.service.call(request),
            };
        }
        // The one that is ready answers; its clone is made ready for the next call.
        let clone = self.service.clone();
        let service = std::mem::replace(&mut self.service, clone);
        let answer = recorded(service, self.audit.clone(), detail, request);
        Answering::Recorded {
            answer: Box::pin(answer),
        }
    }
}

pin_project! {
    #[project = AnsweringProjection]
    pub(super) enum Answering<F> {
        Unrecorded { #[pin] answer: F },
        Recorded { answer: BoxFuture<'static, Result<Response<Body>, Infallible>> },
    }
}

impl<F: Future<Output = Result<Response<Body>, Infallible>>> Future for Answering<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        match self.project() {
            AnsweringProjection::Unrecorded { answer } => answer.poll(context),
            AnsweringProjection::Recorded { answer } => answer.as_mut().poll(context),
        }
    }
}

async fn recorded<S>(
    mut service: S,
    audit: Audit,
    detail: Detail,
    request: Request,
) -> Result<Response<Body>, Infallible>
where
    S: Service<Request, Response = Response<Body>, Error = Infallible>,
{
    let Audit { log, limit } = audit;
    let (mut parts, body) = request.into_parts();
    let context = extract::context(&parts.headers);
    let request_id = context.request_id.to_string();
    // The handler goes by the same id.
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        parts.headers.insert(extract::REQUEST_ID, id);
    }
    let route = parts.extensions.get::<MatchedPath>();
    let call = Call {
        id: uuid::Uuid::now_v7(),
        time: Timestamp::now(),
        request_id: request_id.clone(),
        trace_id: context.trace_id,
        method: parts.method.to_string(),
        route: route.map(|route| route.as_str().to_owned()),
        detail,
    };
    let started = Instant::now();
    if let Err(error) = log.check() {
        return Ok(problem::render(&error, &request_id));
    }
    let (read, body) = match detail {
        Detail::Bodies => read(&parts.headers, body, log.max_body, limit).await,
        Detail::Off | Detail::Headers => (Read::Unasked(length(&parts.headers)), body),
    };
    let event = audit::http::Request {
        path: parts.uri.path(),
        query: parts.uri.query(),
        headers: &headers(&parts.headers),
        content: read.content(),
    };
    let written = match log.request(&call, &event) {
        Ok(written) => written.safe().await,
        Err(error) => Err(error),
    };
    if let Err(error) = written {
        return Ok(problem::render(&error, &request_id));
    }
    let open = Open {
        log,
        call,
        started,
        is_open: true,
    };
    let Ok(answer) = service.call(Request::from_parts(parts, body)).await;
    Ok(match answer_recorded(open, answer).await {
        Ok(answer) => answer,
        Err(error) => problem::render(&error, &request_id),
    })
}

/// A call whose response has no event yet: dropped, it tells that the caller went away.
struct Open {
    log: Arc<HttpLog>,
    call: Call,
    started: Instant,
    is_open: bool,
}

impl Open {
    fn close(
        &mut self,
        head: &response::Parts,
        content: Content<'_>,
        n_bytes: u64,
        is_complete: bool,
    ) -> Result<audit::Recorded<'_>, audit::Error> {
        self.is_open = false;
        let event = audit::http::Response {
            status_code: head.status.as_u16(),
            headers: &headers(&head.headers),
            content,
            n_bytes,
            is_complete,
            took: self.started.elapsed(),
        };
        self.log.response(&self.call, &event)
    }
}

impl Drop for Open {
    /// Nobody is left to be told that the event could not be written; the log and the metrics tell.
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        let event = audit::http::Response {
            status_code: CALLER_LEFT,
            headers: &[],
            content: Content::Unasked(None),
            n_bytes: 0,
            is_complete: false,
            took: self.started.elapsed(),
        };
        let _ = self.log.response(&self.call, &event);
    }
}

/// The answer, its event written, or to be written with its last piece.
async fn answer_recorded(
    mut open: Open,
    answer: Response<Body>,
) -> Result<Response<Body>, audit::Error> {
    let (head, body) = answer.into_parts();
    if body
        .size_hint()
        .exact()
        .is_none_or(|n_bytes| n_bytes > HELD)
    {
        let body = Body::new(Streamed::new(open, head_of(&head), body));
        return Ok(Response::from_parts(head, body));
    }
    match body.collect().await {
        Ok(collected) => {
            let bytes = collected.to_bytes();
            let n_bytes = bytes.len() as u64;
            let content = content(open.call.detail, &bytes, n_bytes, open.log.max_body);
            open.close(&head, content, n_bytes, true)?.safe().await?;
            Ok(Response::from_parts(head, Body::from(bytes)))
        }
        Err(error) => {
            let content = Content::LeftOut("it broke off", None);
            open.close(&head, content, 0, false)?.safe().await?;
            Ok(Response::from_parts(head, broken(error)))
        }
    }
}

/// Status and headers, of which another copy goes out.
fn head_of(head: &response::Parts) -> response::Parts {
    let mut copy = Response::new(()).into_parts().0;
    copy.status = head.status;
    copy.headers = head.headers.clone();
    copy
}

fn content(detail: Detail, kept: &[u8], n_bytes: u64, max_body: usize) -> Content<'_> {
    match detail {
        Detail::Off | Detail::Headers => Content::Unasked(Some(n_bytes)),
        Detail::Bodies if n_bytes > max_body as u64 => Content::LeftOut(TOO_LARGE, Some(n_bytes)),
        Detail::Bodies => Content::Whole(kept),
    }
}

const TOO_LARGE: &str = "it is larger than `audit.http.max_body`";

fn broken(error: axum::Error) -> Body {
    Body::from_stream(futures::stream::iter([Err::<Bytes, _>(error)]))
}

/// A body that is recorded as it goes out.
struct Streamed {
    open: Open,
    head: response::Parts,
    body: Body,
    /// As far as it is recorded.
    kept: Vec<u8>,
    n_bytes: u64,
}

impl Streamed {
    fn new(open: Open, head: response::Parts, body: Body) -> Self {
        Self {
            open,
            head,
            body,
            kept: Vec::new(),
            n_bytes: 0,
        }
    }

    fn take(&mut self, data: &[u8]) {
        self.n_bytes += data.len() as u64;
        let fits = self.n_bytes <= self.open.log.max_body as u64;
        match self.open.call.detail == Detail::Bodies && fits {
            true => self.kept.extend_from_slice(data),
            false => self.kept = Vec::new(),
        }
    }

    fn close(&mut self, is_complete: bool) -> Result<(), audit::Error> {
        if !self.open.is_open {
            return Ok(());
        }
        let detail = self.open.call.detail;
        let content = content(detail, &self.kept, self.n_bytes, self.open.log.max_body);
        let content = match content {
            Content::Whole(_) if !is_complete => Content::LeftOut("it broke off", None),
            content => content,
        };
        // Nothing can be waited for here, so with `fsync` the event is on the disk a moment later.
        let closed = self
            .open
            .close(&self.head, content, self.n_bytes, is_complete);
        closed.map(|_recorded| ())
    }
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let closed = match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.take(data);
                }
                match self.body.is_end_stream() {
                    true => self.close(true),
                    false => Ok(()),
                }
            }
            Some(Err(_)) => self.close(false),
            None => self.close(true),
        };
        Poll::Ready(match closed {
            Ok(()) => frame,
            // The answer must not go out whole.
            Err(error) => Some(Err(axum::Error::new(error))),
        })
    }

    fn is_end_stream(&self) -> bool {
        !self.open.is_open && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        // As of any call whose caller went away.
        let _ = self.close(false);
    }
}

/// What became of reading a request's body.
enum Read {
    Unasked(Option<u64>),
    Whole(Bytes),
    LeftOut(&'static str, Option<u64>),
}

impl Read {
    fn content(&self) -> Content<'_> {
        match self {
            Self::Unasked(n_bytes) => Content::Unasked(*n_bytes),
            Self::Whole(bytes) => Content::Whole(bytes),
            Self::LeftOut(reason, n_bytes) => Content::LeftOut(reason, *n_bytes),
        }
    }
}

/// Reads a body of up to `max_body` bytes, and gives it back with whatever was not read.
async fn read(
    headers: &HeaderMap,
    mut body: Body,
    max_body: usize,
    limit: Duration,
) -> (Read, Body) {
    let length = length(headers);
    if length.is_some_and(|length| length > max_body as u64) {
        return (Read::LeftOut(TOO_LARGE, length), body);
    }
    let deadline = tokio::time::Instant::now() + limit;
    let mut pieces = VecDeque::new();
    let mut n_bytes = 0;
    let reason = loop {
        match tokio::time::timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                let Ok(data) = frame.into_data() else {
                    // Trailers end a body.
                    continue;
                };
                n_bytes += data.len();
                pieces.push_back(data);
                if n_bytes > max_body {
                    break TOO_LARGE;
                }
            }
            Ok(None) => {
                let bytes = joined(&pieces, n_bytes);
                return (Read::Whole(bytes.clone()), Body::from(bytes));
            }
            Ok(Some(Err(error))) => {
                body = broken(error);
                break "it did not arrive whole";
            }
            Err(_) => break "it did not arrive in time",
        }
    };
    (
        Read::LeftOut(reason, length),
        Body::new(Resumed { pieces, body }),
    )
}

fn joined(pieces: &VecDeque<Bytes>, n_bytes: usize) -> Bytes {
    match pieces.len() {
        1 => pieces[0].clone(),
        _ => {
            let mut bytes = Vec::with_capacity(n_bytes);
            pieces
                .iter()
                .for_each(|piece| bytes.extend_from_slice(piece));
            bytes.into()
        }
    }
}

/// What was read of a body, then the rest.
struct Resumed {
    pieces: VecDeque<Bytes>,
    body: Body,
}

impl HttpBody for Resumed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.pieces.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None => Pin::new(&mut self.body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.body.is_end_stream()
    }
}

fn headers(headers: &HeaderMap) -> Vec<(&str, &[u8])> {
    let headers = headers.iter();
    headers
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect()
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
