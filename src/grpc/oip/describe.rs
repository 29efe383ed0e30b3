//! What there is, over gRPC: the server, its health, its models, what they take and give and what they have done.

use std::collections::HashMap;

use tonic::Status;

use super::Call;
use super::messages::{
    DataType, Empty, InferBatchStatistics, InferParameter, InferStatistics, ModelConfig,
    ModelConfigResponse, ModelInput, ModelInstanceGroup, ModelMetadataResponse, ModelOutput,
    ModelRequest, ModelStatistics, ModelStatisticsResponse, ModelTransactionPolicy,
    ParameterChoice, ReadyResponse, ServerLiveResponse, ServerMetadataResponse, StatisticDuration,
    TensorMetadata,
};
use crate::error::{ErrorClass, Failure};
use crate::grpc::status;
use crate::models::{Resolved, ServedVersion, VersionState};
use crate::predict::{Interface, ServingPlan, TensorDescription};
use crate::types::dtype::DType;
use crate::types::oip::{self, EXTENSIONS, OPTIONAL, PLATFORM, SERVER_NAME};

const KIND_CPU: i32 = 2;

pub(super) async fn server_live(_: Call, _: Empty) -> Result<ServerLiveResponse, Status> {
    Ok(ServerLiveResponse { live: true })
}

pub(super) async fn server_ready(call: Call, _: Empty) -> Result<ReadyResponse, Status> {
    let ready = call.api.predictor.is_ready(call.api.ready).await;
    Ok(ReadyResponse { ready })
}

/// A model that is not there is not ready.
pub(super) async fn model_ready(
    call: Call,
    request: ModelRequest,
) -> Result<ReadyResponse, Status> {
    let model = oip::model_ref(&request.name, &request.version);
    let model = model.map_err(|error| status::of(&error))?;
    let resolved = call.api.predictor.models().resolve(&model);
    match resolved.map_err(|error| (error.class(), error)) {
        Ok(_) => Ok(ReadyResponse { ready: true }),
        Err((ErrorClass::NotFound | ErrorClass::Unavailable, _)) => {
            Ok(ReadyResponse { ready: false })
        }
        Err((_, error)) => Err(status::of(&error)),
    }
}

pub(super) async fn server(_: Call, _: Empty) -> Result<ServerMetadataResponse, Status> {
    Ok(ServerMetadataResponse {
        name: SERVER_NAME.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: EXTENSIONS.map(str::to_owned).to_vec(),
    })
}

pub(super) async fn model(
    call: Call,
    request: ModelRequest,
) -> Result<ModelMetadataResponse, Status> {
    let version = resolve(&call, &request)?.version;
    let interface = Interface::of(&version);
    let tensors = |tensors: &[TensorDescription]| {
        let tensors = tensors.iter().map(|tensor| TensorMetadata {
            name: tensor.name.clone(),
            datatype: tensor.dtype.oip_name().to_owned(),
            shape: tensor.shape.clone(),
            parameters: parameters(tensor),
        });
        tensors.collect()
    };
    Ok(ModelMetadataResponse {
        name: version.name.to_string(),
        versions: call
            .api
            .predictor
            .models()
            .loaded_versions_of(&version.name),
        platform: PLATFORM.to_owned(),
        inputs: tensors(&interface.inputs),
        outputs: tensors(&interface.outputs),
    })
}

pub(super) async fn config(
    call: Call,
    request: ModelRequest,
) -> Result<ModelConfigResponse, Status> {
    let version = resolve(&call, &request)?.version;
    let interface = Interface::of(&version);
    let inputs = interface.inputs.iter().map(|tensor| ModelInput {
        name: tensor.name.clone(),
        data_type: data_type(tensor.dtype) as i32,
        dims: interface.config_dims(tensor).to_vec(),
        optional: tensor.optional,
    });
    let outputs = interface.outputs.iter().map(|tensor| ModelOutput {
        name: tensor.name.clone(),
        data_type: data_type(tensor.dtype) as i32,
        dims: interface.config_dims(tensor).to_vec(),
    });
    let config = ModelConfig {
        name: version.name.to_string(),
        platform: PLATFORM.to_owned(),
        max_batch_size: interface.max_batch_size(call.api.max_rows),
        input: inputs.collect(),
        output: outputs.collect(),
        instance_group: vec![ModelInstanceGroup {
            name: version.name.to_string(),
            count: i32::try_from(version.model.n_engines()).unwrap_or(i32::MAX),
            kind: KIND_CPU,
        }],
        default_model_filename: "model.onnx".to_owned(),
        backend: "onnxruntime".to_owned(),
        model_transaction_policy: Some(ModelTransactionPolicy { decoupled: false }),
    };
    Ok(ModelConfigResponse {
        config: Some(config),
    })
}

