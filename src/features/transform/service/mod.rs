//! Feast's transformation server (`feast serve_transformations`): on-demand feature views of `mode="pandas"`, over gRPC.
//!
//! Service `feast.serving.TransformationService` of Feast 0.67. Input and output are Arrow IPC files; columns of the output
//! are named `view__feature`. Connects at the first call and again after the connection is lost; a call takes no longer than
//! the request's deadline, and a message no more than 64 MiB.
//! The answer's columns become features as Feast converts them, so integers that pandas made floating point, because a null
//! stood beside them, are integers again.

mod file;
mod messages;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use self::messages::{
    ArrowValue, ServiceInfoRequest, ServiceInfoResponse, TransformRequest, TransformResponse,
};
use super::inputs::full_names;
use super::{Error, Transform};
use crate::features::columns::{Column, Columns};
use crate::features::definitions::{Field, OnDemandFeatureView, OnDemandSource};
use crate::types::deadline::Deadline;

const MAX_MESSAGE: usize = 64 << 20;
const TRANSFORM: &str = "/feast.serving.TransformationService/TransformFeatures";
const INFO: &str = "/feast.serving.TransformationService/GetTransformationServiceInfo";
const WHAT: &str = "transformation service";

/// The server, if one is configured. Clones share the connection.
#[derive(Debug, Clone)]
pub(super) struct Service {
    address: Option<Arc<Address>>,
    project: String,
}

#[derive(Debug)]
struct Address {
    /// As it is configured.
    text: String,
    /// Made at the first call: it needs the runtime.
    channel: OnceLock<Channel>,
}

impl Service {
    pub(super) fn new(endpoint: Option<String>, project: &str) -> Self {
        let address = endpoint.map(|text| {
            Arc::new(Address {
                text,
                channel: OnceLock::new(),
            })
        });
        Self {
            address,
            project: project.to_owned(),
        }
    }

    pub(super) fn compile(
        &self,
        view: &OnDemandFeatureView,
        input: &[Field],
    ) -> Result<Arc<dyn Transform>, Error> {
        let Some(address) = &self.address else {
            return Err(Error::no_way(view));
        };
        address.endpoint()?;
        Ok(Arc::new(ServiceTransform {
            address: address.clone(),
            project: self.project.clone(),
            view: view.name.clone(),
            inputs: sent(view, input),
            outputs: view.features.clone(),
        }))
    }

    /// What the server says about itself; `None` if none is configured.
    pub(super) async fn describe(&self, deadline: Deadline) -> Result<Option<String>, Error> {
        let Some(address) = &self.address else {
            return Ok(None);
        };
        let what = "a question about itself";
        let request = ServiceInfoRequest {};
        let response: ServiceInfoResponse = address.call(INFO, request, what, deadline).await?;
        Ok(Some(response.details))
    }
}

/// The columns that go to the server. It makes `view__feature` of each feature by itself and stumbles over both.
fn sent(view: &OnDemandFeatureView, input: &[Field]) -> Vec<Field> {
    let is_there = |name: &str| input.iter().any(|field| field.name == name);
    let mut twice = Vec::new();
    for source in &view.sources {
        let OnDemandSource::View(projection) = source else {
            continue;
        };
        for (field, full) in projection.features.iter().zip(full_names(projection)) {
            if is_there(&field.name) {
                twice.push(full);
            }
        }
    }
    let kept = input.iter().filter(|field| !twice.contains(&field.name));
    kept.cloned().collect()
}

impl Address {
    fn endpoint(&self) -> Result<Endpoint, Error> {
        let wrong = || Error::Endpoint {
            endpoint: self.text.clone(),
        };
        let uri = match self.text.split_once("://") {
            None => format!("http://{}", self.text),
            Some(("http" | "https", _)) => self.text.clone(),
            Some(_) => return Err(wrong()),
        };
        let is_tls = uri.starts_with("https");
        let endpoint = Endpoint::from_shared(uri).map_err(|_| wrong())?;
        if endpoint.uri().port_u16().is_none() {
            return Err(wrong());
        }
        if !is_tls {
            return Ok(endpoint);
        }
        let tls = ClientTlsConfig::new().with_native_roots();
        endpoint.tls_config(tls).map_err(|_| wrong())
    }

    fn channel(&self) -> Result<Channel, Error> {
        if let Some(channel) = self.channel.get() {
            return Ok(channel.clone());
        }
        let endpoint = self.endpoint()?;
        Ok(self.channel.get_or_init(|| endpoint.connect_lazy()).clone())
    }

