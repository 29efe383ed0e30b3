//! `POST /v1/webhooks/mlflow`: MLflow tells that something in its registry has changed.
//!
//! A delivery is a hint to look at the registry, never the news itself: MLflow sends none for deletions, in no order, and
//! those that are lost do not come again. So polling goes on, and what a delivery says is not applied.
//! Only signed deliveries are believed; without a configured secret there is no such route.
//! A delivery that was taken is remembered as long as its timestamp is good, and has no effect when it comes again.
//! Not here: what is looked at, and when (`models`).

mod delivery;
mod seen;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode};
use ring::hmac;
use serde::Serialize;

use self::delivery::{Delivery, Error, Kind};
use self::seen::Seen;
use super::{Api, extract, json, problem};
use crate::error::Failure;
use crate::models::{self, Handle};
use crate::types::timestamp::Timestamp;

/// A delivery says a name, a version and a tag or a description.
const MAX_BODY: usize = 1 << 20;

/// Takes deliveries and tells the watcher.
pub struct Webhook {
    /// Absent: no delivery is taken.
    key: Option<hmac::Key>,
    tolerance: Duration,
    seen: Mutex<Seen>,
    watcher: Handle,
}

/// What came of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// The registry is looked at.
    Accepted,
    /// It is of nothing that is served.
    Ignored,
    /// It was taken before.
    Repeated,
}

#[derive(Serialize)]
struct Answer {
    status: Outcome,
}

impl Webhook {
    pub fn new(config: &models::Webhook, watcher: Handle) -> Self {
        let secret = config.secret.as_ref();
        Self {
            key: secret.map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.reveal().as_bytes())),
            tolerance: config.tolerance,
            seen: Mutex::new(Seen::default()),
            watcher,
        }
    }

    /// Believes a delivery or not; the one that is believed for the first time wakes the watcher.
    fn receive(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Outcome, Error> {
        let key = self.key.as_ref().ok_or(Error::Disabled)?;
        let delivery = Delivery::verify(key, headers, body)?;
        delivery.check_age(now, self.tolerance)?;
        let kind = Kind::of(body)?;
        // From here on nothing fails: a delivery is remembered only once it was taken, so that a retry of one that was
        // not is taken.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let good_until = delivery.timestamp.after(self.tolerance);
        if !seen.is_first(delivery.id, good_until, now) {
            return Ok(Outcome::Repeated);
        }
        drop(seen);
        match kind {
            Kind::OfModels => {
                self.watcher.look();
                Ok(Outcome::Accepted)
            }
            Kind::Other => Ok(Outcome::Ignored),
        }
    }
}

pub(super) async fn receive(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body,
) -> Response<Body> {
    let request_id = extract::request_id(&headers);
    let limit = MAX_BODY.min(api.config.max_body.as_usize());
    let received = async {
        let deadline = extract::deadline(&headers, api.config.request_timeout)?;
        extract::body(&headers, body, limit, deadline).await
    };
    let outcome = match received.await {
        Ok(body) => api.webhook.receive(&headers, &body, Timestamp::now()),
        Err(error) => return problem::render(&error, &request_id),
    };
    api.metrics.webhook_delivered(match &outcome {
        Ok(Outcome::Accepted) => "accepted",
        Ok(Outcome::Ignored) => "ignored",
        Ok(Outcome::Repeated) => "repeated",
        Err(_) => "refused",
    });
    match outcome {
        Ok(status) => {
            tracing::debug!(outcome = ?status, "webhook delivery");
            json(StatusCode::OK, &Answer { status })
        }
        Err(error) => {
            tracing::debug!(%error, code = error.code(), "webhook delivery refused");
            problem::render(&error, &request_id)
        }
    }
}
