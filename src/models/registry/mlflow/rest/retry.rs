//! When a call is made again, and after which pause.
//!
//! 408, 429, 500, 502, 503, 504 and a connection that failed are tried again, as MLflow's client does; silence is not, since
//! whoever polls asks again anyway, and should not wait for long. What changes something
//! and may have been done (POST and PATCH after anything but 429, 503 and a refused connection) is not: a version must not be
//! registered twice. The pause doubles, with a random part; `Retry-After` makes it longer, up to a limit.
//! A refusal of the credentials is tried again only if the credentials file holds others by now.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::{Method, RequestBuilder, Response, StatusCode, header};

use super::{Call, Rest, failure, is_passing};
use crate::models::registry::Error;
use crate::models::registry::mlflow::access::Credentials;

/// How long to wait for a server, and how often to ask it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::models::registry) struct Patience {
    /// For one JSON call, and for a connection.
    pub(in crate::models::registry) timeout: Duration,
    /// Longest time without a byte of a download.
    pub(in crate::models::registry) silence: Duration,
    pub(in crate::models::registry) retries: u32,
    pub(in crate::models::registry) first_pause: Duration,
    /// However long `Retry-After` asks for.
    pub(in crate::models::registry) longest_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            silence: Duration::from_secs(60),
            retries: 3,
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(20),
        }
    }
}

impl Patience {
    /// Before the attempt after `n_failed` others.
    pub(super) fn pause(&self, n_failed: u32, asked_for: Option<Duration>) -> Duration {
        let doubled = self
            .first_pause
            .saturating_mul(1 << n_failed.saturating_sub(1).min(10));
        let pause = doubled + doubled.mul_f64(random_share() / 2.0);
        pause
            .max(asked_for.unwrap_or_default())
            .min(self.longest_pause)
    }
}

/// Sends until there is a success, or nothing more to hope for. Errors come as from the last attempt.
pub(super) async fn send(
    rest: &Rest,
    call: &Call<'_>,
    request: impl Fn() -> RequestBuilder,
) -> Result<Response, Error> {
    let patience = &rest.shared.patience;
    let access = &rest.shared.access;
    let mut credentials = access.credentials();
    let mut n_failed = 0;
    loop {
        let outcome = access.sign(request(), &credentials).send().await;
        n_failed += 1;
        let may_repeat = n_failed <= patience.retries;
        let asked_for = match outcome {
            Ok(response) if response.status().is_success() => return Ok(response),
            // Only `download` asks for a range.
            Ok(response) if response.status() == StatusCode::RANGE_NOT_SATISFIABLE => {
                return Ok(response);
            }
            Ok(response) if response.status() == StatusCode::UNAUTHORIZED => {
                let now = access.credentials();
                if now == credentials {
                    return Err(refused(rest, &credentials));
                }
                credentials = now;
                continue;
            }
            Ok(response) if may_repeat && repeats(&call.method, response.status()) => {
                tracing::debug!(call = call.path, status = %response.status(), "asking the model registry again");
                retry_after(&response)
            }
            Ok(response) => {
                return Err(failure::of_answer(rest.origin(), call.path, response).await);
            }
            Err(error) if may_repeat && may_do_better(&call.method, &error) => {
                tracing::debug!(
                    call = call.path,
                    "the model registry was not reached; asking again"
                );
                None
            }
            Err(error) => return Err(rest.failed(call.path, error)),
        };
        tokio::time::sleep(patience.pause(n_failed, asked_for)).await;
    }
}

fn refused(rest: &Rest, credentials: &Credentials) -> Error {
    Error::Unauthenticated {
        origin: rest.origin().to_owned(),
        credentials: credentials.describe(),
    }
}

fn repeats(method: &Method, status: StatusCode) -> bool {
    // These two say that the call was turned away.
    is_passing(status) && (is_harmless(method) || matches!(status.as_u16(), 429 | 503))
}

/// A broken connection may be mended at once; for a silent server the next look at the registry is soon enough.
fn may_do_better(method: &Method, error: &reqwest::Error) -> bool {
    !error.is_timeout() && (is_harmless(method) || error.is_connect())
}

/// Whether a call that was carried out can be carried out again.
fn is_harmless(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::PUT | Method::DELETE)
}

/// Whole seconds; a date is not looked at.
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// From 0 to 1: keeps clients that failed together from asking together.
fn random_share() -> f64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    f64::from(now.subsec_micros() % 1000) / 1000.0
}