    async fn call<M, A>(
        &self,
        path: &'static str,
        message: M,
        what: &str,
        deadline: Deadline,
    ) -> Result<A, Error>
    where
        M: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let too_late = || Error::DeadlineExceeded {
            what: what.to_owned(),
        };
        let mut client = Grpc::new(self.channel()?)
            .max_encoding_message_size(MAX_MESSAGE)
            .max_decoding_message_size(MAX_MESSAGE);
        let call = async {
            let unreachable = |source| Error::Unreachable {
                endpoint: self.text.clone(),
                source: Some(Box::new(source)),
            };
            client.ready().await.map_err(unreachable)?;
            let mut request = Request::new(message);
            request.set_timeout(deadline.remaining());
            let codec: ProstCodec<M, A> = ProstCodec::default();
            let answer = client
                .unary(request, PathAndQuery::from_static(path), codec)
                .await;
            Ok(answer
                .map_err(|status| self.failed(status, what))?
                .into_inner())
        };
        match tokio::time::timeout_at(deadline.instant(), call).await {
            Ok(Err(Error::Refused { .. })) if deadline.is_past() => Err(too_late()),
            Ok(outcome) => outcome,
            Err(_) => Err(too_late()),
        }
    }

    fn failed(&self, status: Status, what: &str) -> Error {
        if status.code() == Code::Unavailable {
            return Error::Unreachable {
                endpoint: self.text.clone(),
                source: Some(Box::new(status)),
            };
        }
        Error::Refused {
            what: what.to_owned(),
            endpoint: self.text.clone(),
            status: format!("{:?}, {}", status.code(), status.message()),
        }
    }
}

#[derive(Debug)]
struct ServiceTransform {
    address: Arc<Address>,
    project: String,
    view: String,
    inputs: Vec<Field>,
    outputs: Vec<Field>,
}

#[async_trait]
impl Transform for ServiceTransform {
    async fn run(&self, input: Columns, deadline: Deadline) -> Result<Columns, Error> {
        let file = file::encode(&self.view, &self.inputs, &input)?;
        let request = TransformRequest {
            view: self.view.clone(),
            project: self.project.clone(),
            input: Some(ArrowValue { file: Some(file) }),
        };
        let what = format!("on-demand feature view `{}`", self.view);
        let response: TransformResponse = self
            .address
            .call(TRANSFORM, request, &what, deadline)
            .await?;
        let file = response.output.and_then(|output| output.file);
        let answer = file::decode(&file.unwrap_or_default());
        let answer = answer.map_err(|error| Error::Answer {
            view: self.view.clone(),
            endpoint: self.address.text.clone(),
            reason: error.to_string(),
        })?;
        if answer.num_rows() != input.n_rows {
            return Err(Error::WrongRows {
                view: self.view.clone(),
                what: WHAT,
                expected: input.n_rows,
                actual: answer.num_rows(),
            });
        }
        let columns = self.outputs.iter();
        let columns = columns.map(|feature| self.output(feature, &answer));
        Ok(Columns::new(
            input.n_rows,
            columns.collect::<Result<_, _>>()?,
        )?)
    }
}

impl ServiceTransform {
    fn output(&self, feature: &Field, answer: &arrow::array::RecordBatch) -> Result<Column, Error> {
        let full = format!("{}__{}", self.view, feature.name);
        let found = answer
            .column_by_name(&full)
            .or_else(|| answer.column_by_name(&feature.name));
        let Some(array) = found else {
            let schema = answer.schema();
            let names = schema.fields().iter().map(|field| field.name().as_str());
            return Err(Error::MissingColumn {
                view: self.view.clone(),
                what: WHAT,
                found: crate::features::suggest::Known::instead_of(&full, names),
                column: full,
            });
        };
        let values = crate::features::arrays::values(array, feature.value_type);
        let values = values.map_err(|error| Error::Value {
            view: self.view.clone(),
            reason: format!("feature `{}`: {error}", feature.name),
        })?;
        let Some(values) = values else {
            return Err(Error::WrongType {
                view: self.view.clone(),
                what: WHAT,
                column: full,
                value_type: feature.value_type,
                actual: array.data_type().to_string(),
            });
        };
        Ok(Column {
            name: feature.name.clone(),
            value_type: feature.value_type,
            values,
        })
    }
}
