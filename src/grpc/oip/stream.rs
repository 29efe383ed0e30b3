//! `ModelStreamInfer` in Triton's form: one answer for each message, a failure as a text in it.
//!
//! Answers come in the order of the messages; so many are worked at once, and no more are read before one is answered.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::future::{BoxFuture, ready};
use futures::stream::{BoxStream, StreamExt};
use tonic::{Status, Streaming};

use super::messages::{
    InferParameter, ModelInferRequest, ModelInferResponse, ModelStreamInferResponse,
    ParameterChoice,
};
use super::{Call, grpc, infer};
use crate::grpc::Api;

/// Messages of one stream that are worked at once.
const AT_ONCE: usize = 16;

/// Asks for `FINAL` in the last answer to a message; each has one answer here.
const WANTS_FINAL: &str = "triton_enable_empty_final_response";
const FINAL: &str = "triton_final_response";

pub(super) async fn stream_infer(State(api): State<Arc<Api>>, request: Request) -> Response {
    let mut grpc = grpc::<ModelInferRequest, ModelStreamInferResponse>(&api, request.headers());
    let call = Call::new(api, request.headers().clone());
    grpc.streaming(Infers { call }, request)
        .await
        .into_response()
}

struct Infers {
    call: Call,
}

type Answers = BoxStream<'static, Result<ModelStreamInferResponse, Status>>;

impl tower::Service<tonic::Request<Streaming<ModelInferRequest>>> for Infers {
    type Response = tonic::Response<Answers>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<Streaming<ModelInferRequest>>) -> Self::Future {
        let call = self.call.clone();
        let answers = request
            .into_inner()
            .map(move |message| answer(&call, message));
        let answers: Answers = answers.buffered(AT_ONCE).boxed();
        Box::pin(ready(Ok(tonic::Response::new(answers))))
    }
}

/// A message that does not arrive ends the stream.
fn answer(
    call: &Call,
    message: Result<ModelInferRequest, Status>,
) -> BoxFuture<'static, Result<ModelStreamInferResponse, Status>> {
    let call = call.clone();
    Box::pin(async move {
        let request = message?;
        let id = request.id.clone();
        let wants_final = request.parameters.get(WANTS_FINAL);
        let wants_final = wants_final.and_then(InferParameter::as_bool) == Some(true);
        let (error_message, mut response) = match infer::infer(call, request).await {
            Ok(response) => (String::new(), response),
            Err(status) => {
                let response = ModelInferResponse {
                    id,
                    ..Default::default()
                };
                (status.message().to_owned(), response)
            }
        };
        if wants_final {
            let is_final = InferParameter {
                parameter_choice: Some(ParameterChoice::Bool(true)),
            };
            response.parameters.insert(FINAL.to_owned(), is_final);
        }
        Ok(ModelStreamInferResponse {
            error_message,
            infer_response: Some(response),
        })
    })
}
