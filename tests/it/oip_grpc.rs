//! The Open Inference Protocol over gRPC. Each trap of docs/oip.md that gRPC has is a test of that name.

use std::collections::HashMap;

use bytes::Bytes;
use futures::StreamExt;
use prost::Message;
use terrarium::grpc::oip::messages as pb;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use crate::oip::fixture;
use crate::support::Server;

async fn client(server: &Server) -> tonic::client::Grpc<Channel> {
    let address = format!("http://{}", server.grpc_address());
    let channel = Channel::from_shared(address).unwrap();
    let mut client = tonic::client::Grpc::new(channel.connect().await.unwrap())
        .max_decoding_message_size(usize::MAX);
    client.ready().await.unwrap();
    client
}

pub(crate) async fn call<Q, A>(server: &Server, method: &str, request: Q) -> Result<A, Status>
where
    Q: Message + Send + Sync + 'static,
    A: Message + Default + Send + Sync + 'static,
{
    let path = format!("/inference.GRPCInferenceService/{method}")
        .parse()
        .unwrap();
    let codec = ProstCodec::<Q, A>::default();
    let mut client = client(server).await;
    let request = tonic::Request::new(request);
    Ok(client.unary(request, path, codec).await?.into_inner())
}

async fn infer(
    server: &Server,
    request: pb::ModelInferRequest,
) -> Result<pb::ModelInferResponse, Status> {
    call(server, "ModelInfer", request).await
}

pub(crate) fn model(name: &str) -> pb::ModelRequest {
    pb::ModelRequest {
        name: name.to_owned(),
        version: String::new(),
    }
}

/// An image of so many rows, raw.
fn image(n_rows: usize) -> pb::ModelInferRequest {
    pb::ModelInferRequest {
        model_name: "rank3".to_owned(),
        id: "7".to_owned(),
        inputs: vec![pb::InferTensor {
            name: "img".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![n_rows as i64, 2, 3],
            ..Default::default()
        }],
        raw_input_contents: vec![Bytes::from(vec![0; n_rows * 24])],
        ..Default::default()
    }
}

fn parameter(choice: pb::ParameterChoice) -> pb::InferParameter {
    pb::InferParameter {
        parameter_choice: Some(choice),
    }
}

#[tokio::test]
async fn trap_2_large_messages_are_taken_up_to_the_limit() {
    let fixture = fixture(&["http.oip.max_body=8MiB"]).await;
    // A message of five megabytes, which is more than gRPC libraries take by themselves.
    let mut request = image(90_000);
    request.id = "x".repeat(3 << 20);
    let answer = infer(&fixture.server, request).await.unwrap();
    assert_eq!(answer.outputs[0].shape, [90_000]);
    let mut request = image(90_000);
    request.raw_input_contents[0] = Bytes::from(vec![0; 9 << 20]);
    let status = infer(&fixture.server, request).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
}

#[tokio::test]
async fn trap_6_answers_are_raw_with_an_entry_for_every_output() {
    let fixture = fixture(&[]).await;
    let mut typed = image(1);
    typed.raw_input_contents.clear();
    typed.inputs[0].contents = Some(pb::InferTensorContents {
        fp32_contents: vec![0.0; 6],
        ..Default::default()
    });
    for request in [image(1), typed] {
        let answer = infer(&fixture.server, request).await.unwrap();
        assert_eq!(
            (answer.model_name.as_str(), answer.id.as_str()),
            ("rank3", "7")
        );
        assert_eq!(answer.outputs[0].contents, None);
        assert_eq!(answer.outputs[0].shape, [1]);
        assert_eq!(answer.raw_output_contents[0].len(), 4);
    }
    let empty = infer(&fixture.server, image(0)).await.unwrap();
    assert_eq!(empty.outputs[0].shape, [0]);
    assert_eq!(empty.raw_output_contents, [Bytes::new()]);
}

#[tokio::test]
async fn trap_8_dimensions_of_int64_are_checked() {
    let fixture = fixture(&[]).await;
    for shape in [vec![-1, 2, 3], vec![i64::MAX, i64::MAX], vec![1 << 40, 0]] {
        let mut request = image(1);
        request.inputs[0].shape = shape;
        let status = infer(&fixture.server, request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains("`img`"), "{status}");
    }
}

