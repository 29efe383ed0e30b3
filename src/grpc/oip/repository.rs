//! The model repository extension over gRPC; see the same of REST for what load and unload mean here.

use tonic::Status;

use super::Call;
use super::messages::{
    Empty, ModelIndex, RepositoryIndexRequest, RepositoryIndexResponse, RepositoryModelRequest,
};
use crate::grpc::status;
use crate::types::oip;

pub(super) async fn index(
    call: Call,
    request: RepositoryIndexRequest,
) -> Result<RepositoryIndexResponse, Status> {
    let entries = call.api.predictor.models().index(request.ready).into_iter();
    let models = entries.map(|entry| ModelIndex {
        name: entry.name.to_string(),
        version: entry.version,
        state: entry.state.to_owned(),
        reason: entry.reason,
    });
    Ok(RepositoryIndexResponse {
        models: models.collect(),
    })
}

pub(super) async fn load(call: Call, request: RepositoryModelRequest) -> Result<Empty, Status> {
    let wrong = |error| status::of(&error);
    let deadline = call.deadline();
    let model = oip::model_ref(request.name(), "").map_err(wrong)?;
    oip::check_load_parameters(request.parameters.keys()).map_err(wrong)?;
    let models = call.api.predictor.models();
    let loaded = models.load_now(&call.api.registry, &model, deadline).await;
    loaded
        .map(|()| Empty {})
        .map_err(|error| status::of(&error))
}

pub(super) async fn unload(_: Call, request: RepositoryModelRequest) -> Result<Empty, Status> {
    Err(status::of(&oip::unload_refused(request.name())))
}

impl RepositoryModelRequest {
    /// KServe's clients write it into field 1, which is Triton's repository.
    fn name(&self) -> &str {
        match self.model_name.is_empty() {
            true => &self.repository_name,
            false => &self.model_name,
        }
    }
}
