//! One delivery as MLflow 3.17 sends it, verified over the bytes that arrived.
//!
//! ```text
//! X-MLflow-Delivery-Id: <uuid>           the same in every attempt
//! X-MLflow-Timestamp: <unix seconds>     of the first attempt
//! X-MLflow-Signature: v1,<base64>        HMAC-SHA256, key = the secret's UTF-8, of `<id>.<timestamp>.<body>`
//! {"entity": "model_version_alias", "action": "created", "timestamp": "...", "data": {...}}
//! ```

use std::time::Duration;

use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde::Deserialize;

use crate::error::{ErrorClass, Failure};
use crate::types::timestamp::Timestamp;

/// An id is a UUID; a longer one is not remembered.
const MAX_ID: usize = 128;

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("webhook deliveries are not taken here: no secret is configured")]
    Disabled,
    #[error("the webhook delivery is not signed with the configured secret: {reason}")]
    Signature { reason: &'static str },
    #[error(
        "the webhook delivery's timestamp is {apart:?} away from this machine's clock; {tolerance:?} are allowed"
    )]
    Stale {
        apart: Duration,
        tolerance: Duration,
    },
    #[error("the webhook delivery is no event: {reason}")]
    Malformed { reason: String },
}

impl Failure for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Disabled => ErrorClass::NotFound,
            Self::Signature { .. } | Self::Stale { .. } => ErrorClass::Unauthenticated,
            Self::Malformed { .. } => ErrorClass::InvalidInput,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Disabled => "webhook_disabled",
            Self::Signature { .. } => "webhook_signature_wrong",
            Self::Stale { .. } => "webhook_stale",
            Self::Malformed { .. } => "webhook_malformed",
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Disabled => {
                "set `serving.webhook.secret` to the secret that the webhook was created with"
            }
            Self::Signature { .. } => {
                "create the webhook in MLflow with the secret of `serving.webhook.secret`"
            }
            Self::Stale { .. } => "set the clocks, or raise `serving.webhook.tolerance`",
            Self::Malformed { .. } => "only MLflow's events are taken here",
        };
        Some(hint.to_owned())
    }
}

/// A delivery that was signed with the secret.
pub(super) struct Delivery<'a> {
    pub(super) id: &'a str,
    pub(super) timestamp: Timestamp,
}

impl<'a> Delivery<'a> {
    /// In constant time where the secret is concerned.
    pub(super) fn verify(
        key: &hmac::Key,
        headers: &'a HeaderMap,
        body: &[u8],
    ) -> Result<Self, Error> {
        let wrong = |reason| Error::Signature { reason };
        let header = |name, reason| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.ok_or(wrong(reason))
        };
        let id = header("x-mlflow-delivery-id", "`X-MLflow-Delivery-Id` is missing")?;
        let timestamp = header("x-mlflow-timestamp", "`X-MLflow-Timestamp` is missing")?;
        let signature = header("x-mlflow-signature", "`X-MLflow-Signature` is missing")?;
        if id.is_empty() || id.len() > MAX_ID {
            return Err(wrong("the delivery id is empty or too long"));
        }
        let encoded = signature.strip_prefix("v1,");
        let encoded = encoded.ok_or(wrong("the signature is not of version `v1`"))?;
        let signature = STANDARD.decode(encoded);
        let signature = signature.map_err(|_| wrong("the signature is not base64"))?;
        let mut message = Vec::with_capacity(id.len() + timestamp.len() + body.len() + 2);
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            message.extend_from_slice(part);
        }
        hmac::verify(key, &message, &signature).map_err(|_| wrong("the signature does not fit"))?;
        let seconds = timestamp.parse();
        let seconds = seconds.map_err(|_| wrong("the timestamp is not a number of seconds"))?;
        Ok(Self {
            id,
            timestamp: Timestamp::from_seconds(seconds),
        })
    }

    /// Neither older than tolerated nor from a later time.
    pub(super) fn check_age(&self, now: Timestamp, tolerance: Duration) -> Result<(), Error> {
        let apart = self.timestamp.age_at(now).max(now.age_at(self.timestamp));
        if apart > tolerance {
            return Err(Error::Stale { apart, tolerance });
        }
        Ok(())
    }
}

/// Whether an event is of anything that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    OfModels,
    /// Prompts, budgets, and what later versions of MLflow may send.
    Other,
}

impl Kind {
    pub(super) fn of(body: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Event {
            entity: String,
        }
        let event: Event = serde_json::from_slice(body).map_err(|error| Error::Malformed {
            reason: error.to_string(),
        })?;
        Ok(match event.entity.as_str() {
            "registered_model" | "model_version" | "model_version_tag" | "model_version_alias" => {
                Self::OfModels
            }
            _ => Self::Other,
        })
    }
}