#[tokio::test]
async fn trap_12_the_message_travels_with_the_status() {
    let fixture = fixture(&[]).await;
    let mut request = image(1);
    request.inputs[0].datatype = "FP64".to_owned();
    let status = infer(&fixture.server, request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(
        status
            .message()
            .contains("24 bytes where its shape [1, 2, 3]"),
        "{status}"
    );
    let mut request = image(1);
    request.model_name = "unknown".to_owned();
    let status = infer(&fixture.server, request).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("`unknown`"), "{status}");
    let status = call::<_, pb::Empty>(&fixture.server, "CudaSharedMemoryStatus", model("")).await;
    assert_eq!(status.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn trap_13_parameters_come_in_any_member() {
    use pb::ParameterChoice::{Bool, Double, Int64, String, Uint64};
    let fixture = fixture(&[]).await;
    let mut request = image(1);
    request.parameters = HashMap::from([
        ("priority".to_owned(), parameter(Uint64(1))),
        ("timeout".to_owned(), parameter(Int64(5_000_000))),
        ("mine".to_owned(), parameter(Double(0.5))),
        ("yours".to_owned(), parameter(String("x".to_owned()))),
        ("theirs".to_owned(), parameter(Bool(true))),
    ]);
    infer(&fixture.server, request.clone()).await.unwrap();
    let event = &fixture.server.events_when(1).await[0];
    assert_eq!(event["params"]["mine"], 0.5);
    request
        .parameters
        .insert("timeout".to_owned(), parameter(Uint64(1)));
    let status = infer(&fixture.server, request.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    request
        .parameters
        .insert("timeout".to_owned(), parameter(Bool(true)));
    let status = infer(&fixture.server, request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_stream_answers_each_message_and_survives_failures() {
    let fixture = fixture(&[]).await;
    let mut client = client(&fixture.server).await;
    let mut wrong = image(1);
    wrong.inputs[0].name = "x".to_owned();
    wrong.id = "wrong".to_owned();
    let mut last = image(3);
    let wants_final = parameter(pb::ParameterChoice::Bool(true));
    let name = "triton_enable_empty_final_response".to_owned();
    last.parameters.insert(name, wants_final);
    let messages = futures::stream::iter([image(2), wrong, last]);
    let path = "/inference.GRPCInferenceService/ModelStreamInfer"
        .parse()
        .unwrap();
    let codec = ProstCodec::<pb::ModelInferRequest, pb::ModelStreamInferResponse>::default();
    let answers = client
        .streaming(tonic::Request::new(messages), path, codec)
        .await
        .unwrap();
    let answers: Vec<_> = answers.into_inner().map(Result::unwrap).collect().await;
    let [first, failed, last] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!(first.error_message, "");
    assert_eq!(first.infer_response.as_ref().unwrap().outputs[0].shape, [2]);
    assert!(
        failed.error_message.contains("`img` is not given"),
        "{failed:?}"
    );
    assert_eq!(failed.infer_response.as_ref().unwrap().id, "wrong");
    let last = last.infer_response.as_ref().unwrap();
    assert_eq!(last.outputs[0].shape, [3]);
    assert_eq!(
        last.parameters["triton_final_response"],
        parameter(pb::ParameterChoice::Bool(true))
    );
}

#[tokio::test]
async fn the_server_and_its_models_describe_themselves() {
    let fixture = fixture(&[]).await;
    let server = &fixture.server;
    let live: pb::ServerLiveResponse = call(server, "ServerLive", pb::Empty {}).await.unwrap();
    let ready: pb::ReadyResponse = call(server, "ServerReady", pb::Empty {}).await.unwrap();
    assert!(live.live && ready.ready);
    for (name, wanted) in [("rank3", true), ("unknown", false)] {
        let ready: pb::ReadyResponse = call(server, "ModelReady", model(name)).await.unwrap();
        assert_eq!(ready.ready, wanted, "{name}");
    }
    let metadata: pb::ServerMetadataResponse =
        call(server, "ServerMetadata", pb::Empty {}).await.unwrap();
    assert!(
        metadata
            .extensions
            .contains(&"binary_tensor_data".to_owned())
    );
    let metadata: pb::ModelMetadataResponse =
        call(server, "ModelMetadata", model("echo")).await.unwrap();
    assert_eq!(
        (metadata.inputs.len(), metadata.inputs[12].datatype.as_str()),
        (13, "BYTES")
    );
    let config: pb::ModelConfigResponse =
        call(server, "ModelConfig", model("rank3")).await.unwrap();
    let config = config.config.unwrap();
    assert_eq!(config.input[0].dims, [2, 3]);
    assert_eq!(config.input[0].data_type, pb::DataType::Fp32 as i32);
    infer(server, image(5)).await.unwrap();
    let stats: pb::ModelStatisticsResponse = call(server, "ModelStatistics", model("rank3"))
        .await
        .unwrap();
    assert_eq!(stats.model_stats[0].inference_count, 5);
    let stats: pb::ModelStatisticsResponse =
        call(server, "ModelStatistics", model("")).await.unwrap();
    assert_eq!(stats.model_stats.len(), 6);
}

#[tokio::test]
async fn the_repository_is_listed_loaded_from_and_never_unloaded() {
    let fixture = fixture(&[]).await;
    let server = &fixture.server;
    let request = pb::RepositoryIndexRequest::default();
    let index: pb::RepositoryIndexResponse =
        call(server, "RepositoryIndex", request).await.unwrap();
    assert_eq!(index.models.len(), 6);
    assert_eq!(index.models[0].state, "READY");
    // Triton's clients name the model in field 2, KServe's in field 1.
    for (repository_name, model_name) in [("", "rank3"), ("rank3", "")] {
        let request = pb::RepositoryModelRequest {
            repository_name: repository_name.to_owned(),
            model_name: model_name.to_owned(),
            ..Default::default()
        };
        let loaded = call::<_, pb::Empty>(server, "RepositoryModelLoad", request.clone()).await;
        assert!(loaded.is_ok(), "{loaded:?}");
        let unloaded = call::<_, pb::Empty>(server, "RepositoryModelUnload", request).await;
        assert_eq!(unloaded.unwrap_err().code(), Code::Unimplemented);
    }
}
