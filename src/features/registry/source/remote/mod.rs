//! Feast's registry server (`registry_type: remote`), over gRPC: `feast.registry.RegistryServer`.
//!
//! Objects of its answers do not tell their project, so each kind is listed for the project; messages stay bytes until they
//! are decoded like those of any other registry. A materialization is recorded by the server's own `ApplyMaterialization`.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prost::bytes::{Buf, BufMut};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::Uri;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

use super::{Mark, Store, ViewChange};
use crate::features::codec::wire::{Reader, put_bytes, put_message, put_tag, put_varint};
use crate::features::registry::objects::{Object, ObjectKind, Objects, text_at};
use crate::features::registry::{Error, Registry, change};
use crate::features::repo::Problem;
use crate::features::settings::Settings;
use crate::types::timestamp::Timestamp;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// The largest answer that is taken.
const MAX_ANSWER: usize = 256 * 1024 * 1024;

/// Where the server is.
#[derive(Debug, Clone)]
pub(in crate::features) struct Config {
    /// `host:port`.
    address: String,
    tls: Option<Tls>,
}

#[derive(Debug, Clone, Default)]
struct Tls {
    /// Who is trusted; the system's own authorities where there is none.
    authorities: Option<PathBuf>,
    /// Our certificate and key, as files.
    identity: Option<(PathBuf, PathBuf)>,
    /// The name that the server's certificate must have, in place of the host's.
    authority: Option<String>,
}

impl Config {
    /// Takes the keys of Feast's `RemoteRegistryConfig`.
    pub(in crate::features::registry) fn read(
        address: &str,
        settings: &mut Settings,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Problem> {
        let mut text = |key| -> Result<Option<String>, Problem> {
            Ok(settings.text(key)?.filter(|text| !text.is_empty()))
        };
        let certificate = text("cert")?.map(PathBuf::from);
        let identity = match (text("client_cert")?, text("client_key")?) {
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            (None, None) => None,
            _ => {
                return Err(Problem::Invalid(
                    "`registry.client_cert` and `registry.client_key` go together".to_owned(),
                ));
            }
        };
        let authority = text("authority")?;
        let is_tls = settings.boolean("is_tls")?.unwrap_or(false) || certificate.is_some();
        let named = || environment("SSL_CERT_FILE").or_else(|| environment("REQUESTS_CA_BUNDLE"));
        let address = address.strip_prefix("dns:///").unwrap_or(address);
        if address.is_empty()
            || address.contains("//")
            || format!("http://{address}").parse::<Uri>().is_err()
        {
            return Err(Problem::Invalid(
                "`registry.path` must be the registry server's `host:port`".to_owned(),
            ));
        }
        Ok(Self {
            address: address.to_owned(),
            tls: is_tls.then(|| Tls {
                authorities: certificate.or_else(|| named().map(PathBuf::from)),
                identity,
                authority,
            }),
        })
    }

    fn endpoint(&self) -> Result<Endpoint, Error> {
        let unusable = |error: tonic::transport::Error| Error::Unreachable {
            origin: self.to_string(),
            source: Arc::new(error),
        };
        let endpoint = Endpoint::from_shared(self.to_string()).map_err(unusable)?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_LIMIT)
            .timeout(CALL_LIMIT)
            .tcp_nodelay(true);
        let Some(tls) = &self.tls else {
            return Ok(endpoint);
        };
        let mut config = match &tls.authorities {
            Some(path) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(file(path)?)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        if let Some((certificate, key)) = &tls.identity {
            config = config.identity(Identity::from_pem(file(certificate)?, file(key)?));
        }
        let mut endpoint = endpoint;
        if let Some(authority) = &tls.authority {
            let host = authority.split(':').next().unwrap_or(authority);
            config = config.domain_name(host);
            if let Ok(origin) = format!("https://{authority}").parse() {
                endpoint = endpoint.origin(origin);
            }
        }
        endpoint.tls_config(config).map_err(unusable)
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.address)
    }
}