fn parameters(tensor: &TensorDescription) -> HashMap<String, InferParameter> {
    let optional = tensor.optional.then(|| {
        let parameter_choice = Some(ParameterChoice::Bool(true));
        (OPTIONAL.to_owned(), InferParameter { parameter_choice })
    });
    optional.into_iter().collect()
}

fn data_type(dtype: DType) -> DataType {
    match dtype {
        DType::Bool => DataType::Bool,
        DType::Int8 => DataType::Int8,
        DType::Int16 => DataType::Int16,
        DType::Int32 => DataType::Int32,
        DType::Int64 | DType::Datetime => DataType::Int64,
        DType::UInt8 => DataType::Uint8,
        DType::UInt16 => DataType::Uint16,
        DType::UInt32 => DataType::Uint32,
        DType::UInt64 => DataType::Uint64,
        DType::Float16 => DataType::Fp16,
        DType::BFloat16 => DataType::Bf16,
        DType::Float32 => DataType::Fp32,
        DType::Float64 => DataType::Fp64,
        DType::String | DType::Binary => DataType::String,
    }
}

/// Of one version, or of all where none is named.
pub(super) async fn statistics(
    call: Call,
    request: ModelRequest,
) -> Result<ModelStatisticsResponse, Status> {
    let mut model_stats = Vec::new();
    if !request.name.is_empty() {
        let resolved = resolve(&call, &request)?;
        model_stats.push(statistics_of(&resolved.version));
        return Ok(ModelStatisticsResponse { model_stats });
    }
    for model in call.api.predictor.models().models() {
        for status in &model.versions {
            if let VersionState::Loaded(version) = &status.state {
                model_stats.push(statistics_of(version));
            }
        }
    }
    Ok(ModelStatisticsResponse { model_stats })
}

fn statistics_of(version: &ServedVersion<ServingPlan>) -> ModelStatistics {
    let reading = version.plan.metrics().read();
    let duration = |count, ns| Some(StatisticDuration { count, ns });
    let step = |ns| duration(reading.answered, ns);
    let computed = |ns| duration(reading.answered.saturating_sub(reading.cache_hits), ns);
    let runs = version.plan.metrics().read_runs().into_iter();
    let batch_stats = runs.map(|size| InferBatchStatistics {
        batch_size: size.n_rows,
        compute_input: duration(size.runs, size.input_ns),
        compute_infer: duration(size.runs, size.engine_ns),
        compute_output: duration(size.runs, size.output_ns),
    });
    ModelStatistics {
        name: version.name.to_string(),
        version: version.version.to_string(),
        last_inference: reading.last_ms,
        inference_count: reading.rows,
        execution_count: reading.runs,
        inference_stats: Some(InferStatistics {
            success: step(reading.total_ns),
            fail: duration(reading.failed, 0),
            queue: step(reading.queue_ns),
            compute_input: computed(reading.input_ns),
            compute_infer: computed(reading.engine_ns),
            compute_output: computed(reading.output_ns),
            cache_hit: duration(reading.cache_hits, reading.cache_hit_ns),
            cache_miss: duration(reading.cache_misses, reading.cache_miss_ns),
        }),
        batch_stats: batch_stats.collect(),
    }
}

fn resolve(call: &Call, request: &ModelRequest) -> Result<Resolved<ServingPlan>, Status> {
    let model = oip::model_ref(&request.name, &request.version);
    let model = model.map_err(|error| status::of(&error))?;
    let resolved = call.api.predictor.models().resolve(&model);
    resolved.map_err(|error| status::of(&error))
}
