//! The trail of other HTTP calls: one event for each request and one for its response, as two streams.
//!
//! ```text
//! HttpLog::request     the event of the request, spooled before the handler sees it
//! HttpLog::response    the event of the response, spooled before its last byte leaves
//!   routes             which routes are recorded, and how much of them
//!   event, redact      the event, without what must not be kept
//! two streams          spools and sinks of their own: files, or topics
//! ```
//! The two events of a call have the same `id`. A request whose response event is missing died with the process.
//! Not here: where in the server calls are caught (`http`), predictions (`audit`).

mod config;
mod event;
mod redact;
mod routes;
#[cfg(test)]
mod tests;

use std::time::Duration;

use uuid::Uuid;

pub use config::Config;
pub use event::Content;
pub use redact::Field;
pub use routes::{Detail, Pattern};

use self::event::{Body, Headers, RequestEvent, ResponseEvent};
use self::redact::Rules;
use self::routes::Routes;
use super::event::Text;
use super::stream::{self, Stream};
use super::{Error, Recorded, Shipper, sink};
use crate::telemetry::metrics::Metrics;
use crate::types::timestamp::Timestamp;

/// Writes the events of both streams.
#[derive(Debug)]
pub struct HttpLog {
    requests: Stream,
    responses: Stream,
    routes: Routes,
    /// In lower case.
    headers: Vec<String>,
    rules: Rules,
    /// A body that is larger is left out.
    pub max_body: usize,
}

/// What both events of a call say.
#[derive(Debug, Clone)]
pub struct Call {
    pub id: Uuid,
    pub time: Timestamp,
    pub request_id: String,
    pub trace_id: Option<String>,
    pub method: String,
    /// The template; absent where no route is.
    pub route: Option<String>,
    pub detail: Detail,
}

/// What only the request's says.
#[derive(Debug)]
pub struct Request<'a> {
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub headers: &'a [(&'a str, &'a [u8])],
    pub content: Content<'a>,
}

/// What only the response's says.
#[derive(Debug)]
pub struct Response<'a> {
    pub status_code: u16,
    pub headers: &'a [(&'a str, &'a [u8])],
    pub content: Content<'a>,
    /// Bytes of the body that were handed over.
    pub n_bytes: u64,
    /// The whole of it was.
    pub is_complete: bool,
    pub took: Duration,
}

impl HttpLog {
    /// Begins to write under a new writer id, `None` if no route is recorded. The shippers are still to be started.
    ///
    /// Errors when a spool or a sink cannot be begun for a reason on this machine.
    pub fn start(
        config: &super::Config,
        metrics: &Metrics,
    ) -> Result<Option<(Self, [Shipper; 2])>, Error> {
        let http = &config.http;
        if http.routes.values().all(|detail| *detail == Detail::Off) {
            return Ok(None);
        }
        let no_key = |field| Error::NoHttpKey { field };
        let rules = Rules::new(&http.redact, config.redact.key.as_ref()).map_err(no_key)?;
        let (requests, ship_requests) = start(config, metrics, Which::Requests)?;
        let (responses, ship_responses) = start(config, metrics, Which::Responses)?;
        let log = Self {
            requests,
            responses,
            routes: Routes::new(&http.routes),
            headers: http
                .headers
                .iter()
                .map(|name| name.to_ascii_lowercase())
                .collect(),
            rules,
            max_body: http.max_body.as_usize(),
        };
        Ok(Some((log, [ship_requests, ship_responses])))
    }

    /// How much of a call is recorded. Allocates nothing.
    pub fn detail(&self, route: Option<&str>, path: &str) -> Detail {
        self.routes.detail(route, path)
    }

    /// Whether events can be written, where calls fail while they cannot; finds out anew if the last one could not.
    pub fn check(&self) -> Result<(), Error> {
        for stream in [&self.requests, &self.responses] {
            if stream.refuses() {
                stream.check()?;
            }
        }
        Ok(())
    }

    /// Why events cannot be delivered at present; they wait in the spools meanwhile.
    pub fn undelivered(&self) -> Option<String> {
        let failure = self.requests.delivery().failure();
        failure.or_else(|| self.responses.delivery().failure())
    }

    /// Whether the sinks have every event so far.
    pub fn is_shipped(&self) -> bool {
        self.requests.delivery().is_shipped() && self.responses.delivery().is_shipped()
    }

    /// Writes the event of a request. Errors only with `refuse`: it must then not be answered.
    pub fn request(&self, call: &Call, request: &Request<'_>) -> Result<Recorded<'_>, Error> {
        let rules = &self.rules;
        self.requests.append(self.requests.encode(&RequestEvent {
            id: Text(call.id),
            kind: "http_request",
            time: call.time,
            request_id: &call.request_id,
            trace_id: call.trace_id.as_deref(),
            method: &call.method,
            route: call.route.as_deref(),
            path: rules.path(request.path),
            query: request.query.map(|query| rules.query(query)),
            headers: Headers::of(request.headers, &self.headers, rules),
            body: Body::of(&request.content, rules),
        }))
    }

    /// Writes the event of a response. Errors only with `refuse`: it must then not go out whole.
    pub fn response(&self, call: &Call, response: &Response<'_>) -> Result<Recorded<'_>, Error> {
        let rules = &self.rules;
        let body = match response.status_code {
            400.. if rules.may_be_quoted() => Body::left_out(
                &response.content,
                "errors may quote what is redacted (`audit.http.redact`)",
            ),
            _ => Body::of(&response.content, rules),
        };
        self.responses.append(self.responses.encode(&ResponseEvent {
            id: Text(call.id),
            kind: "http_response",
            time: Timestamp::now(),
            request_id: &call.request_id,
            trace_id: call.trace_id.as_deref(),
            method: &call.method,
            route: call.route.as_deref(),
            status_code: response.status_code,
            outcome: if response.is_complete {
                "answered"
            } else {
                "cancelled"
            },
            headers: Headers::of(response.headers, &self.headers, rules),
            body: body.body,
            body_left_out: body.body_left_out,
            body_bytes: response.n_bytes,
            duration_us: u64::try_from(response.took.as_micros()).unwrap_or(u64::MAX),
        }))
    }
}

/// One of the two streams.
#[derive(Debug, Clone, Copy)]
enum Which {
    Requests,
    Responses,
}

impl Which {
    fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Responses => "responses",
        }
    }
}

fn start(
    config: &super::Config,
    metrics: &Metrics,
    which: Which,
) -> Result<(Stream, Shipper), Error> {
    let writer = Uuid::now_v7();
    let directory = config.http_directory().join(which.name());
    let topic = match which {
        Which::Requests => &config.http.request_topic,
        Which::Responses => &config.http.response_topic,
    };
    let sink = sink::open_http(config, &directory, topic, writer);
    Stream::start(stream::Parts {
        writer,
        spool: &config.spool,
        directory: &directory.join("spool"),
        sink: sink.map_err(|source| Error::Open { source })?,
        on_failure: config.on_failure,
        metrics: metrics.http_audit(which.name()),
    })
}
