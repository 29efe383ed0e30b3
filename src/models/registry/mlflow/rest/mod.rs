//! An authenticated client of one MLflow server: JSON calls, uploads, and downloads that can begin in the middle.
//!
//! A call that may have been carried out is repeated only where that does no harm (`retry`). Answers are limited in size.
//! An answer that is no success becomes a `registry::Error` (`failure`); neither credentials nor the address's own user
//! name and password ever stand in one.
//! Cancel safety: a call that is dropped may still be carried out by the server.

mod download;
mod failure;
mod retry;
#[cfg(test)]
mod tests;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, ClientBuilder, Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(in crate::models) use self::download::Download;
pub(in crate::models::registry) use self::retry::Patience;
pub(in crate::models) use self::upload::{Sent, Upload};
use super::access::Access;
use crate::models::registry::Error;

/// Longest JSON answer that is taken.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// A client; clones share connections.
#[derive(Debug, Clone)]
pub(in crate::models) struct Rest {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    /// Waits for an answer as long as a body is on its way.
    uploads: Client,
    /// With the static prefix, without user name and password.
    base: Url,
    access: Access,
    patience: Patience,
}

/// One call, as it is told apart in messages.
struct Call<'a> {
    method: Method,
    /// Below the base, each segment unescaped.
    path: &'a str,
    query: &'a [(&'a str, &'a str)],
    /// Serialised once, sent with each attempt.
    body: Option<String>,
}

impl Rest {
    /// Nothing is reached out to before the first call. User name and password within `base` count where the environment
    /// gives none.
    pub(in crate::models::registry) fn connect(
        base: &str,
        access: Access,
        patience: Patience,
    ) -> Result<Self, Error> {
        let unusable = |reason: String| Error::Settings {
            option: "registry.mlflow.uri",
            reason,
        };
        // The text is not repeated: it may hold a password.
        let mut base = Url::parse(base).map_err(|error| unusable(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(unusable(
                "it is not an `http://` or `https://` address".to_owned(),
            ));
        }
        let access = access.or_of_address(&base);
        let _ = (base.set_username(""), base.set_password(None));
        base.set_query(None);
        base.set_fragment(None);
        let builder = || -> Result<ClientBuilder, Error> {
            let builder = access
                .secure(Client::builder())?
                .user_agent(concat!("terrarium/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(patience.timeout);
            // No proxy reaches what is on this machine.
            Ok(if is_loopback(&base) {
                builder.no_proxy()
            } else {
                builder
            })
        };
        let build = |builder: ClientBuilder| {
            let client = builder.build();
            client.map_err(|error| unusable(error.to_string()))
        };
        let shared = Shared {
            client: build(builder()?.read_timeout(patience.silence))?,
            uploads: build(builder()?)?,
            base,
            access,
            patience,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// A server beside this one, as `mlflow-artifacts://host:port/...` names it. It meets the credentials only if it has the
    /// same host: whoever registers a model may choose the name.
    pub(in crate::models) fn at(&self, authority: &str) -> Result<Self, Error> {
        let Shared {
            base,
            access,
            patience,
            ..
        } = &*self.shared;
        let address = format!("{}://{authority}", base.scheme());
        let is_same_host = Url::parse(&address).is_ok_and(|url| url.host() == base.host());
        let access = match is_same_host {
            true => access.clone(),
            false => access.without_credentials(),
        };
        Self::connect(&address, access, *patience)
    }

    /// The server's address, without secrets.
    pub(in crate::models) fn origin(&self) -> &str {
        self.shared.base.as_str().trim_end_matches('/')
    }

    pub(in crate::models::registry) fn workspace(&self) -> Option<&str> {
        self.shared.access.workspace()
    }

    /// `path` stands below the base: `api/2.0/mlflow/registered-models/search`.
    pub(in crate::models) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, Error> {
        self.call(Method::GET, path, query, None::<&()>).await
    }

    pub(in crate::models) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, Error> {
        self.call(Method::POST, path, &[], Some(body)).await
    }

    pub(in crate::models) async fn patch<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, Error> {
        self.call(Method::PATCH, path, &[], Some(body)).await
    }

    /// MLflow takes the arguments of a deletion as a body.
    pub(in crate::models) async fn delete<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, Error> {
        self.call(Method::DELETE, path, &[], Some(body)).await
    }

    /// Uploads a file's bytes, without holding them in memory, or a text.
    pub(in crate::models) async fn put(
        &self,
        path: &str,
        upload: Upload<'_>,
        sent: &Sent,
    ) -> Result<(), Error> {
        upload::put(self, path, upload, sent).await
    }

    /// The bytes at `path` from offset `from` on.
    pub(in crate::models) async fn download(
        &self,
        path: &str,
        query: &[(&str, &str)],
        from: u64,
    ) -> Result<Download, Error> {
        download::open(self, path, query, from).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T, Error> {
        let body = match body.map(serde_json::to_string).transpose() {
            Ok(body) => body,
            Err(error) => return Err(self.not_mlflow(path, error.to_string())),
        };
        let call = Call {
            method,
            path,
            query,
            body,
        };
        let response = retry::send(self, &call, || {
            let request = self.request(&call);
            let request = request.timeout(self.shared.patience.timeout);
            match &call.body {
                Some(body) => request
                    .header(reqwest::header::CONTENT_TYPE, "application/json")
                    .body(body.clone()),
                None => request,
            }
        })
        .await?;
        let bytes = self.read(&call, response).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.not_mlflow(path, error.to_string()))
    }

    fn request(&self, call: &Call<'_>) -> RequestBuilder {
        let url = self.url(call.path);
        let client = match call.method {
            Method::PUT => &self.shared.uploads,
            _ => &self.shared.client,
        };
        let request = client.request(call.method.clone(), url);
        match call.query {
            [] => request,
            query => request.query(query),
        }
    }

    /// Segments are escaped here; an empty one, `.` or `..` is left out.
    fn url(&self, path: &str) -> Url {
        let mut url = self.shared.base.clone();
        // Only an address without a host has no segments, and `connect` refuses those.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty();
            segments.extend(path.split('/').filter(|segment| !segment.is_empty()));
        }
        url
    }

    /// The body of a success.
    async fn read(&self, call: &Call<'_>, mut response: Response) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        loop {
            match response.chunk().await {
                Ok(None) => return Ok(bytes),
                Ok(Some(chunk)) if bytes.len() + chunk.len() <= MAX_ANSWER_BYTES => {
                    bytes.extend_from_slice(&chunk);
                }
                Ok(Some(_)) => {
                    let reason = format!("the answer has over {MAX_ANSWER_BYTES} bytes");
                    return Err(self.not_mlflow(call.path, reason));
                }
                Err(error) => return Err(self.failed(call.path, error)),
            }
        }
    }

    fn not_mlflow(&self, call: &str, reason: String) -> Error {
        Error::NotMlflow {
            origin: self.origin().to_owned(),
            call: call.to_owned(),
            reason,
        }
    }

    /// No answer, or not all of one.
    fn failed(&self, call: &str, error: reqwest::Error) -> Error {
        failure::of_transport(self.origin(), call, self.shared.patience.timeout, error)
    }
}

/// Whether an answer says that nothing was done, or that it does no harm to ask again.
fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

fn is_loopback(base: &Url) -> bool {
    let host = base.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// The pause that MLflow's variable asks for, in seconds.
pub(in crate::models::registry) fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|limit| !limit.is_zero())
}