/// A certificate's or key's file.
fn file(path: &std::path::Path) -> Result<Vec<u8>, Error> {
    fs_err::read(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

#[derive(Debug)]
pub(super) struct RemoteStore {
    channel: Channel,
    origin: String,
}

/// Connects at the first call. Must be called within a Tokio runtime.
pub(super) fn open(config: &Config) -> Result<RemoteStore, Error> {
    Ok(RemoteStore {
        channel: config.endpoint()?.connect_lazy(),
        origin: config.to_string(),
    })
}

/// Methods that list one kind of object.
const LISTS: [(ObjectKind, &str); 5] = [
    (ObjectKind::Entity, "ListEntities"),
    (ObjectKind::FeatureView, "ListFeatureViews"),
    (ObjectKind::StreamFeatureView, "ListStreamFeatureViews"),
    (ObjectKind::OnDemandFeatureView, "ListOnDemandFeatureViews"),
    (ObjectKind::FeatureService, "ListFeatureServices"),
];

#[async_trait]
impl Store for RemoteStore {
    async fn load(&self, project: &str) -> Result<Registry, Error> {
        let mut of_project = Vec::new();
        put_bytes(&mut of_project, 1, project.as_bytes());
        let lists = LISTS.map(|(_, method)| self.call(method, of_project.clone()));
        let projects = self.call("ListProjects", Vec::new());
        let (projects, lists) = futures::try_join!(projects, futures::future::try_join_all(lists))?;
        let mut found = Objects::default();
        for message in self.items(&projects)? {
            found.add_project(text_at(message, &[1, 1]));
        }
        for ((kind, _), list) in LISTS.iter().zip(&lists) {
            found
                .objects
                .extend(self.items(list)?.into_iter().map(|bytes| Object {
                    kind: *kind,
                    bytes: Cow::Borrowed(bytes),
                    project: Some(project.to_owned()),
                    name: None,
                }));
        }
        Registry::of(found, project, &self.origin)
    }

    async fn record(&self, project: &str, view: &str, change: ViewChange) -> Result<(), Error> {
        // The request of `ApplyMaterialization` has no place for a stream view.
        let batch = self.get("GetFeatureView", project, view).await?;
        let mut request = Vec::new();
        match (change, batch) {
            (ViewChange::Materialized { start, end }, Some(bytes)) => {
                put_bytes(&mut request, 1, &bytes);
                put_bytes(&mut request, 2, project.as_bytes());
                for (field, moment) in [(3, start), (4, end)] {
                    put_message(&mut request, field, |out| change::put_moment(out, moment));
                }
                put_flag(&mut request, 5);
                self.call("ApplyMaterialization", request).await?;
                return Ok(());
            }
            (ViewChange::State(_), Some(bytes)) => {
                let bytes = change::in_object(&bytes, view, change, Timestamp::now())?;
                put_bytes(&mut request, 1, &bytes);
            }
            (_, None) => {
                let stream = self.get("GetStreamFeatureView", project, view).await?;
                let Some(bytes) = stream else {
                    return Err(self.unknown(project, view).await?);
                };
                if matches!(change, ViewChange::Materialized { .. }) {
                    return Err(Error::CannotRecord {
                        origin: self.origin.clone(),
                        reason: "Feast's registry server takes no materialization of a stream feature view",
                    });
                }
                let bytes = change::in_object(&bytes, view, change, Timestamp::now())?;
                put_bytes(&mut request, 3, &bytes);
            }
        }
        put_bytes(&mut request, 4, project.as_bytes());
        put_flag(&mut request, 5);
        self.call("ApplyFeatureView", request).await?;
        Ok(())
    }

    async fn mark(&self) -> Option<Mark> {
        None
    }

    fn describe(&self) -> &str {
        &self.origin
    }
}

impl RemoteStore {
    /// One unary call.
    async fn call(&self, method: &str, request: Vec<u8>) -> Result<Vec<u8>, Error> {
        let mut client = Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER);
        let path = format!("/feast.registry.RegistryServer/{method}");
        let path = PathAndQuery::try_from(path).unwrap_or(PathAndQuery::from_static("/"));
        client.ready().await.map_err(|error| Error::Unreachable {
            origin: self.origin.clone(),
            source: Arc::new(error),
        })?;
        let answer = client.unary(Request::new(request), path, Bytes).await;
        match answer {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(self.failed(method, status)),
        }
    }

    fn failed(&self, method: &str, status: Status) -> Error {
        let origin = self.origin.clone();
        match status.code() {
            Code::Unavailable => Error::Unreachable {
                origin,
                source: Arc::new(status),
            },
            Code::DeadlineExceeded | Code::Cancelled => Error::Timeout {
                origin,
                waited: CALL_LIMIT,
            },
            code => Error::Refused {
                origin,
                message: format!("{method}: {code:?}: {}", status.message()),
            },
        }
    }

    /// The messages of an answer that lists them in its first field.
    fn items<'a>(&self, answer: &'a [u8]) -> Result<Vec<&'a [u8]>, Error> {
        let invalid = |source| Error::Decode {
            origin: self.origin.clone(),
            source,
        };
        let mut items = Vec::new();
        let mut reader = Reader::new(answer);
        while let Some((field, content)) = reader.field().map_err(invalid)? {
            if field == 1 {
                items.push(content.bytes(field).map_err(invalid)?);
            }
        }
        Ok(items)
    }

    /// A view by name; `None` where the server does not have it.
    async fn get(&self, method: &str, project: &str, view: &str) -> Result<Option<Vec<u8>>, Error> {
        let mut request = Vec::new();
        put_bytes(&mut request, 1, view.as_bytes());
        put_bytes(&mut request, 2, project.as_bytes());
        match self.call(method, request).await {
            Ok(answer) => Ok(Some(answer)),
            // Feast's server has one status for every exception; only the text tells.
            Err(Error::Refused { message, .. }) if message.contains("does not exist") => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn unknown(&self, project: &str, view: &str) -> Result<Error, Error> {
        let registry = self.load(project).await?;
        if registry.on_demand_feature_view(view).is_some() {
            return Ok(Error::NotMaterialized {
                view: view.to_owned(),
            });
        }
        Ok(Error::UnknownView {
            view: view.to_owned(),
            project: project.to_owned(),
            origin: self.origin.clone(),
        })
    }
}

/// A field that is true.
fn put_flag(out: &mut Vec<u8>, field: u32) {
    put_tag(out, field, 0);
    put_varint(out, 1);
}

/// Messages as they stand on the wire.
#[derive(Debug, Clone, Copy, Default)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}
