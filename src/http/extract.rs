//! What every handler takes from a request: its id, its trace, its body.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};

use super::error::Error;
use crate::types::deadline::Deadline;
use crate::types::request::{RequestContext, Surface};
use crate::types::urgency::Priority;

pub(super) const REQUEST_ID: &str = "x-request-id";
const TRACEPARENT: &str = "traceparent";
const REQUEST_TIMEOUT: &str = "x-request-timeout-ms";
const REQUEST_PRIORITY: &str = "x-request-priority";

/// The caller's request id if it sent a sensible one, else a new one; the trace id of a W3C `traceparent`.
pub(super) fn context(headers: &HeaderMap) -> RequestContext {
    RequestContext {
        surface: Surface::Http,
        request_id: request_id(headers),
        trace_id: trace_id(headers),
        principal: None,
        priority: Priority::default(),
    }
}

/// By when the answer must exist: `limit` from now, sooner if `X-Request-Timeout-Ms` says so.
pub(super) fn deadline(headers: &HeaderMap, limit: Duration) -> Result<Deadline, Error> {
    let deadline = Deadline::after(limit);
    let Some(value) = headers.get(REQUEST_TIMEOUT) else {
        return Ok(deadline);
    };
    let text = value.to_str().unwrap_or_default().trim();
    match text.parse::<u32>() {
        Ok(millis) if millis > 0 => Ok(deadline.at_most(Duration::from_millis(u64::from(millis)))),
        _ => Err(Error::RequestTimeout {
            actual: text.to_owned(),
        }),
    }
}

/// What `X-Request-Priority` says.
pub(super) fn priority(headers: &HeaderMap) -> Result<Priority, Error> {
    match headers.get(REQUEST_PRIORITY) {
        Some(value) => Ok(value.to_str().unwrap_or_default().trim().parse()?),
        None => Ok(Priority::default()),
    }
}

/// 1 to 128 visible ASCII characters of `X-Request-Id`, else a UUIDv7.
pub(super) fn request_id(headers: &HeaderMap) -> Arc<str> {
    RequestContext::request_id_of(text(headers, REQUEST_ID))
}

/// A malformed `traceparent` counts as none, as W3C asks.
fn trace_id(headers: &HeaderMap) -> Option<String> {
    RequestContext::trace_id_of(text(headers, TRACEPARENT)?)
}

/// A well-formed W3C `traceparent`, as it came.
pub(super) fn traceparent(headers: &HeaderMap) -> Option<&str> {
    let given = text(headers, TRACEPARENT)?;
    RequestContext::trace_id_of(given)
        .is_some()
        .then_some(given)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The whole body of a JSON request, no longer than `limit` bytes, arrived by the deadline.
pub(super) async fn json_body(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    deadline: Deadline,
) -> Result<Bytes, Error> {
    check_content_type(headers)?;
    self::body(headers, body, limit, deadline).await
}

/// The whole body, no longer than `limit` bytes, arrived by the deadline.
pub(super) async fn body(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    deadline: Deadline,
) -> Result<Bytes, Error> {
    let length = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > limit)) {
        return Err(Error::BodyTooLarge { limit });
    }
    let read = within(deadline, axum::body::to_bytes(body, limit));
    read.await.ok_or(Error::BodyLate)?.map_err(|error| {
        let is_too_large = std::error::Error::source(&error)
            .is_some_and(|cause| cause.is::<http_body_util::LengthLimitError>());
        if is_too_large {
            Error::BodyTooLarge { limit }
        } else {
            Error::BodyCut { source: error }
        }
    })
}

/// Waits for `work` until the deadline. A small body is there on the second poll: only one that is not gets a timer.
async fn within<T>(deadline: Deadline, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    for _ in 0..2 {
        if let Poll::Ready(done) = poll_once(work.as_mut()).await {
            return Some(done);
        }
    }
    tokio::time::timeout_at(deadline.instant(), work).await.ok()
}

/// Polls once; if that was too early, the next poll comes at once.
async fn poll_once<T>(mut work: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    let mut polled = false;
    poll_fn(|context| {
        if polled {
            return Poll::Ready(Poll::Pending);
        }
        polled = true;
        match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Poll::Ready(done)),
            Poll::Pending => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    })
    .await
}

/// No content type is taken as JSON.
fn check_content_type(headers: &HeaderMap) -> Result<(), Error> {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Ok(());
    };
    let text = value.to_str().unwrap_or_default();
    let mut parts = text.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|kind| {
        kind.eq_ignore_ascii_case("application/json")
            || kind.to_ascii_lowercase().ends_with("+json")
    });
    let is_utf8 = parts.all(|part| match part.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    if is_json && is_utf8 {
        Ok(())
    } else {
        Err(Error::ContentType {
            actual: text.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(value))])
    }

    #[test]
    fn a_sensible_request_id_is_kept_and_another_replaced() {
        assert_eq!(&*request_id(&headers(REQUEST_ID, "abc-1")), "abc-1");
        assert_eq!(request_id(&headers(REQUEST_ID, "a b")).len(), 36);
        assert_eq!(request_id(&HeaderMap::new()).len(), 36);
    }

    #[test]
    fn the_trace_id_comes_from_a_well_formed_traceparent_only() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(
            trace_id(&headers(TRACEPARENT, good)).unwrap(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        for bad in [
            "",
            "00-xyz",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        ] {
            assert_eq!(trace_id(&headers(TRACEPARENT, bad)), None, "{bad}");
        }
    }

    #[test]
    fn a_request_may_have_less_time_than_the_limit_but_not_more() {
        let limit = Duration::from_secs(10);
        let given = |text| deadline(&headers(REQUEST_TIMEOUT, text), limit);
        assert!(given("250").unwrap().remaining() <= Duration::from_millis(250));
        assert!(given("999999").unwrap().remaining() <= limit);
        assert!(deadline(&HeaderMap::new(), limit).unwrap().remaining() <= limit);
        for bad in ["", "0", "-1", "1.5", "1s", "99999999999"] {
            let error = given(bad).unwrap_err();
            assert!(
                error.to_string().contains("x-request-timeout-ms"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_request_says_its_priority_in_a_word() {
        assert_eq!(priority(&HeaderMap::new()).unwrap(), Priority::Normal);
        let given = |text| priority(&headers(REQUEST_PRIORITY, text));
        assert_eq!(given("High").unwrap(), Priority::High);
        assert_eq!(given("low").unwrap(), Priority::Low);
        assert!(given("1").is_err());
    }

    #[test]
    fn json_in_utf_8_and_no_content_type_are_taken() {
        assert!(check_content_type(&HeaderMap::new()).is_ok());
        for good in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/problem+json",
        ] {
            assert!(
                check_content_type(&headers("content-type", good)).is_ok(),
                "{good}"
            );
        }
        for bad in ["text/csv", "application/json; charset=latin1", ""] {
            assert!(
                check_content_type(&headers("content-type", bad)).is_err(),
                "{bad}"
            );
        }
    }
}
